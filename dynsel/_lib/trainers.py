"""What Lightning's Trainer doesn't check of its own options, and what its special values mean."""

from __future__ import annotations

import math
import os
from typing import Any

__all__ = ["check_processes", "planned_steps"]


def check_processes(trainer: Any, name: str = "devices") -> None:
    """A Trainer on the CPU starts a process for each device: not more than there are cores.

    Args:
        trainer: A Trainer of Lightning's that hasn't begun.
        name: The parameter, as its user writes it.

    Raises:
        ValueError: If it would start more.
    """
    cores = os.cpu_count() or 1
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > cores:
        raise ValueError(f"`{name}` must be at most the {cores} CPU cores, got {trainer.num_devices}")


def planned_steps(trainer: Any, why: str) -> int:
    """The optimiser steps of a whole training, for a schedule that has to go to its end.

    Args:
        trainer: A Trainer of Lightning's that is about to train.
        why: Begins the error: what asks for an end.

    Returns:
        At least 1.

    Raises:
        ValueError: If the training has no end that is known.
    """
    total = trainer.estimated_stepping_batches
    # Lightning says infinity for endless training and -1 for an endless loader.
    if not math.isfinite(total) or total < 0:
        raise ValueError(f"{why}: set max_steps or max_epochs")
    return max(int(total), 1)
