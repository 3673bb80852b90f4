"""What is kept of each sample for people to look at."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from dynsel.schedules import Constant, Cosine, Linear, Step
from dynsel.selectors import EL2N, RRD, SELECTORS, Feedback, Hybrid, LossRank, Random
from dynsel.selectors.notes import SampleNotes


def test_scores_and_losses_by_hand() -> None:
    notes = SampleNotes(3)
    assert notes.last_score is notes.mean_score is notes.last_loss is None
    for scores in ([0.0, 1.0, 2.0], [3.0, 1.0, 0.0], [3.0, 4.0, 1.0]):
        notes.add_scores(torch.tensor(scores, dtype=torch.float64))
    assert notes.last_score is not None
    assert notes.mean_score is not None
    assert notes.last_score.tolist() == [3.0, 4.0, 1.0]
    assert notes.mean_score.tolist() == [2.0, 2.0, 1.0]
    notes.add_feedback(Feedback(torch.tensor([2, 0])))
    assert notes.last_loss is None
    notes.add_feedback(Feedback(torch.tensor([2, 0]), per_sample_loss=torch.tensor([0.5, 0.25])))
    notes.add_feedback(Feedback(torch.tensor([2, 1]), per_sample_loss=torch.tensor([torch.nan, 0.125])))
    assert notes.last_loss is not None
    assert notes.last_loss.tolist() == [0.25, 0.125, 0.5]


def test_selectors_take_notes_that_are_no_state() -> None:
    selector = Hybrid(terms={"loss": 1.0}, epsilon=0.0, seed=0)
    selector.bind(4)
    before = selector.state_dict()
    selector.observe(Feedback(torch.arange(4), per_sample_loss=torch.tensor([0.1, 2.0, 0.3, 1.5])))
    selector.select(0.5, 2)
    assert selector.notes.last_score is not None
    assert selector.notes.last_score.argsort(descending=True)[:2].sort().values.tolist() == [1, 3]
    assert set(selector.state_dict()) == set(before)
    for twin in (copy.deepcopy(selector), pickle.loads(pickle.dumps(selector))):
        assert torch.equal(twin.notes.last_score, selector.notes.last_score)
    selector.bind(4)
    assert selector.notes.last_score is None


def test_selectors_of_a_fixed_subset_note_its_scores() -> None:
    selector = EL2N(warmup=0.1)
    selector.bind(3)
    selector.observe(Feedback(torch.arange(3), value=torch.tensor([0.1, 0.9, 0.5])))
    selector.select(0.5, 1)
    assert selector.notes.last_score is not None
    assert selector.notes.last_score.tolist() == pytest.approx([0.1, 0.9, 0.5])


def test_a_selector_prints_as_the_call_that_makes_it() -> None:
    assert repr(Random()) == "Random()"
    assert repr(Random(seed=7, class_balance=True)) == "Random(class_balance=True, seed=7)"
    assert repr(LossRank(smoothing=0.25)) == "LossRank(smoothing=0.25)"
    shown = repr(Hybrid(terms={"loss": 1.0, "rarity": Linear(0.5, 0)}, gamma=0.3))
    assert shown == "Hybrid(terms={'loss': 1.0, 'rarity': Linear(start=0.5, end=0.0)}, gamma=0.3)"
    assert "k=8" in repr(RRD(k=8))
    for name, selector in SELECTORS.items():
        assert repr(selector()).startswith(f"{selector.__name__}("), name


def test_a_schedule_prints_as_the_call_that_makes_it() -> None:
    assert repr(Constant(0.5)) == "Constant(value=0.5)"
    assert repr(Cosine(1, 0, finish=0.5)) == "Cosine(start=1.0, end=0.0, finish=0.5)"
    assert repr(Step([1, 0.5], [0.3])) == "Step(values=[1.0, 0.5], milestones=[0.3])"
