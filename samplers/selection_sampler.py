"""A sampler that feeds the selected samples only."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler

from dynsel._lib.checks import check_flag, check_integer, check_keys
from dynsel.samplers.drawing import told_length
from dynsel.samplers.epoch_order import EpochOrder
from dynsel.samplers.full_order import FullOrder
from dynsel.samplers.rank_batches import RankBatches, count_batches
from dynsel.samplers.stage import Phase, Stage
from dynsel.selection import Selection

__all__ = ["SelectionSampler"]

# Numbers that a Python list holds at a time: one list of a hundred million takes gigabytes.
CHUNK = 1 << 16


class SelectionSampler(DistributedSampler[int]):
    """Feeds the selected samples in the order that the whole data set would have had.

    The order of an epoch is a permutation of the whole data set from (seed, epoch), of which only the selected
    part stays: a selection never changes the order of what it keeps. Every rank gets the same number of samples,
    no two ranks the same one, except that the last ones are filled up from the front when the selection does not
    divide by the number of ranks.

    It is a `DistributedSampler` by class only, so that Lightning, Fabric and others leave it alone.

    Args:
        data_source: The data set; only its length is used.
        base: Sampler whose order to filter instead of the (seed, epoch) permutation; with `own_batches` it yields
            lists, and on several ranks it needs `shared`.
        shuffle: Permute; otherwise the data set's own order.
        seed: Seed of the order; None takes Lightning's `seed_everything` seed, else 0.
        num_replicas: Number of ranks.
        rank: Number of this rank, from 0.
        batch_size: Samples in a batch of the loader, on one rank; None = the loader makes no batches.
        drop_last: Whether the loader leaves out a last batch that isn't full.
        pool: (P,) int64 indices, ascending, the only ones that `base` can yield; None = all. Positions, wherever a
            method takes or gives some, are then positions in the pool, and N is P.
        shared: Whether other processes feed parts of the same order, so that rank 0 draws for all.
        own_batches: Whether `base` is a batch sampler, whose batches stay together and get smaller.

    Attributes:
        num_total: N, number of samples to choose from.
        whole: The order without a selection.
        epoch_batches: Batches of every epoch, which then goes on from one selection to the next; None = as many as the
            selection of the epoch has.
        stage: Where the epoch stands.
        epoch_batch_size: Samples in a batch of this epoch, where it isn't the loader's number; else None.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If the data set is empty, or a number is out of range.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> sampler = SelectionSampler(range(10), seed=0)
        >>> sampler.select([1, 3, 5])
        >>> sampler.set_epoch(0)
        >>> [batch.tolist() for batch in DataLoader(range(10), batch_size=2, sampler=sampler)]
        [[1, 5], [3]]
    """

    def __init__(
        self,
        data_source: Sized,
        *,
        base: Sampler[Any] | Iterable[int] | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        num_replicas: int = 1,
        rank: int = 0,
        batch_size: int | None = None,
        drop_last: bool = False,
        pool: Tensor | None = None,
        shared: bool = False,
        own_batches: bool = False,
    ) -> None:
        self.num_replicas = check_integer("num_replicas", num_replicas, at_least=1)
        self.rank = check_integer("rank", rank)
        if not 0 <= rank < num_replicas:
            raise ValueError(f"`rank` must be in 0 .. num_replicas - 1 = {num_replicas - 1}, got {rank}")
        if base is not None and num_replicas > 1 and not shared:
            raise ValueError(
                "`base` orders differ between processes; with several ranks leave it out, for the order then comes "
                "from (seed, epoch) and is the same everywhere, or let rank 0 draw for all by `shared=True`"
            )
        self.whole = FullOrder(
            data_source, base=base, shuffle=shuffle, seed=seed, pool=pool, shared=shared, own_batches=own_batches
        )
        self.dataset = data_source  # type: ignore[assignment]
        self.num_total = self.whole.num_total
        self._order = EpochOrder(self.whole)
        # Made when it is needed first, and anew once the order, or how it is cut, has changed.
        self._part: RankBatches | None = None
        self.epoch = 0
        self.epoch_batch_size: int | None = None
        self.make_batches(batch_size, drop_last)
        self.epoch_batches: int | None = None
        # How often an epoch's length was gone through, where its loader is cycled.
        self._passes = 1
        self.stage = Stage()
        self._follow: Callable[[int], None] | None = None
        self._go_to_front()

    def make_batches(self, batch_size: int | None, drop_last: bool) -> None:
        """Count in batches as the loader makes them.

        Args:
            batch_size: Size B of the batches; None = it makes none and takes single samples.
            drop_last: Whether a last, smaller batch is left out.

        Raises:
            TypeError: If one is of another type.
            ValueError: If `batch_size` is below 1.
        """
        self.batched, self.drop_last = batch_size is not None, check_flag("drop_last", drop_last)
        self.batch_size = 1 if batch_size is None else check_integer("batch_size", batch_size, at_least=1)
        self._part = None

    def keep_length(self, batches: int | None) -> None:
        """Give every epoch the same number of batches, whatever is selected.

        Args:
            batches: Number of batches of each epoch; None = as many as the selection has.
        """
        self.epoch_batches = batches

    def share(self, num_replicas: int, rank: int) -> None:
        """Feed the part of one rank.

        Args:
            num_replicas: Number of ranks that share the order.
            rank: Number of this rank, from 0.
        """
        self.num_replicas, self.rank = num_replicas, rank
        self._part = None

    def follow(self, told: Callable[[int], None]) -> None:
        """Leave it to a controller what an epoch is: `set_epoch` tells it, instead of beginning one.

        Args:
            told: Function of the epoch's number.
        """
        self._follow = told

    def without_data(self, trained: int) -> SelectionSampler:
        """A copy that knows this epoch's selection and position, but holds neither the data set nor the user's sampler.

        It serves a copied controller until that wraps a loader of its own.

        Args:
            trained: Batches of this epoch that were trained on; what was delivered beyond them is not in the copy.
        """
        twin = copy.copy(self)
        twin._leave_data(trained)
        return twin

    def _leave_data(self, trained: int) -> None:
        self.stage = copy.copy(self.stage)
        self.stage.stand_at(trained)
        self.dataset = range(self.whole.length)  # type: ignore[assignment]
        self._follow = None
        self._order = self._order.without_data()
        self.whole = self._order.whole

    # ---------------------------------------------------------------- the epoch
    def set_epoch(self, epoch: int) -> None:
        """Order of another epoch; Lightning and Fabric call it by themselves, a plain loop must.

        Args:
            epoch: Number of the epoch, from 0.

        Raises:
            ValueError: If the data set has changed its length.
        """
        self.whole.check_length()
        if self._follow is None:
            self.begin(epoch)
        else:
            self._follow(epoch)

    def begin(self, epoch: int, *, batch: int = 0, batch_size: int | None = None, by_seed: bool = False) -> None:
        """Take the order of this epoch; going on with the one at hand keeps it.

        Args:
            epoch: Number of the epoch, from 0.
            batch: The batch of it with which this order begins; inside an epoch it is always another order.
            batch_size: Samples in its batches, on one rank; None = the loader's number.
            by_seed: Whether a shuffled order comes from (seed, epoch) whatever the `base` draws. One that is drawn
                before the epoch begins must not depend on when that is: resumed after an epoch, Lightning iterates
                the loader of validation later than it would have.
        """
        self.epoch_batch_size, self._part = batch_size, None
        self._order.draw_by_seed(by_seed)
        if epoch != self.epoch or batch:
            self._passes = 1 if epoch != self.epoch else self._passes
            self.epoch = epoch
            self._order.begin(epoch, batch)
            self._go_to_front()
        self.whole.set_epoch(epoch)

    def select(self, selection: Selection | Tensor | Iterable[int] | None) -> None:
        """Feed some samples only, from the next iteration on.

        Args:
            selection: Selection, or (M,) positions, as a tensor or any iterable; None feeds all.

        Raises:
            ValueError: If the selection is empty, has an index outside the data set, or one twice.
        """
        self._order.select(selection)
        self._go_to_front()
        self.stage.enter(Phase.DECIDED)

    def keep(self, places: Tensor, weights: Tensor | None = None) -> Tensor:
        """Feed only a part of the epoch's order from the next iteration on.

        Args:
            places: (M,) int64 places in `draw()`, ascending.
            weights: (N,) loss weights; None = all 1.

        Returns:
            The samples that are there, (M,) int64, ascending; fewer where a sampler drew some of them twice.
        """
        chosen = self._order.keep(places, weights)
        self._go_to_front()
        self.stage.enter(Phase.DECIDED)
        return chosen

    def limit(self, batches: int) -> int:
        """Feed the beginning of the selection at hand, in whole batches unless it is of everything.

        Args:
            batches: Most batches to feed.

        Returns:
            How many there are; 0 if none is left.
        """
        if not self.whole.is_permutation:
            self.draw()  # only the draw tells its length
        together, ends = self.step_size * self.num_replicas, None if self._order.groups is None else self.part.ends
        there = self._batches_of(self.count, self.step_size) if ends is None else len(ends)
        if ends is None and not (self.count == self.offered and self.step_size == self.batch_size):
            there = min(there, max(1, self.count // together))
        batches = min(batches, there)
        samples = ends[batches - 1] if ends else batches * together
        if batches and samples < self.count:
            self._order.cut(samples)
            self._part = None
        return batches

    def pin(self) -> None:
        """Feed this epoch next, whatever the loader says: `set_epoch` is passed over until the first batch."""
        if self.stage.phase is Phase.ENDED:
            self.repeat()
        self.stage.enter(Phase.PINNED)

    def go_on(self, epoch: int, trained: int) -> None:
        """Begin an epoch with what the selection at hand has left.

        Args:
            epoch: Number of the epoch, from 0.
            trained: Batches of the epoch before that were trained on.
        """
        self._go_to(self.part.position(trained), 0)
        self.epoch, self._passes = epoch, 1
        self.stage.stand_at(0)
        self.whole.set_epoch(epoch)
        self.stage.enter(Phase.DECIDED)

    def repeat(self) -> None:
        """Go on after an epoch's end, for its loader is cycled beside a longer one: with its selection once more, or
        with more batches of the same kind where epochs have a length of their own.
        """
        if self.epoch_batches is None:
            self._order.restart()
            self._go_to(0, self.stage.delivered)
        else:
            self._passes += 1
            self._go_to(self.part.position(self.stage.delivered), self.stage.delivered)
        self.stage.enter(Phase.DECIDED)

    def _go_to_front(self) -> None:
        self._go_to(0, self._order.first_batch)
        self.stage.stand_at(self.first_batch)

    def _go_to(self, position: int, batch: int) -> None:
        # Where the order goes on: samples of it that were used already, in how many batches of this epoch.
        self.first_position, self.first_batch, self._part = position, batch, None

    # ---------------------------------------------------------------- the selection at hand
    @property
    def weights(self) -> Tensor | None:
        """(N,) float32 loss weights of this epoch, or None."""
        return self._order.weights

    @property
    def count(self) -> int:
        """Number of samples of this epoch over all ranks, M (for a `base` that draws its own number: theirs)."""
        return self._order.count

    @property
    def offered(self) -> int:
        """Number of samples of this epoch if all of them stayed; N, unless a `base` draws its own number."""
        return self._order.offered

    def draw(self) -> Tensor:
        """This epoch's global order, the same on every rank; drawn at the first call.

        Returns:
            (M,) int64 positions, M = `count`.
        """
        return self._order.draw()

    # ---------------------------------------------------------------- this rank's part
    @property
    def part(self) -> RankBatches:
        """What this rank feeds from `first_position` on. Known from the order alone, whatever workers prefetch."""
        if self._part is None:
            self._part = RankBatches(
                self.draw(),
                self._order.groups,
                start=self.first_position,
                first_batch=self.first_batch,
                batch_size=self.step_size,
                drop_last=self.drop_last,
                ranks=self.num_replicas,
                rank=self.rank,
            )
        return self._part

    @property
    def at_edge(self) -> bool:
        """Whether the selection at hand is used up, and the next batch of the epoch belongs to another one."""
        return self.epoch_batches is not None and self.stage.phase.selects and not self.has_left(self.stage.delivered)

    def has_left(self, batch_idx: int) -> bool:
        """Whether the selection at hand has a batch of this number.

        Args:
            batch_idx: Batch of the epoch, from 0; it may be one of the next epoch.
        """
        return batch_idx < self.first_batch + self._batches_left

    @property
    def _batches_left(self) -> int:
        if self._order.groups is not None:
            return len(self.part.ends)
        # The padding of the last batch may have gone past the end.
        return self._batches_of(self.count - self.first_position, self.step_size)

    @property
    def _room(self) -> int | None:
        return None if self.epoch_batches is None else self.num_batches() - self.first_batch

    def __iter__(self) -> Iterator[int]:
        order = self.part.order[: None if self._room is None else self._room * self.step_size]
        for start in range(0, len(order), CHUNK):
            yield from self.whole.dataset_indices(order[start : start + CHUNK]).tolist()

    def batches(self) -> Iterator[list[int]]:
        """Data set indices of each batch that this rank feeds, from the first one of a resumed epoch on."""
        order, ends = self.part.order, self.part.ends[: self._room]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            yield self.whole.dataset_indices(order[start:end]).tolist()

    # ---------------------------------------------------------------- how many
    def __len__(self) -> int:
        if self.epoch_batches is not None and not self.batched:
            return self.num_batches()
        total = self.whole.expected if self.stage.phase.is_undecided else self.count
        remaining = math.ceil(max(0, total - self.first_position) / self.num_replicas)
        return remaining if self.batched else self.first_batch + remaining

    @property
    def step_size(self) -> int:
        """Samples in a batch of this epoch, on one rank."""
        return self.batch_size if self.epoch_batch_size is None else self.epoch_batch_size

    def num_batches(self, samples: int | None = None, batch_size: int | None = None) -> int:
        """Batches of this rank in an epoch of `samples` (default: this epoch's, with those before a resume).

        Args:
            samples: Samples of all ranks together.
            batch_size: Size of those batches, if it isn't the loader's; goes with `samples`.
        """
        if samples is None and self.epoch_batches is not None:
            return self.epoch_batches * self._passes
        if self.whole.own_batches and (samples is not None or self.stage.phase.is_undecided):
            # How many of them a selection leaves without any sample, nobody knows before.
            return self.full_batches()
        if samples is not None:
            return self._batches_of(samples, batch_size or self.batch_size)
        if self.stage.phase.is_undecided:
            return self.first_batch + self._batches_of(self.whole.expected - self.first_position, self.batch_size)
        return self.first_batch + self._batches_left

    def full_batches(self) -> int:
        """Batches of this rank in an epoch without a selection."""
        if not self.whole.own_batches:
            return self._batches_of(self.whole.expected, self.batch_size)
        told = told_length(self.whole.base)
        return math.ceil(self.num_total / self.batch_size) if told is None else told

    def _batches_of(self, samples: int, size: int) -> int:
        return count_batches(samples, self.num_replicas, size, self.drop_last)

    # ---------------------------------------------------------------- state
    def state_dict(self, batches: int = 0) -> dict[str, Any]:
        """Selection and position: tensors and integers, N / 8 bytes.

        Args:
            batches: Batches of this epoch that were trained on.
        """
        return {
            "epoch": self.epoch,
            "batches": batches,
            "batch_size": self.epoch_batch_size,
            "position": self.part.position(batches) if batches else self.first_position,
            **self._order.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, also on another number of ranks.

        Args:
            state: What `state_dict` gave.

        Raises:
            ValueError: If the state is of a data set of another length, or of another version.
        """
        self._check_state(state)
        self._order.load_state_dict(state, limited=self.epoch_batches is not None)
        self.epoch, self.epoch_batch_size = state["epoch"], state["batch_size"]
        self._passes = max(1, math.ceil(state["batches"] / self.epoch_batches)) if self.epoch_batches else 1
        self._go_to(state["position"], state["batches"])
        self.stage.stand_at(state["batches"])
        # Before training has begun a state can wait; afterwards its epoch is the one that stands.
        if self.stage.phase.selects:
            self.stage.enter(Phase.DECIDED)

    def _check_state(self, state: dict[str, Any]) -> None:
        check_keys("the sampler", state, ("epoch", "batches", "batch_size", "position", *self._order.state_keys))
        for name in ("epoch", "batches", "position"):
            check_integer(name, state[name], at_least=0)
