"""Loaders over two sets of images: row i is index i, harder data the same each time, and what doesn't go together."""

from __future__ import annotations

import pytest
import torch

from dynsel.data import TensorImages
from dynsel.data.module import VAL_BATCH, TensorDataModule


def images(count: int) -> TensorImages:
    rows = torch.arange(count)
    pixels = rows.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    return TensorImages(pixels, rows % 3, ["a", "b", "c"])


class Small(TensorDataModule):
    """Ninety images to train on, nine to validate."""

    def load(self) -> tuple[TensorImages, TensorImages]:
        return images(90), images(9)


def ready(**options: object) -> Small:
    module = Small(**{"batch_size": 8, **options})
    module.setup("fit")
    return module


def test_training_sees_every_image_once_and_validation_in_order():
    module = ready()
    seen = torch.cat([x[:, 0, 0, 0] for x, _ in module.train_dataloader()])
    assert sorted(seen.tolist()) == list(range(90))
    (batch, targets), *rest = module.val_dataloader()
    assert batch[:, 0, 0, 0].tolist() == list(range(9))
    assert targets.tolist() == [0, 1, 2] * 3
    assert rest == []
    assert (module.num_classes, module.image_shape) == (3, (1, 4, 4))
    assert ready(batch_size=VAL_BATCH + 1).val_dataloader().batch_size == VAL_BATCH + 1


def test_harder_data_are_the_same_whatever_the_seed():
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(ready(label_noise=0.2, imbalance=5.0).train_set)
    one, other = made
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.targets, other.targets)
    sizes = torch.bincount(torch.where(one.wrong, -1, one.targets) + 1)
    assert len(one) < 90
    assert int(one.wrong.sum()) == round(0.2 * len(one))
    assert sizes[1] > sizes[3]


def test_plain_data_are_those_that_were_loaded():
    assert torch.equal(ready().train_set.images, images(90).images)
    assert ready().train_set.wrong is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"num_workers": -1}, "`num_workers` must be at least 0, got -1"),
        ({"label_noise": 1.0}, r"`label_noise` must be in \[0, 1\), got 1.0"),
        ({"imbalance": 0.5}, "`imbalance` must be at least 1, got 0.5"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ready(**options)


def test_before_setup_there_is_nothing():
    with pytest.raises(RuntimeError, match="the data is not loaded yet: call `setup"):
        _ = Small(8).train_set
