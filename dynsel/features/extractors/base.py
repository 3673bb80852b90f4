"""What every extractor offers, and what several share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from dynsel.features._items import IMAGE_KEYS, get_items, input_of

__all__ = ["Extractor", "weights_hash"]


class Extractor(nn.Module, ABC):
    """Turns items of a data set into rows of features.

    `read` and `prepare` run in the loader's workers, one item at a time; `collate` too, once a batch; `forward` on the
    device. Constructed from plain values, so that it can stand in a YAML file.
    """

    keys: ClassVar[Sequence[str]] = IMAGE_KEYS

    def fit(self, dataset: Any) -> None:
        """Learn what can only be learned from the data set itself; called once, before anything else.

        Args:
            dataset: Map-style data set that features will be made of.
        """

    def read(self, dataset: Any, indices: Sequence[int]) -> list[Any]:
        """The inputs of these items: the item itself, the first entry of a tuple, or an entry of a mapping by its key.

        Args:
            dataset: Map-style data set that features are made of.
            indices: Numbers of the items in the data set.
        """
        return [input_of(item, self.keys) for item in get_items(dataset, indices)]

    @abstractmethod
    def prepare(self, value: Any) -> Any:
        """Preprocess one input.

        Args:
            value: One input, as `read` gives it.
        """

    def collate(self, values: list[Any]) -> Any:
        """Make a batch of prepared inputs.

        Args:
            values: The B inputs of a batch, as `prepare` gives them.
        """
        return default_collate(values)

    @abstractmethod
    def forward(self, batch: Any) -> Tensor:
        """(B, d) floating-point features of a batch.

        Args:
            batch: A batch as `collate` gives it, moved to the device.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What decides the features, for JSON: model, hash of its weights, layer, preprocessing."""


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of the names, types and values of all parameters and buffers, its first 32 hexadecimal digits.

    Args:
        model: Any module, on any device.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            # As bytes: NumPy knows no bfloat16.
            digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]
