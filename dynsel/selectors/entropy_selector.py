"""What the selectors share that go by how unsure the model is."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel.selectors.score_selector import ScoreSelector

__all__ = ["EntropySelector"]


class EntropySelector(ScoreSelector):
    """A selector that measures the entropy of the predicted classes; without logits the losses stand in."""

    needs_targets = False
    value_or_loss = True

    def measure(self, logits: Tensor, targets: Tensor | None, features: Tensor | None) -> Tensor:
        """Entropies of the predicted classes.

        Args:
            logits: (B, C) float32, outputs of the classifier before softmax.
            targets: Not used.
            features: Not used.

        Returns:
            (B,) float32 in [0, log C], in nats.
        """
        entropies: Tensor = torch.special.entr(logits.softmax(1)).sum(1)
        return entropies
