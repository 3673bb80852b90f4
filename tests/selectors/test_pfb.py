"""PFB: the density beside scipy's, the moving centres by hand, and what of a batch stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from dynsel.selectors import PFB, Feedback
from dynsel.selectors.pfb import densities, moved


def clusters() -> torch.Tensor:
    """Ninety samples together, ten far from them and from each other."""
    generator = torch.Generator().manual_seed(0)
    return torch.cat([torch.randn(90, 3, generator=generator), 12 * torch.randn(10, 3, generator=generator)])


def test_the_density_is_that_of_gaussian_kernels():
    x, centres = clusters(), clusters()[::7]
    ours = densities(x, centres, scale=0.5)
    kernel = [multivariate_normal(centre, 4.0 * np.eye(3)).pdf(x.numpy()) for centre in centres.double().numpy()]
    wanted = np.mean(kernel, axis=0) * (2 * np.pi * 4.0) ** 1.5  # without the factor that makes it integrate to one
    np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-7)


def test_centres_move_a_hundredth_of_the_way():
    centres = torch.tensor([[0.0], [10.0], [99.0]])
    rows = torch.tensor([[1.0], [3.0], [11.0]])
    torch.testing.assert_close(moved(centres, rows), torch.tensor([[0.02], [10.01], [99.0]]))


def test_of_each_batch_the_least_dense_stay():
    selector = PFB(num_centres=20, seed=0)
    selector.bind(100)
    selector.fit(clusters())
    assert set(selector.importance.topk(8).indices.tolist()) <= set(range(90, 100))
    batch = torch.tensor([4, 95, 17, 99, 60, 2])
    kept = selector.select_batch(batch, 3, 0.0)
    wanted = selector.importance[batch].topk(3).indices.sort().values
    assert torch.equal(kept, wanted)


def test_the_importance_is_the_formula():
    selector = PFB(num_centres=20, offset=0.3, seed=0)
    selector.bind(100)
    selector.fit(clusters())
    density = 1 / selector.importance.double() - 0.3
    assert abs(float(density.mean()) - 1) < 1e-4
    assert float(selector.importance.max()) <= 1 / 0.3 + 1e-4


@pytest.mark.parametrize(("shift", "factor"), [(100.0, 1.0), (0.0, 0.01), (0.0, 1000.0)])
def test_a_refresh_follows_features_however_far_they_moved(shift, factor):
    selector = PFB(num_centres=20, seed=0)
    selector.bind(100)
    selector.fit(clusters())
    selector.observe(Feedback(torch.arange(50)))
    selector.fit(factor * clusters() + shift)
    assert set(selector.importance.topk(8).indices.tolist()) <= set(range(90, 100))


@pytest.mark.parametrize("place", [0.0, 1e4, -1e6])
def test_where_the_features_lie_makes_no_difference(place):
    x = (clusters() * 16).round() / 16  # exact in float32 at every place
    fits = []
    for moved_there in (x, x + place):
        selector = PFB(num_centres=20, seed=0)
        selector.bind(100)
        selector.fit(moved_there.double())
        fits.append(selector.importance)
    torch.testing.assert_close(fits[1], fits[0], rtol=0.05, atol=0.05)


def test_of_equal_features_all_are_as_important():
    selector = PFB(seed=0)
    selector.bind(300)
    selector.fit(torch.full((300, 4), 7.0))
    assert len(selector.importance.unique()) == 1


def test_before_features_are_there_the_least_used_stay():
    selector = PFB(seed=0)
    selector.bind(10)
    selector.observe(Feedback(torch.arange(5)))
    assert selector.select_batch(torch.arange(10), 5, 0.0).tolist() == [5, 6, 7, 8, 9]
