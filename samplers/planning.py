"""How many samples, batches and steps a keep ratio stands for. Pure functions.

Symbols: N samples of the data set, B size of the loader's batches, ρ keep ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from dynsel.samplers.batch import batch_of_candidates
from dynsel.schedules import sample_count
from dynsel.selectors import BatchSelector, CandidateSelector, Selector

__all__ = ["Fed", "fed", "small_last_batch", "steps_by_epoch"]


class Fed(NamedTuple):
    """What an epoch feeds.

    Attributes:
        samples: Number of samples, all ranks together; an upper bound if the selector isn't exact.
        batch_size: Size of its batches on one rank, where that isn't the loader's; else None.
    """

    samples: int
    batch_size: int | None


def fed(selector: Selector, keep_ratio: float, num_samples: int, batch_size: int) -> Fed:
    """What an epoch at this keep ratio feeds.

    Args:
        selector: What decides; only its kind is looked at.
        keep_ratio: ρ in (0, 1].
        num_samples: N.
        batch_size: B.
    """
    samples = sample_count(keep_ratio, num_samples) if selector.exact else num_samples
    if isinstance(selector, BatchSelector) and selector.shrink:
        return Fed(samples, sample_count(keep_ratio, batch_size))
    if isinstance(selector, CandidateSelector) and not selector.shrink:
        return Fed(samples, batch_of_candidates(keep_ratio, batch_size))
    return Fed(samples, None)


def steps_by_epoch(
    batches_at: Callable[[float], int],
    max_epochs: int,
    max_steps: int = -1,
    steps: Callable[[int], int] | None = None,
) -> list[int]:
    """Optimiser steps of each epoch of a training.

    Args:
        batches_at: Batches of an epoch that begins at this progress, a share in [0, 1].
        max_epochs: Number of epochs.
        max_steps: Stop after so many optimiser steps; -1 = no limit.
        steps: Optimiser steps of so many batches; default: one per batch.

    Example:
        >>> steps_by_epoch(lambda progress: 4 if progress < 0.5 else 2, max_epochs=4, max_steps=9)
        [4, 4, 1]
    """
    done, result = 0, list[int]()
    for epoch in range(max_epochs):
        progress = max(epoch / max_epochs, done / max_steps if max_steps > 0 else 0.0)
        batches = batches_at(min(1.0, progress))
        result.append(batches if steps is None else steps(batches))
        done += result[-1]
        if 0 <= max_steps <= done:
            result[-1] -= done - max_steps
            break
    return result


def small_last_batch(samples: int, ranks: int, batch_size: int) -> int:
    """Size of a rank's last batch if it is so small that a step on it is mostly noise, else 0.

    Example:
        >>> small_last_batch(65, 1, 32), small_last_batch(68, 1, 32), small_last_batch(64, 1, 32)
        (1, 0, 0)
    """
    last = math.ceil(samples / ranks) % batch_size
    return last if last < batch_size / 8 else 0
