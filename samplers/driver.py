"""What the selection needs to know of whoever trains."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dynsel._lib.batches import cross_entropy
from dynsel._lib.checks import check_integer

__all__ = ["Driver", "PlainDriver"]


@runtime_checkable
class Driver(Protocol):
    """Whoever trains, as `SelectionController` sees them: `PlainDriver`, or `LightningDriver` in `dynsel.callbacks`."""

    @property
    def announces_epochs(self) -> bool:
        """Whether it says when training begins and ends, and names each epoch before its first batch."""

    @property
    def too_early(self) -> bool:
        """Whether an epoch that the sampler is told of can't begin yet and is to be passed over."""

    @property
    def count_flops(self) -> bool:
        """Whether floating-point operations are counted."""

    @property
    def device(self) -> torch.device:
        """Where the model in training is."""

    def progress(self, epoch: float, ahead: int = 0) -> float:
        """Share of training done when `epoch` epochs are, in [0, 1].

        Args:
            epoch: Epochs, the last of them in part perhaps.
            ahead: Batches from now till then.
        """

    def epoch_length(self, batches: int) -> int:
        """Batches that training takes of an epoch.

        Args:
            batches: Batches that the loader has in the epoch.
        """

    def batches_trained(self, delivered: int) -> int:
        """Batches of the current epoch that training finished.

        Args:
            delivered: Batches that the loader delivered, some of which may have failed or been skipped.
        """

    def precision(self) -> AbstractContextManager[Any]:
        """Entered around forward passes: the precision of the training."""

    def to_device(self, batch: Any) -> Any:
        """A batch, moved to `device`.

        Args:
            batch: Whatever the loader gives.
        """

    def per_sample_loss(self, module: Any, batch: Any) -> Tensor:
        """Losses of a network on a batch, for selectors that score by a forward pass of their own.

        Args:
            module: The network.
            batch: A batch of B samples on the device.

        Returns:
            (B,) float.
        """

    def epoch_decided(self) -> None:
        """Told when the selection of an epoch stands, and with it the epoch's number of batches."""

    def before_first_batch(self) -> None:
        """Told when the first batch of an epoch is about to be fetched."""


class PlainDriver:
    """A loop written by hand, or Fabric: epochs are all that is known of its progress.

    Args:
        max_epochs: Length of the training in epochs; without it progress stays 0.

    Raises:
        TypeError: If `max_epochs` is no whole number.
        ValueError: If it is below 1.
    """

    announces_epochs = False
    too_early = False
    count_flops = False
    device = torch.device("cpu")

    def __init__(self, max_epochs: int | None = None) -> None:
        self.max_epochs = None if max_epochs is None else check_integer("max_epochs", max_epochs, at_least=1)

    def progress(self, epoch: float, ahead: int = 0) -> float:
        """Epochs done over `max_epochs`, at most 1; 0 without `max_epochs`.

        Args:
            epoch: Epochs, the last of them in part perhaps.
            ahead: Not used: nothing is known of steps.
        """
        return min(1.0, epoch / self.max_epochs) if self.max_epochs else 0.0

    def epoch_length(self, batches: int) -> int:
        """All batches: a loop takes what the loader gives.

        Args:
            batches: Batches that the loader has in the epoch.
        """
        return batches

    def batches_trained(self, delivered: int) -> int:
        """All batches that were delivered count as trained.

        Args:
            delivered: Batches that the loader delivered.
        """
        return delivered

    def precision(self) -> AbstractContextManager[Any]:
        """Full precision: a context that does nothing."""
        return nullcontext()

    def to_device(self, batch: Any) -> Any:
        """The batch as it is, for nobody says where it should go.

        Args:
            batch: Whatever the loader gives.
        """
        return batch

    def per_sample_loss(self, module: Any, batch: Any) -> Tensor:
        """Cross entropy of a classifier.

        Args:
            module: Network whose `forward` takes the inputs and returns logits, (B, C) or (B, C, ...).
            batch: (inputs, targets), with targets of integers, (B,) or (B, ...).

        Returns:
            (B,) float.

        Raises:
            TypeError: If the batch is no such pair.
        """
        return cross_entropy(module, batch)

    def epoch_decided(self) -> None:
        """Nothing to do: no one waits for an epoch's length."""
        return

    def before_first_batch(self) -> None:
        """Nothing to do: a loop fetches a batch when it wants one."""
        return
