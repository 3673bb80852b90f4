"""Once: of samples that are the same, one at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dynsel.selectors.terms.base import Material, Term

__all__ = ["Once", "most_used"]


class Once(Term):
    """1 for one sample of each group of duplicates, the one used most, and 0 for its copies.

    Samples are the same if their features are much nearer to each other than is usual (see
    `dynsel.graph.duplicate_groups`): equal inputs have equal features, re-encoded ones nearly so. A sample like no
    other is 1 always. With a weight as large as those of all other terms together a group counts as one sample: what
    training tells gathers on the one that stands for it, and its copies come in only by the random share (`epsilon`),
    or when everything else is in the selection.

    Attributes:
        groups: (N,) int64 group of each sample once fitted; None before.

    Reference:
        The term is ours.
    """

    needs_features = True
    holds_back = True  # a copy of what was used is nothing new
    groups: Tensor | None

    def __init__(self) -> None:
        self.add_state("groups", None)

    def fit(self, material: Material) -> None:
        """Find the groups of duplicates.

        Args:
            material: Features, labels and what several terms make of them.
        """
        from dynsel.graph import duplicate_groups

        self.groups = duplicate_groups(material.features)

    def values(self, usage: Tensor) -> Tensor:
        """1 for the most used sample of each group, 0 for its copies.

        Args:
            usage: (N,) int32 uses so far.

        Returns:
            (N,) float32, 0 or 1.

        Raises:
            RuntimeError: If `fit` wasn't called.
        """
        if self.groups is None:
            raise RuntimeError("Once has no values before `fit`")
        return most_used(self.groups, usage)


def most_used(groups: Tensor, usage: Tensor) -> Tensor:
    """1 for the sample of each group that was used most, of equals the first; 0 for all others.

    Args:
        groups: (N,) int64 group codes.
        usage: (N,) int32 uses so far.

    Returns:
        (N,) float32.

    Example:
        >>> most_used(torch.tensor([0, 1, 0, 0]), torch.tensor([1, 5, 2, 2])).tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    order = np.lexsort((-usage.numpy().astype(np.int64), groups.numpy()))
    ordered = groups.numpy()[order]
    chosen = torch.zeros(len(groups))
    chosen[torch.from_numpy(order[np.append(True, ordered[1:] != ordered[:-1])])] = 1.0
    return chosen
