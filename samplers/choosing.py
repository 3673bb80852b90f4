"""How the samples of an epoch are chosen: by a selector from the whole data set, or inside batches of candidates."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dynsel.samplers.among import choose_among, strata_of
from dynsel.samplers.batch import check_candidates, keep_in_batches
from dynsel.samplers.driver import Driver
from dynsel.samplers.epoch_record import Books
from dynsel.samplers.feedback import EpochFeedback
from dynsel.samplers.planning import small_last_batch
from dynsel.samplers.ranks import decide_once
from dynsel.samplers.rng import get_rng_state, set_rng_state
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.sizes import Sizes
from dynsel.samplers.sources import Sources
from dynsel.schedules import sample_count
from dynsel.selection import Selection, top_k
from dynsel.selectors import BatchSelector, CandidateSelector, Selector, checked_selection
from dynsel.selectors.proxy import Stream
from dynsel.selectors.ranking import rotation_scores

__all__ = ["Chooser"]


class Chooser:
    """Lets a selector choose, on rank 0 for all, and tells the sampler.

    Args:
        selector: Selector that decides.
        sizes: How many it is asked for.
        sources: Fits the selector where it must be.
        books: Where the work of a selector's own network is entered.
    """

    def __init__(self, selector: Selector, sizes: Sizes, sources: Sources, books: Books) -> None:
        self.selector, self.sizes, self.sources, self.books = selector, sizes, sources, books
        self._warned = False

    @property
    def cuts_batches(self) -> bool:
        """Whether batches of candidates are fed, to be cut once the model's losses on them are known."""
        return isinstance(self.selector, CandidateSelector)

    def bind(self, sampler: SelectionSampler) -> None:
        """Check that a selector that chooses inside batches finds batches to choose in.

        Args:
            sampler: Sampler of the wrapped loader.

        Raises:
            ValueError: If it doesn't.
        """
        self._warned = False
        if not isinstance(self.selector, (BatchSelector, CandidateSelector)):
            return
        if not sampler.batched:
            raise ValueError(f"{type(self.selector).__name__} chooses inside batches: give the loader a `batch_size`")
        if sampler.whole.own_batches:
            raise ValueError(
                f"{type(self.selector).__name__} chooses inside batches of its own making, and the loader has its own "
                f"batch sampler ({type(sampler.whole.base).__name__}): give the loader `batch_size=` and `sampler=` "
                "instead"
            )
        check_candidates(self.sizes.keep_ratio, sampler.batch_size, sampler.num_total, shrink=self.selector.shrink)

    def in_batches(self, progress: float, sampler: SelectionSampler) -> bool:
        """Whether a selection is chosen inside batches, before they are loaded.

        Args:
            progress: Share of training done when it begins, in [0, 1].
            sampler: Sampler of the wrapped loader.
        """
        selector = self.selector
        if not isinstance(selector, BatchSelector):
            return False
        return selector.needs_stream or self.sizes.fed(progress, sampler).samples < sampler.whole.expected

    def choose(
        self, epoch: int, last: int, sampler: SelectionSampler, driver: Driver, loader: Any, batch: int = 0
    ) -> Selection:
        """Choose the samples of an epoch, or of the round of it that begins with `batch`. A collective: every rank
        must call it.

        Args:
            epoch: Number of the epoch, from 0.
            last: Number of the last epoch that was trained to its end; -1 if there was none.
            sampler: Told of the selection.
            driver: Driver of the training.
            loader: The wrapped loader, from which a selector's own network may load.
            batch: Batch of the epoch at which the selection begins, from 0.

        Raises:
            ValueError: If nothing is chosen, or less than `drop_last` leaves out.
        """
        progress = self.sizes.progress(epoch, batch, driver)
        if self.in_batches(progress, sampler):
            chosen = self._in_batches(epoch, last, progress, sampler, driver, loader, batch)
        else:
            sampler.begin(epoch, batch=batch, batch_size=self.sizes.fed(progress, sampler).batch_size)
            choose = self._from_all if sampler.whole.is_permutation else self._from_drawn
            chosen = choose(epoch, last, progress, sampler)
        self.sizes.begin_round(progress, sampler)
        _check_length(sampler)
        if self.sizes.rounds is None and not isinstance(self.selector, BatchSelector):
            self._warn_of_small_batch(sampler)
        return chosen

    def _from_all(self, epoch: int, last: int, progress: float, sampler: SelectionSampler) -> Selection:
        size = self.sizes.fed(progress, sampler)

        def decide() -> Selection:
            self.sources.fit_if_needed(last)
            return self._of_round(checked_selection(self.selector, progress, size.samples), sampler)

        chosen = decide_once(decide)
        self._check_not_empty(epoch, len(chosen))
        sampler.select(chosen)
        return chosen

    def _from_drawn(self, epoch: int, last: int, progress: float, sampler: SelectionSampler) -> Selection:
        """Choose among what the user's own sampler draws."""
        sampler.select(None)
        order = sampler.draw()
        once = len(order) == sampler.num_total == len(np.unique(order.numpy()))
        strata = strata_of(sampler.whole.base, order, sampler.whole.pool, self.sources.codes)
        size = self.sizes.taken(progress, sampler, len(order))

        def decide() -> tuple[Tensor, Tensor | None]:
            self.sources.fit_if_needed(last)
            if not once:
                return choose_among(self.selector, order, size, progress, strata)
            chosen = checked_selection(self.selector, progress, self.sizes.fed(progress, sampler).samples)
            chosen = self._of_round(chosen, sampler)
            taken = torch.zeros(sampler.num_total, dtype=torch.bool)
            taken[chosen.indices.long()] = True
            weights = None
            if chosen.weights is not None:
                weights = torch.ones(sampler.num_total).index_copy_(0, chosen.indices.long(), chosen.weights.float())
            return taken[order].nonzero()[:, 0], weights

        places, weights = decide_once(decide)
        if once:
            self._check_not_empty(epoch, len(places))
        return Selection(sampler.keep(places, weights))

    def _of_round(self, chosen: Selection, sampler: SelectionSampler) -> Selection:
        """What a round trains on of a subset that stays the same: the least used, so that all are used alike."""
        count = self.sizes.whole_batches(len(chosen), sampler)
        if count == len(chosen):
            return chosen
        # No state to keep: the draws of a round are its own.
        key = (self.selector.generator.initial_seed(), sampler.epoch, sampler.first_batch)
        usage = self.selector.usage[chosen.indices.long()]
        kept = top_k(rotation_scores(usage, torch.Generator().manual_seed(hash(key))), count)
        return Selection(chosen.indices[kept], None if chosen.weights is None else chosen.weights[kept])

    def _check_not_empty(self, epoch: int, count: int) -> None:
        if not count:
            raise ValueError(
                f"epoch {epoch}: {type(self.selector).__name__} returned an empty selection; "
                "an epoch must train on at least one sample"
            )

    def _warn_of_small_batch(self, sampler: SelectionSampler) -> None:
        """Say once that the selection's size leaves a last batch that is no more than noise."""
        if self._warned or sampler.rank or sampler.drop_last or sampler.count == sampler.num_total:
            return
        last = small_last_batch(sampler.count, sampler.num_replicas, sampler.step_size)
        if last:
            self._warned = True
            warnings.warn(
                f"epoch {sampler.epoch}: {sampler.count} selected samples leave a last batch of {last} instead of "
                f"{sampler.step_size}. It is an optimiser step as large as the others on much noisier gradients and "
                "batch statistics, which may cost points of accuracy; set drop_last=True in your DataLoader, or change "
                "the keep ratio slightly",
                stacklevel=2,
            )

    # ---------------------------------------------------------------- before batches are loaded
    def _in_batches(
        self, epoch: int, last: int, progress: float, sampler: SelectionSampler, driver: Driver, loader: Any, batch: int
    ) -> Selection:
        """Cut the epoch's order into batches of candidates, and keep of each what the selector says."""
        selector = self.selector
        assert isinstance(selector, BatchSelector)
        sampler.begin(epoch, batch=batch, batch_size=self.sizes.fed(progress, sampler).batch_size, by_seed=True)
        sampler.select(None)
        order = sampler.draw()
        size = self.sizes.taken(progress, sampler, len(order))
        if selector.needs_stream:
            ahead = sampler.num_batches(size, sampler.step_size)
            selector.lend(stream_of(loader, driver, self.sizes.progress(epoch, batch, driver, ahead)))

        def decide() -> tuple[Tensor, Tensor | None]:
            self.sources.fit_if_needed(last)
            with _undisturbed(loader.generators) if selector.needs_stream else nullcontext():
                return keep_in_batches(selector, order, size, sampler.step_size, progress), selector.work

        try:
            kept, work = decide_once(decide)
        finally:
            selector.lend(None)
        if work is not None:
            self.books.set_own_work(int(work[0]), float(work[1]))
        return Selection(sampler.keep(kept))

    # ---------------------------------------------------------------- once they are loaded
    def cut(
        self, feedback: EpochFeedback, batch_idx: int, size: int, ratio: float, losses: Callable[[], Tensor]
    ) -> Tensor | None:
        """Of a batch of candidates, those to train on; `feedback` is told of them.

        Args:
            feedback: Feedback of the current epoch, where what stays is entered.
            batch_idx: Batch of the current epoch, from 0.
            size: Number B of samples in it, as it has arrived.
            ratio: Share of the batch that stays, in (0, 1].
            losses: Scores its samples: (B,). Not called if all stay.

        Returns:
            (K,) int64 positions in the batch, ascending; None = all.

        Raises:
            ValueError: If the sampler fed another number of samples, or too few losses are finite.
        """
        start = time.perf_counter()
        # Told whether or not all stay, so that a batch of another size is refused at once.
        feedback.keep(batch_idx, torch.arange(size), size)
        selector, sampler = self.selector, feedback.sampler
        assert isinstance(selector, CandidateSelector)
        candidates, kept = feedback.rows(batch_idx), None
        count = sample_count(ratio, size)
        if count < size:
            # No state to keep: the draws of a batch are its own, on each rank others.
            key = (selector.generator.initial_seed(), sampler.epoch, batch_idx, sampler.rank)
            try:
                kept = selector.keep(candidates, losses(), count, torch.Generator().manual_seed(hash(key)))
            except ValueError as error:
                raise ValueError(f"epoch {sampler.epoch}, batch {batch_idx}: {error}") from error
        feedback.keep(batch_idx, kept, size)
        scored = 0 if kept is None else size * sampler.num_replicas
        self.books.add_scored(scored, time.perf_counter() - start)
        return kept


def _check_length(sampler: SelectionSampler) -> None:
    if not sampler.whole.is_permutation:
        sampler.draw()  # only the draw tells the epoch's length
    if not sampler.has_left(sampler.first_batch):
        raise ValueError(
            f"epoch {sampler.epoch}: {sampler.count} selected samples are less than one batch of "
            f"{sampler.step_size} on each of {sampler.num_replicas} ranks and drop_last=True drops "
            "them all; raise the keep ratio, lower the batch size, or set drop_last=False"
        )


def stream_of(loader: Any, driver: Driver, until: float) -> Stream:
    """The data as training gets them, for a network that a selector trains.

    Args:
        loader: The wrapped loader whose batches are lent.
        driver: Driver of the training.
        until: Progress of training at the end of the epoch.
    """

    def load(batches: Sequence[Tensor]) -> Iterator[Any]:
        original = loader.original
        same = DataLoader(
            original.dataset,
            batch_sampler=[loader.sampler.whole.dataset_indices(rows).tolist() for rows in batches],
            collate_fn=original.collate_fn,
            num_workers=original.num_workers,
            worker_init_fn=original.worker_init_fn,
            multiprocessing_context=original.multiprocessing_context,
        )
        for batch in same:
            yield driver.to_device(batch)

    return Stream(load, driver.device, driver.per_sample_loss, driver.precision, until, driver.count_flops)


@contextmanager
def _undisturbed(generators: list[torch.Generator]) -> Iterator[None]:
    """Whatever is drawn inside, training goes on as if nothing had been."""
    state = get_rng_state(generators)
    try:
        yield
    finally:
        set_rng_state(state, generators)
