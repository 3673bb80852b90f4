"""The metrics against the pure functions, and what torchmetrics asks of them: batches, forward, reset, merge, sync."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.cfd import amplitude_phase, cfd, characteristic_sums, random_floor
from dynsel.cfd.neural import neural_cfd
from dynsel.metrics import CharacteristicFunctionDistance, ClassBalance, FactorCoverage, NeuralCFDMetric, UsageGini
from dynsel.sae import SparseCodes
from dynsel.selection import class_balance
from dynsel.usage import gini

few = settings(max_examples=25)
N = 400
WHOLE = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
CHANCE = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:100]
BIASED = WHOLE[:, 0].argsort()[-100:]
LABELS = torch.arange(N) % 4
CODES = SparseCodes(
    torch.rand(N, 30, generator=torch.Generator().manual_seed(2)).argsort(1)[:, :3],
    torch.rand(N, 3, generator=torch.Generator().manual_seed(3)).sub(0.5).relu(),
    30,
)


def distance(**options) -> CharacteristicFunctionDistance:
    return CharacteristicFunctionDistance(WHOLE, 128, **options)


def numbers(values: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def test_distance_is_that_of_the_pure_functions():
    metric = distance()
    metric.update(WHOLE[BIASED[:30]])
    metric.update(WHOLE[BIASED[30:]].numpy())
    found = numbers(metric.compute())
    value, whole = (characteristic_sums(x, metric.frequencies).value() for x in (WHOLE[BIASED], WHOLE))
    amplitude, phase = (float(part.mean()) for part in amplitude_phase(value, whole))
    assert found["distance"] == pytest.approx(float(cfd(value, whole)), rel=1e-5)
    assert found["amplitude"] == pytest.approx(amplitude, rel=1e-5)
    assert found["phase"] == pytest.approx(phase, rel=1e-5)
    assert found["ratio"] == pytest.approx(found["distance"] / random_floor(whole, 100, N))
    chance = metric.random_distances(100)
    assert found["z_score"] == pytest.approx((found["distance"] - float(chance.mean())) / float(chance.std()))
    assert len(chance) == 20
    assert float(chance.mean()) == pytest.approx(random_floor(whole, 100, N), rel=0.3)


def test_chance_is_chance_and_bias_is_seen():
    metric = distance()
    metric.update(WHOLE[CHANCE])
    found = numbers(metric.compute())
    assert 0.5 < found["ratio"] < 2
    assert abs(found["z_score"]) < 3
    metric.reset()
    metric.update(WHOLE[BIASED])
    found = numbers(metric.compute())
    assert found["ratio"] > 10
    assert found["z_score"] > 10


def test_the_neural_distance_is_that_of_the_pure_function():
    metric = NeuralCFDMetric(WHOLE, 64, steps=5, seed=3)
    metric.update(BIASED[:60])
    metric.update(BIASED[40:])
    usage = torch.zeros(N).index_add(0, torch.cat([BIASED[:60], BIASED[40:]]), torch.ones(120))
    expected, _ = neural_cfd(WHOLE, usage, num_frequencies=64, steps=5, seed=3)
    assert numbers(metric.compute()) == {
        name: getattr(expected, name) for name in ("distance", "amplitude", "phase", "ratio", "z_score")
    }
    assert expected.z_score > 5


def test_weights_are_repetitions_but_for_the_size():
    once, weighted = distance(), distance()
    once.update(WHOLE[CHANCE].repeat(2, 1))
    weighted.update(WHOLE[CHANCE], torch.full((100,), 2))
    alone, found = once.compute(), weighted.compute()
    assert float(found["distance"]) == pytest.approx(float(alone["distance"]), rel=1e-5)
    # 100 samples of weight 2 are as many as 100, not as many as 200.
    assert float(found["ratio"]) < float(alone["ratio"])
    plain = distance()
    plain.update(WHOLE[CHANCE])
    assert numbers(plain.compute()) == pytest.approx(numbers(found), rel=1e-5)


def test_the_whole_set_is_at_distance_zero_and_has_no_floor():
    metric = distance()
    metric.update(WHOLE)
    found = numbers(metric.compute())
    assert found["distance"] == pytest.approx(0, abs=1e-12)
    assert np.isnan(found["ratio"])
    assert np.isnan(found["z_score"])


def test_a_weight_on_one_sample_counts_as_one():
    metric = distance()
    metric.update(WHOLE[:1], torch.tensor([0.1]))
    assert 0.5 < float(metric.compute()["ratio"]) < 2


def test_the_seed_decides_everything():
    def run(seed: int) -> dict[str, float]:
        metric = distance(seed=seed)
        metric.update(WHOLE[CHANCE])
        return numbers(metric.compute())

    state = torch.get_rng_state()
    assert run(3) == run(3) != run(4)
    assert torch.equal(state, torch.get_rng_state())


def metrics():
    return [
        (distance(repeats=3), WHOLE),
        (UsageGini(N), torch.arange(N)),
        (FactorCoverage(CODES), torch.arange(N)),
        (ClassBalance(LABELS), torch.arange(N)),
        (NeuralCFDMetric(WHOLE, 32, steps=3, repeats=3), torch.arange(N)),
    ]


def same(one, other) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("which", range(5))
def test_batches_ranks_and_copies_add_up(which):
    """`forward` is the batch's own value; merged and synced states are the whole's."""
    metric, data = metrics()[which]
    first, second = BIASED[:40], BIASED[40:]
    alone, together = copy.deepcopy(metric), copy.deepcopy(metric)
    together.update(data[BIASED])
    alone.update(data[first])
    same(metric(data[first]), alone.compute())
    other = metric.clone()
    metric(data[second])
    same(metric.compute(), together.compute())

    other.reset()
    other.update(data[second])
    # What a process group does to the states of two ranks.
    for name, reduce in alone._reductions.items():
        merged = reduce(torch.stack([getattr(alone, name), getattr(other, name)]))
        # Sums of float32 numbers in another order: a sum near 0 has no relative precision.
        torch.testing.assert_close(merged, getattr(together, name), rtol=1e-5, atol=1e-5)
    same(pickle.loads(pickle.dumps(together)).compute(), together.compute())


@few
@given(st.lists(st.integers(0, 19), min_size=1, max_size=60))
def test_usage_metrics_are_the_pure_functions(drawn):
    indices = torch.tensor(drawn)
    usage = torch.bincount(indices, minlength=20)
    uses = UsageGini(20)
    uses.update(indices[:5].int())
    uses.update(indices[5:].reshape(1, -1))
    assert float(uses.compute()) == pytest.approx(gini(usage))

    labels = torch.arange(20) % 3
    balance = ClassBalance(labels)
    balance.update(indices)
    assert float(balance.compute()) == pytest.approx(class_balance(labels, indices))

    codes = SparseCodes(CODES.indices[:20], CODES.values[:20], 30)
    coverage = FactorCoverage(codes)
    coverage.update(indices)
    factors = [set(codes.indices[i][codes.values[i] > 0].tolist()) for i in range(20)]
    seen, live = set().union(*(factors[i] for i in drawn)), set().union(*factors)
    assert float(coverage.compute()) == pytest.approx(len(seen) / len(live))


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_before_anything_was_trained_on():
    assert float(UsageGini(3).compute()) == 0
    assert float(FactorCoverage(CODES).compute()) == 0
    assert np.isnan(float(ClassBalance(LABELS).compute()))
    with pytest.raises(ValueError, match="the weights must have a positive sum"):
        distance().compute()


WRONG = [
    (lambda: distance(repeats=1), "`repeats` must be at least 2, got 1"),
    (lambda: CharacteristicFunctionDistance(WHOLE, 0), "`num_frequencies` must be at least 1, got 0"),
    (lambda: CharacteristicFunctionDistance(torch.ones(9, 2)), "`features` must differ between samples"),
    (lambda: distance().update(WHOLE[:, :3]), r"`frequencies` must be \(F, 3\) for these features"),
    (lambda: UsageGini(0), "`num_samples` must be at least 1, got 0"),
    (lambda: UsageGini(3).update(torch.tensor([0, 3])), r"`indices` must be in \[0, 3\), got 0 to 3"),
    (lambda: UsageGini(3).update(torch.tensor([-1])), r"`indices` must be in \[0, 3\), got -1 to -1"),
    (
        lambda: FactorCoverage(SparseCodes(torch.zeros(2, 1).int(), torch.zeros(2, 1), 2)),
        "`codes` must have at least one active factor, got none",
    ),
]


@pytest.mark.parametrize(("call", "text"), WRONG, ids=range(len(WRONG)))
def test_errors_say_what_and_how(call, text):
    with pytest.raises(ValueError, match=text):
        call()
