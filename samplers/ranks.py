"""The few collectives that a selection needs; without a process group of several ranks nothing travels."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Reduction", "decide_once", "gather", "gather_rows", "num_ranks", "this_rank", "together"]

T = TypeVar("T")


def num_ranks() -> int:
    """Number of processes in the default group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def this_rank() -> int:
    """Number of this process in the default group; 0 without one."""
    return dist.get_rank() if num_ranks() > 1 else 0


def decide_once(decide: Callable[[], T]) -> T:
    """Decide on rank 0 what every rank goes by.

    An error on rank 0 is raised on every rank, for the others would wait for ever.

    Args:
        decide: Function without arguments, called on rank 0 alone; what it returns must be picklable.

    Returns:
        Its result, on every rank.

    Raises:
        Exception: Whatever `decide` raised; one that can't be pickled comes as a RuntimeError on other ranks.
    """
    if num_ranks() == 1:
        return decide()
    answer: list[Any] = [None, None]
    mine: Exception | None = None
    if this_rank() == 0:
        try:
            answer[0] = decide()
        except Exception as error:
            mine, answer[1] = error, _sendable(error)
    dist.broadcast_object_list(answer, src=0)
    if mine is not None:
        raise mine
    if answer[1] is not None:
        raise answer[1]
    return answer[0]  # type: ignore[no-any-return]


def _sendable(error: Exception) -> Exception:
    # One that fails to pickle would leave the other ranks waiting, after all.
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def gather(value: T) -> list[T]:
    """Every rank's value, in the order of ranks, on every rank.

    Args:
        value: This rank's value, picklable.
    """
    if num_ranks() == 1:
        return [value]
    everyone: list[Any] = [None] * num_ranks()
    dist.all_gather_object(everyone, value)
    return everyone


def gather_rows(rows: Tensor) -> list[Tensor]:
    """Every rank's tensor, in the order of ranks, on every rank and on the CPU.

    The values travel as they are in memory, as many from each rank as from the one that has most.

    Args:
        rows: (n, ...) with the same dtype and the same further dimensions everywhere; n may differ by rank.
    """
    if num_ranks() == 1:
        return [rows]
    device = _travelling_device()
    rows = rows.to(device)
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(num_ranks())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=device))
    counts = [int(size) for size in sizes]
    # A tensor of its own: of a view the whole storage might travel.
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows
    everyone = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(everyone, padded)
    return [theirs[:count].cpu() for theirs, count in zip(everyone, counts, strict=True)]


def together(work: Callable[[], T]) -> T:
    """Call `work` on every rank; if it fails on one, every rank raises, for the others would wait for ever.

    Raises:
        RuntimeError: If it failed on other ranks only; says what happened there.
    """
    try:
        result, mine = work(), None
    except Exception as error:
        mine = error
    told = gather(None if mine is None else f"{type(mine).__name__}: {mine}")
    if mine is not None:
        raise mine
    others = [f"rank {rank}: {text}" for rank, text in enumerate(told) if text is not None]
    if others:
        raise RuntimeError("; ".join(others))
    return result


class Reduction:
    """Sums and maxima over all ranks, of arrays that stay small.

    Attributes:
        bytes: What this rank has put in so far.
        calls: How often.
    """

    def __init__(self) -> None:
        self.bytes = self.calls = 0

    def sum(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Sum over the ranks of (n,) int64 or float64; every rank must call it."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def max(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Largest over the ranks of (n,) int64 or float64; every rank must call it."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def _reduced(self, values: np.ndarray[Any, Any], operation: Any) -> np.ndarray[Any, Any]:
        self.bytes, self.calls = self.bytes + values.nbytes, self.calls + 1
        if num_ranks() == 1:
            return values
        travelling = torch.from_numpy(values.copy()).to(_travelling_device())
        dist.all_reduce(travelling, operation)
        reduced: np.ndarray[Any, Any] = travelling.cpu().numpy()
        return reduced


def _travelling_device() -> torch.device:
    """Where the default group's backend wants tensors: NCCL moves those on the GPU only."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
