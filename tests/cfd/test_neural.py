"""Neural CFD: distinct frequencies, the split into parts, and a held-out report that finds differences, not noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel

from dynsel.cfd import (
    FrequencyNetwork,
    amplitude_phase,
    cfd,
    characteristic_function,
    discrepancy,
    fit_frequencies,
    gaussian_frequencies,
    neural_cfd,
)

DIGITS = load_digits()
X, LABELS = torch.tensor(DIGITS.data / 16, dtype=torch.float32), torch.tensor(DIGITS.target)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- identities
def test_amplitude_and_phase_add_up():
    t = FrequencyNetwork(6, 256)(seeded()).double().detach()
    points = torch.randn(2, 50, 6, generator=seeded(1), dtype=torch.float64)
    a, b = characteristic_function(points, t)
    amplitude, phase = amplitude_phase(a, b)
    np.testing.assert_allclose(amplitude + phase, (a - b).abs().square(), rtol=0, atol=1e-12)


def test_unrooted_it_is_the_maximum_mean_discrepancy():
    """α = 1/2 and t ~ N(0, s² I): the mean of the squares is half of MMD² under the kernel exp(-s² ‖x - y‖² / 2)."""
    x, y = X[LABELS == 3][:80].double(), X[LABELS == 8][:90].double()
    t = gaussian_frequencies(20_000, 64, 0.4, seeded()).double()
    a, b = characteristic_function(x, t), characteristic_function(y, t)
    mmd = sum(sign * rbf_kernel(p, q, gamma=0.4**2 / 2).mean() for p, q, sign in ((x, x, 1), (y, y, 1), (x, y, -2)))
    assert float((sum(amplitude_phase(a, b)) / 2).mean()) == pytest.approx(mmd / 2, rel=0.02)
    assert float(cfd(a, b)) == pytest.approx(mmd, rel=0.02)


def test_discrepancy_by_hand():
    a, b = torch.tensor([1.0 + 0j, 0.6 + 0j, 0j]), torch.tensor([0.5 + 0j, 0.6j, 0j])
    # Amplitudes differ by 0.5, 0 and 0; the phase parts are 0, 2 · 0.36 and 0.
    expected = (math.sqrt(0.3 * 0.25) + math.sqrt(0.7 * 0.72) + 1e-6) / 3
    assert float(discrepancy(a, b, 0.3)) == pytest.approx(expected, rel=1e-6)


def test_equal_sets_have_a_finite_gradient():
    points = torch.randn(5, 3, generator=seeded(), requires_grad=True)
    t = FrequencyNetwork(3, 16)(seeded())
    value = characteristic_function(points, t)
    discrepancy(value, value.detach()).backward()
    assert bool(torch.isfinite(points.grad).all())


# ---------------------------------------------------------------- frequencies
@pytest.mark.parametrize("mode", ["normal", "scale-mixture"])
@pytest.mark.parametrize(("count", "components"), [(64, None), (1024, 64), (100, 7), (5, None)])
def test_all_frequencies_are_distinct(mode, count, components):
    t = FrequencyNetwork(32, count, components, mode=mode)(seeded())
    assert t.shape == (count, 32)
    assert len(t.unique(dim=0)) == count
    # Not even in direction, as rows of one scale would be.
    unit = torch.nn.functional.normalize(t, dim=1)
    assert float((unit @ unit.T).fill_diagonal_(0).abs().max()) < 0.999


def test_a_component_scales_its_share_of_the_frequencies():
    network = FrequencyNetwork(4, 12, 3, scale=2.0)
    generator = seeded(5)
    t = network(generator)
    generator = seeded(5)
    normal = torch.randn(12, 4, generator=generator) * 2
    sigma = network.layers(torch.randn(3, 4, generator=generator))
    torch.testing.assert_close(t, normal * sigma.repeat_interleave(4, 0))
    assert float(sigma.detach().abs().max()) < 1


def test_the_network_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    a, b = FrequencyNetwork(4, seed=1), FrequencyNetwork(4, seed=1)
    fit_frequencies(X, (LABELS == 0).float(), steps=2)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(a(seeded()), b(seeded()))


def test_learned_frequencies_show_a_difference_more_clearly():
    pair = (LABELS == 3) | (LABELS == 8)
    threes = (LABELS[pair] == 3).float()
    ratios = {mode: neural_cfd(X[pair], threes, mode=mode)[0].ratio for mode in ("normal", "scale-mixture")}
    assert ratios["scale-mixture"] > 1.3 * ratios["normal"]


# ---------------------------------------------------------------- the report
def test_two_halves_of_the_same_data_are_at_the_floor():
    """What is learned on one half of the samples is noise, so the other half shows nothing."""
    found = [
        neural_cfd(X, (torch.rand(len(X), generator=seeded(s)) < 0.5).float(), num_frequencies=256, seed=s)[0]
        for s in range(6)
    ]
    assert np.mean([r.ratio for r in found]) == pytest.approx(1, abs=0.3)
    assert abs(np.mean([r.z_score for r in found])) < 1.5
    assert max(abs(r.z_score) for r in found) < 5


def test_on_the_samples_it_was_trained_with_it_would_be_biased():
    """Why there are two halves."""
    x = torch.randn(60, 30, generator=seeded())
    chosen = (torch.arange(60) < 30).float()
    t = fit_frequencies(x, chosen, steps=100)
    start = fit_frequencies(x, chosen, steps=0)

    def seen(frequencies: torch.Tensor) -> float:
        whole = characteristic_function(x, frequencies)
        return float(discrepancy(characteristic_function(x[:30], frequencies), whole))

    assert seen(t) > 1.1 * seen(start)


def test_two_classes_are_far_apart():
    pair = (LABELS == 3) | (LABELS == 8)
    found, none = neural_cfd(X[pair], (LABELS[pair] == 3).float())
    assert found.z_score > 20
    assert found.ratio > 10
    assert found.distance == pytest.approx(found.amplitude + found.phase, abs=1e-9)
    assert (found.of, none) == (179, [])  # the larger half of 357


def test_each_class_by_itself():
    """A third of every class at random, but of class 4 one end of its first principal component."""
    weights = (torch.rand(len(X), generator=seeded(2)) < 0.34).float()
    four = (LABELS == 4).nonzero()[:, 0]
    weights[four] = 0
    weights[four[torch.linalg.svd(X[four] - X[four].mean(0)).U[:, 0].argsort()[:60]]] = 1
    whole, classes = neural_cfd(X, weights, LABELS)
    scores = [c.z_score for c in classes]
    assert max(range(10), key=scores.__getitem__) == 4
    assert scores[4] > 10
    assert sum(abs(s) < 3 for s in scores) >= 7
    assert sum(c.of for c in classes) == whole.of


def test_a_class_that_is_not_used_has_no_report():
    weights = (LABELS < 5).float()
    _, classes = neural_cfd(X, weights, LABELS, steps=2, num_frequencies=32)
    assert [c is None for c in classes] == [False] * 5 + [True] * 5


def test_the_whole_set_has_no_floor():
    found, _ = neural_cfd(X, torch.ones(len(X)), steps=2, num_frequencies=32)
    assert found.distance == pytest.approx(0, abs=1e-12)
    assert math.isnan(found.ratio)
    assert math.isnan(found.z_score)


def test_memory_maps_and_half_precision(tmp_path):
    np.save(tmp_path / "x.npy", X.half().numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    weights = (LABELS % 2 == 0).float()
    one, two = (neural_cfd(x, weights, steps=5, num_frequencies=64)[0] for x in (mapped, X))
    assert one.distance == pytest.approx(two.distance, rel=1e-2)


# ---------------------------------------------------------------- bad input
WRONG = [
    (lambda: FrequencyNetwork(0), "`dim` must be at least 1, got 0"),
    (lambda: FrequencyNetwork(3, 64, 65), "`components` must be between 2 and 64 frequencies, got 65"),
    (lambda: FrequencyNetwork(3, mode="raw"), "`mode` must be 'normal' or 'scale-mixture', got 'raw'"),
    (lambda: FrequencyNetwork(3, scale=0.0), "`scale` must be above 0, got 0.0"),
    (lambda: neural_cfd(X, torch.ones(3)), r"`weights` must be \(1797,\), one per row, got \(3,\)"),
    (lambda: neural_cfd(X, -torch.ones(1797)), "`weights` must be finite and not negative"),
    (
        lambda: neural_cfd(X, torch.zeros(1797)),
        "`weights` must be above 0 for at least two samples of the half trained",
    ),
    (lambda: neural_cfd(X, torch.ones(1797), LABELS[:5]), r"`labels` must be \(1797,\), one per row, got \(5,\)"),
    (lambda: neural_cfd(X, torch.ones(1797), repeats=1), "`repeats` must be at least 2, got 1"),
    (lambda: fit_frequencies(X, torch.zeros(1797)), "`weights` must be above 0 for at least one of the rows"),
    (lambda: fit_frequencies(X, torch.ones(1797), steps=-1), "`steps` must be at least 0"),
]


@pytest.mark.parametrize(("call", "text"), WRONG, ids=range(len(WRONG)))
def test_errors_say_what_and_how(call, text):
    with pytest.raises(ValueError, match=text):
        call()
