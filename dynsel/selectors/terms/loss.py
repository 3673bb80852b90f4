"""Loss: what training still finds hard."""

from __future__ import annotations

from dynsel.selectors.terms._average import AverageTerm

__all__ = ["Loss"]


class Loss(AverageTerm):
    """Rank of a smoothed loss: what training still finds hard (see `LossRank`).

    Args:
        smoothing: Share of the old average that each new loss leaves, in [0, 1).
        clip: Share of the samples of highest loss that count as label noise and rank lowest, in [0, 1).

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Raju, Daruwalla and Lipasti (2021), Accelerating Deep Learning with Dynamic Data Pruning, arXiv:2111.12621, for
        the moving average; ranks and clipping are ours.
    """

    fits_shards = True
    wants = frozenset({"per_sample_loss"})
