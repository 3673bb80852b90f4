"""What training says of each sample's label, from first to last use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynsel.selectors import Feedback
from dynsel.selectors.state import Stateful
from dynsel.selectors.verdicts import VERDICTS

__all__ = ["Evidence"]

# Share of the uses again that may be as another class, as when the labels of a few samples are mended on the way.
MOVING = 0.1


class Evidence(Stateful):
    """Sums, over the uses of each sample, of what the model said of its label: 36 bytes per sample.

    Nothing is chosen by it.

    Attributes:
        seen: (N,) int32, uses that were told of.
        right: (N,) int32, uses in which the label was the most probable class.
        given: (N,) int32 class that the sample was last trained as; -1 = not told.
        moved: (N,) int32, uses as another class than in the use before.
        other: (N,) int32 other class that the model named most, each use weighing as much as its probability;
            -1 = none.
        votes: (N,) float32, by how much that class leads.
        own: (N,) float32 sum of the label's probabilities.
        rival: (N,) float32 sum of the probabilities of the most probable other class.
        margin: (N,) float32 sum of the margins (see `dynsel.selectors.verdicts`).

    Example:
        >>> evidence = Evidence(3)
        >>> said = {"given": [0.0, 1.0], "own": [0.9, 0.2], "other": [1.0, 2.0], "margin": [3.0, -1.0]}
        >>> told = {name: torch.tensor(numbers) for name, numbers in said.items()}
        >>> evidence.learn(Feedback(torch.tensor([0, 2]), **told))
        >>> evidence.right.tolist(), evidence.other.tolist()
        ([1, 0, 0], [1, -1, 2])
    """

    wants = VERDICTS
    seen: Tensor
    right: Tensor
    given: Tensor
    moved: Tensor
    other: Tensor
    votes: Tensor
    own: Tensor
    rival: Tensor
    margin: Tensor

    def __init__(self, num_samples: int = 0) -> None:
        for name in ("seen", "right", "moved"):
            self.add_state(name, 0)
        for name in ("given", "other"):
            self.add_state(name, -1)
        for name in ("votes", "own", "rival", "margin"):
            self.add_state(name, 0.0)
        self.bind(num_samples)

    def bind(self, num_samples: int) -> None:
        """Start afresh on N samples."""
        self._state_begin(num_samples)

    def learn(self, feedback: Feedback) -> None:
        """Take in what was told; samples with a gap in it are left out.

        Args:
            feedback: Any number of batches together.
        """
        if any(getattr(feedback, name) is None for name in VERDICTS):
            return
        told = feedback.only(VERDICTS).finite()
        assert told.given is not None
        assert told.own is not None
        assert told.other is not None
        assert told.margin is not None
        indices = told.indices
        self.seen.index_add_(0, indices, torch.ones(len(indices), dtype=torch.int32))
        self.right.index_add_(0, indices, (told.margin > 0).int())
        self.own.index_add_(0, indices, told.own)
        self.margin.index_add_(0, indices, told.margin)
        # The margin is the logarithm of how many times more probable the label is.
        weights = torch.where(told.own > 0, told.own.log() - told.margin, 0.0).exp().clamp(0, 1)
        self.rival.index_add_(0, indices, weights)
        for rows in _once_each(indices):
            self._give(indices[rows], told.given[rows].int())
            self._vote(indices[rows], told.other[rows].int(), weights[rows])

    def _give(self, indices: Tensor, classes: Tensor) -> None:
        before = self.given[indices]
        self.moved.index_add_(0, indices, ((before >= 0) & (before != classes)).int())
        self.given[indices] = classes

    def _vote(self, indices: Tensor, classes: Tensor, weights: Tensor) -> None:
        """A majority that is kept in two numbers: who leads, and by how much."""
        votes, leader = self.votes[indices], self.other[indices]
        votes = torch.where(leader == classes, votes + weights, votes - weights)
        overtaken = votes < 0
        self.other[indices] = torch.where(overtaken | (leader < 0), classes, leader)
        self.votes[indices] = votes.abs()

    def mean_margin(self) -> NDArray[Any]:
        """(N,) float64 mean margin of each label; NaN = not told."""
        seen = self.seen.numpy()
        return np.asarray(self.margin.numpy() / np.where(seen > 0, seen, np.nan))

    def predicted(self) -> NDArray[Any]:
        """(N,) int32 class that the model says: the label, or the other class where that has the mean margin."""
        return np.where(self.mean_margin() < 0, self.other.numpy(), self.given.numpy())

    def why_no_labels(self) -> str:
        """Why nothing can be said of labels; empty where something can.

        A contrastive loss is a cross entropy too: its classes are places in the batch, which change from use to use, or
        one and the same for all.
        """
        if not bool(self.seen.any()):
            return "training told no logits of a classification with one label per sample"
        again = int(self.seen.sum()) - int((self.seen > 0).sum())
        if int(self.moved.sum()) > MOVING * again:
            return "the classes that samples are trained as change from use to use, so they are no labels of samples"
        known = self.given[self.given >= 0]
        return "all samples are trained as one class" if bool((known == known[0]).all()) else ""

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all there is."""
        return self._state_copies()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where `state_dict` was taken, on as many samples.

        Raises:
            ValueError: If it is none of these, or of another number of samples.
        """
        unexpected, missing, wrong = self._state_problems(state)
        if unexpected or missing or wrong:
            problems = [*(f"unexpected `{key}`" for key in unexpected), *(f"no `{key}`" for key in missing), *wrong]
            raise ValueError(f"the state is not of these findings: {'; '.join(problems)}")
        self._state_restore(state)


def _once_each(indices: Tensor) -> Iterator[Tensor]:
    """Rows in parts, in none of which a sample occurs twice: its first occurrences, its second ones and so on."""
    rows = indices.numpy()
    order = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.append(True, rows[order][1:] != rows[order][:-1])) if len(rows) else np.zeros(0, int)
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    for occurrence in range(int(place.max(initial=-1)) + 1):
        yield torch.from_numpy(np.flatnonzero(place == occurrence))
