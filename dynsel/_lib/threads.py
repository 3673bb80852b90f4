"""How many CPU threads torch may use."""

from __future__ import annotations

import torch

from dynsel._lib.checks import check_integer

__all__ = ["set_threads"]


def set_threads(threads: int | None, name: str = "--threads") -> None:
    """Set the number of CPU threads of torch.

    Args:
        threads: Number of threads; None leaves it as it is.
        name: The parameter, as its user writes it.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If there can't be so many threads.
    """
    if threads is not None:
        # What a C integer doesn't hold is an error of torch's, and what the system can't start ends the process.
        torch.set_num_threads(check_integer(name, threads, at_least=1, at_most=1024))
