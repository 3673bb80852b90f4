"""The few collectives that a selection needs. Integers travel as integers, and only when there are several ranks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

__all__ = ["decide_once", "gather", "num_ranks"]

T = TypeVar("T")


def num_ranks() -> int:
    """Number of processes in the default group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def decide_once(decide: Callable[[], T]) -> T:
    """Call `decide` on rank 0 and return its result on every rank.

    An error on rank 0 is raised on every rank, for the others would wait for ever.
    """
    if num_ranks() == 1:
        return decide()
    answer: list[Any] = [None, None]
    mine: Exception | None = None
    if dist.get_rank() == 0:
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
    """Every rank's `value`, in the order of ranks, on every rank."""
    if num_ranks() == 1:
        return [value]
    everyone: list[Any] = [None] * num_ranks()
    dist.all_gather_object(everyone, value)
    return everyone
