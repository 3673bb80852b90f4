"""How many samples, batches and steps the selections of a training have."""

from __future__ import annotations

from collections.abc import Callable

from dynsel.samplers.driver import Driver
from dynsel.samplers.planning import Fed, Rounds, fed, fed_in_round, share_of_round, steps_by_epoch
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.schedules import Schedule, sample_count
from dynsel.selectors import Selector

__all__ = ["Sizes"]


class Sizes:
    """Applies keep ratio and budget to the batches of a loader.

    Args:
        selector: What decides; only its kind is looked at.
        keep_ratio: Share of the data set that a selection holds, over the progress of training.
        budget: Share of the full training's batches to spend, in (0, 1]; None = an epoch is one selection.

    Attributes:
        rounds: How selections follow one another over the ends of epochs; None without a budget.
    """

    def __init__(self, selector: Selector, keep_ratio: Schedule, budget: float | None = None) -> None:
        self.selector, self.keep_ratio = selector, keep_ratio
        self.rounds = None if budget is None else Rounds(budget)

    def lay_out(self, sampler: SelectionSampler) -> None:
        """Give the epochs of a sampler their length, if they have one of their own.

        Args:
            sampler: Sampler of the wrapped loader.
        """
        if self.rounds is not None:
            self.rounds.lay_out(sampler.full_batches())
        sampler.keep_length(None if self.rounds is None else self.rounds.epoch_batches)

    def progress(self, epoch: int, batch: int, driver: Driver, ahead: int = 0) -> float:
        """Share of training done before a batch, in [0, 1].

        Args:
            epoch: Number of the epoch, from 0.
            batch: Batch of the epoch, from 0.
            driver: Driver that knows how long training is.
            ahead: Batches from now till then; the share is that after so many more.
        """
        if self.rounds is None:
            return driver.progress(epoch + (ahead > 0), ahead)
        return driver.progress(epoch + (batch + ahead) / driver.epoch_length(self.rounds.epoch_batches), ahead)

    # ---------------------------------------------------------------- a selection
    def fed(self, progress: float, sampler: SelectionSampler) -> Fed:
        """What a selection feeds: samples and batches.

        Args:
            progress: Share of training done when it begins, in [0, 1].
            sampler: Sampler of the wrapped loader.
        """
        ratio, expected = self.keep_ratio(progress), sampler.whole.expected
        if self.rounds is None or sampler.whole.own_batches:
            return fed(self.selector, ratio, expected, sampler.batch_size)
        return fed_in_round(
            self.selector,
            ratio,
            expected,
            sampler.batch_size,
            batches=self.rounds.length(self._share(ratio, sampler)),
            ranks=sampler.num_replicas,
            drop_last=sampler.drop_last,
        )

    def taken(self, progress: float, sampler: SelectionSampler, drawn: int) -> int:
        """How many of the samples that were drawn a selection takes.

        Args:
            progress: Share of training done when it begins, in [0, 1].
            sampler: Sampler of the wrapped loader.
            drawn: Number of samples that the user's sampler drew.
        """
        ratio = self.keep_ratio(progress)
        if self.rounds is None or sampler.whole.own_batches:
            return sample_count(ratio, drawn)
        return drawn if ratio == 1 else min(drawn, self.fed(progress, sampler).samples)

    def whole_batches(self, chosen: int, sampler: SelectionSampler) -> int:
        """How many of the samples chosen a round is trained on: of a subset of the same size each time, whole batches.

        Args:
            chosen: Number of samples that the selector chose.
            sampler: Sampler of the wrapped loader.
        """
        together = sampler.step_size * sampler.num_replicas
        in_rounds = self.rounds is not None and not sampler.whole.own_batches
        if not (in_rounds and self.selector.same_size) or chosen == sampler.num_total or chosen < together:
            return chosen
        return chosen - chosen % together

    def begin_round(self, progress: float, sampler: SelectionSampler) -> None:
        """Cut the selection at hand, just chosen, to the length of its round.

        Args:
            progress: Share of training done, in [0, 1].
            sampler: Sampler of the wrapped loader.
        """
        if self.rounds is None:
            return
        if self.selector.same_size:
            # As many batches as the subset has, each time.
            sampler.limit(self.rounds.full_batches)
            return
        share = self._share(self.keep_ratio(progress), sampler)
        self.rounds.take(share, sampler.limit(self.rounds.length(share)))

    def _share(self, ratio: float, sampler: SelectionSampler) -> float:
        """Share of an epoch's batches without a selection that are trained on one of this keep ratio."""
        # Batches of the user's own making get smaller, not fewer.
        return 1.0 if sampler.whole.own_batches else share_of_round(self.selector, ratio)

    # ---------------------------------------------------------------- a training
    def plan(
        self,
        sampler: SelectionSampler,
        max_epochs: int,
        max_steps: int = -1,
        steps: Callable[[int], int] | None = None,
    ) -> list[int]:
        """Optimiser steps of each epoch, as far as the keep ratio decides them; see `planning.steps_by_epoch`.

        Args:
            sampler: Sampler of the wrapped loader.
            max_epochs: Number of epochs of the training.
            max_steps: Optimiser steps after which it ends; -1 = only `max_epochs` counts.
            steps: Optimiser steps of an epoch of so many batches; by default one for each batch.
        """

        def batches_at(progress: float) -> int:
            if self.rounds is not None:
                return self.rounds.epoch_batches
            return sampler.num_batches(*self.fed(progress, sampler))

        return steps_by_epoch(batches_at, max_epochs, max_steps, steps)

    # ---------------------------------------------------------------- state
    def restart(self) -> None:
        """Lay out rounds as at the start of a training."""
        self.take_up(None)

    @property
    def rest(self) -> float | None:
        """What the rounds so far are behind or ahead, in batches; None without a budget."""
        return None if self.rounds is None else self.rounds.rest

    def take_up(self, rest: float | None) -> None:
        """Go on with rounds where a run was interrupted.

        Args:
            rest: What `Rounds.rest` was there; None = nothing.
        """
        if self.rounds is not None:
            self.rounds.take_up(rest or 0.0)
