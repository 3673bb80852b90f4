"""The part of the whole order that is selected for an epoch, or for a round of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.checks import check_flag, check_integer
from dynsel.samplers.drawing import index_dtype
from dynsel.samplers.full_order import FullOrder
from dynsel.selection import Selection

__all__ = ["EpochOrder"]


class EpochOrder:
    """Keeps of a whole order what is selected; a selection never changes the order of what it keeps.

    Args:
        whole: What there is without a selection.

    Attributes:
        offered: Number of samples if all of them stayed; N, unless the user's sampler draws its own number.
        count: Number of samples that stay, M (where the user's sampler draws its own number: once that is drawn).
        weights: (N,) loss weights, or None.
        groups: Once it is drawn, (count,) int64 numbers of the user's own batches, ascending; None without such.
        state_keys: Keys of its state.
    """

    state_keys: ClassVar = (
        "num_samples",
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

    def __init__(self, whole: FullOrder) -> None:
        self.whole = whole
        self.weights: Tensor | None = None
        self.offered = whole.num_total
        self._mask: Tensor | None = None
        self._by_seed = False
        # Epoch and batch with which it began.
        self._begun = (0, 0)
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.groups: Tensor | None = None
        self._drawn: Tensor | None = None
        self._limit: int | None = None
        self.offered = self.whole.num_total if self.whole.is_permutation else self.offered
        self.count = self.whole.num_total if self._mask is None else int(np.count_nonzero(self._mask.numpy()))

    def without_data(self) -> EpochOrder:
        """A copy that holds neither the data set nor the user's sampler."""
        twin = copy.copy(self)
        twin._stand_on(self.whole.without_data())
        return twin

    def _stand_on(self, whole: FullOrder) -> None:
        self.whole = whole

    @property
    def first_batch(self) -> int:
        """The batch of the epoch with which it began."""
        return self._begun[1]

    def begin(self, epoch: int, batch: int) -> None:
        """Draw another order for the selection at hand.

        Args:
            epoch: Epoch that it is for, from 0.
            batch: Batch of the epoch with which it begins.
        """
        self._begun = (epoch, batch)
        self._start_afresh()

    def restart(self) -> None:
        """Draw the order anew."""
        self._start_afresh()

    def draw_by_seed(self, by_seed: bool) -> None:
        """Say where orders come from.

        Args:
            by_seed: Whether a shuffled order comes from (seed, epoch), whatever the user's sampler draws.
        """
        self._by_seed = by_seed

    # ---------------------------------------------------------------- what stays
    def select(self, selection: Selection | Tensor | Iterable[int] | None) -> None:
        """Keep some samples only.

        Args:
            selection: Selection, or (M,) positions, as a tensor or any iterable; None keeps all.

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
            self.weights = torch.ones(self.whole.num_total).index_copy_(0, selection.indices.long(), weights)
        self._start_afresh()

    def _mask_of(self, indices: Tensor) -> Tensor:
        if not len(indices):
            raise ValueError(f"epoch {self._begun[0]}: empty selection; an epoch must train on at least one sample")
        rows, total = indices.numpy(), self.whole.num_total
        low, high = int(rows.min()), int(rows.max())
        if low < 0 or high >= total:
            raise ValueError(f"selected indices must be in 0 .. {total - 1}, got {low} .. {high}")
        mask = np.zeros(total, dtype=bool)
        mask[rows] = True
        if np.count_nonzero(mask) != len(rows):
            raise ValueError("a selection must hold each index at most once, got duplicates")
        return torch.from_numpy(mask)

    def keep(self, places: Tensor, weights: Tensor | None = None) -> Tensor:
        """Keep only this part of the order.

        Args:
            places: (M,) int64 places in `draw()`, ascending.
            weights: (N,) loss weights; None = all 1.

        Returns:
            The samples that are there, (M,) int64, ascending; fewer where a sampler drew some of them twice.
        """
        order, groups = self._checked(self.draw()[places]), self.groups
        chosen = torch.from_numpy(np.unique(order.numpy()))
        self.select(Selection(chosen, None if weights is None else weights[chosen]))
        # Of a sample that was drawn twice the order alone knows which one stays.
        self._drawn, self.count = order, len(order)
        self.groups = None if groups is None else groups[places]
        return chosen

    def cut(self, count: int) -> None:
        """Keep the beginning of the order only.

        Args:
            count: Number of samples that stay.
        """
        self._limit = self.count = count
        self._drawn = None if self._drawn is None else self._drawn[:count]
        self.groups = None if self.groups is None else self.groups[:count]

    def draw(self) -> Tensor:
        """The order, the same on every rank; drawn at the first call.

        Returns:
            (M,) int64 positions, M = `count`.
        """
        if self._drawn is None:
            order, groups = self.whole.draw(*self._begun, by_seed=self._by_seed)
            self.offered = len(order)
            if self._mask is not None:
                # numpy takes a tenth of torch's time for it.
                mixed = order.numpy()
                stay = self._mask.numpy().take(mixed)
                order = torch.from_numpy(np.compress(stay, mixed))
                groups = None if groups is None else groups[torch.from_numpy(stay)]
            self._drawn = self._checked(order)[: self._limit]
            self.groups = None if groups is None else groups[: self._limit]
            self.count = len(self._drawn)
        return self._drawn

    def _checked(self, order: Tensor) -> Tensor:
        if not len(order):
            raise ValueError(f"epoch {self._begun[0]}: the sampler drew none of the selected samples")
        return order

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Tensors and integers, N / 8 bytes."""
        whole = self.whole
        state: dict[str, Any] = {
            "num_samples": whole.num_total,
            "mask": None if self._mask is None else torch.from_numpy(np.packbits(self._mask.numpy())),
            "weights": None if self.weights is None else self.weights.clone(),
            "seed": whole.seed,
            "order": None,
            "groups": None if self.groups is None else self.groups.int(),
            "pool": whole.fingerprint(),
            "shuffle": None if whole.base is not None else whole.shuffle,
            "begun": list(self._begun),
            "limit": self._limit,
        }
        # An order that came from a user's sampler can't be derived again.
        if whole.base is not None and self._drawn is not None:
            state["order"] = self._drawn.to(index_dtype(whole.num_total))
        return state

    def load_state_dict(self, state: dict[str, Any], *, limited: bool) -> None:
        """Continue with the order of which `state_dict` was taken.

        Args:
            state: State whose keys are `state_keys`, or more.
            limited: Whether a limit counts: without a length of their own epochs are as long as the selection.

        Raises:
            ValueError: If the state is of a data set of another length, or of another version.
        """
        total = self.whole.num_total
        check_integer("num_samples", state["num_samples"], at_least=0)
        if state["shuffle"] is not None:
            check_flag("shuffle", state["shuffle"])
        if state["num_samples"] != total:
            raise ValueError(f"the state is of a data set of {state['num_samples']} samples, this one has {total}")
        if state["pool"] != self.whole.fingerprint():
            raise ValueError(
                "the state is of a sampler that yields other indices: resume with the same fold, or start a new run"
            )
        self.whole.reseed(state["seed"])
        if state["shuffle"] is not None:
            # The order came from the seed, on several ranks perhaps, and goes on as it was.
            self.whole.take_permutation(state["shuffle"])
        mask = state["mask"]
        self._mask = None if mask is None else torch.from_numpy(np.unpackbits(mask.numpy())[:total]).bool()
        self.weights = state["weights"]
        self.begin(state["begun"][0], state["begun"][1])
        if limited and state["limit"] is not None:
            self._limit = self.count = state["limit"]
        if state["order"] is not None:
            self._drawn = state["order"].long()
            self.groups = None if state["groups"] is None else state["groups"].long()
            self.count = len(self._drawn)
