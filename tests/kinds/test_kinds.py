"""Each kind of training trains on the samples that the selection names, and listening tells the truth about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kinds.harness import KEEP, check_listening, check_training, check_values, correlation, fit
from kinds.table import Kind, kinds
from programs.ranks import launch
from support import SaveEvery, same_weights

TABLE = kinds()
ALSO = [(kind, selector) for kind in TABLE for selector in kind.also]
ON_RANKS = [kind for kind in TABLE if kind.ranks]
CLASSIFIERS = [kind for kind in TABLE if kind.classifies]
RESUMED = [kind for kind in TABLE if kind.resumes]


def by_name(value: Any) -> str:
    return getattr(value, "name", value)


def require(kind: Kind) -> None:
    for library in kind.needs:
        pytest.importorskip(library, reason=f"{library} comes with the extra `kinds`")


@pytest.mark.parametrize("kind", TABLE, ids=by_name)
def test_a_kind_trains_on_what_the_default_selector_names(kind: Kind) -> None:
    require(kind)
    assert not check_training(kind)


@pytest.mark.parametrize(("kind", "selector"), ALSO, ids=by_name)
def test_a_kind_trains_with_other_selectors(kind: Kind, selector: str) -> None:
    require(kind)
    assert not check_training(kind, selector)


@pytest.mark.parametrize("kind", TABLE, ids=by_name)
def test_what_is_told_of_a_kind_is_the_truth(kind: Kind) -> None:
    require(kind)
    assert not check_listening(kind)


@pytest.mark.parametrize("kind", CLASSIFIERS, ids=by_name)
def test_logits_are_a_samples_own(kind: Kind) -> None:
    require(kind)
    assert not check_values(kind)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks saw of each kind."""
    return [rank["on_ranks"] for rank in launch("kinds_checks", tmp_path_factory.mktemp("kinds"), 2)[2]]


@pytest.mark.parametrize("kind", ON_RANKS, ids=by_name)
def test_two_ranks_share_an_epoch_and_are_told_the_same_truth(kind: Kind, ranks: list[dict[str, Any]]) -> None:
    require(kind)
    first, second = (rank[kind.name] for rank in ranks)
    assert "error" not in first
    assert first["strangers"] == second["strangers"] == []
    allowed = set(first["allowed"])
    for own, other in zip(first["epochs"], second["epochs"], strict=True):
        assert not set(own) & set(other)
        assert len(own + other) == len(set(own + other)) == len(allowed) * KEEP
        assert set(own + other) <= allowed
    for own, other in zip(first["default"], second["default"], strict=True):
        assert len(set(own + other)) == len(own + other)
    for account in ("usage", "told", "line"):
        assert first[account] == second[account]
    truth, told = {**dict(first["truth"]), **dict(second["truth"])}, dict(first["told"])
    assert told.keys() == truth.keys()
    assert correlation([told[i] for i in truth], list(truth.values())) > kind.least


@pytest.mark.parametrize("kind", RESUMED, ids=by_name)
def test_a_kind_goes_on_from_the_middle_of_an_epoch(kind: Kind, tmp_path: Path) -> None:
    require(kind)
    saver = SaveEvery(tmp_path)
    whole = fit(kind, callbacks=(saver,))
    # Another seed: what the checkpoint doesn't restore must not come out right by chance.
    resumed = fit(kind, ckpt_path=saver.paths[len(saver.paths) // 2], seed=2)
    assert same_weights(whole.training.module, resumed.training.module)
    rest = resumed.watch.epochs[1]
    assert rest == whole.watch.epochs[1][-len(rest) :]


def test_the_table_is_large() -> None:
    assert len(TABLE) >= 60
    assert len(ON_RANKS) >= 6
    assert len(RESUMED) >= 6
