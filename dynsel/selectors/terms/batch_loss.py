"""Batch loss: what training finds hard, from the losses of whole batches."""

from __future__ import annotations

from dynsel.selectors.terms._average import AverageTerm

__all__ = ["BatchLoss"]


class BatchLoss(AverageTerm):
    """Rank of a running mean of the losses of the batches that a sample was in (see `BLS`).

    The score for trainings that tell nobody's own loss: any LightningModule returns its batches'.

    Args:
        smoothing: Share of the old average that each new loss leaves, in [0, 1).
        clip: Share of the samples of highest average that rank lowest, in [0, 1).

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        BLS (2026), CVPR, arXiv:2604.04681, for the average; that it is ranked and summed with other terms is ours.
    """

    wants = frozenset({"batch_loss"})
