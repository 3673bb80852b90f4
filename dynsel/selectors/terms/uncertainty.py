"""Uncertainty: what training can't tell yet, whatever its label."""

from __future__ import annotations

from dynsel.selectors.terms._average import AverageTerm

__all__ = ["Uncertainty"]


class Uncertainty(AverageTerm):
    """Rank of the smoothed entropy of the predicted classes: what training can't tell yet, whatever its label.

    The model's own expectation of the loss. A loss looks at the label as well: where the model is sure, what it keeps
    are the labels that contradict the model, wrong ones among them.

    Args:
        smoothing: Share of the old average that each new entropy leaves, in [0, 1).

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Settles (2009), Active Learning Literature Survey (entropy as a measure of uncertainty); average and ranks are
        ours.
    """

    fits_shards = True
    wants = frozenset({"value"})

    def __init__(self, smoothing: float = 0.5) -> None:
        super().__init__(smoothing)
