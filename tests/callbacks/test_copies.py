"""The callback copied or pickled, and a fit in processes that are started afresh."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from programs.ranks import interleave
from support import BATCHES, SIZES, Listening, Module, Sizes, fit, selection

from dynsel.callbacks import BatchFraction, DynamicSelection
from dynsel.selectors import Hybrid

PROGRAM = Path(__file__).parents[1] / "programs" / "spawn.py"


def test_a_new_callback_can_be_pickled():
    again = pickle.loads(pickle.dumps(DynamicSelection(keep_ratio=0.5)))
    assert isinstance(again.selector, Hybrid)
    module, _ = fit(again, max_epochs=2)
    assert module.batches() == [5, 5]


@pytest.mark.parametrize("make", [lambda: DynamicSelection(Listening(), Sizes()), lambda: DynamicSelection("ucb", 0.5)])
def test_a_callback_that_has_trained_can_be_pickled_and_trains_afresh(make):
    first = make()
    module, _ = fit(first)
    second = pickle.loads(pickle.dumps(first))
    assert repr(second.history) == repr(first.history)
    assert second.selector.usage.tolist() == first.selector.usage.tolist()
    again, _ = fit(second)
    assert again.seen == module.seen
    assert second.selector.usage.tolist() == first.selector.usage.tolist()


class CopiesInMidEpoch(pl.Callback):
    """Copies the Trainer's selection while a batch is trained."""

    def __init__(self) -> None:
        self.copies: list[DynamicSelection] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.copies.append(copy.deepcopy(trainer.selection))


def test_a_copy_taken_in_a_fit_points_at_nothing_of_the_original():
    first, copies = DynamicSelection(Listening(), Sizes()), CopiesInMidEpoch()
    module, t = fit(first, copies)
    assert module.batches() == BATCHES
    assert first.selector.usage.sum() == sum(SIZES)
    for epoch, second in enumerate(copies.copies):
        control = second.controller
        assert control.epoch == epoch
        assert control is not first.controller
        assert control.selector is control.sources.selector is not first.selector
        assert control.feedback.sampler is control.sampler is not first.controller.sampler
        assert control.driver is not first.controller.driver
        assert t not in vars(second).values()
        # Its books go on by themselves: two batches of this epoch were trained when it was taken.
        control.finish_epoch()
        assert int(second.selector.usage.sum()) == sum(SIZES[:epoch]) + 8
    again, _ = fit(copies.copies[-1])
    assert again.batches() == BATCHES


def test_a_batch_fraction_can_be_copied_in_a_fit():
    class Copies(pl.Callback):
        copied: Any = None

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            self.copied = copy.deepcopy(trainer.callbacks)

    copies = Copies()
    fit(selection((12,)), BatchFraction(0.5, lambda module, batch: module(batch[0])[:, 0]), copies, max_epochs=1)
    kept = [c for c in copies.copied if isinstance(c, BatchFraction)]
    module, _ = fit(*kept, module=Module(), max_epochs=1)
    assert [len(batch) for batch in module.seen[0]] == [2] * 10


@pytest.mark.long
def test_processes_that_are_started_afresh_train_on_the_selection(tmp_path):
    command = [sys.executable, str(PROGRAM), str(tmp_path)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600, check=False
    )
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == 2, done.stderr[-3000:]
    ranks = [json.loads(file.read_text()) for file in files]
    assert [[[len(batch) for batch in epoch] for epoch in rank["seen"]] for rank in ranks] == [[[4, 4, 2], [4, 3]]] * 2
    assert len(set(interleave([rank["seen"][0] for rank in ranks]))) == 20
    seen = Counter(i for rank in ranks for epoch in rank["seen"] for batch in epoch for i in batch)
    for rank in ranks:
        assert rank["usage"] == [seen[i] for i in range(40)]
        assert Counter(rank["told"]) == seen
