"""What a newcomer gets wrong in a selector, in a real training: each gives one clear error, or just works."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from support import SaveEvery, fit

from dynsel.callbacks import DynamicSelection
from dynsel.selection import Selection, top_k
from dynsel.selectors import ScoreSelector, Selector


def train(selector: Selector, *callbacks: Any, **options: Any) -> Selector:
    """Two epochs of forty samples, of which half are kept; features are there for who wants them."""
    features = torch.arange(80.0).view(40, 2)
    chosen = DynamicSelection(selector, keep_ratio=0.5, features=features)
    fit(chosen, *callbacks, val=False, **{"max_epochs": 2, **options})
    return selector


# ---------------------------------------------------------------- wants
@pytest.mark.parametrize("parts", [frozenset({"losses"}), "per_sample_loss"])
def test_what_is_wanted_is_a_set_of_parts_of_the_feedback(parts: Any) -> None:
    with pytest.raises(TypeError, match="Mine: `wants` must be a set of batch_loss, given, margin, other, own, per_sa"):
        type("Mine", (ScoreSelector,), {"wants": parts})


# ---------------------------------------------------------------- observe
def test_observe_is_not_overridden() -> None:
    with pytest.raises(TypeError, match=r"Mine overrides `observe`, which is final: override `learn\(feedback\)` inst"):

        class Mine(ScoreSelector):
            def observe(self, feedback):
                self.mean = feedback.per_sample_loss.mean()

            def scores(self, progress):
                return torch.zeros(40)


def test_learn_without_super_counts_uses_all_the_same() -> None:
    class Mine(ScoreSelector):
        wants = frozenset({"per_sample_loss"})

        def learn(self, feedback):
            self.last = float(feedback.per_sample_loss.mean())

        def scores(self, progress):
            return -self.usage

    selector = train(Mine())
    assert selector.usage.tolist() == [1] * 40
    assert selector.last > 0


# ---------------------------------------------------------------- state
class Forgetful(ScoreSelector):
    """Learns into an attribute that it doesn't declare."""

    wants = frozenset({"per_sample_loss"})

    def prepare(self):
        self.mean = torch.zeros(self.num_samples)

    def learn(self, feedback):
        self.mean[feedback.indices] = feedback.per_sample_loss

    def scores(self, progress):
        return self.mean


class Declared(Forgetful):
    def __init__(self):
        super().__init__()
        self.add_state("mean", 0.0)

    def prepare(self):
        pass


def test_a_state_that_was_not_declared_is_told_once(tmp_path) -> None:
    with pytest.warns(UserWarning, match=r'Forgetful keeps `mean`, .* `self.add_state\("mean", \.\.\.\)`') as told:
        train(Forgetful(), SaveEvery(tmp_path))
    assert len([one for one in told if "keeps `mean`" in str(one.message)]) == 1


def test_a_declared_state_survives_a_restart_in_the_middle(tmp_path) -> None:
    saver = SaveEvery(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*keeps `mean`.*")
        whole = train(Declared(), saver, max_epochs=4)
        for path in saver.paths[3::6]:
            resumed = train(Declared(), ckpt_path=path, seed=5, max_epochs=4)
            assert torch.equal(resumed.mean, whole.mean)
            assert torch.equal(resumed.usage, whole.usage)


# ---------------------------------------------------------------- scores
@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (torch.zeros(39), ValueError, r"`Mine.scores` must return one number per sample, shape \(40,\), got \(39,\)"),
        (torch.zeros(40, 1), ValueError, r"shape \(40,\), got \(40, 1\)"),
        (torch.tensor(1.0), ValueError, r"shape \(40,\), got \(\)"),
        (torch.full((40,), torch.nan), ValueError, "`Mine.scores` returned NaN for every sample"),
        (None, TypeError, r"`Mine.scores` must return an \(N,\) tensor, got NoneType"),
        (["high"] * 40, TypeError, r"`Mine.scores` must return an \(N,\) tensor, got list"),
        (
            torch.zeros(40, dtype=torch.complex64),
            TypeError,
            "must return real numbers, got torch.complex64",
        ),
    ],
)
def test_scores_of_another_shape_or_kind(returned: Any, error: type[Exception], message: str) -> None:
    class Mine(ScoreSelector):
        def scores(self, progress):
            return returned

    with pytest.raises(error, match=message):
        train(Mine())


@pytest.mark.parametrize(
    "returned",
    [list(range(40)), np.arange(40), np.arange(40.0), torch.arange(40), torch.arange(40.0, requires_grad=True)],
    ids=["list", "integer array", "array", "integer tensor", "with gradient"],
)
def test_scores_that_mean_what_they_say_just_work(returned: Any) -> None:
    class Mine(ScoreSelector):
        def scores(self, progress):
            return returned

    assert train(Mine()).usage.tolist() == [0] * 20 + [2] * 20


# ---------------------------------------------------------------- select
@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (
            torch.arange(20),
            TypeError,
            r"`Mine.select` must return a dynsel.selection.Selection, got Tensor; `Sel",
        ),
        (list(range(20)), TypeError, "must return a dynsel.selection.Selection, got list"),
        (None, TypeError, "must return a dynsel.selection.Selection, got NoneType"),
        (Selection(torch.arange(21, 41)), ValueError, r"`Mine.select` must return positions in 0 .. 39, got 21 .. 40"),
        (Selection(torch.arange(-1, 19)), ValueError, r"must return positions in 0 .. 39, got -1 .. 18"),
        (Selection(torch.arange(20) // 2), ValueError, "`Mine.select` must return each sample at most once"),
        (Selection(torch.arange(19)), ValueError, "must return the 20 samples asked for, got 19; .* `exact = False`"),
        (Selection(torch.arange(0)), ValueError, "Mine returned an empty selection"),
    ],
)
def test_what_is_no_selection(returned: Any, error: type[Exception], message: str) -> None:
    class Mine(Selector):
        def select(self, progress, size):
            return returned

    with pytest.raises(error, match=message):
        train(Mine())


def test_any_number_where_the_selector_says_so() -> None:
    class Mine(Selector):
        exact = False

        def select(self, progress, size):
            return Selection(torch.arange(7))

    assert int(train(Mine()).usage.sum()) == 14


# ---------------------------------------------------------------- bind and __init__
def test_use_before_bind() -> None:
    class Mine(ScoreSelector):
        def __init__(self):
            self.add_state("mean", 0.0)

        def scores(self, progress):
            return self.mean

    selector = Mine()
    for use in (lambda: selector.usage, lambda: selector.mean, lambda: selector.select(0.0, 5), selector.state_dict):
        with pytest.raises(RuntimeError, match=r"Mine has no `(usage|mean)` before `bind`: call `bind\(num_samples\)`"):
            use()
    assert selector.num_samples == 0


def test_bind_is_not_overridden() -> None:
    with pytest.raises(TypeError, match=r"Mine overrides `bind`, which is final: override `prepare\(\)` instead"):

        class Mine(Selector):
            def bind(self, num_samples, labels=None):
                self.n = num_samples

            def select(self, progress, size):
                return Selection(torch.arange(size))


def test_no_super_init_just_works() -> None:
    class Mine(ScoreSelector):
        def __init__(self, power=2):
            self.power = power

        def scores(self, progress):
            return torch.arange(self.num_samples) ** self.power

    assert train(Mine()).usage.tolist() == [0] * 20 + [2] * 20


# ---------------------------------------------------------------- features
def test_features_without_a_word_of_what_fit_sets() -> None:
    class Mine(ScoreSelector):
        needs_features = True

        def fit(self, features):
            self.norms = torch.as_tensor(features).norm(dim=1)

        def scores(self, progress):
            return self.norms

    with pytest.raises(TypeError, match=r"Mine needs features, .* `add_state\(name, None\)` in `__init__`"):
        train(Mine())


def test_features_as_the_page_says() -> None:
    class Mine(ScoreSelector):
        needs_features = True

        def __init__(self):
            self.add_state("norms", None)

        def fit(self, features):
            self.norms = torch.as_tensor(features).norm(dim=1)

        def scores(self, progress):
            return self.norms

    selector = train(Mine())
    assert top_k(selector.usage.float(), 20).tolist() == list(range(20, 40))
