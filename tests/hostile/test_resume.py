"""A state of another selector, other arguments or another version is refused in one line that says what differs."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dynsel.samplers import BatchSelectionSampler, SelectionController
from dynsel.schedules import Linear
from dynsel.selectors import SELECTORS, Hybrid, Random, RandomInBatch, Selector

N = 12
NEEDED: dict[str, Any] = {
    "alignprune": {"trusted": [0]},
    "jest": {"reference": torch.linspace(0, 1, N)},
    "proxy": {"model": "torch.nn.Identity"},
}


def made(name: str) -> Selector:
    selector = SELECTORS[name](**NEEDED.get(name, {}))
    selector.bind(N, torch.arange(N) % 2)
    return selector


def bound(selector: Selector) -> Selector:
    selector.bind(N, torch.arange(N) % 2)
    return selector


@pytest.mark.parametrize("name", list(SELECTORS))
def test_no_selector_takes_the_state_of_any_other(name: str) -> None:
    taker = made(name)
    for other in SELECTORS:
        state = made(other).state_dict()
        if other == name:
            taker.load_state_dict(state)
            continue
        with pytest.raises(ValueError, match="the state is of the selector") as caught:
            taker.load_state_dict(state)
        assert SELECTORS[other].__name__ in str(caught.value)
        assert "drop the selection's state" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (Hybrid(), Hybrid(terms={"loss": 1.0}), 'terms={"uncertainty": 1.0} instead of {"loss": 1.0}'),
        (Hybrid(), Hybrid(terms={"uncertainty": 1.0, "loss": 1.0}), '"loss": 1.0}'),
        (Hybrid(gamma=0.2), Hybrid(), "gamma=0.2 instead of 0.1"),
        (Hybrid(gamma=Linear(0, 1)), Hybrid(gamma=0), 'gamma={"schedule": "Linear"'),
        (Random(static=True), Random(), "static=true instead of false"),
    ],
)
def test_other_arguments_are_named(before: Selector, after: Selector, told: str) -> None:
    state = bound(before).state_dict()
    with pytest.raises(ValueError, match="the state is of a ") as caught:
        bound(after).load_state_dict(state)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Hybrid(), Hybrid(terms={"uncertainty": 1})),
        (Hybrid(seed=1), Hybrid(seed=2)),
        (Random(), Random(static=False)),
    ],
)
def test_the_same_written_otherwise_is_the_same(before: Selector, after: Selector) -> None:
    bound(after).load_state_dict(bound(before).state_dict())


def test_other_arguments_on_purpose() -> None:
    before = bound(Hybrid(gamma=0.2))
    before.usage[3] = 7
    state = {key: value for key, value in before.state_dict().items() if key != "made_by"}
    after = bound(Hybrid(gamma=0.5))
    after.load_state_dict(state)
    assert after.usage[3] == 7


@pytest.mark.parametrize("made_by", [None, torch.zeros(3, dtype=torch.uint8), torch.zeros(2), "Hybrid"])
def test_a_damaged_name_is_told(made_by: Any) -> None:
    with pytest.raises(ValueError, match="`made_by` of the selector's state can't be read"):
        bound(Hybrid()).load_state_dict({**bound(Hybrid()).state_dict(), "made_by": made_by})


# ---------------------------------------------------------------- the whole selection
def controller(selector: str = "random", keep_ratio: float = 0.5, batch_size: int = 2) -> tuple[Any, Any]:
    selection = SelectionController(selector, keep_ratio=keep_ratio, max_epochs=4, seed=0)
    data = TensorDataset(torch.arange(float(N)), torch.arange(N) % 2)
    return selection, selection.wrap(DataLoader(data, batch_size=batch_size, shuffle=True))


def trained(epochs: int = 2) -> dict[str, Any]:
    selection, loader = controller()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for _ in loader:
            pass
    file = io.BytesIO()
    torch.save(selection.state_dict(), file)
    file.seek(0)
    return dict(torch.load(file, weights_only=True))


def test_another_keep_ratio_or_batch_size_is_fine() -> None:
    selection, _ = controller(keep_ratio=0.25, batch_size=3)
    selection.load_state_dict(trained())
    assert selection.epoch == 1


def keys_of(state: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every key of every dict in a state is."""
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    found = [(*path, key) for key in state] if isinstance(state, dict) else []
    return found + [place for key, value in items for place in keys_of(value, (*path, key))]


def changed(state: Any, path: tuple[Any, ...], change: Any) -> Any:
    state = copy.deepcopy(state)
    inner = state
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return state


STATE = trained()


@pytest.mark.parametrize("path", keys_of(STATE), ids=str)
def test_a_state_of_another_version_is_refused_by_the_name_of_its_key(path: tuple[Any, ...]) -> None:
    name = str(path[-1])
    without = changed(STATE, path, lambda inner, key: inner.pop(key))
    renamed = changed(STATE, path, lambda inner, key: inner.update({f"{key}_of_old": inner[key]}))
    states = [renamed] if name in ("made_by", "cuda") else [without, renamed]
    for state in states:
        selection, _ = controller()
        with pytest.raises(ValueError, match=name) as caught:
            selection.load_state_dict(state)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", keys_of(STATE), ids=str)
@pytest.mark.parametrize("value", [None, "x", [], torch.zeros(0), -1])
def test_a_damaged_state_works_or_is_refused(path: tuple[Any, ...], value: Any) -> None:
    selection, loader = controller()
    with contextlib.suppress(ValueError):
        selection.load_state_dict(changed(STATE, path, lambda inner, key: inner.update({key: value})))
        loader.sampler.set_epoch(2)
        for _ in loader:
            pass


def test_batches_of_another_selector() -> None:
    state = BatchSelectionSampler(range(N), RandomInBatch(), 2).state_dict()
    again = BatchSelectionSampler(range(N), RandomInBatch(shrink=True), 2)
    with pytest.raises(ValueError, match="shrink=false instead of true"):
        again.load_state_dict(state)
    with pytest.raises(ValueError, match="lacks `selector`"):
        again.load_state_dict({"sampler": state["sampler"]})
