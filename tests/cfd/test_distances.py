"""Distances of characteristic functions, against closed forms and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cfd.conftest import normal, off_by, oracle, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from dynsel.cfd import (
    amplitude_phase,
    cfd,
    characteristic_function,
    characteristic_sums,
    gaussian_frequencies,
    phase_decoupled,
    random_floor,
)

few = settings(max_examples=30)


def test_mean_over_gaussian_frequencies_is_mmd():
    """E |Δφ|² = V-statistic of MMD² with the kernel exp(-s² ‖x - y‖² / 2)."""
    a, b, scale = normal(80, 5), normal(60, 5, seed=1) * 1.3 + 0.4, 0.4
    kernel = lambda x, y: np.exp(-(scale**2) * cdist(x, y, "sqeuclidean") / 2).mean()  # noqa: E731
    wanted = kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
    frequencies = gaussian_frequencies(40_000, 5, scale, seeded(2))
    terms = (characteristic_sums(a, frequencies).value() - characteristic_sums(b, frequencies).value()).abs() ** 2
    error = float(terms.std()) / math.sqrt(len(terms))
    assert float(terms.mean()) == pytest.approx(wanted, abs=4 * error)
    assert 4 * error < 0.05 * wanted


def complex_values(*shape: int, seed: int) -> torch.Tensor:
    """Inside the unit disc, as characteristic functions are."""
    return torch.complex(*(2 * torch.rand(2, *shape, generator=seeded(seed), dtype=torch.float64) - 1)) / math.sqrt(2)


def test_amplitude_and_phase_are_the_whole():
    a, b = complex_values(500, seed=0), complex_values(500, seed=1)
    amplitude, phase = amplitude_phase(a, b)
    np.testing.assert_allclose(amplitude + phase, (a - b).abs() ** 2, atol=1e-12)
    assert bool((amplitude >= 0).all())
    assert bool((phase >= 0).all())
    assert all(float(part.max()) < 1e-15 for part in amplitude_phase(a, a))
    assert float(cfd(a, b)) == pytest.approx(float((amplitude + phase).mean()), abs=1e-12)


@few
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(-20, 20))
def test_distance_is_one_and_a_shift_is_all_phase(seed, dim, shift):
    points, other = normal(12, dim, seed=seed).double(), normal(9, dim, seed=seed + 1).double()
    frequencies = normal(20, dim, seed=seed + 2).double()
    a, b = characteristic_function(points, frequencies), characteristic_function(other, frequencies)
    moved = characteristic_function(points + shift, frequencies)
    assert 0 <= float(cfd(a, b)) <= 4
    assert torch.equal(cfd(a, b), cfd(b, a))
    assert float(cfd(a, a)) == 0
    np.testing.assert_allclose(amplitude_phase(a, b)[0], amplitude_phase(moved, b)[0], atol=1e-10)
    together = characteristic_function(other + shift, frequencies)
    np.testing.assert_allclose(cfd(moved, together), cfd(a, b), atol=1e-10)


def test_phase_decoupled_is_its_formula():
    a, b, frequencies = complex_values(200, seed=0), complex_values(200, seed=1), normal(200, 3).double()
    turn = np.angle(a.numpy() * b.numpy().conj())
    wanted = (a - b).abs().numpy() ** 2
    wanted += 0.3 / (1 + 1.2 * np.square(frequencies.numpy()).sum(1)) * turn**2
    np.testing.assert_allclose(phase_decoupled(a, b, frequencies), wanted, rtol=1e-10)
    np.testing.assert_allclose(phase_decoupled(a, b, frequencies, strength=0.0), (a - b).abs() ** 2, rtol=1e-10)


def test_phases_wrap_and_small_magnitudes_have_none():
    a = torch.polar(torch.tensor([0.5, 0.5, 1e-4, 0.0]).double(), torch.tensor([3.0, 3.0, 3.0, 0.0]).double())
    b = torch.polar(torch.full((4,), 0.5).double(), torch.tensor([-3.0, 3.0, 1.0, 1.0]).double())
    extra = phase_decoupled(a, b, torch.zeros(4, 2), strength=1.0) - (a - b).abs() ** 2
    wrapped = 2 * math.pi - 6  # not 6
    assert extra.tolist() == pytest.approx([wrapped**2, 0, 0, 0], abs=1e-12)


def test_phase_decoupled_gradient_is_the_finite_difference():
    # Away from angle π and from the floor, where the function jumps.
    a, b = 0.5 * complex_values(2, 6, seed=0) + 0.6, 0.5 * complex_values(6, seed=1) + 0.6
    frequencies = normal(6, 3).double()
    a.requires_grad_(), b.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: phase_decoupled(x, y, frequencies), (a, b))
    points = normal(3, 5, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: phase_decoupled(characteristic_function(x, frequencies), b.detach(), frequencies), (points,)
    )


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_gradients_are_finite_at_zero_and_at_equality(dtype):
    a = torch.tensor([0, 0, 0.5, 1e-30, 1], dtype=dtype).requires_grad_()
    b = torch.tensor([0, 0.3, 0.5, 1e-30, -1], dtype=dtype).requires_grad_()
    for terms in (phase_decoupled(a, b, torch.ones(5, 2)), torch.cat(amplitude_phase(a, b)), cfd(a, b)):
        gradients = torch.autograd.grad(terms.sum(), (a, b), retain_graph=True)
        assert all(bool(torch.isfinite(torch.view_as_real(g)).all()) for g in gradients)


def test_points_of_all_classes_at_once():
    points, frequencies, weights = normal(4, 7, 3), normal(11, 3, seed=1), torch.rand(4, 7, generator=seeded(2))
    found, weighted = (
        characteristic_function(points, frequencies),
        characteristic_function(points, frequencies, weights),
    )
    assert found.shape == (4, 11)
    assert found.dtype == torch.complex64
    error = off_by(points.flatten(0, 1), frequencies, 7)
    for c in range(4):
        np.testing.assert_allclose(found[c], oracle(points[c], frequencies), atol=error)
        np.testing.assert_allclose(weighted[c], oracle(points[c], frequencies, weights[c]), atol=error)
    own = frequencies.expand(4, 11, 3)
    np.testing.assert_allclose(characteristic_function(points, own), found, atol=2 * error)
    terms = phase_decoupled(found, weighted, own)
    assert torch.equal(terms, phase_decoupled(found, weighted, frequencies))
    assert terms.shape == (4, 11)


def test_floor_at_the_ends():
    value = torch.tensor([0.6 + 0.8j, 0.0])  # spreads 0 and 1
    assert random_floor(value, 1, 10) == pytest.approx(0.5)
    assert random_floor(value, 10, 10) == 0.0
    assert random_floor(value, 1, 1) == 0.0


PHI = torch.ones(2, dtype=torch.complex128)
WRONG = [
    (lambda: random_floor(PHI, 5, 4), r"`size` must be in \[1, total\] = \[1, 4\], got 5"),
    (lambda: random_floor(PHI, 0, 4), r"`size` must be in \[1, total\]"),
]


@pytest.mark.parametrize(("call", "text"), WRONG, ids=range(len(WRONG)))
def test_errors_say_what_and_how(call, text):
    with pytest.raises(ValueError, match=text):
        call()
