"""Floating-point operations of a network, by torch's own counter."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["FlopTap", "can_count"]


def can_count(module: nn.Module) -> bool:
    """Whether torch's counter sees what a module does. What `torch.compile` made of it, it doesn't.

    Args:
        module: Network; one compiled part is enough for a no.
    """
    return not any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) for m in module.modules())


class FlopTap:
    """Counts matrix products, convolutions and attention, forward and backward, while it is open.

    Example:
        >>> import torch
        >>> tap = FlopTap()
        >>> with tap:
        ...     _ = torch.ones(2, 3) @ torch.ones(3, 5)
        >>> tap.total
        60
    """

    def __init__(self) -> None:
        self._mode: Any = FlopCounterMode(display=False)
        self._open = False

    @property
    def total(self) -> int:
        """Operations so far; a multiplication and an addition are two."""
        count: int = self._mode.get_total_flops()
        return count

    def __enter__(self) -> FlopTap:
        self._mode.__enter__()
        self._open = True
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Count no more; calling it again does nothing."""
        if self._open:
            self._open = False
            self._mode.__exit__(None, None, None)
