"""Several processes in one, for tests of what they would find together."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

import numpy as np

from dynsel.selectors.shards.cdf import Alone


class _Shared:
    def __init__(self, ranks: int) -> None:
        self.barrier, self.values, self.bytes = Barrier(ranks), [None] * ranks, 0


class OneOf:
    """One of several threads that reduce together, and count the bytes of what travels."""

    def __init__(self, shared: Any, rank: int) -> None:
        self.shared, self.rank = shared, rank

    def _all(self, values: Any, combine: Callable[..., Any]) -> Any:
        self.shared.values[self.rank] = values
        self.shared.barrier.wait()
        found = combine(self.shared.values)
        self.shared.barrier.wait()
        if self.rank == 0:
            self.shared.bytes += values.nbytes
        return found

    def sum(self, values: Any) -> Any:
        return self._all(values, lambda parts: np.sum(parts, axis=0))

    def max(self, values: Any) -> Any:
        return self._all(values, lambda parts: np.max(parts, axis=0))


def together(ranks: int, work: Callable[[int, OneOf], Any]) -> tuple[list[Any], int]:
    """What `work(rank, reduce)` returns on each rank, and the bytes that each put into reductions."""
    shared, found, errors = _Shared(ranks), [None] * ranks, []

    def run(rank: int) -> None:
        try:
            found[rank] = work(rank, OneOf(shared, rank))
        except BaseException as error:
            errors.append(error)
            shared.barrier.abort()

    threads = [Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found, shared.bytes


__all__ = ["Alone", "OneOf", "together"]
