"""Neural witness: the witness at frequencies that a network learns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynsel._lib.checks import check_integer
from dynsel.cfd import characteristic_sums, witness
from dynsel.cfd.neural import fit_frequencies
from dynsel.selectors.ranking import rank_within_class
from dynsel.selectors.terms.base import Material, Term

__all__ = ["NeuralWitness"]


class NeuralWitness(Term):
    """As `Witness`, at frequencies that a network chooses anew each epoch to show the gap (`dynsel.cfd.neural`).

    They follow from the features, the uses and the seed alone: there is no state to save. The term is ours.

    Args:
        num_frequencies: Number F of frequencies.
        steps: Steps of the network's training.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Wang et al. (2025), Dataset Distillation with Neural Characteristic Function: A Minmax Perspective,
        arXiv:2502.20653, for frequencies that a network learns.
    """

    needs_features = True
    keeps_features = True

    def __init__(self, num_frequencies: int = 1024, steps: int = 50) -> None:
        self.num_frequencies = check_integer("num_frequencies", num_frequencies, at_least=1)
        self.steps = check_integer("steps", steps, at_least=1)
        self._features: Any = None
        self._seed = 0

    @property
    def ready(self) -> bool:
        """Whether features are at hand; after a restart they must be given again."""
        return self._features is not None

    def prepare(self) -> None:
        """Forget the features."""
        self._features = None

    def fit(self, material: Material) -> None:
        """Take features and seed as they are; nothing is computed yet.

        Args:
            material: Features, labels and what several terms make of them.
        """
        self._features, self._seed = material.features, material.seed

    def values(self, usage: Tensor) -> Tensor:
        """Train the network to tell what was trained on from the whole, and rank what closes the gap that it found.

        Args:
            usage: (N,) int32 uses so far.

        Returns:
            (N,) float32 ranks in [0, 1]; all 0 before anything was trained on.

        Raises:
            RuntimeError: If `fit` wasn't called.
        """
        if self._features is None:
            raise RuntimeError("NeuralWitness has no values before `fit`")
        if not bool(usage.any()):
            return torch.zeros(len(usage))
        # Another draw each epoch, and the same one after a restart.
        seed = (self._seed + int(usage.sum())) % 2**63
        t = fit_frequencies(self._features, usage, num_frequencies=self.num_frequencies, steps=self.steps, seed=seed)
        now = characteristic_sums(self._features, t, usage.float()).value()
        gap = characteristic_sums(self._features, t).value() - now
        return rank_within_class(witness(self._features, t, gap).cpu())
