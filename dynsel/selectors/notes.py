"""What is known of each sample, for people to look at."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selectors.feedback import Feedback

__all__ = ["NoNotes", "SampleNotes"]


class SampleNotes:
    """Last and mean score, and last loss, of each sample since the selector was bound.

    Nothing is chosen by them, and they are no part of the state: after a restart they begin anew.

    Args:
        num_samples: Number of samples, N.

    Attributes:
        last_score: (N,) float32 scores of the last selection; None if none went by scores.
        mean_score: (N,) float32 means over the selections that went by scores; likewise.
        last_loss: (N,) float32 losses, NaN where none was told; None if the selector doesn't want losses.
    """

    def __init__(self, num_samples: int) -> None:
        self.num_samples, self._selections = num_samples, 0
        self.last_score: Tensor | None = None
        self.mean_score: Tensor | None = None
        self.last_loss: Tensor | None = None

    def add_scores(self, scores: Tensor) -> None:
        """Take in what a selection went by, as a copy.

        Args:
            scores: (N,) of any floating type and device, higher = rather taken.
        """
        self._selections += 1
        self.last_score = scores.detach().to("cpu", torch.float32, copy=True)
        if self.mean_score is None:
            self.mean_score = self.last_score.clone()
        else:
            self.mean_score += (self.last_score - self.mean_score) / self._selections

    def add_feedback(self, feedback: Feedback) -> None:
        """Take in the losses that training told; those that aren't finite leave the last one.

        Args:
            feedback: Any number of batches together; without losses nothing happens.
        """
        if feedback.per_sample_loss is None:
            return
        if self.last_loss is None:
            self.last_loss = torch.full((self.num_samples,), torch.nan)
        losses = feedback.per_sample_loss.detach().to("cpu", torch.float32)
        known = losses.isfinite()
        self.last_loss[feedback.indices[known]] = losses[known]


class NoNotes(SampleNotes):
    """Notes nothing: 12 bytes per sample are much where everything else takes 7."""

    def add_scores(self, scores: Tensor) -> None:
        """Pass over (N,) scores."""

    def add_feedback(self, feedback: Feedback) -> None:
        """Pass over what training told."""
