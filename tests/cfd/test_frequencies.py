"""Frequencies: their draws, scale, bands and curriculum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cfd.conftest import normal, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from dynsel.cfd import (
    anisotropic_frequencies,
    characteristic_function,
    curriculum_limit,
    frequency_bands,
    gaussian_frequencies,
    median_scale,
    phase_decoupled,
    progressive_draw,
)

few = settings(max_examples=30)


def test_gaussian_frequencies_replay():
    drawn = gaussian_frequencies(2000, 8, 0.25, seeded(3))
    assert torch.equal(drawn, gaussian_frequencies(2000, 8, 0.25, seeded(3)))
    assert float(drawn.std()) == pytest.approx(0.25, rel=0.02)
    assert drawn.shape == (2000, 8)


def test_median_scale_is_scipys():
    features = normal(80, 5)
    assert median_scale(features, seeded()) == pytest.approx(1 / np.median(pdist(features)), rel=1e-6)
    many = normal(3000, 5)
    assert median_scale(many.half(), seeded()) == pytest.approx(1 / np.median(pdist(many)), rel=0.05)
    assert median_scale(many.numpy(), seeded(1)) == median_scale(many, seeded(1))


def test_median_scale_of_many_duplicates():
    features = torch.zeros(40, 2)
    features[0, 0] = 4.0
    assert median_scale(features, seeded()) == 0.25


def test_bands_are_terciles_of_the_norm():
    frequencies = normal(90, 4)
    band, norms = frequency_bands(frequencies), frequencies.norm(dim=1)
    assert torch.bincount(band).tolist() == [30, 30, 30]
    assert norms[band == 0].max() <= norms[band == 1].min()
    assert norms[band == 1].max() <= norms[band == 2].min()
    assert frequency_bands(torch.tensor([[3.0], [1.0], [2.0], [0.0]]), 2).tolist() == [1, 0, 1, 0]


def test_anisotropic_frequencies_look_where_sets_differ():
    """The sets differ in the spread of one dimension out of six."""
    reference, start = normal(600, 6), normal(100, 6, seed=1)
    start[:, 2] *= 0.2
    bank = anisotropic_frequencies(120, start, reference, seeded(2))
    plain = anisotropic_frequencies(120, start, reference, seeded(2), steps=0)
    norms = bank.norm(dim=1)
    assert bank.shape == (120, 6)
    assert bool((norms.diff() > 0).all())
    torch.testing.assert_close(norms, plain.norm(dim=1))
    largest = 2.0 * median_scale(reference, seeded()) * math.sqrt(6)
    assert float(norms[-1]) == pytest.approx(largest, rel=0.05)

    def loss(frequencies):
        a, b = (characteristic_function(points, frequencies) for points in (start, reference))
        return phase_decoupled(a, b, frequencies).reshape(3, 40).mean(1)

    assert bool((loss(bank) > 1.5 * loss(plain)).all())
    share = bank.square().reshape(3, 40, 6).sum(1)[:, 2] / bank.square().reshape(3, 40, 6).sum((1, 2))
    assert bool((share > 0.4).all())
    assert torch.equal(bank, anisotropic_frequencies(120, start, reference, seeded(2)))
    with torch.inference_mode():
        assert torch.equal(bank, anisotropic_frequencies(120, start + 0, reference + 0, seeded(2)))


def test_curriculum_rises_to_the_largest_norm():
    norms = torch.arange(1.0, 11.0)
    limits = [curriculum_limit(p, norms) for p in np.linspace(0, 1, 21)]
    assert limits[0] == pytest.approx(4.0)
    np.testing.assert_allclose(np.diff(limits)[:14], 6 / 14, rtol=1e-5)
    assert set(limits[14:]) == {10.0}


def test_draw_in_proportion_to_loss_and_difference():
    """Three allowed of four, one at a time: loss 1, 1, 2 with |cos| to what was used 1, 0, 0."""
    frequencies = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, -3.0], [1.0, 1.0]])
    loss, allowed = torch.tensor([1.0, 1.0, 2.0, 9.0]), torch.tensor([True, True, True, False])
    generator, recent = seeded(), torch.tensor([0, 0])
    draws = [progressive_draw(loss, frequencies, recent, 1, allowed, generator).item() for _ in range(3000)]
    wanted = np.array([0.5, 1.0, 2.0, 0.0]) / 3.5
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / 3000, wanted, atol=0.04)


@few
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_draw_is_of_different_allowed_ones(seed, count):
    frequencies = normal(20, 3, seed=seed)
    allowed = torch.rand(20, generator=seeded(seed)) < 0.5
    allowed[seed % 20] = True
    recent = torch.arange(seed % 4)
    drawn = progressive_draw(torch.zeros(20), frequencies, recent, count, allowed, seeded(seed))
    assert len(set(drawn.tolist())) == len(drawn) == min(count, int(allowed.sum()))
    assert bool(allowed[drawn].all())
    assert drawn.tolist() == sorted(drawn.tolist())
    again = progressive_draw(torch.zeros(20), frequencies, recent, count, allowed, seeded(seed))
    assert torch.equal(drawn, again)


def test_nothing_global_is_touched():
    before = torch.get_rng_state()
    bank = anisotropic_frequencies(6, normal(20, 3), normal(30, 3, seed=1), seeded())
    progressive_draw(torch.ones(6), bank, EMPTY, 2, torch.ones(6, dtype=torch.bool), seeded())
    assert torch.equal(before, torch.get_rng_state())


# ---------------------------------------------------------------- bad input
X, T = torch.ones(4, 3), torch.ones(2, 3)
PHI, YES = torch.ones(2, dtype=torch.complex128), torch.ones(2, dtype=torch.bool)
EMPTY = torch.zeros(0, dtype=torch.int64)
WRONG = [
    (lambda: gaussian_frequencies(0, 3, 1.0, seeded()), "`count` and `dim` must be at least 1, got 0 and 3"),
    (lambda: gaussian_frequencies(2, 3, 0.0, seeded()), "`scale` must be above 0 and finite, got 0.0"),
    (lambda: median_scale(X[:1], seeded()), "`features` must have at least 2 rows, got 1"),
    (lambda: median_scale(X, seeded()), "must differ between samples, got 6 pairs all at distance zero; give `scale`"),
    (lambda: frequency_bands(T, 3), "`bands` must be between 1 and the number of frequencies, 2, got 3"),
    (lambda: anisotropic_frequencies(2, X, X, seeded()), "`count` must be at least `bands`.*, got 2 and 3"),
    (lambda: anisotropic_frequencies(9, X, X, seeded()), "pairs all at distance zero"),
    (lambda: anisotropic_frequencies(9, X[:, :2], X, seeded()), "as many columns, got 2 and 3"),
    (lambda: anisotropic_frequencies(9, X, X, seeded(), reach=0.0), "`reach` above 0, got 20, 0.1 and 0.0"),
    (lambda: curriculum_limit(1.1, torch.ones(2)), r"`progress` must be in \[0, 1\], got 1.1"),
    (lambda: curriculum_limit(0.1, torch.ones(2), full_at=0), r"`full_at` in \(0, 1\], got 0.333.* and 0"),
    (lambda: progressive_draw(X[0], T, EMPTY, 1, YES, seeded()), r"`loss` and `allowed` must be \(2,\)"),
    (lambda: progressive_draw(PHI.real, T, T, 1, YES, seeded()), r"`recent` must be \(R,\) integer .*got \(2, 3\)"),
    (lambda: progressive_draw(PHI.real, T, EMPTY, 1, ~YES, seeded()), "must be at least 1, got 1, 0"),
    (lambda: progressive_draw(PHI.real, T, EMPTY, 0, YES, seeded()), "must be at least 1, got 0, 2"),
]


@pytest.mark.parametrize(("call", "text"), WRONG, ids=range(len(WRONG)))
def test_errors_say_what_and_how(call, text):
    with pytest.raises(ValueError, match=text):
        call()
