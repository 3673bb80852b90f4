"""The order in which a rank feeds the selected samples of its shards: computed piece by piece, never whole."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dynsel._lib.checks import check_integer
from dynsel.samplers.full_order import FullOrder
from dynsel.selection import Selection
from dynsel.selectors.shards import Permutation, Shards

__all__ = ["ShardedOrder", "ShardedWhole"]

Integers = np.ndarray[Any, np.dtype[Any]]

# Samples of a shard of which the selected ones are found at a time.
CHUNK = 1 << 16


class ShardedWhole(FullOrder):
    """What there is without a selection; positions are places in this rank's shards (see `Shards`).

    Args:
        data_source: The data set; only its length is used.
        num_shards: Number of canonical shards, C.
        num_ranks: Number of ranks, which divides it.
        rank: This one.
        seed: Seed of shards and orders; None takes Lightning's `seed_everything` seed, else 0.

    Attributes:
        shards: Which samples are where.

    Raises:
        TypeError: If the data set has no length.
        ValueError: If it is shorter than C, or the ranks don't divide C.
    """

    def __init__(self, data_source: Any, num_shards: int, num_ranks: int, rank: int, seed: int | None = None) -> None:
        super().__init__(data_source, seed=seed)
        self._ranks, self._rank = num_ranks, rank
        self.cut_into(num_shards)

    def cut_into(self, num_shards: int) -> None:
        """Take another number of shards.

        Raises:
            ValueError: If the data set is shorter than that, or the ranks don't divide it.
        """
        self.shards = Shards(self.num_total, num_shards, num_ranks=self._ranks, rank=self._rank, seed=self.seed)

    def reseed(self, seed: int) -> None:
        """Take another seed, and with it other shards."""
        self.seed = seed
        self.cut_into(self.shards.num_shards)

    @property
    def expected(self) -> int:
        """Number of samples of an epoch without a selection: as many of each shard."""
        return self.shards.num_shards * self.shards.quota(self.num_total)

    def positions_of(self, indices: torch.Tensor) -> torch.Tensor:
        """Places, int64, of these data set indices; -1 where another rank has the sample."""
        return torch.from_numpy(self.shards.places(indices.numpy()))

    def dataset_indices(self, positions: torch.Tensor) -> torch.Tensor:
        """Indices in the data set, int64, of these places."""
        return torch.from_numpy(self.shards.indices(positions.numpy()))

    def is_alike(self, other: FullOrder) -> bool:
        """Whether places mean the same samples for both."""
        if not isinstance(other, ShardedWhole):
            return False
        mine, theirs = self.shards, other.shards
        names = ("num_samples", "num_shards", "num_ranks", "rank")
        return all(getattr(mine, name) == getattr(theirs, name) for name in names)


class ShardedOrder:
    """The selected samples of this rank's shards, as many of each.

    The samples of all ranks follow one another in turns: the first of every shard, in the order of the shards, then
    the second of every shard, and so on; consecutive ones go to consecutive ranks. A global batch is a run of that,
    whatever the number of ranks. In its shard a sample's turn comes from (seed, epoch, shard), by a permutation of the
    whole shard of which the selected part stays.

    Args:
        whole: What there is without a selection.

    Attributes:
        count: Number of samples that stay, M, over all ranks.
        weights: None: every sample counts alike.
        groups: None: batches are runs of the order.
        state_keys: Keys of its state.
    """

    weights = None
    groups = None
    state_keys = ("num_samples", "num_shards", "seed", "begun", "limit")

    def __init__(self, whole: ShardedWhole) -> None:
        self.whole = whole
        self.mask: Integers | None = None
        # Epoch and batch with which it began.
        self._begun = (0, 0)
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._limit: int | None = None
        shards = self.whole.shards
        if self.mask is None:
            self._quota = shards.quota(shards.num_samples)
        else:
            self._quota = int(np.count_nonzero(self.mask[shards.slices()[0]]))
        self.count = self._quota * shards.num_shards

    @property
    def offered(self) -> int:
        """Number of samples if all of them stayed."""
        return self.whole.expected

    @property
    def first_batch(self) -> int:
        """The batch of the epoch with which it began."""
        return self._begun[1]

    def without_data(self) -> ShardedOrder:
        """A copy that doesn't hold the data set."""
        twin = copy.copy(self)
        twin.whole = self.whole.without_data()  # type: ignore[assignment]
        return twin

    def begin(self, epoch: int, batch: int) -> None:
        """Take another order for the selection at hand, which begins with this batch of an epoch.

        Args:
            epoch: Number of the epoch, from 0.
            batch: Number of the batch in it, from 0.
        """
        self._begun = (epoch, batch)
        self._start_afresh()

    def restart(self) -> None:
        """Begin the order anew."""
        self._start_afresh()

    def draw_by_seed(self, by_seed: bool) -> None:
        """Nothing to do: the order always comes from the seed."""

    def select(self, selection: Selection | None) -> None:
        """Keep only these places; None keeps all.

        Raises:
            ValueError: If it hasn't as many in each shard, or one twice.
        """
        if selection is None:
            self.mask = None
        else:
            mask = np.zeros(self.whole.shards.num_own, dtype=bool)
            mask[selection.indices.numpy()] = True
            counts = [int(np.count_nonzero(mask[places])) for places in self.whole.shards.slices()]
            if min(counts) == 0 or min(counts) != max(counts) or sum(counts) != len(selection):
                raise ValueError(
                    f"a selection of shards must hold as many samples of each, none of them twice, got {counts} for "
                    f"{len(selection)} samples"
                )
            self.mask = mask
        self._start_afresh()

    def cut(self, count: int) -> None:
        """Keep only so many of the first samples, over all ranks."""
        self._limit = self.count = count

    def places(self, start: int = 0) -> Iterator[Integers]:
        """This rank's places in their order, in pieces of (n,) int64.

        Args:
            start: How many of them to leave out.
        """
        shards = self.whole.shards
        streams = [self._stream(number) for number in range(len(shards.own))]
        waiting = [np.zeros(0, dtype=np.int64) for _ in streams]
        left, turns_done = self.count // shards.num_ranks, 0
        left -= start
        while turns_done < self._quota and left > 0:
            waiting = [rows if len(rows) else next(stream) for rows, stream in zip(waiting, streams, strict=True)]
            turns = min(self._quota - turns_done, *map(len, waiting))
            piece = np.stack([rows[:turns] for rows in waiting], axis=1).ravel()[max(0, start) :][:left]
            waiting = [rows[turns:] for rows in waiting]
            turns_done, start = turns_done + turns, start - turns * len(streams)
            left -= len(piece)
            if len(piece):
                yield piece

    def _stream(self, number: int) -> Iterator[Integers]:
        """The selected places of one of this rank's shards, in their order; no empty piece."""
        shards = self.whole.shards
        own, length = shards.slices()[number], int(shards.lengths[number])
        shuffle = Permutation(length, self.whole.seed, *self._begun, shards.own[number])
        for first in range(0, length, CHUNK):
            places = shuffle(np.arange(first, min(first + CHUNK, length)))
            places += own.start
            chosen = places if self.mask is None else places[self.mask[places]]
            if len(chosen):
                yield chosen

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, the same on every rank; the selection itself goes into the shards' files."""
        shards = self.whole.shards
        return {
            "num_samples": shards.num_samples,
            "num_shards": shards.num_shards,
            "seed": self.whole.seed,
            "begun": list(self._begun),
            "limit": self._limit,
        }

    def load_state_dict(self, state: dict[str, Any], *, limited: bool) -> None:
        """Continue with the order of which `state_dict` was taken, once the shards have their selection back.

        Args:
            state: Its keys are `state_keys`, or more.
            limited: Whether a limit counts: without a length of their own epochs are as long as the selection.

        Raises:
            TypeError: If a number is none.
            ValueError: If the state is of a data set of another length.
        """
        check_integer("num_samples", state["num_samples"], at_least=0)
        total = self.whole.num_total
        if state["num_samples"] != total:
            raise ValueError(f"the state is of a data set of {state['num_samples']} samples, this one has {total}")
        self.begin(state["begun"][0], state["begun"][1])
        if limited and state["limit"] is not None:
            self._limit = self.count = state["limit"]
