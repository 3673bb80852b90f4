"""The evaluation: last epoch before best, other weights each time, the baselines' images, and learning at all."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch
from distill.conftest import patterns

from dynsel.distill.evaluate import Evaluation, Result, herding_images, random_images
from dynsel.distill.pool import normalizer
from dynsel.selectors import Herding

QUICK = {"epochs": 12, "repeats": 3, "lr": 0.01, "augment": "crop", "cutmix": False, "tests": 4}


def test_more_images_teach_more(pool, data, val):
    evaluation = Evaluation(**{**QUICK, "epochs": 3})
    few, many = (evaluation.run("r", random_images(data, n, 0), "convnet", pool, val) for n in (1, 20))
    assert (few.images, many.images) == (4, 80)
    assert many.mean() > few.mean() + 0.05
    assert all(best >= last for last, best in zip(few.last, few.best, strict=True))


def test_the_seed_decides_and_repetitions_differ(pool, data, val):
    def run(seed: int) -> Result:
        return Evaluation(**{**QUICK, "epochs": 4}, seed=seed).run("r", random_images(data, 2, 0), "convnet", pool, val)

    assert run(1) == run(1) != run(2)
    assert len(set(run(1).last)) > 1


@pytest.mark.parametrize("network", ["convnet", "dynsel.models.resnet18", "dynsel.models.small_cnn"])
def test_every_network_can_be_trained(pool, data, val, network):
    evaluation = Evaluation(epochs=1, repeats=1, networks=(network,))
    found = evaluation.run("r", random_images(data, 2, 0), network, pool, val)
    assert 0 <= found.mean() <= 1


def test_a_row_is_mean_and_standard_deviation():
    result = Result("distilled", "convnet", 10, (0.5, 0.6, 0.7), (0.7, 0.7, 0.8))
    spread = 100 * statistics.stdev([0.7, 0.7, 0.8])
    assert result.row() == ("distilled", "convnet", "10", "60.00 ± 10.00", f"73.33 ± {spread:.2f}")


def test_random_images_are_of_every_class_and_others_each_time(data):
    drawn = random_images(data, 3, seed=1)
    images, targets = drawn(0)
    assert targets.sum(0).tolist() == [3, 3, 3, 3]
    assert torch.equal(drawn(0)[0], images)
    assert not torch.equal(drawn(1)[0], images)
    assert len(images.flatten(1).unique(dim=0)) == 12


def test_herding_is_that_of_the_selector(pool, data):
    images, targets = herding_images(data, 5, pool)(0)
    network = pool.load(data, torch.device("cpu")).trained(0)
    with torch.no_grad():
        features = network.features(normalizer(1)(data.images))
    selector = Herding(normalize=True, class_balance=True, seed=0)
    selector.bind(len(data), data.targets)
    selector.fit(features)
    chosen = selector.select(0.0, 20).indices
    rows = torch.cat([chosen[data.targets[chosen] == code] for code in range(4)])
    np.testing.assert_array_equal(images.flatten(1).unique(dim=0), data.images[rows].flatten(1).unique(dim=0))
    assert targets.argmax(1).tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 0}, "`repeats` must be at least 1, got 0"),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"lr": 0.0}, "`lr` must be above 0, got 0.0"),
        (
            {"networks": ("dynsel.models.vgg",)},
            "`networks` must be a class path that can be imported, got 'dynsel.models.vgg'",
        ),
        ({"augment": "blur"}, "`augment` must join names"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Evaluation(**options)


def test_soft_targets_teach_as_well(pool, val):
    data = patterns(per_class=20)
    soft = 0.1 + 0.6 * torch.nn.functional.one_hot(data.targets, 4).float()
    found = Evaluation(**QUICK).run("soft", lambda repeat: (data.images, soft), "convnet", pool, val)
    assert found.mean() > 0.9
