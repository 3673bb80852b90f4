"""The order of an epoch before anything of it is selected."""

from __future__ import annotations

import copy
import os
import zlib
from collections.abc import Iterable, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler, SequentialSampler, SubsetRandomSampler

from dynsel._lib.checks import check_flag, check_seed, check_sized, check_tensor
from dynsel.samplers.drawing import LeftBehind, draw_epoch, is_shuffle, told_length
from dynsel.samplers.ranks import decide_once

__all__ = ["FullOrder"]


class FullOrder:
    """Draws what an epoch holds as long as nothing is selected: a permutation, or what the user's own sampler yields.

    Args:
        data_source: The data set; only its length is used.
        base: Sampler whose order to take instead of the (seed, epoch) permutation; with `own_batches` it yields lists.
        shuffle: Permute; otherwise the data set's own order.
        seed: Seed of the permutation; None takes Lightning's `seed_everything` seed, else 0.
        pool: (P,) int64 indices, ascending, the only ones that `base` can yield; None = all. Positions, wherever a
            method takes or gives some, are then positions in the pool.
        shared: Whether other processes feed parts of the same order, so that rank 0 draws for all.
        own_batches: Whether `base` is a batch sampler, whose batches stay together and get smaller.

    Attributes:
        length: Number of samples of the data set.
        num_total: N, number of samples to choose from: P, or the length of the data set.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If the data set or the pool is empty.
    """

    def __init__(
        self,
        data_source: Sized,
        *,
        base: Sampler[Any] | Iterable[int] | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        pool: Tensor | None = None,
        shared: bool = False,
        own_batches: bool = False,
    ) -> None:
        if base is not None and not isinstance(base, Iterable):
            raise TypeError(f"`base` must be a sampler, or anything that yields positions, got {base!r}")
        self.length = len(check_sized("data_source", data_source, "a data set"))
        self._data_source = data_source
        self.base, self.shuffle = base, check_flag("shuffle", shuffle)
        self.seed = int(os.getenv("PL_GLOBAL_SEED", "0")) if seed is None else check_seed("seed", seed)
        if pool is not None and (check_tensor("pool", pool).ndim != 1 or pool.dtype != torch.int64):
            raise ValueError(f"`pool` must be (n,) int64, got shape {tuple(pool.shape)} of {pool.dtype}")
        self.pool = pool
        self.shared, self.own_batches = check_flag("shared", shared), check_flag("own_batches", own_batches)
        self.num_total = self.length if pool is None else len(pool)
        if self.num_total == 0:
            raise ValueError(
                "the data set is empty"
                if pool is None
                else "`pool` is empty: the loader's sampler has no index to yield"
            )
        self._subset_is_a_set = type(base) is SubsetRandomSampler and len(set(base.indices)) == len(base.indices)

    def check_length(self) -> None:
        """Check that the data set is as long as it was.

        Raises:
            ValueError: If it isn't.
        """
        length = len(self._data_source)
        if length != self.length:
            raise ValueError(
                f"the data set changed its length from {self.length} to {length} between epochs; "
                "scores and usage belong to fixed positions: start a new run on the new data set"
            )

    def without_data(self) -> FullOrder:
        """A copy that holds neither the data set nor the user's sampler, and can draw nothing from that."""
        twin = copy.copy(self)
        twin._leave_data()
        return twin

    def _leave_data(self) -> None:
        self._data_source = range(self.length)
        self.base = None if self.base is None else LeftBehind()

    def reseed(self, seed: int) -> None:
        """Take another seed for the orders still to be drawn.

        Args:
            seed: Seed, at least 0.
        """
        self.seed = seed

    def take_permutation(self, shuffle: bool) -> None:
        """Draw by the seed from now on, whatever the user's sampler would.

        Args:
            shuffle: Whether orders are shuffled; else they are the data set's.
        """
        self.base, self.shuffle = None, shuffle

    def set_epoch(self, epoch: int) -> None:
        """Tell the user's sampler which epoch begins, if it wants to know.

        Args:
            epoch: Number of the epoch, from 0.
        """
        tell = getattr(self.base, "set_epoch", None)
        if tell is not None:
            tell(epoch)

    # ---------------------------------------------------------------- what is known before it is drawn
    @property
    def is_permutation(self) -> bool:
        """Whether every sample comes up exactly once, so that the length is known undrawn."""
        return self.base is None or type(self.base) is SequentialSampler or self._shuffles_all

    @property
    def _shuffles_all(self) -> bool:
        base = self.base
        if type(base) is SubsetRandomSampler:
            return len(base.indices) == self.num_total and self._subset_is_a_set
        return is_shuffle(base) and base.num_samples == self.num_total  # type: ignore[union-attr]

    @property
    def expected(self) -> int:
        """Number of samples, as far as it is known."""
        told = None if self.is_permutation or self.own_batches else told_length(self.base)
        return self.num_total if told is None else told

    # ---------------------------------------------------------------- drawing
    def draw(self, epoch: int, batch: int = 0, *, by_seed: bool = False) -> tuple[Tensor, Tensor | None]:
        """Draw an order; on several ranks every one must call it.

        Args:
            epoch: Number of the epoch, from 0.
            batch: The batch of it with which the order begins.
            by_seed: Whether a shuffled order comes from (seed, epoch) whatever the `base` draws.

        Returns:
            (L,) int64 positions, and for batches of the user's own (L,) int64 numbers of the batch that each belongs
            to, else None.
        """
        if self.base is not None and not (by_seed and self._shuffles_all):
            return decide_once(self._drawn) if self.shared else self._drawn()
        if not self.shuffle:
            return torch.arange(self.num_total), None
        # The same permutation as torch's DistributedSampler draws from this seed and epoch; later ones of an epoch are
        # others.
        generator = torch.Generator().manual_seed(self.seed + epoch + (batch << 32))
        return torch.randperm(self.num_total, generator=generator), None

    def _drawn(self) -> tuple[Tensor, Tensor | None]:
        order, groups = draw_epoch(self.base, self.length, own_batches=self.own_batches)
        return order if self.pool is None else torch.searchsorted(self.pool, order), groups

    # ---------------------------------------------------------------- positions and indices
    def positions_of(self, indices: Tensor) -> Tensor:
        """Positions of samples in the pool.

        Args:
            indices: (n,) int64 indices in the data set.

        Returns:
            (n,) int64; those that aren't in the pool get one past its end.
        """
        if self.pool is None:
            return indices
        places = torch.searchsorted(self.pool, indices)
        inside = self.pool[places.clamp(max=self.num_total - 1)] == indices
        return torch.where(inside, places, self.num_total)

    def dataset_indices(self, positions: Tensor) -> Tensor:
        """The reverse of `positions_of`.

        Args:
            positions: (n,) int64 positions in the pool.

        Returns:
            (n,) int64 indices in the data set.
        """
        return positions if self.pool is None else self.pool[positions]

    def fingerprint(self) -> int | None:
        """Tells pools of the same size apart; None without one."""
        return None if self.pool is None else zlib.crc32(self.pool.numpy().tobytes())

    def is_alike(self, other: FullOrder) -> bool:
        """Whether positions mean the same samples for two orders.

        Args:
            other: Order of another loader, or of one before a restart.
        """
        return self.num_total == other.num_total and self.fingerprint() == other.fingerprint()
