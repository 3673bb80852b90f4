"""What a classifier says of the labels it is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["VERDICTS", "verdicts"]

# Parts of `Feedback` that `verdicts` gives.
VERDICTS = frozenset({"given", "own", "other", "margin"})


def verdicts(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """What the logits of a batch say of its labels, as `Feedback` has it.

    Args:
        logits: (B, C) float, outputs of the classifier before softmax; C at least 2.
        targets: (B,) int64 classes.

    Returns:
        (B,) float32 each: `given`, the class that was given; `own`, its probability; `other`, the most probable of all
        other classes; `margin`, the logit of the class given minus that of the other.

    Example:
        >>> said = verdicts(torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]), torch.tensor([0, 2]))
        >>> said["other"].tolist(), said["margin"].tolist()
        ([2.0, 1.0], [1.0, -3.0])
    """
    logs = logits.detach().float().log_softmax(1)
    own = logs.gather(1, targets[:, None])[:, 0]
    others = logs.scatter(1, targets[:, None], -torch.inf).max(1)
    return {"given": targets.float(), "own": own.exp(), "other": others.indices.float(), "margin": own - others.values}
