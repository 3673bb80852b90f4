"""Sums of characteristic functions, against the definition, two ranks and simulation."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cfd.conftest import normal, off_by, oracle, seeded

from dynsel.cfd import (
    CharacteristicSums,
    cfd,
    characteristic_sums,
    random_floor,
    subset_distances,
    witness,
)


def test_two_samples_of_three_dims_by_hand():
    """Angles 0 and π / 2 at the first frequency, π and -π / 2 at the second."""
    features = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    frequencies = torch.tensor([[0.0, 0.0, 0.5], [1.0, 0.0, -0.5]]) * math.pi
    sums = characteristic_sums(features, frequencies)
    error = off_by(features, frequencies, 2)
    assert sums.cos.tolist() == pytest.approx([1.0, -1.0], abs=2 * error)
    assert sums.sin.tolist() == pytest.approx([1.0, -1.0], abs=2 * error)
    assert sums.total == 2.0
    np.testing.assert_allclose(sums.value(), [0.5 + 0.5j, -0.5 - 0.5j], atol=error)
    weighted = characteristic_sums(features, frequencies, torch.tensor([3, 1]))
    np.testing.assert_allclose(weighted.value(), [0.75 + 0.25j, -0.75 - 0.25j], atol=error)
    # |0.25 - 0.25i|² = 0.125 at both frequencies.
    assert float(cfd(sums.value(), weighted.value())) == pytest.approx(0.125, abs=2 * error)


@pytest.mark.usefixtures("small_blocks")
def test_sums_are_the_definition_in_any_blocks():
    features, frequencies = normal(1000, 6), normal(33, 6, seed=1)
    error = off_by(features, frequencies)
    usage = torch.randint(0, 4, (1000,), generator=seeded(2), dtype=torch.int32)
    np.testing.assert_allclose(
        characteristic_sums(features, frequencies).value(),
        oracle(features, frequencies),
        atol=error,
    )
    sums = characteristic_sums(features, frequencies, usage)
    np.testing.assert_allclose(sums.value(), oracle(features, frequencies, usage), atol=error)
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
    error = off_by(features, frequencies)
    np.testing.assert_allclose(
        characteristic_sums(mapped, frequencies).value(),
        oracle(features, frequencies),
        atol=error,
    )
    np.testing.assert_allclose(
        characteristic_sums(mapped, frequencies, mask).value(),
        oracle(features[mask], frequencies),
        atol=error,
    )
    gap = characteristic_sums(mapped, frequencies, mask).value()
    assert torch.equal(witness(mapped, frequencies, gap), witness(features, frequencies, gap))


def test_parts_add():
    features, frequencies = normal(200, 4), normal(9, 4, seed=1)
    whole, first = characteristic_sums(features, frequencies), characteristic_sums(features[:70], frequencies)
    rest = characteristic_sums(features[70:], frequencies)
    assert (first + rest).total == 200.0
    np.testing.assert_allclose((first + rest).value(), whole.value(), atol=off_by(features, frequencies, 200))


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
from dynsel.metrics import CharacteristicFunctionDistance, UsageGini
rank = int(os.fork() == 0)  # after the imports, which take longer than all the rest
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
generator = torch.Generator().manual_seed(0)
features = torch.randn(101, 3, generator=generator)
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


# ---------------------------------------------------------------- bad input
X, T = torch.ones(4, 3), torch.ones(2, 3)
PHI, YES = torch.ones(2, dtype=torch.complex128), torch.ones(2, dtype=torch.bool)
WRONG = [
    (lambda: characteristic_sums(X, T[:, :2]), r"`frequencies` must be \(F, 3\) for these features, got \(2, 2\)"),
    (lambda: characteristic_sums(X[0], T), r"`features` must be 2-D"),
    (lambda: characteristic_sums(X, T * torch.nan), "`frequencies` must be finite"),
    (lambda: characteristic_sums(X, T, torch.ones(3)), r"`weights` must be \(4,\), one per row, got \(3,\)"),
    (lambda: characteristic_sums(X, T, -torch.ones(4)), "`weights` must be finite and not negative"),
    (lambda: characteristic_sums(X, T, torch.full((4,), torch.inf)), "`weights` must be finite and not negative"),
    (lambda: characteristic_sums(X * 1e30, T * 1e30), r"`frequencies` must be at most 1e\+15 in size"),
    (lambda: characteristic_sums(X, T, torch.zeros(4)).value(), "must have a positive sum, got 0.0; add samples first"),
    (lambda: subset_distances(X, T, YES[None], PHI), r"`members` must be \(K, 4\) bool, got \(1, 2\) torch.bool"),
    (lambda: subset_distances(X, T, torch.zeros(1, 4, dtype=torch.bool), PHI), "must hold at least one sample"),
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


def test_autocast_does_not_round_the_angles():
    features, frequencies = 5 * normal(100, 8), normal(20, 8, seed=1)
    value = characteristic_sums(features, frequencies).value()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(characteristic_sums(features, frequencies).value(), value)
        scores = witness(features, frequencies, value)
    assert torch.equal(scores, witness(features, frequencies, value))
