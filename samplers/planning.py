"""How many samples, batches and steps a keep ratio and a budget stand for. Pure.

Symbols: N samples of the data set, B size of the loader's batches, ρ keep ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from dynsel._lib.checks import check_number
from dynsel.samplers.batch import batch_of_candidates
from dynsel.schedules import Constant, Schedule, as_keep_ratio, sample_count
from dynsel.selectors import BatchSelector, CandidateSelector, Selector

__all__ = [
    "Fed",
    "Rounds",
    "fed",
    "fed_in_round",
    "knobs",
    "share_of_round",
    "small_last_batch",
    "stays_at_the_beginning",
    "steps_by_epoch",
]

# Share of the data that a selection holds if nobody says.
DEFAULT_KEEP_RATIO = 0.5


def knobs(keep_ratio: float | Schedule | None, budget: float | None) -> tuple[Schedule, float | None]:
    """Keep ratio and budget as they are meant, given one of them, both, or none.

    | given      | keep ratio           | budget                                |
    |------------|----------------------|---------------------------------------|
    | nothing    | 0.5                  | 1                                     |
    | budget     | min(0.5, budget)     | as given                              |
    | keep ratio | as given             | None: an epoch is one selection, once |
    | both       | as given             | as given                              |

    Args:
        keep_ratio: Share of the data that a selection holds, in (0, 1]; a number or a schedule.
        budget: Share of the full training's batches to spend, in (0, 1].

    Raises:
        TypeError: If one of them is of another type.
        ValueError: If one of them is out of range.
    """
    if budget is None and keep_ratio is None:
        budget = 1.0
    if budget is not None:
        why = "it is the share of the full training's steps to spend, so 0.7 spends 70 %"
        budget = check_number("budget", budget, above=0, at_most=1, why=why)
    if keep_ratio is None:
        keep_ratio = DEFAULT_KEEP_RATIO if budget is None else min(DEFAULT_KEEP_RATIO, budget)
    return as_keep_ratio(keep_ratio), budget


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
        keep_ratio: Keep ratio ρ, in (0, 1].
        num_samples: Number of samples, N.
        batch_size: Size B of the loader's batches.
    """
    samples = sample_count(keep_ratio, num_samples) if selector.exact else num_samples
    if isinstance(selector, BatchSelector) and selector.shrink:
        return Fed(samples, sample_count(keep_ratio, batch_size))
    if isinstance(selector, CandidateSelector) and not selector.shrink:
        return Fed(samples, batch_of_candidates(keep_ratio, batch_size))
    return Fed(samples, None)


def fed_in_round(
    selector: Selector,
    keep_ratio: float,
    num_samples: int,
    batch_size: int,
    *,
    batches: int,
    ranks: int,
    drop_last: bool,
) -> Fed:
    """What a round of so many batches feeds: whole batches, so that no short one comes in the middle of an epoch.

    Only a selection of everything keeps its short last batch, and one of less than a batch is short itself. A selector
    of the `same_size` is asked for what the keep ratio says, whatever the round; it is cut to whole batches afterwards.

    Args:
        selector: What decides; only its kind is looked at.
        keep_ratio: Keep ratio ρ, in (0, 1].
        num_samples: Number of samples, N.
        batch_size: Size B of the loader's batches.
        batches: Batches of the round, on one rank.
        ranks: Number of ranks that share its samples.
        drop_last: Whether the loader leaves out a last batch that isn't full.
    """
    wanted = fed(selector, keep_ratio, num_samples, batch_size)
    together = (wanted.batch_size or batch_size) * ranks
    if not selector.exact or wanted.samples == num_samples or (wanted.samples < together and not drop_last):
        return wanted
    if selector.same_size:
        return Fed(max(wanted.samples, min(num_samples, together)), wanted.batch_size)
    return Fed(min(num_samples, batches * together), wanted.batch_size)


def share_of_round(selector: Selector, keep_ratio: float) -> float:
    """Share of the full training's batches of an epoch that one selection is trained on in.

    It is ρ; but 1 where batches shrink instead, or the selector itself says how many samples it takes.

    Args:
        selector: Selector that takes the samples.
        keep_ratio: Keep ratio ρ, in (0, 1].
    """
    takes_all = selector.shrink if isinstance(selector, BatchSelector | CandidateSelector) else not selector.exact
    return 1.0 if takes_all else keep_ratio


class Rounds:
    """Lays out rounds one after another, over the ends of epochs.

    With n batches in an epoch of the full training, an epoch has E = max(1, ⌊budget n + ½⌋), the same for all epochs,
    and a round that takes the share ρ of the data ρ E / budget. That is seldom a whole number: the end of a round is
    rounded and what that leaves goes to the next one, so that nothing is lost over the run. Where an epoch is a whole
    number of rounds each epoch begins with one.

    Args:
        budget: Share of the full training's batches to spend, in (0, 1].

    Attributes:
        full_batches: Number n of batches that an epoch has without dynsel.
        epoch_batches: Number E of batches of an epoch, budget × n, rounded; at least 1.

    Example:
        >>> rounds = Rounds(budget=1.0)
        >>> rounds.lay_out(13)
        >>> [rounds.take(0.5) for _ in range(4)]
        [7, 6, 7, 6]
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.full_batches = self.epoch_batches = 1
        # Where the last round would have ended, less where it did, in batches; in [-1/2, 1/2].
        self.rest = 0.0

    def lay_out(self, full_batches: int) -> None:
        """Give every epoch its length: budget × that without dynsel, rounded half up, at least one batch.

        Args:
            full_batches: Number n of batches that an epoch has without dynsel.
        """
        self.full_batches = full_batches
        self.epoch_batches = max(1, math.floor(self.budget * full_batches + 0.5))

    def length(self, share: float) -> int:
        """Batches of the next round: at least one, with what rounding left over of the rounds before.

        Args:
            share: Share of the data that it takes, in (0, 1].
        """
        return max(1, math.floor(self.rest + self._exact(share) + 0.5))

    def take(self, share: float, batches: int | None = None) -> int:
        """Begin the next round.

        Args:
            share: Share of the data that it takes, in (0, 1].
            batches: Batches that the selection has, where these are fewer than planned; None = as planned.

        Returns:
            Batches of the round.
        """
        planned = self.length(share)
        if batches is None or batches == planned:
            self.rest += self._exact(share) - planned
            return planned
        self.rest = 0.0
        return batches

    def take_up(self, rest: float) -> None:
        """Go on where a run was interrupted.

        Args:
            rest: What `rest` was there, in batches.
        """
        self.rest = rest

    def _exact(self, share: float) -> float:
        return max(1.0, min(self.full_batches, share * self.epoch_batches / self.budget))


def steps_by_epoch(
    batches_at: Callable[[float], int],
    max_epochs: int,
    max_steps: int = -1,
    steps: Callable[[int], int] | None = None,
) -> list[int]:
    """Optimiser steps of each epoch of a training.

    Args:
        batches_at: Batches of an epoch that begins at this progress, a share in [0, 1].
        max_epochs: Number of epochs of the training.
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


def stays_at_the_beginning(selector: Selector, keep_ratio: Schedule) -> str:
    """What to say of a training whose length isn't known; empty if nothing waits for a part of it.

    Args:
        selector: Its selector.
        keep_ratio: Its keep ratio.
    """
    waiting = [type(selector).__name__] * selector.goes_by_progress
    waiting += ["the keep ratio"] * (not isinstance(keep_ratio, Constant))
    if not waiting:
        return ""
    return (
        f"{' and '.join(waiting)} would change as training goes on, but its length isn't known: it stays as at the "
        "beginning"
    )


def small_last_batch(samples: int, ranks: int, batch_size: int) -> int:
    """Size of a rank's last batch if it is so small that a step on it is mostly noise, else 0.

    Args:
        samples: Samples of a selection, of all ranks together.
        ranks: Number of ranks.
        batch_size: Size B of a rank's batches; less than an eighth of it counts as small.

    Example:
        >>> small_last_batch(65, 1, 32), small_last_batch(68, 1, 32), small_last_batch(64, 1, 32)
        (1, 0, 0)
    """
    last = math.ceil(samples / ranks) % batch_size
    return last if last < batch_size / 8 else 0
