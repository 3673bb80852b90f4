"""What EL2N, GraNd, AUM, CCS and Forgetting share: gathering, then a subset that stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynsel.selectors import AUM, CCS, EL2N, Feedback, Forgetting, GraNd, Selector
from dynsel.selectors.training_score import TrainingScore, margins

N, SIZE, EPOCHS = 40, 10, 20
METHODS = {"el2n": EL2N, "grand": GraNd, "aum": AUM, "ccs": CCS, "forgetting": Forgetting}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))


def run(selector: Selector, epochs: int = EPOCHS, size: int = SIZE) -> list[set[int]]:
    values = torch.rand(N, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    chosen = []
    for epoch in range(epochs):
        indices = selector.select(epoch / epochs, size).indices
        selector.observe(Feedback(indices, value=values[indices]))
        chosen.append(set(indices.tolist()))
    return chosen


@every_method
def test_rotates_and_then_stays(method: type[TrainingScore]) -> None:
    selector = method(warmup=0.5, seed=0)
    selector.bind(N, torch.arange(N) % 4)
    chosen = run(selector)
    assert set().union(*chosen[:4]) == set(range(N)), "four quarters are the whole"
    assert chosen[0] != chosen[1]
    assert all(later == chosen[10] for later in chosen[10:])
    assert selector.final is not None


@every_method
def test_waits_until_every_sample_is_known(method: type[TrainingScore]) -> None:
    selector = method(warmup=0.0, seed=0)
    selector.bind(N, torch.zeros(N))
    chosen = run(selector)
    assert set().union(*chosen[:4]) == set(range(N))
    assert all(later == chosen[4] for later in chosen[4:])


@every_method
def test_a_sample_without_a_finite_value_keeps_it_waiting(method: type[TrainingScore]) -> None:
    selector = method(warmup=0.0, seed=0)
    selector.bind(3, torch.zeros(3))
    selector.observe(Feedback(torch.arange(3), value=torch.tensor([0.0, 1.0, torch.nan])))
    selector.select(0.5, 1)
    assert selector.final is None
    selector.observe(Feedback(torch.tensor([2]), value=torch.tensor([0.5])))
    selector.select(0.6, 1)
    assert selector.final is not None


@every_method
def test_what_comes_after_changes_nothing(method: type[TrainingScore]) -> None:
    selector = method(warmup=0.2, seed=0)
    selector.bind(N, torch.zeros(N))
    run(selector, epochs=10)
    before = selector.select(0.9, SIZE).indices
    selector.observe(Feedback(torch.arange(N), value=torch.linspace(-5, 5, N)))
    assert torch.equal(selector.select(0.95, SIZE).indices, before)


@every_method
@pytest.mark.parametrize("warmup", [-0.1, 1.0, float("nan")])
def test_wrong_warmup(method: type[TrainingScore], warmup: float) -> None:
    with pytest.raises(ValueError, match=r"`warmup` must be in \[0, 1\), got"):
        method(warmup=warmup)


@every_method
def test_classes_may_be_balanced(method: type[TrainingScore]) -> None:
    selector = method(warmup=0.2, class_balance=True, seed=0)
    labels = (torch.arange(N) % 4).clamp_max(2)
    selector.bind(N, labels)
    for chosen in run(selector):
        assert np.bincount(labels[sorted(chosen)], minlength=3).tolist() in ([2, 3, 5], [3, 2, 5])


def test_margins_by_hand() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [3.0, 3.0, 0.0]])
    assert margins(logits, torch.tensor([1, 2, 0])).tolist() == [2.0, -2.0, 0.0]
    assert margins(torch.tensor([[7.0]]), torch.tensor([0])).tolist() == [7.0]


def test_without_a_measure_the_error_says_so() -> None:
    class Nothing(EL2N):
        measure = Selector.measure

    with pytest.raises(TypeError, match=r"Nothing wants `value` but has no `measure\(logits"):
        Nothing().measure(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), None)
