"""The factors of the parts of a loss, from batch to batch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Factors"]

# Relative difference from which on factors are not the same.
NEAR = 1e-2


class Factors:
    """Leaves out what a whole batch's loss is multiplied by, where that is a number of each batch's own.

    It says nothing of the samples, and what they are told would go up and down with the others in their batches. So the
    first batch's factor holds. Where several parts change their shares in the loss, as by a schedule, they are left as
    they are.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._batches = 0
        self._common: Tensor | None = None
        self._apart: Tensor | None = None
        self.description = ""

    def steadied(self, now: Tensor, size: int) -> Tensor:
        """The factors to use.

        Args:
            now: (K,) of the parts of this batch's loss.
            size: Number of samples in the batch, B. The factor of a batch of one is the sample's own.

        Returns:
            (K,), on the same device, without waiting for it except at batches 2, 4, 8, ...
        """
        if self._first is None:
            self._first = now if size > 1 else None
            return now
        ratio = now / torch.where(self._first == 0, now, self._first)
        middle = ratio.mean()
        agree = ((ratio - middle).abs() <= NEAR * middle.abs()).all()
        far = (middle.abs() - 1).abs() > NEAR
        self._common = agree & far if self._common is None else self._common | (agree & far)
        self._apart = ~agree if self._apart is None else self._apart | ~agree
        self._batches += 1
        if self._batches & (self._batches - 1) == 0:
            self._describe()
        usable = agree & (middle != 0) & (self._first != 0).all()
        return torch.where(usable, self._first * middle.sign(), now)

    def _describe(self) -> None:
        assert self._common is not None
        assert self._apart is not None
        if bool(self._apart):
            self.description = "; with weights that change from batch to batch"
        elif bool(self._common):
            self.description = "; without a factor of each batch's own"
