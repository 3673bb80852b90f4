"""A copy of the user's DataLoader that feeds a selection and starts only when its first batch is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.utils.data import BatchSampler, DataLoader

from dynsel.samplers.accelerated import AcceleratedFeed
from dynsel.samplers.rng import get_rng_state, set_rng_state
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.stage import Phase

if TYPE_CHECKING:
    _Base = DataLoader[Any]
else:
    _Base = object

__all__ = ["Follower", "SelectedBatches", "SelectedLoader", "wrap_loader"]


class Follower(Protocol):
    """Whoever keeps the books of a loader."""

    def before_first_batch(self) -> None:
        """Told before the first batch of an epoch is fetched."""

    def next_round(self) -> None:
        """Told before the first batch of another selection of the same epoch: to decide it and draw its order."""

    def waited(self, seconds: float) -> None:
        """Told when training waited for a batch, or for the start of the workers.

        Args:
            seconds: Wall-clock time that it waited.
        """


class SelectedBatches(BatchSampler):
    """Cuts this rank's order into batches, beginning at the batch where a resumed epoch goes on.

    Args:
        sampler: Sampler that has this rank's order.
        batch_size: Size B of a batch, as in torch's `BatchSampler`.
        drop_last: Whether a last, smaller batch is left out.
    """

    sampler: SelectionSampler

    def __init__(self, sampler: SelectionSampler, batch_size: int, drop_last: bool) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self._before_order: Callable[[], None] | None = None

    def call_before_order(self, function: Callable[[], None]) -> None:
        """Call a function once, just before the next order is drawn.

        Args:
            function: Function without arguments.
        """
        self._before_order = function

    def __iter__(self) -> Iterator[list[int]]:
        before, self._before_order = self._before_order, None
        if before is not None:
            before()
        phase = self.sampler.stage.phase
        if phase.selects and phase is not Phase.RUNNING:
            raise RuntimeError(
                "the batches of a selected loader were asked for without the loader: something has made another "
                "DataLoader of its parts (accelerate's `skip_first_batches` does), and nothing of the selection would "
                "be counted. Loop over the loader that `wrap` returned; resumed, it begins where it stopped by itself"
            )
        yield from self.sampler.batches()

    def __len__(self) -> int:
        return self.sampler.num_batches()


class _LazyIterator(Iterator[Any]):
    """Begins at the first `next`: an iterator made before the epoch's selection is known reads nothing.

    Where the epoch goes on after its selection is used up, the user's loader is begun anew with the same workers:
    between two batches, so that the next selection knows everything before it, whatever workers prefetch.
    """

    def __init__(self, loader: SelectedLoader) -> None:
        self._loader = loader
        self._iterator: Iterator[Any] | None = None
        # The iterator whose workers go on; they end with this one.
        self._workers: Any = None
        self._begun = False

    def __next__(self) -> Any:
        sampler: Any = self._loader.sampler
        if not self._begun:
            self._begun = True
            self._iterator, self._workers = self._loader.begin()
        elif sampler.at_edge and sampler.stage.delivered < sampler.num_batches():
            self._iterator, self._workers = self._loader.next_round(self._workers)
        if self._iterator is None:
            sampler.stage.end()
            raise StopIteration
        start = time.perf_counter()
        try:
            batch = next(self._iterator)
        except StopIteration:
            sampler.stage.end()
            raise
        finally:
            self._loader.tell_wait(start)
        sampler.stage.deliver()
        if sampler.epoch_batches is not None and sampler.stage.delivered >= sampler.num_batches():
            # Now, for nobody has to ask for a batch after the last one.
            self._iterator = self._workers = None
        return batch


class SelectedLoader(_Base):
    """Mixed into the class of the user's DataLoader by `wrap_loader`, which calls `_adopt` in place of a constructor.

    Attributes:
        original: The user's own loader.
    """

    original: DataLoader[Any]

    def _adopt(
        self,
        original: DataLoader[Any],
        sampler: SelectionSampler,
        follower: Follower | None,
        accelerated: AcceleratedFeed | None,
    ) -> None:
        self.__dict__.update(original.__dict__)
        self.original, self._follower, self._accelerated = original, follower, accelerated
        self._resume_rng: dict[str, Any] | None = None
        self._keep_rng = False
        self._lists = original.batch_sampler is None and sampler.batched
        batches = SelectedBatches(sampler, sampler.batch_size, sampler.drop_last) if sampler.batched else None
        # DataLoader forbids to assign these after construction.
        object.__setattr__(self, "sampler", sampler)
        object.__setattr__(self, "batch_sampler", None if self._lists else batches)
        self._batches = batches
        object.__setattr__(self, "_iterator", None)
        # Which batch held which samples is known from their order.
        self.in_order = True

    @property
    def _index_sampler(self) -> Any:
        # With `batch_size=None` torch asks the sampler; if that yielded lists, the selected ones come as lists too.
        return self._batches if self._lists else super()._index_sampler

    def __iter__(self) -> Any:
        batches, sampler = _LazyIterator(self), self.sampler
        assert isinstance(sampler, SelectionSampler)
        return batches if self._accelerated is None else self._accelerated.feed(batches, sampler)

    # accelerate asks it of every loader that it is to prepare, which it would rebuild without the selection.
    @property
    def _is_accelerate_prepared(self) -> bool:
        if self._accelerated is None:
            raise TypeError(
                "accelerate would rebuild this loader, and nothing of the selection would be counted: wrap it with "
                "`selection.wrap(loader, accelerator=accelerator)`; `accelerator.prepare` then leaves it as it is"
            )
        return True

    @_is_accelerate_prepared.setter
    def _is_accelerate_prepared(self, prepared: bool) -> None:
        return

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch by its number; Lightning, Fabric and accelerate do it by themselves.

        Args:
            epoch: Number of the epoch, from 0.
        """
        own = getattr(super(), "set_epoch", None)
        if own is not None:
            own(epoch)
        sampler: Any = self.sampler
        sampler.set_epoch(epoch)

    def resume(self, rng: dict[str, Any]) -> None:
        """Continue with a global random state once an interrupted epoch's iterator stands.

        Args:
            rng: What `get_rng_state` gave.
        """
        self._resume_rng = rng

    def keep_rng(self) -> None:
        """The state restored just now must outlive the start of the next iterator."""
        self._keep_rng = True

    def begin(self) -> tuple[Iterator[Any], Any]:
        """Start the user's loader for real.

        Returns:
            Its iterator, and that which has the workers, if they are to go on with another selection.
        """
        if self._follower is not None:
            self._follower.before_first_batch()
        start = time.perf_counter()
        sampler: Any = self.sampler
        sampler.stage.start(sampler.first_batch)
        if sampler.num_batches() == sampler.first_batch:
            # Resumed at the very end of an epoch; a start would draw a base seed for nothing.
            self._continue_rng()
            return iter(()), None
        if sampler.at_edge:
            # Resumed between two selections.
            self._continue_rng()
            return self.next_round(None)
        if self._keep_rng and self.persistent_workers and self._batches is not None:
            # With persistent workers an uninterrupted run draws no base seed here, a fresh iterator does.
            state, generators = get_rng_state(self.generators), self.generators
            self._batches.call_before_order(lambda: set_rng_state(state, generators))
        self._keep_rng = False
        iterator = self._iterate(None)
        self._continue_rng()
        self.tell_wait(start)
        return iterator

    def next_round(self, workers: Any) -> tuple[Iterator[Any], Any]:
        """Start the user's loader for another selection inside an epoch.

        Args:
            workers: What has the workers of the former selection, as `begin` returned it; None starts others.

        Returns:
            An iterator, and that which has the workers.
        """
        assert self._follower is not None
        self._follower.next_round()
        start = time.perf_counter()
        sampler: Any = self.sampler
        sampler.stage.start(sampler.first_batch)
        # Only fresh workers, or none, draw a base seed here; training must not depend on their number.
        generators = [torch.default_generator, *self.generators]
        states = [generator.get_state() for generator in generators]
        iterator = self._iterate(workers)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        self.tell_wait(start)
        return iterator

    def _iterate(self, workers: Any) -> tuple[Iterator[Any], Any]:
        sampler: Any = self.sampler
        if sampler.epoch_batches is None or self.num_workers == 0 or self.persistent_workers:
            return super().__iter__(), None
        # Workers that persist from selection to selection, and end with the epoch as the user has it.
        own: Any = self
        object.__setattr__(own, "persistent_workers", True)
        own._iterator = workers
        try:
            return super().__iter__(), own._iterator
        finally:
            object.__setattr__(own, "persistent_workers", False)
            own._iterator = None

    def tell_wait(self, start: float) -> None:
        """Tell the follower that data were waited for until now.

        Args:
            start: When the waiting began, by `time.perf_counter`, in seconds.
        """
        if self._follower is not None:
            self._follower.waited(time.perf_counter() - start)

    def _continue_rng(self) -> None:
        if self._resume_rng is not None:
            set_rng_state(self._resume_rng, self.generators)
            self._resume_rng = None

    @property
    def generators(self) -> list[torch.Generator]:
        """The user's own ones, from which the order and the workers' seeds are drawn."""
        sampler: Any = self.sampler
        own = dict.fromkeys((self.generator, getattr(sampler.whole.base, "generator", None)))
        return [generator for generator in own if isinstance(generator, torch.Generator)]

    # Lightning takes a loader with these two for resumable and doesn't warn. Position and selection are in the
    # plugin's own state, so there is nothing to add.
    def state_dict(self) -> dict[str, Any]:
        """Nothing: where an epoch stands is part of the sampler's state, not of the loader's."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do, as there is nothing in it.

        Args:
            state: What `state_dict` gave.
        """
        return


def wrap_loader(
    loader: DataLoader[Any],
    sampler: SelectionSampler,
    follower: Follower | None = None,
    accelerated: AcceleratedFeed | None = None,
) -> Any:
    """A copy of `loader` that feeds from `sampler`; the loader itself stays as it is.

    The copy keeps class, workers, collate function and attributes. It is no new DataLoader, for a subclass may
    have another constructor.

    Args:
        loader: The user's own loader.
        sampler: Sampler that `sampler_for` made for this loader.
        follower: Told when batches are fetched and waited for.
        accelerated: Hands the batches on as accelerate's loaders do; None = as they are.
    """
    original = getattr(loader, "original", loader)
    kind = type(type(original).__name__, (SelectedLoader, type(original)), {})
    copy: Any = object.__new__(kind)
    copy._adopt(original, sampler, follower, accelerated)
    return copy
