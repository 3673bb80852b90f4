"""What Lightning's Trainer doesn't check of its own options."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["check_processes"]


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
