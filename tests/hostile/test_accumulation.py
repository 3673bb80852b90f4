"""A checkpoint inside an accumulation window holds no gradients: said once, with the way out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from support import fit

from dynsel.callbacks import DynamicSelection


class SaveAfter(pl.Callback):
    """A checkpoint after these batches of each epoch."""

    def __init__(self, folder: Path, *batches: int) -> None:
        self.folder, self.batches = folder, batches

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx in self.batches:
            trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}-{batch_idx}.ckpt")


@pytest.mark.parametrize(
    ("batches", "accumulate", "times"),
    [((0, 2), 2, 1), ((1, 3), 2, 0), ((4,), 2, 0), ((0, 1, 2), 1, 0)],
    ids=["inside", "between", "last of the epoch", "none"],
)
def test_it_is_said_once(tmp_path: Path, batches: tuple[int, ...], accumulate: int, times: int) -> None:
    save = SaveAfter(tmp_path, *batches)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callback = DynamicSelection("random", keep_ratio=0.5, seed=0)
        fit(callback, save, max_epochs=2, accumulate_grad_batches=accumulate)
    told = [str(w.message) for w in caught if "saves no gradients" in str(w.message)]
    assert len(told) == times
    assert all("save after every multiple of 2 batches" in text for text in told)
