"""What Lightning's checkpoints hold too much of, and too little."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

__all__ = ["forget_loader_state", "warn_of_gradients"]


def forget_loader_state(checkpoint: dict[str, Any]) -> None:
    """Take the selected loader's (empty) state out, so that the checkpoint loads without the plugin too.

    Args:
        checkpoint: Checkpoint that is about to be saved; changed in place.
    """
    state = checkpoint.get("loops", {}).get("fit_loop", {}).get("state_dict", {})
    if not any(state.get("combined_loader", [])):
        state.pop("combined_loader", None)


def warn_of_gradients(every: int) -> None:
    """Say, on rank 0, that gradients of batches before the next optimiser step are lost.

    Args:
        every: Batches per optimiser step.
    """
    rank_zero_warn(
        "DynamicSelection: this checkpoint was saved between two optimiser steps, and Lightning saves no "
        f"gradients: resumed from it, a run won't be exactly the same. With accumulate_grad_batches={every} "
        f"save after every multiple of {every} batches, as ModelCheckpoint(every_n_train_steps=...) does."
    )
