import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dynsel.data import DigitsDataModule


def loaded(**options) -> DigitsDataModule:
    module = DigitsDataModule(**options)
    module.setup("fit")
    return module


def flat(data) -> list[bytes]:
    return [image.numpy().tobytes() for image in data.images]


def test_the_two_sets_are_scikit_learns_digits():
    module, digits = loaded(), load_digits()
    both = torch.cat([module.train_set.images, module.val_set.images])
    assert sorted(flat(module.train_set) + flat(module.val_set)) == sorted(
        np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in digits.images
    )
    assert both.shape[1:] == module.image_shape == (1, 8, 8)
    assert (both.min(), both.max()) == (0, 255)
    counts = torch.bincount(torch.cat([module.train_set.targets, module.val_set.targets]))
    assert counts.tolist() == np.bincount(digits.target).tolist()
    assert module.num_classes == 10


def test_rows_are_images_with_their_own_targets():
    pixels, numbers = load_digits(return_X_y=True)
    target = dict(zip((np.rint(i * 255 / 16).astype(np.uint8).tobytes() for i in pixels), numbers, strict=True))
    module = loaded()
    for data in (module.train_set, module.val_set):
        assert [target[image] for image in flat(data)] == data.targets.tolist()


def test_split_is_stratified_disjoint_and_decided_by_the_seed():
    module = loaded(test_share=0.2)
    assert len(module.val_set) == 360
    share = torch.bincount(module.val_set.targets) / torch.bincount(
        torch.cat([module.train_set.targets, module.val_set.targets])
    )
    assert (share - 0.2).abs().max() < 0.01
    assert torch.equal(loaded(test_share=0.2).train_set.images, module.train_set.images)
    assert not torch.equal(loaded(test_share=0.2, seed=1).train_set.images, module.train_set.images)


def test_loaders_give_every_image_once():
    module = loaded(batch_size=100)
    train, val = module.train_dataloader(), module.val_dataloader()
    assert [len(targets) for _, targets in train][-1] == len(module.train_set) % 100
    targets = torch.cat([targets for _, targets in train])
    assert not torch.equal(targets, module.train_set.targets)
    assert torch.equal(torch.cat([targets for _, targets in val]), module.val_set.targets)
    assert len(val) == 1


def test_workers_give_the_same_batches():
    module = loaded(num_workers=2)
    assert sum(len(targets) for _, targets in module.train_dataloader()) == len(module.train_set)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"`test_share` must be in \[0.006, 0.994\], got 1"):
        DigitsDataModule(test_share=1)
    with pytest.raises(
        ValueError, match=r"`test_share` must be in .*, got 0.999; each of the ten classes needs an image"
    ):
        DigitsDataModule(test_share=0.999)
    with pytest.raises(ValueError, match=r"`seed` must be in \[0, 4.29497e\+09\], got -1"):
        DigitsDataModule(seed=-1)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        DigitsDataModule(0)
    with pytest.raises(ValueError, match="`num_workers` must be at least 0, got -1"):
        DigitsDataModule(num_workers=-1)
    with pytest.raises(RuntimeError, match=r'call `setup\("fit"\)` first'):
        DigitsDataModule().train_dataloader()


@pytest.mark.parametrize("share", [0.006, 0.994])
def test_the_smallest_parts_have_an_image_of_every_class(share):
    module = DigitsDataModule(test_share=share)
    module.setup()
    assert all(len(part.targets.unique()) == 10 for part in (module.train_set, module.val_set))
