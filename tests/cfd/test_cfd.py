"""Characteristic functions against closed forms, scipy, finite differences, brute force and simulation."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist

from dynsel import cfd as module
from dynsel.cfd import (
    CharacteristicSums,
    amplitude_phase,
    anisotropic_frequencies,
    cfd,
    characteristic_function,
    characteristic_sums,
    curriculum_limit,
    frequency_bands,
    gaussian_frequencies,
    marginal_gain,
    median_scale,
    phase_decoupled,
    progressive_draw,
    random_floor,
    subset_distances,
    witness,
)

few = settings(max_examples=30)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def oracle(features, frequencies, weights=None) -> np.ndarray:
    """The definition, in complex128."""
    x, t = (np.asarray(array, dtype=np.float64) for array in (features, frequencies))
    return np.average(np.exp(1j * x @ t.T), axis=0, weights=weights)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks, the last of them short, where there would be one."""
    monkeypatch.setattr(module, "_BLOCK_ROWS", 64)


# ---------------------------------------------------------------- sums
def test_two_samples_of_three_dims_by_hand():
    """Angles 0 and π / 2 at the first frequency, π and -π / 2 at the second."""
    features = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    frequencies = torch.tensor([[0.0, 0.0, 0.5], [1.0, 0.0, -0.5]]) * math.pi
    sums = characteristic_sums(features, frequencies)
    assert sums.cos.tolist() == pytest.approx([1.0, -1.0], abs=1e-6)
    assert sums.sin.tolist() == pytest.approx([1.0, -1.0], abs=1e-6)
    assert sums.total == 2.0
    np.testing.assert_allclose(sums.value(), [0.5 + 0.5j, -0.5 - 0.5j], atol=1e-6)
    weighted = characteristic_sums(features, frequencies, torch.tensor([3, 1]))
    np.testing.assert_allclose(weighted.value(), [0.75 + 0.25j, -0.75 - 0.25j], atol=1e-6)
    # |0.25 - 0.25i|² = 0.125 at both frequencies.
    assert float(cfd(sums.value(), weighted.value())) == pytest.approx(0.125, abs=1e-6)


@pytest.mark.usefixtures("small_blocks")
def test_sums_are_the_definition_in_any_blocks():
    features, frequencies = normal(1000, 6), normal(33, 6, seed=1)
    usage = torch.randint(0, 4, (1000,), generator=seeded(2), dtype=torch.int32)
    np.testing.assert_allclose(
        characteristic_sums(features, frequencies).value(), oracle(features, frequencies), atol=1e-6
    )
    sums = characteristic_sums(features, frequencies, usage)
    np.testing.assert_allclose(sums.value(), oracle(features, frequencies, usage), atol=1e-6)
    assert sums.total == int(usage.sum())
    assert sums.cos.dtype == sums.sin.dtype == torch.float64
    assert sums.value().dtype == torch.complex128


def test_a_normal_sample_has_the_normal_characteristic_function():
    features, frequencies = normal(50_000, 1), torch.linspace(-3, 3, 25)[:, None]
    found = characteristic_sums(features, frequencies).value()
    # The standard error of real and imaginary part is at most 1 / sqrt(N).
    np.testing.assert_allclose(found, np.exp(-(frequencies[:, 0].double() ** 2) / 2), atol=4 / math.sqrt(50_000))


@pytest.mark.usefixtures("small_blocks")
def test_memory_mapped_float16_is_read_in_blocks(tmp_path):
    features = normal(300, 5).half()
    np.save(tmp_path / "features.npy", features.numpy())
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    frequencies = normal(16, 5, seed=1)
    mask = torch.arange(300) % 3 == 0
    np.testing.assert_allclose(
        characteristic_sums(mapped, frequencies).value(), oracle(features, frequencies), atol=1e-6
    )
    np.testing.assert_allclose(
        characteristic_sums(mapped, frequencies, mask).value(), oracle(features[mask], frequencies), atol=1e-6
    )
    gap = characteristic_sums(mapped, frequencies, mask).value()
    assert torch.equal(witness(mapped, frequencies, gap), witness(features, frequencies, gap))


def test_parts_add_and_subtract():
    features, frequencies = normal(200, 4), normal(9, 4, seed=1)
    whole, first = characteristic_sums(features, frequencies), characteristic_sums(features[:70], frequencies)
    rest = characteristic_sums(features[70:], frequencies)
    for sums in (first + rest, (whole - first) + first):
        assert sums.total == 200.0
        np.testing.assert_allclose(sums.value(), whole.value(), atol=1e-7)
    assert (whole - rest).total == 70.0
    assert whole.reduced() is whole


def test_float64_sums_of_many_rows():
    """float32 would lose the last of these: 2^24 + 1 = 2^24."""
    sums = CharacteristicSums(*(torch.tensor([2.0**24], dtype=torch.float64) for _ in range(2)), 2.0**24)
    one = characteristic_sums(torch.zeros(1, 1), torch.ones(1, 1))
    assert (sums + one).cos.item() == 2**24 + 1


def test_rows_without_weight_are_not_looked_at():
    features = normal(5, 2)
    features[3] = torch.nan
    weights = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0])
    assert bool(torch.isfinite(characteristic_sums(features, normal(4, 2), weights).cos).all())


RANK_PROGRAM = """
import os, sys, torch, torch.distributed as dist
from dynsel.cfd import characteristic_sums, gaussian_frequencies
from dynsel.metrics import CharacteristicFunctionDistance, UsageGini
rank = int(os.fork() == 0)  # after the imports, which take longer than all the rest
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
generator = torch.Generator().manual_seed(0)
features, t = torch.randn(101, 3, generator=generator), gaussian_frequencies(8, 3, 1.0, generator)
whole, part = characteristic_sums(features, t), characteristic_sums(features[rank::2], t).reduced()
assert part.total == 101.0 and torch.allclose(part.value(), whole.value(), atol=1e-7)
chosen = torch.arange(60)
together = CharacteristicFunctionDistance(features, 64, sync_on_compute=False)
mine = CharacteristicFunctionDistance(features, 64)
together.update(features[chosen])
mine.update(features[chosen[rank::2]])
alone, reduced = together.compute(), mine.compute()
assert all(torch.isclose(alone[name], reduced[name], rtol=1e-5) for name in alone), (alone, reduced)
gini = UsageGini(4)
gini.update(torch.tensor([3 * rank]))
assert float(gini.compute()) == 0.5  # uses 1, 0, 0, 1
if rank == 0:
    assert os.wait()[1] == 0
print("the same", flush=True)
os._exit(0)  # some builds of gloo abort while the interpreter shuts down
"""


def test_two_ranks_have_what_one_has(tmp_path: Path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, "-c", RANK_PROGRAM, str(tmp_path / "store")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "the same\nthe same\n"), done.stderr


# ---------------------------------------------------------------- distances
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
    for c in range(4):
        np.testing.assert_allclose(found[c], oracle(points[c], frequencies), atol=1e-6)
        np.testing.assert_allclose(weighted[c], oracle(points[c], frequencies, weights[c]), atol=1e-6)
    own = frequencies.expand(4, 11, 3)
    np.testing.assert_allclose(characteristic_function(points, own), found, atol=1e-6)
    terms = phase_decoupled(found, weighted, own)
    assert torch.equal(terms, phase_decoupled(found, weighted, frequencies))
    assert terms.shape == (4, 11)


# ---------------------------------------------------------------- witness
@pytest.mark.usefixtures("small_blocks")
def test_witness_is_what_a_little_of_a_sample_changes():
    features, frequencies = normal(150, 4), 0.7 * normal(50, 4, seed=1)
    now, aim = oracle(features[:20], frequencies), oracle(features, frequencies)
    waves = np.exp(1j * features.numpy().astype(float) @ frequencies.numpy().astype(float).T)
    share = 1e-6
    before = np.mean(np.abs(now - aim) ** 2)
    after = np.mean(np.abs((1 - share) * now + share * waves - aim) ** 2, axis=1)
    scores = witness(features, frequencies, torch.from_numpy(aim - now))
    constant = np.mean(np.real((aim - now).conj() * now))
    np.testing.assert_allclose(2 * share * (scores - constant), before - after, atol=1e-10)
    assert scores.shape == (150,)
    assert scores.dtype == torch.float32


@pytest.mark.parametrize("weight", [1.0, 7.5])
def test_marginal_gain_is_the_change_itself(weight):
    features, frequencies = normal(40, 4), 0.7 * normal(50, 4, seed=1)
    now, aim = characteristic_sums(features[:6], frequencies), characteristic_sums(features, frequencies).value()
    gains = marginal_gain(features, frequencies, now, aim, weight)
    for i in (0, 5, 6, 39):
        with_it = now + characteristic_sums(features[i : i + 1], frequencies, torch.tensor([weight]))
        assert float(gains[i]) == pytest.approx(float(cfd(now.value(), aim) - cfd(with_it.value(), aim)), abs=1e-6)


def test_greedy_by_witness_comes_nearer_than_chance():
    features, frequencies = normal(400, 4), gaussian_frequencies(64, 4, 0.5, seeded(1))
    aim = characteristic_sums(features, frequencies)
    chosen = torch.zeros(400, dtype=torch.bool)
    now = aim - aim
    for _ in range(20):
        gap = aim.value() if not now.total else aim.value() - now.value()
        best = witness(features, frequencies, gap).masked_fill(chosen, -torch.inf).argmax()
        chosen[best] = True
        now += characteristic_sums(features[best][None], frequencies)
    assert float(cfd(now.value(), aim.value())) < 0.5 * random_floor(aim.value(), 20, 400)


# ---------------------------------------------------------------- against chance
def test_floor_is_the_mean_of_random_subsets():
    features, frequencies, size = normal(60, 3), normal(40, 3, seed=1), 25
    value = characteristic_sums(features, frequencies).value()
    members = torch.zeros(3000, 60, dtype=torch.bool)
    members.scatter_(1, torch.rand(3000, 60, generator=seeded(2)).argsort(1)[:, :size], True)
    distances = subset_distances(features, frequencies, members, value)
    error = float(distances.std()) / math.sqrt(3000)
    assert float(distances.mean()) == pytest.approx(random_floor(value, size, 60), abs=4 * error)
    # What 1/M - 1/N would give lies outside: the formula is exact.
    assert abs(float(distances.mean()) / random_floor(value, size, 60) - 1) < 0.01 < 1 - 59 / 60


@pytest.mark.usefixtures("small_blocks")
def test_many_subsets_at_once_are_each_alone():
    features, frequencies = normal(200, 3), normal(10, 3, seed=1)
    value = characteristic_sums(features, frequencies).value()
    members = torch.rand(5, 200, generator=seeded(2)) < 0.3
    found = subset_distances(features, frequencies, members, value)
    alone = [cfd(characteristic_sums(features, frequencies, member).value(), value) for member in members]
    np.testing.assert_allclose(found, torch.stack(alone), rtol=1e-4)


def test_floor_at_the_ends():
    value = torch.tensor([0.6 + 0.8j, 0.0])  # spreads 0 and 1
    assert random_floor(value, 1, 10) == pytest.approx(0.5)
    assert random_floor(value, 10, 10) == 0.0
    assert random_floor(value, 1, 1) == 0.0


# ---------------------------------------------------------------- frequencies
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


# ---------------------------------------------------------------- bad input
X, T, SUMS = torch.ones(4, 3), torch.ones(2, 3), CharacteristicSums(torch.ones(2), torch.ones(2), 1.0)
PHI, YES = torch.ones(2, dtype=torch.complex128), torch.ones(2, dtype=torch.bool)
EMPTY = torch.zeros(0, dtype=torch.int64)
WRONG = [
    (lambda: characteristic_sums(X, T[:, :2]), r"`frequencies` must be \(F, 3\) for these features, got \(2, 2\)"),
    (lambda: characteristic_sums(X[0], T), r"`features` must be 2-D"),
    (lambda: characteristic_sums(X, T * torch.nan), "`frequencies` must be finite"),
    (lambda: characteristic_sums(X, T, torch.ones(3)), r"`weights` must be \(4,\), one a row, got \(3,\)"),
    (lambda: characteristic_sums(X, T, -torch.ones(4)), "`weights` must be finite and not negative"),
    (lambda: characteristic_sums(X, T, torch.full((4,), torch.inf)), "`weights` must be finite and not negative"),
    (lambda: characteristic_sums(X * 1e30, T * 1e30), "must stay within float32; standardise the features"),
    (lambda: characteristic_sums(X, T, torch.zeros(4)).value(), "must have a positive sum, got 0.0; add samples first"),
    (lambda: subset_distances(X, T, YES[None], PHI), r"`members` must be \(K, 4\) bool, got \(1, 2\) torch.bool"),
    (lambda: subset_distances(X, T, torch.zeros(1, 4, dtype=torch.bool), PHI), "must hold at least one sample"),
    (lambda: witness(X, T, PHI[:1]), r"`gap` must be \(2,\) complex, got \(1,\)"),
    (lambda: witness(X, T, torch.ones(2)), r"`gap` must be \(2,\) complex, got \(2,\) torch.float32"),
    (lambda: witness(X, T, PHI * torch.nan), "`gap` must be finite"),
    (lambda: marginal_gain(X, T, SUMS, PHI, 0.0), "`weight` must be above 0, got 0.0"),
    (lambda: random_floor(PHI, 5, 4), r"`size` must be in \[1, total\] = \[1, 4\], got 5"),
    (lambda: random_floor(PHI, 0, 4), r"`size` must be in \[1, total\]"),
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


def test_features_must_be_floating_point():
    with pytest.raises(TypeError, match="`features` must be floating point"):
        characteristic_sums(X.long(), T)


@pytest.mark.parametrize("use", [characteristic_sums, lambda x, t: witness(x, t, PHI)])
def test_rows_that_are_not_finite_are_named(use):
    features = X.clone()
    features[[1, 3], 0] = torch.tensor([torch.nan, torch.inf])
    with pytest.raises(ValueError, match="`features` must be finite, got NaN or infinite values in rows 1, 3"):
        use(features, T)


def test_nothing_global_is_touched():
    before = torch.get_rng_state()
    bank = anisotropic_frequencies(6, normal(20, 3), normal(30, 3, seed=1), seeded())
    progressive_draw(torch.ones(6), bank, EMPTY, 2, torch.ones(6, dtype=torch.bool), seeded())
    assert torch.equal(before, torch.get_rng_state())


def test_autocast_does_not_round_the_angles():
    features, frequencies = 5 * normal(100, 8), normal(20, 8, seed=1)
    value = characteristic_sums(features, frequencies).value()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(characteristic_sums(features, frequencies).value(), value)
        scores = witness(features, frequencies, value)
    assert torch.equal(scores, witness(features, frequencies, value))
