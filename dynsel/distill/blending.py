"""Networks between the beginning and the end of their training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from dynsel.distill.convnet import ConvNet

__all__ = ["LoadedPool", "copy_weights"]


class LoadedPool:
    """The networks of a pool, stacked, and two networks that take on any of them.

    Args:
        network: One network of the pool's form.
        stacked: Weights by name, "init.NAME" and "trained.NAME", each (networks, ...).

    Attributes:
        network: What `blend` returns, always the same object.
    """

    def __init__(self, network: ConvNet, stacked: dict[str, Tensor]) -> None:
        self.network = network.eval().requires_grad_(False)
        # A gradient through one must not find weights of the other.
        self._teacher = copy.deepcopy(self.network)
        self.stacked = stacked

    def __len__(self) -> int:
        return len(next(iter(self.stacked.values())))

    def blend(self, number: int, share: float) -> ConvNet:
        """The network with `share` of its weights from the beginning and the rest from the end of training.

        Args:
            number: Number of the network, from 0.
            share: Share of the weights from the beginning of training, in [0, 1].
        """
        return self._set(self.network, number, share)

    def trained(self, number: int) -> ConvNet:
        """The trained network of a number; another object than `blend` returns, and always the same.

        Args:
            number: Number of the network, from 0.
        """
        return self._set(self._teacher, number, 0.0)

    @torch.no_grad()
    def _set(self, network: ConvNet, number: int, share: float) -> ConvNet:
        for name, value in network.named_parameters():
            first, last = (self.stacked[f"{when}.{name}"][number] for when in ("init", "trained"))
            value.copy_(torch.lerp(last, first, share))
        return network


def copy_weights(network: ConvNet, prefix: str) -> dict[str, Tensor]:
    """The network's weights as they are now, as copies on the CPU.

    Args:
        network: Network whose weights are copied.
        prefix: What stands before the names, "init" or "trained".

    Returns:
        Contiguous tensors by name, each of the same shape and dtype as its parameter.
    """
    return {f"{prefix}.{name}": value.detach().cpu().clone().contiguous() for name, value in network.named_parameters()}
