"""A sampler that feeds the selected samples only."""

from __future__ import annotations

import copy
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler, SequentialSampler, SubsetRandomSampler

from dynsel._lib.checks import check_flag, check_integer, check_keys, check_seed, check_sized, check_tensor
from dynsel.samplers.drawing import LeftBehind, draw_epoch, index_dtype, is_shuffle
from dynsel.samplers.driver import Phase
from dynsel.samplers.ranks import decide_once
from dynsel.selection import Selection

__all__ = ["SelectionSampler"]

# Numbers that a Python list holds at a time: one list of a hundred million takes gigabytes.
CHUNK = 1 << 16
# Keys of a sampler's state.
_STATE = (
    "epoch",
    "num_samples",
    "batches",
    "batch_size",
    "position",
    "mask",
    "weights",
    "seed",
    "order",
    "groups",
    "pool",
    "shuffle",
    "begun",
    "limit",
)
NONE_DRAWN = "epoch {epoch}: the sampler drew none of the selected samples"


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
        rank: This one.
        batch_size: Samples in a batch of the loader, on one rank; None = the loader makes no batches.
        drop_last: Whether the loader leaves out a last batch that isn't full.
        pool: (P,) int64 indices, ascending, the only ones that `base` can yield; None = all. Positions, wherever a
            method takes or gives some, are then positions in the pool, and N is P.
        shared: Whether other processes feed parts of the same order, so that rank 0 draws for all.
        own_batches: Whether `base` is a batch sampler, whose batches stay together and get smaller.

    Attributes:
        num_total: N, number of samples to choose from.
        offered: Number of samples of this epoch if all of them stayed; N, unless a `base` draws its own number.
        count: Number of samples of this epoch over all ranks, M (for a `base` that draws its own number: theirs).
        delivered: Batches of this epoch handed out so far, those before a resume included.
        epoch_batches: Batches of every epoch, which then goes on from one selection to the next; None = as many as the
            selection of the epoch has.
        phase: Where the epoch stands.
        epoch_batch_size: Samples in a batch of this epoch, where it isn't the loader's number; else None.
        weights: (N,) loss weights of this epoch, or None.

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
        if base is not None and not isinstance(base, Iterable):
            raise TypeError(f"`base` must be a sampler, or anything that yields positions, got {base!r}")
        if base is not None and num_replicas > 1 and not shared:
            raise ValueError(
                "`base` orders differ between processes; with several ranks leave it out, for the order then comes "
                "from (seed, epoch) and is the same everywhere, or let rank 0 draw for all by `shared=True`"
            )
        self._source_length = len(check_sized("data_source", data_source, "a data set"))
        self.dataset = data_source  # type: ignore[assignment]
        self._source = data_source
        self.base, self.shuffle = base, check_flag("shuffle", shuffle)
        self.seed = int(os.getenv("PL_GLOBAL_SEED", "0")) if seed is None else check_seed("seed", seed)
        if pool is not None and (check_tensor("pool", pool).ndim != 1 or pool.dtype != torch.int64):
            raise ValueError(f"`pool` must be (n,) int64, got shape {tuple(pool.shape)} of {pool.dtype}")
        self.pool = pool
        self.shared, self.own_batches = check_flag("shared", shared), check_flag("own_batches", own_batches)
        self.num_total = self._source_length if pool is None else len(pool)
        if self.num_total == 0:
            raise ValueError(
                "the data set is empty"
                if pool is None
                else "`pool` is empty: the loader's sampler has no index to yield"
            )
        self._subset_is_a_set = type(base) is SubsetRandomSampler and len(set(base.indices)) == len(base.indices)
        self.epoch = 0
        self.weights: Tensor | None = None
        self.epoch_batch_size: int | None = None
        self.make_batches(batch_size, drop_last)
        self.epoch_batches: int | None = None
        self._passes = 1
        # Epoch and batch with which the selection at hand began, and how many samples of its order are fed.
        self._begun = (0, 0)
        self._limit: int | None = None
        self._phase = Phase.DECIDED
        self._by_seed = False
        self._follow: Callable[[int], None] | None = None
        self._mask: Tensor | None = None
        self._order: Tensor | None = None
        self._local: Tensor | None = None
        # With batches of the base's own: which of them each entry of the order belongs to, ascending.
        self._groups: Tensor | None = None
        self._group_ends: list[int] | None = None
        self.first_batch = self.first_position = self.delivered = 0
        self.offered = self.count = self.num_total
        self._begin_epoch()

    def make_batches(self, batch_size: int | None, drop_last: bool) -> None:
        """Count in batches of this size, as the loader makes them; None = it makes none and takes single samples."""
        self.batched, self.drop_last = batch_size is not None, check_flag("drop_last", drop_last)
        self.batch_size = 1 if batch_size is None else check_integer("batch_size", batch_size, at_least=1)

    def keep_length(self, batches: int | None) -> None:
        """Give every epoch so many batches, whatever is selected; None = as many as the selection has."""
        self.epoch_batches = batches

    def share(self, num_replicas: int, rank: int) -> None:
        """Feed the part of this rank of so many."""
        self.num_replicas, self.rank = num_replicas, rank
        self._local = None

    def reseed(self, seed: int) -> None:
        """Take another seed for the orders still to be drawn."""
        self.seed = seed

    def follow(self, told: Callable[[int], None]) -> None:
        """Leave it to a controller what an epoch is: `set_epoch` tells it, instead of beginning one."""
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
        self.delivered = trained
        self.dataset = self._source = range(self._source_length)  # type: ignore[assignment]
        self._follow = None
        self.base = None if self.base is None else LeftBehind()

    # ---------------------------------------------------------------- where the epoch stands
    @property
    def phase(self) -> Phase:
        return self._phase

    def enter(self, phase: Phase) -> None:
        """Go on to this phase.

        Raises:
            RuntimeError: If the table of `Phase` has no such step.
        """
        if not self._phase.may_become(phase):
            raise RuntimeError(
                f"an epoch can't go from {self._phase.name} to {phase.name}; "
                "`set_epoch` and the loader do it in order, once training has begun"
            )
        self._phase = phase

    def pin(self) -> None:
        """Feed this epoch next, whatever the loader says: `set_epoch` is passed over until the first batch."""
        if self._phase is Phase.ENDED:
            self.repeat()
        self.enter(Phase.PINNED)

    def start(self) -> None:
        """The loader begins to fetch this epoch's batches, from where a resumed one goes on."""
        self.delivered = self.first_batch
        if self._phase.selects:
            self.enter(Phase.RUNNING)

    def deliver(self, batches: int = 1) -> None:
        """So many batches were handed out."""
        self.delivered += batches

    def end(self) -> None:
        """The loader has no batch left."""
        if self._phase.selects:
            self.enter(Phase.ENDED)

    # ---------------------------------------------------------------- the epoch
    def select(self, selection: Selection | Tensor | Iterable[int] | None) -> None:
        """Feed only these samples from the next iteration on; None feeds all.

        Raises:
            ValueError: If the selection is empty, has an index outside the data set, or one twice.
        """
        if selection is not None and not isinstance(selection, Selection):
            indices = selection if isinstance(selection, Tensor) else list(selection)
            selection = Selection(torch.as_tensor(indices, dtype=torch.int64))
        # A selection that is refused leaves the one before in place, not the whole data set.
        self._mask = None if selection is None else self._mask_of(selection.indices)
        self.weights = None
        if selection is not None and selection.weights is not None:
            weights = selection.weights.float()
            self.weights = torch.ones(self.num_total).index_copy_(0, selection.indices.long(), weights)
        self._begin_epoch()
        self.enter(Phase.DECIDED)

    def set_epoch(self, epoch: int) -> None:
        """Order of another epoch; Lightning and Fabric call it by themselves, a plain loop must."""
        length = len(self._source)
        if length != self._source_length:
            raise ValueError(
                f"the data set changed its length from {self._source_length} to {length} between epochs; "
                "scores and usage belong to fixed positions: start a new run on the new data set"
            )
        if self._follow is None:
            self.begin(epoch)
        else:
            self._follow(epoch)

    def begin(self, epoch: int, *, batch: int = 0, batch_size: int | None = None, by_seed: bool = False) -> None:
        """Take the order of this epoch; going on with the one at hand keeps it.

        Args:
            epoch: Its number, from 0.
            batch: The batch of it with which this order begins; inside an epoch it is always another order.
            batch_size: Samples in its batches, on one rank; None = the loader's number.
            by_seed: Whether a shuffled order comes from (seed, epoch) whatever the `base` draws. One that is drawn
                before the epoch begins must not depend on when that is: resumed after an epoch, Lightning iterates
                the loader of validation later than it would have.
        """
        self.epoch_batch_size, self._by_seed = batch_size, by_seed
        if epoch != self.epoch or batch:
            self._passes = 1 if epoch != self.epoch else self._passes
            self.epoch, self._begun = epoch, (epoch, batch)
            self._begin_epoch()
        self._tell_base()

    def _tell_base(self) -> None:
        tell = getattr(self.base, "set_epoch", None)
        if tell is not None:
            tell(self.epoch)

    def go_on(self, epoch: int, trained: int) -> None:
        """Begin an epoch with what the selection at hand has left after so many batches of the epoch before."""
        self._skip_to(trained)
        self.epoch, self._passes = epoch, 1
        self.first_batch = self.delivered = 0
        self._tell_base()
        self.enter(Phase.DECIDED)

    def _skip_to(self, batch: int) -> None:
        self.first_position, self.first_batch = self.position(batch), batch
        self._local = self._group_ends = None

    def limit(self, batches: int) -> int:
        """Feed no more than so many batches of the selection at hand, and whole ones unless it is of everything.

        Returns:
            How many there are; 0 if none is left.
        """
        if not self.is_permutation:
            self.draw()  # only the draw tells its length
        together, ends = self.step_size * self.num_replicas, None if self._groups is None else self._ends()
        there = self._batches_of(self.count, self.step_size) if ends is None else len(ends)
        if ends is None and not (self.count == self.offered and self.step_size == self.batch_size):
            there = min(there, max(1, self.count // together))
        batches = min(batches, there)
        samples = ends[batches - 1] if ends else batches * together
        if batches and samples < self.count:
            self._limit = self.count = samples
            self._order, self._groups = _cut(self._order, samples), _cut(self._groups, samples)
            self._local = self._group_ends = None
        return batches

    def repeat(self) -> None:
        """Go on after an epoch's end, for its loader is cycled beside a longer one: with its selection once more, or
        with more batches of the same kind where epochs have a length of their own.
        """
        delivered = self.delivered
        if self.epoch_batches is not None:
            self._passes += 1
            self._skip_to(delivered)
            self.enter(Phase.DECIDED)
            return
        self._begin_epoch()
        self.first_batch = self.delivered = delivered
        self.enter(Phase.DECIDED)

    def _begin_epoch(self) -> None:
        self._order = self._local = self._groups = self._group_ends = self._limit = None
        # Where the order goes on: samples of it that were used already, in how many batches of this epoch.
        self.first_position, self.first_batch = 0, self._begun[1]
        self.delivered = self.first_batch
        self.offered = self.num_total if self.is_permutation else self.offered
        self.count = self.num_total if self._mask is None else int(np.count_nonzero(self._mask.numpy()))

    def keep(self, places: Tensor, weights: Tensor | None = None) -> Tensor:
        """Feed only this part of the epoch's order from the next iteration on.

        Args:
            places: (M,) int64 places in `draw()`, ascending.
            weights: (N,) loss weights; None = all 1.

        Returns:
            The samples that are there, (M,) int64, ascending; fewer where a sampler drew some of them twice.
        """
        order, groups = self.draw()[places], self._groups
        if not len(order):
            raise ValueError(NONE_DRAWN.format(epoch=self.epoch))
        chosen = torch.from_numpy(np.unique(order.numpy()))
        self.select(Selection(chosen, None if weights is None else weights[chosen]))
        # Of a sample that was drawn twice the order alone knows which one stays.
        self._order, self.count = order, len(order)
        self._groups = None if groups is None else groups[places]
        return chosen

    def draw(self) -> Tensor:
        """This epoch's global order, (count,) int64, the same on every rank; drawn at the first call."""
        if self._order is None:
            order, groups = self._full_order()
            self.offered = len(order)
            if self._mask is not None:
                # numpy takes a tenth of torch's time for it.
                mixed = order.numpy()
                stay = self._mask.numpy().take(mixed)
                order = torch.from_numpy(np.compress(stay, mixed))
                groups = None if groups is None else groups[torch.from_numpy(stay)]
            if not len(order):
                raise ValueError(NONE_DRAWN.format(epoch=self.epoch))
            self._order, self._groups = order[: self._limit], None if groups is None else groups[: self._limit]
            self.count = len(self._order)
        return self._order

    @property
    def is_permutation(self) -> bool:
        """Whether every sample comes up exactly once in an unselected epoch, so that the length is known undrawn."""
        return self.base is None or type(self.base) is SequentialSampler or self._shuffles_all

    @property
    def expected(self) -> int:
        """Samples of an unselected epoch, as far as that is known before it is drawn."""
        if self.is_permutation or self.own_batches or not hasattr(self.base, "__len__"):
            return self.num_total
        return len(self.base)  # type: ignore[arg-type]

    @property
    def _shuffles_all(self) -> bool:
        base = self.base
        if type(base) is SubsetRandomSampler:
            return len(base.indices) == self.num_total and self._subset_is_a_set
        return is_shuffle(base) and base.num_samples == self.num_total  # type: ignore[union-attr]

    def _full_order(self) -> tuple[Tensor, Tensor | None]:
        if self.base is not None and not (self._by_seed and self._shuffles_all):
            return decide_once(self._drawn) if self.shared else self._drawn()
        if not self.shuffle:
            return torch.arange(self.num_total), None
        # The same permutation as torch's DistributedSampler draws from this seed and epoch; later ones of an epoch are
        # others.
        epoch, batch = self._begun
        generator = torch.Generator().manual_seed(self.seed + epoch + (batch << 32))
        return torch.randperm(self.num_total, generator=generator), None

    def _drawn(self) -> tuple[Tensor, Tensor | None]:
        order, groups = draw_epoch(self.base, self._source_length, own_batches=self.own_batches)
        return order if self.pool is None else torch.searchsorted(self.pool, order), groups

    # ---------------------------------------------------------------- this rank's part
    def local_order(self) -> Tensor:
        """What this rank feeds from `first_position` on, int64."""
        if self._local is None:
            self._local = self._padded(self.first_position)[self.rank :: self.num_replicas]
        return self._local

    def positions_of(self, indices: Tensor) -> Tensor:
        """Positions, int64, of these data set indices; those that aren't in the pool get one past its end."""
        if self.pool is None:
            return indices
        places = torch.searchsorted(self.pool, indices)
        inside = self.pool[places.clamp(max=self.num_total - 1)] == indices
        return torch.where(inside, places, self.num_total)

    def is_alike(self, other: SelectionSampler) -> bool:
        """Whether positions mean the same samples for both."""
        return self.num_total == other.num_total and self._fingerprint() == other._fingerprint()

    def dataset_indices(self, positions: Tensor) -> Tensor:
        """Indices in the data set, int64, of these positions."""
        return positions if self.pool is None else self.pool[positions]

    def coming(self) -> Tensor:
        """What of `local_order` this epoch still has room for."""
        return self.local_order()[: None if self._room is None else self._room * self.step_size]

    @property
    def _room(self) -> int | None:
        return None if self.epoch_batches is None else self.num_batches() - self.first_batch

    @property
    def at_edge(self) -> bool:
        """Whether the selection at hand is used up, and the next batch of the epoch belongs to another one."""
        return self.epoch_batches is not None and self._phase.selects and not self.has_left(self.delivered)

    def has_left(self, batch_idx: int) -> bool:
        """Whether there is a batch of this number in the selection at hand, be it one of the next epoch."""
        if self._groups is not None:
            return batch_idx < self.first_batch + len(self._ends())
        return batch_idx < self.first_batch + self._batches_of(self.count - self.first_position, self.step_size)

    def __iter__(self) -> Iterator[int]:
        order = self.coming()
        for start in range(0, len(order), CHUNK):
            yield from self.dataset_indices(order[start : start + CHUNK]).tolist()

    def batches(self) -> Iterator[list[int]]:
        """Data set indices of each batch that this rank feeds, from the first one of a resumed epoch on."""
        order, ends = self.local_order(), self._ends()[: self._room]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            yield self.dataset_indices(order[start:end]).tolist()

    def _ends(self) -> list[int]:
        """Where each batch ends in `local_order`."""
        size, length = self.step_size, len(self.local_order())
        if self._groups is not None:
            if self._group_ends is None:
                groups = self._groups[self.first_position :]
                last = torch.ones(len(groups), dtype=torch.bool)
                last[:-1] = groups[1:] != groups[:-1]
                self._group_ends = (last.nonzero()[:, 0] + 1).tolist()
            return self._group_ends
        whole = list(range(size, length + 1, size))
        return whole if self.drop_last or length % size == 0 else [*whole, length]

    def __len__(self) -> int:
        if self.epoch_batches is not None and not self.batched:
            return self.num_batches()
        total = self.expected if self._phase.is_undecided else self.count
        remaining = math.ceil(max(0, total - self.first_position) / self.num_replicas)
        return remaining if self.batched else self.first_batch + remaining

    @property
    def step_size(self) -> int:
        """Samples in a batch of this epoch, on one rank."""
        return self.batch_size if self.epoch_batch_size is None else self.epoch_batch_size

    def num_batches(self, samples: int | None = None, batch_size: int | None = None) -> int:
        """Batches of this rank in an epoch of `samples` (default: this epoch's, with those before a resume).

        Args:
            samples: Of all ranks.
            batch_size: Of those batches, if it isn't the loader's; goes with `samples`.
        """
        if samples is None and self.epoch_batches is not None:
            return self.epoch_batches * self._passes
        if self.own_batches and (samples is not None or self._phase.is_undecided):
            # How many of them a selection leaves without any sample, nobody knows before.
            return self._limit_of_batches()
        if samples is not None:
            return self._batches_of(samples, batch_size or self.batch_size)
        if self._phase.is_undecided:
            return self.first_batch + self._batches_of(self.expected - self.first_position, self.batch_size)
        if self._groups is not None:
            return self.first_batch + len(self._ends())
        return self.first_batch + self._batches_of(self.count - self.first_position, self.step_size)

    def full_batches(self) -> int:
        """Batches of this rank in an epoch without a selection."""
        return self._limit_of_batches() if self.own_batches else self._batches_of(self.expected, self.batch_size)

    def _limit_of_batches(self) -> int:
        try:
            return len(self.base)  # type: ignore[arg-type]
        except (TypeError, NotImplementedError):
            return math.ceil(self.num_total / self.batch_size)

    def _batches_of(self, samples: int, size: int) -> int:
        # The padding of the last batch may have gone past the end.
        local = math.ceil(max(0, samples) / self.num_replicas)
        return local // size if self.drop_last else math.ceil(local / size)

    # ---------------------------------------------------------------- which batch held what
    def batch(self, batch_idx: int) -> Tensor:
        """Positions of this rank's batch, (B,) int64. Known from the order alone, whatever workers prefetch."""
        number = batch_idx - self.first_batch
        if self._groups is None:
            return self.local_order()[number * self.step_size : (number + 1) * self.step_size]
        ends = [0, *self._ends()]
        start, end = (ends[min(n, len(ends) - 1)] for n in (number, number + 1))
        return self.local_order()[start:end]

    def used(self, start_batch: int, stop_batch: int) -> Tensor:
        """Positions that all ranks together feed in batches `start_batch` to `stop_batch` - 1, int64."""
        # Consecutive samples of the order go to consecutive ranks, so one batch of every rank is one run of it.
        run = slice(*(self.position(b) - self.first_position for b in (start_batch, stop_batch)))
        return self._padded(self.first_position)[run]

    def position(self, batch_idx: int) -> int:
        """Samples of the (padded) global order used before batch `batch_idx` starts."""
        number = batch_idx - self.first_batch
        if self._groups is not None:
            ends = [0, *self._ends()]
            return self.first_position + ends[min(number, len(ends) - 1)]
        return self.first_position + min(number * self.step_size, len(self.local_order())) * self.num_replicas

    def _padded(self, start: int) -> Tensor:
        order = self.draw()
        missing = -(len(order) - start) % self.num_replicas
        if not missing:
            return order[start:]
        # A selection smaller than the number of ranks goes around more than once.
        repeats = math.ceil((len(order) + missing) / len(order))
        return order.repeat(repeats)[start : len(order) + missing]

    # ---------------------------------------------------------------- state
    def state_dict(self, batches: int = 0) -> dict[str, Any]:
        """Selection and position: tensors and integers, N / 8 bytes.

        Args:
            batches: Batches of this epoch that were trained on.
        """
        state: dict[str, Any] = {
            "epoch": self.epoch,
            "num_samples": self.num_total,
            "batches": batches,
            "batch_size": self.epoch_batch_size,
            "position": self.position(batches) if batches else self.first_position,
            "mask": None if self._mask is None else torch.from_numpy(np.packbits(self._mask.numpy())),
            "weights": None if self.weights is None else self.weights.clone(),
            "seed": self.seed,
            "order": None,
            "groups": None if self._groups is None else self._groups.int(),
            "pool": self._fingerprint(),
            "shuffle": None if self.base is not None else self.shuffle,
            "begun": list(self._begun),
            "limit": self._limit,
        }
        # An order that came from a user's sampler can't be derived again.
        if self.base is not None and self._order is not None:
            state["order"] = self._order.to(index_dtype(self.num_total))
        return state

    def _fingerprint(self) -> int | None:
        """Tells pools of the same size apart; None without one."""
        return None if self.pool is None else zlib.crc32(self.pool.numpy().tobytes())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, also on another number of ranks.

        Raises:
            ValueError: If the state is of a data set of another length, or of another version.
        """
        check_keys("the sampler", state, _STATE)
        for name in ("epoch", "num_samples", "batches", "position"):
            check_integer(name, state[name], at_least=0)
        if state["shuffle"] is not None:
            check_flag("shuffle", state["shuffle"])
        if state["num_samples"] != self.num_total:
            raise ValueError(
                f"the state is of a data set of {state['num_samples']} samples, this one has {self.num_total}"
            )
        if state["pool"] != self._fingerprint():
            raise ValueError(
                "the state is of a sampler that yields other indices: resume with the same fold, or start a new run"
            )
        self.epoch, self.seed, self.weights = state["epoch"], state["seed"], state["weights"]
        if state["shuffle"] is not None:
            # The order came from the seed, on several ranks perhaps, and goes on as it was.
            self.base, self.shuffle = None, state["shuffle"]
        mask = state["mask"]
        self._mask = None if mask is None else torch.from_numpy(np.unpackbits(mask.numpy())[: self.num_total]).bool()
        self._begun = (state["begun"][0], state["begun"][1])
        self._begin_epoch()
        # Without a length of their own epochs are as long as the selection.
        self._limit = None if self.epoch_batches is None else state["limit"]
        self.count = self.count if self._limit is None else self._limit
        if state["order"] is not None:
            self._order = state["order"].long()
            self._groups = None if state["groups"] is None else state["groups"].long()
            self.count = len(self._order)
        self._passes = max(1, math.ceil(state["batches"] / self.epoch_batches)) if self.epoch_batches else 1
        self.first_position, self.first_batch = state["position"], state["batches"]
        self.delivered, self.epoch_batch_size = state["batches"], state["batch_size"]
        # Before training has begun a state can wait; afterwards its epoch is the one that stands.
        if self._phase.selects:
            self.enter(Phase.DECIDED)

    def _mask_of(self, indices: Tensor) -> Tensor:
        if not len(indices):
            raise ValueError(f"epoch {self.epoch}: empty selection; an epoch must train on at least one sample")
        rows = indices.numpy()
        low, high = int(rows.min()), int(rows.max())
        if low < 0 or high >= self.num_total:
            raise ValueError(f"selected indices must be in 0 .. {self.num_total - 1}, got {low} .. {high}")
        mask = np.zeros(self.num_total, dtype=bool)
        mask[rows] = True
        if np.count_nonzero(mask) != len(rows):
            raise ValueError("a selection must hold each index at most once, got duplicates")
        return torch.from_numpy(mask)


def _cut(rows: Tensor | None, count: int) -> Tensor | None:
    return None if rows is None else rows[:count]
