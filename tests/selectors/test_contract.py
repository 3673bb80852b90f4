"""The one table that every selection method must enter: what all of them promise, whatever they select by."""

from __future__ import annotations

import inspect
import io
import json
import math
import random
from functools import cache

import numpy as np
import pytest
import torch

from dynsel.samplers.batch import keep_in_batches
from dynsel.selection import Selection, largest_remainder
from dynsel.selectors import SELECTORS, BatchSelector, CandidateSelector, Feedback, Selector, selector_class
from dynsel.selectors.proxy import Stream

N, C, D = 60, 3, 6
LABELS = (torch.arange(N) % 7 % C).to(torch.int16)  # classes of different sizes
EPOCHS = 4
every_selector = pytest.mark.parametrize("name", list(SELECTORS))


def features() -> torch.Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(9))


def new(name: str, n: int = N) -> Selector:
    """A selector with what it can't do without on a data set of n samples."""
    needed = {
        "alignprune": {"trusted": [0]},
        "jest": {"reference": torch.linspace(0, 1, n)},
        "proxy": {"model": "torch.nn.Linear", "arguments": {"in_features": D, "out_features": C}},
    }
    selector = SELECTORS[name](seed=3, **needed.get(name, {}))
    if isinstance(selector, BatchSelector) and selector.needs_stream:
        x, y = features(), LABELS.long()
        selector.stream = Stream(lambda batches: ((x[i], y[i]) for i in batches), torch.device("cpu"), until=1.0)
    return selector


@cache
def fitted_state(name: str) -> dict:
    """Fitting takes longest; one a method is enough, the state holds all that comes of it, or else is quick to fit."""
    selector = new(name)
    selector.bind(N, LABELS)
    if selector.needs_features:
        selector.fit(features())
    return selector.state_dict()


def make(name: str, *, state: dict | None = None, fitted: bool = True) -> Selector:
    selector = new(name)
    selector.bind(N, LABELS)
    return restored(selector, fitted_state(name) if state is None else state, fitted)


def restored(selector: Selector, state: dict, fitted: bool = True) -> Selector:
    selector.load_state_dict(state)
    if fitted and selector.needs_features and not selector.ready:
        selector.fit(features())  # as the controller does after a restart
    return selector


def choose(selector: Selector, epoch: int, size: int) -> torch.Tensor:
    """An epoch's selection; of a batch selector that of an order cut into batches of five."""
    if not isinstance(selector, BatchSelector):
        return selector.select(epoch / EPOCHS, size).indices
    order = torch.randperm(N, generator=torch.Generator().manual_seed(epoch))
    return order[keep_in_batches(selector, order, size, 5, epoch / EPOCHS)]


def feedback(selector: Selector, indices: torch.Tensor, epoch: int) -> Feedback:
    """What the selector wants, and nothing else; the values depend on sample and epoch."""
    generator = torch.Generator().manual_seed(epoch)
    values = {
        "per_sample_loss": torch.rand(N, generator=generator),
        "value": torch.rand(N, generator=generator),
        "batch_loss": torch.rand(N, generator=generator),
    }
    return Feedback(indices, **{name: values[name][indices] for name in selector.wants})


def train(selector: Selector, epochs: range = range(EPOCHS), size: int = 20) -> list[list[int]]:
    """The selections of these epochs, each trained on in full."""
    chosen = []
    for epoch in epochs:
        indices = choose(selector, epoch, size)
        selector.observe(feedback(selector, indices, epoch))
        chosen.append(sorted(indices.tolist()))
    return chosen


def same_state(a: dict, b: dict) -> bool:
    # NaN stands for what is not known yet.
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


# ---------------------------------------------------------------- construction
@every_selector
def test_constructs_from_plain_numbers(name):
    """All arguments have defaults, and the defaults could stand in a YAML file."""
    parameters = inspect.signature(SELECTORS[name]).parameters.values()
    defaults = {p.name: p.default for p in parameters}
    assert json.loads(json.dumps(defaults)) == defaults
    assert isinstance(SELECTORS[name](**defaults), Selector)
    assert not any(p.kind is p.POSITIONAL_ONLY for p in parameters)


def plain_numbers(name: str) -> dict[str, float]:
    """The arguments whose defaults are numbers."""
    defaults = {p.name: p.default for p in inspect.signature(SELECTORS[name]).parameters.values()}
    return {key: value for key, value in defaults.items() if type(value) in (int, float)}


@every_selector
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1e9, "0.5", True, [1], 1j])
def test_every_number_is_checked_at_construction(name, wrong):
    """The error names the argument: not finite, out of range, or no number at all."""
    for key in plain_numbers(name):
        with pytest.raises((TypeError, ValueError), match=rf"`{key}` must be .*, got "):
            SELECTORS[name](**{key: wrong})


@every_selector
def test_numbers_and_flags_of_numpy_pass(name):
    given = {key: np.asarray(value)[()] for key, value in plain_numbers(name).items()}
    SELECTORS[name](**given)
    SELECTORS[name](seed=np.int64(3))
    for wrong in (0.5, "1", -1, True):
        with pytest.raises((TypeError, ValueError), match="`seed` must be"):
            SELECTORS[name](seed=wrong)
    flags = [p.name for p in inspect.signature(SELECTORS[name]).parameters.values() if isinstance(p.default, bool)]
    for key in flags:
        with pytest.raises(TypeError, match=f"`{key}` must be True or False, got 'no'"):
            SELECTORS[name](**{key: "no"})


@every_selector
def test_has_a_short_name_and_a_docstring(name):
    assert selector_class(name) is SELECTORS[name]
    assert inspect.getdoc(SELECTORS[name]) != inspect.getdoc(Selector)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("randm", "'random'"), ("RRD", "'rrd'"), ("ful", "'full'")],
)
def test_unknown_names_are_answered_by_similar_ones(wrong, hint):
    with pytest.raises(ValueError, match=f"unknown selector '{wrong}'; did you mean .*{hint}"):
        selector_class(wrong)
    with pytest.raises(ValueError, match=r"unknown selector 'xyzzy'; there are alignprune, aum, bls, ccs, el2n,"):
        selector_class("xyzzy")


# ---------------------------------------------------------------- binding
@every_selector
def test_binding_wants_a_label_for_each_sample(name):
    selector = new(name)
    with pytest.raises(ValueError, match=f"labels must have one entry per sample: expected {N}, got {N - 1}"):
        selector.bind(N, LABELS[1:])
    selector.class_balance = True
    with pytest.raises(ValueError, match="with class_balance=True needs labels; pass `labels=`, or class_balance=F"):
        selector.bind(N)


@every_selector
def test_binding_again_starts_afresh(name):
    selector = make(name)
    first = train(selector)
    selector.bind(N, LABELS)
    assert selector.ready == (not selector.needs_features)
    assert int(selector.usage.sum()) == 0
    assert train(restored(selector, fitted_state(name))) == first


# ---------------------------------------------------------------- selecting
@every_selector
@pytest.mark.parametrize("size", [1, 2, 20, N - 1, N])
@pytest.mark.parametrize("balance", [False, True])
def test_selects_the_size_asked_for(name, size, balance):
    selector = make(name)
    if balance and isinstance(selector, BatchSelector | CandidateSelector):
        pytest.skip("chooses inside each batch, which has the classes it has")
    selector.class_balance = balance
    for epoch in range(3):
        selection = selector.select(epoch / 3, size)
        assert isinstance(selection, Selection)
        indices = selection.indices
        assert indices.dtype == torch.int64
        assert set(indices.tolist()) <= set(range(N))
        assert len(indices.unique()) == len(indices)
        if selector.exact:
            assert len(indices) == size
        if selector.exact and balance:
            wanted = largest_remainder(torch.bincount(LABELS), size)
            assert torch.equal(torch.bincount(LABELS[indices], minlength=C), wanted)
        selector.observe(feedback(selector, indices, epoch))


@every_selector
def test_who_keeps_to_one_subset_says_so(name):
    """Found by what it does: rounds of changing sizes would be changing subsets."""
    selector = make(name)
    if not selector.exact or isinstance(selector, BatchSelector):
        pytest.skip("has no subset of a given size")
    train(selector)  # what is fixed in the course of training is fixed now
    subsets = set()
    for epoch in range(EPOCHS, 2 * EPOCHS):
        indices = selector.select(0.9, 20).indices
        subsets.add(tuple(indices.tolist()))
        selector.observe(feedback(selector, indices, epoch))
    assert (len(subsets) == 1) == selector.same_size


@every_selector
def test_is_deterministic_for_state_and_seed(name):
    assert train(make(name)) == train(make(name))


@every_selector
def test_works_on_a_single_sample(name):
    selector = new(name, 1)
    selector.bind(1, torch.zeros(1, dtype=torch.int16))
    for _ in range(2):  # not fitted: nothing can be learned from one row
        assert selector.select(0.0, 1).indices.tolist() == [0]


@every_selector
def test_leaves_the_global_generators_alone(name):
    def states() -> tuple:
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002

    before = states()
    selector = new(name)
    selector.bind(N, LABELS)
    if selector.needs_features:
        selector.fit(features())
    train(selector)
    selector.load_state_dict(selector.state_dict())
    assert states() == before


@every_selector
def test_global_seeds_change_nothing(name):
    torch.manual_seed(1)
    first = train(make(name))
    torch.manual_seed(2)
    assert train(make(name)) == first


@every_selector
def test_fitting_depends_on_the_seed_alone(name):
    selector = new(name)
    selector.bind(N, LABELS, seed=77)  # its own seed goes first
    if selector.needs_features:
        selector.fit(features().numpy())
        assert selector.ready
    assert same_state(selector.state_dict(), fitted_state(name))


# ---------------------------------------------------------------- observing
@every_selector
def test_counts_what_was_trained_on(name):
    selector = make(name)
    chosen = train(selector)
    assert selector.usage.tolist() == np.bincount(np.concatenate(chosen), minlength=N).tolist()
    assert selector.usage.dtype == torch.int32


@every_selector
def test_order_and_grouping_of_feedback_do_not_matter(name):
    whole, parts = make(name), make(name)
    for epoch in range(3):
        indices = choose(whole, epoch, 20)
        choose(parts, epoch, 20)
        whole.observe(feedback(whole, indices, epoch))
        for part in indices.flip(0).split(7):
            parts.observe(feedback(parts, part, epoch))
    assert same_state(whole.state_dict(), parts.state_dict())


@every_selector
def test_a_nan_loss_does_no_harm(name):
    """It is one more use; what can't be learned from is passed over."""
    selector = make(name)
    before = selector.state_dict()
    indices = torch.arange(10)
    nan = torch.full((10,), torch.nan)
    selector.observe(Feedback(indices, per_sample_loss=nan, value=nan, batch_loss=nan))
    assert selector.usage[:10].tolist() == [1] * 10
    assert same_state(selector.state_dict(), {**before, "usage": selector.usage})
    assert all(len(set(chosen)) == len(chosen) > 0 for chosen in train(selector))


def test_feedback_keeps_only_finite_samples():
    loss = torch.tensor([1.0, torch.nan, 3.0, 4.0])
    value = torch.tensor([1.0, 1.0, 2.0, torch.inf])
    kept = Feedback(torch.tensor([5, 6, 7, 8]), per_sample_loss=loss, value=value).finite()
    assert kept.indices.tolist() == [5, 7]
    assert kept.per_sample_loss.tolist() == [1.0, 3.0]
    assert kept.value.tolist() == [1.0, 2.0]
    assert Feedback(torch.tensor([5])).finite().per_sample_loss is None
    assert kept.finite() is kept


# ---------------------------------------------------------------- state
@every_selector
def test_a_saved_state_continues_identically(name):
    whole = make(name)
    train(whole, range(2))
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    # A checkpoint must load without unpickling anything.
    resumed = make(name, state=torch.load(file, weights_only=True))
    assert train(resumed, range(2, EPOCHS)) == train(whole, range(2, EPOCHS))
    assert same_state(resumed.state_dict(), whole.state_dict())


@every_selector
def test_a_taken_state_stays_as_it_was(name):
    selector = make(name)
    state = selector.state_dict()
    before = {key: value.clone() for key, value in state.items()}
    train(selector)
    assert same_state(state, before)
    again = make(name, state=state)
    train(again)
    assert same_state(state, before)


@every_selector
def test_an_unfitted_state_is_as_good(name):
    """Features captured in training come later: until then a selector that needs them rotates."""
    selector = new(name)
    selector.bind(N, LABELS)
    train(selector, range(2))
    resumed = make(name, state=selector.state_dict(), fitted=False)
    assert resumed.ready == selector.ready == (not selector.needs_features)
    assert train(resumed, range(2, EPOCHS)) == train(selector, range(2, EPOCHS))


@every_selector
def test_a_bad_state_says_what_is_wrong(name):
    selector = make(name)
    state = selector.state_dict()
    with pytest.raises(ValueError, match=rf"not of a {type(selector).__name__}: unexpected \['moon'\], missing \[\]"):
        selector.load_state_dict({**state, "moon": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"unexpected \[\], missing \['usage'\]"):
        selector.load_state_dict({key: value for key, value in state.items() if key != "usage"})
    with pytest.raises(ValueError, match=f"of a data set of 7 samples, this one has {N}"):
        selector.load_state_dict({**state, "usage": torch.zeros(7, dtype=torch.int32)})
    assert same_state(selector.state_dict(), state)
