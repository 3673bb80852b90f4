"""A slow average of a network's weights, by which they are replaced every few steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LookAhead"]

EVERY = 5
DECAY = 0.95**EVERY


class LookAhead(nn.Module):
    """Keeps a slow copy of all floating weights and statistics of a network.

    Every fifth step slow = d · slow + (1 - d) · fast and fast = slow, where d rises with the cube of training's
    progress to 0.77: first the weights are left alone, at the end they are averaged over some twenty steps. After the
    last step the network has the slow weights, wherever in the five it falls; a training of fewer than five steps
    averages once. The copy is made of buffers, so that it travels with `state_dict` and `to`.

    Args:
        network: Network whose weights are averaged.

    Reference:
        Zhang, Lucas, Hinton, Ba (2019), Lookahead optimizer, arXiv:1907.08610; with the rising decay: Jordan (2024),
        arXiv:2404.00498.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for i, value in enumerate(_averaged(network)):
            self.register_buffer(f"slow_{i}", value.detach().clone())

    @torch.no_grad()
    def step(self, network: nn.Module, done: int, total: int) -> None:
        """After an optimiser step: average, if it is time.

        Args:
            network: The network that the copy was made of.
            done: Number of optimiser steps done.
            total: Number of them in the whole training.
        """
        if done % EVERY and done != total:
            return
        slow, fast = list(self.buffers()), _averaged(network)
        if not done % EVERY or total < EVERY:
            torch._foreach_lerp_(slow, fast, 1 - DECAY * min(done / total, 1.0) ** 3)
        torch._foreach_copy_(fast, slow)


def _averaged(network: nn.Module) -> list[Tensor]:
    parameters = [p for p in network.parameters() if p.requires_grad]
    statistics = [b for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
    return [*parameters, *statistics]
