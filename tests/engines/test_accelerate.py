"""Hugging Face accelerate: its own loop, device, accumulation and checkpoints, on one process and on two."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from programs import accelerate_checks as checks
from programs.ranks import interleave, launch
from snippets import run_snippets
from support import train_loader

from dynsel.samplers import SelectionController

accelerate = pytest.importorskip("accelerate")
PAGE = Path(__file__).parents[2] / "docs/engines.md"
BATCHES = [3, 10, 5, 2]


def used(seen: list[list[list[int]]]) -> list[int]:
    counts = Counter(i for epoch in seen for batch in epoch for i in batch)
    return [counts[i] for i in range(40)]


# ---------------------------------------------------------------- one process
def test_every_epoch_is_selected_and_counted():
    result = checks.selected(None)
    assert [len(epoch) for epoch in result["seen"]] == BATCHES
    assert result["known"] == result["seen"]
    assert result["usage"] == used(result["seen"])
    assert result["epochs"] == [0, 1, 2, 3]
    # What is left over at an epoch's end is a step of its own.
    assert result["steps"] == 2 + 5 + 3 + 1
    assert result["device"] == "cpu"


def test_all_data_are_accelerates_own_training_to_the_bit():
    assert checks.all_is_plain(None) == [[True, True]] * 2


def test_resumed_by_its_checkpoints_it_goes_on_to_the_bit(tmp_path):
    assert checks.resumed(tmp_path) == [5 + 3 + 7, []]


def test_rounds_are_chosen_from_everything_trained_before():
    """A loader that looks a batch ahead, as accelerate's do, would choose a round before the last batch is told."""
    selection = SelectionController("random", keep_ratio=0.3, budget=1, max_epochs=2, seed=0)
    run = checks.Run(selection).train(2)
    assert [len(epoch) for epoch in run.seen] == [10, 10]
    assert run.known == run.seen
    assert selection.selector.usage.tolist() == used(run.seen)


def test_an_epoch_that_breaks_off_is_followed_by_the_next():
    selection = checks.controller()
    loader = selection.wrap(train_loader(), accelerator=checks.accelerator())
    epochs = []
    for _ in range(3):
        for _ in loader:
            epochs.append(selection.epoch)
            break
    assert epochs == [0, 1, 2]
    assert not checks.accelerator().gradient_state.in_dataloader
    loader.set_epoch(3)
    assert len(list(loader)) == 2
    assert selection.epoch == 3


def test_the_pages_snippet_runs(tmp_path, monkeypatch):
    found = run_snippets(PAGE, tmp_path, monkeypatch, needs="accelerate")
    # 192 samples in 6 batches, five times.
    assert found["selection"].finish_epoch().samples_trained == 5 * 192


# ---------------------------------------------------------------- what is refused
def test_without_the_accelerator_it_is_refused():
    loader = checks.controller().wrap(train_loader())
    with pytest.raises(TypeError, match=r"selection.wrap\(loader, accelerator=accelerator\)"):
        checks.accelerator().prepare(loader)


def test_a_prepared_loader_is_refused():
    accelerator = checks.accelerator()
    with pytest.raises(TypeError, match="this loader was prepared by accelerate"):
        checks.controller().wrap(accelerator.prepare(train_loader()), accelerator=accelerator)


def test_skipping_batches_is_refused():
    accelerator = checks.accelerator()
    loader = accelerator.prepare(checks.controller().wrap(train_loader(), accelerator=accelerator))
    with pytest.raises(RuntimeError, match="`skip_first_batches` does"):
        list(accelerator.skip_first_batches(loader, 1))


@pytest.mark.parametrize(("name", "text"), [("split_batches", "can't be split"), ("dispatch_batches", "can't be read")])
def test_other_ways_to_share_out_are_refused(name, text):
    from accelerate.utils import DataLoaderConfiguration

    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**{name: True}))
    with pytest.raises(ValueError, match=text):
        checks.controller().wrap(train_loader(), accelerator=accelerator)


# ---------------------------------------------------------------- two processes
@pytest.fixture(scope="module")
def two(tmp_path_factory: Any) -> Any:
    return launch("accelerate_checks", tmp_path_factory.mktemp("accelerate"), 2)[2]


@pytest.mark.long
def test_two_processes_share_the_selection(two):
    ranks = [rank["selected"] for rank in two]
    assert [rank["known"] for rank in ranks] == [rank["seen"] for rank in ranks]
    usage = [sum(pair) for pair in zip(*(used(rank["seen"]) for rank in ranks), strict=True)]
    for rank in ranks:
        assert rank["usage"] == usage
        assert rank["trained"] == [12, 52, 72, 80]
        assert rank["steps"] == 1 + 3 + 2 + 1
    for epoch, size in enumerate(checks.SIZES):
        order = interleave([rank["seen"][epoch] for rank in ranks])
        whole = torch.randperm(40, generator=torch.Generator().manual_seed(3 + epoch)).tolist()
        assert order == [i for i in whole if i in set(order)]
        assert len(set(order)) == len(order) == size


@pytest.mark.long
def test_on_two_processes_all_data_are_ddp_to_the_bit(two):
    assert [rank["all_is_plain"] for rank in two] == [[[True, True]] * 2] * 2


@pytest.mark.long
def test_on_two_processes_it_resumes_to_the_bit(two):
    assert [rank["resumed"] for rank in two] == [[3 + 2 + 4, []]] * 2
