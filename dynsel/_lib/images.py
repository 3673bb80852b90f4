"""A whole image set as one uint8 tensor, served by the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from dynsel._lib.checks import check_tensor

__all__ = ["TensorImages"]


class TensorImages(Dataset[tuple[Tensor, int]]):
    """All images of a data set in one tensor; a batch is one gather, on whichever device holds them.

    A `DataLoader` asks a data set that has `__getitems__` for a whole batch at once. With
    `collate_fn=TensorImages.collate` no sample then passes through Python, so a CPU keeps up with an
    accelerator, and after `to("cuda")` nothing is transferred but the indices. Samplers, batch samplers,
    `shuffle`, `torch.utils.data.Subset` and (on the CPU) worker processes work as with any data set.

    Args:
        images: (N, C, H, W) uint8 images.
        targets: (N,) int64 class of each image, in [0, len(classes)); on the same device as `images`.
        classes: Name of each class, in the order of the targets.
        wrong: (N,) bool, which targets are known to be wrong, for reports; None = nothing is known.
        copy_of: (N,) int64 row that each image is a copy of, its own if it is none, for reports; None = nothing is
            known.

    Raises:
        TypeError: If the images are not uint8 or the targets not int64.
        ValueError: If shapes, devices or the range of the targets do not fit together.

    Example:
        >>> data = TensorImages(torch.zeros(5, 3, 4, 4, dtype=torch.uint8), torch.arange(5) % 2, ["a", "b"])
        >>> loader = torch.utils.data.DataLoader(data, batch_size=2, collate_fn=TensorImages.collate)
        >>> [tuple(images.shape) for images, _ in loader]
        [(2, 3, 4, 4), (2, 3, 4, 4), (1, 3, 4, 4)]
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        classes: Sequence[str],
        wrong: Tensor | None = None,
        copy_of: Tensor | None = None,
    ) -> None:
        check_tensor("images", images)
        check_tensor("targets", targets)
        if images.dtype != torch.uint8:
            raise TypeError(f"`images` must be uint8, got {images.dtype}: scale them to 0..255 and round")
        if targets.dtype != torch.int64:
            raise TypeError(f"`targets` must be int64, got {targets.dtype}: call `.long()` on them")
        if images.ndim != 4:
            raise ValueError(f"`images` must be (N, C, H, W), got {tuple(images.shape)}")
        if targets.shape != images.shape[:1]:
            raise ValueError(f"`targets` must be ({len(images)},), got {tuple(targets.shape)}")
        if targets.device != images.device:
            raise ValueError(f"`targets` must be on {images.device} like the images, got {targets.device}")
        if not isinstance(classes, list | tuple):
            raise TypeError(f"`classes` must be a list of names, got {classes!r}")
        for name, known in (("wrong", wrong), ("copy_of", copy_of)):
            if known is not None:
                check_tensor(name, known)
        if len(targets) and not (0 <= int(targets.min()) <= int(targets.max()) < len(classes)):
            raise ValueError(
                f"`targets` must be in [0, {len(classes)}), one name in `classes` for each, "
                f"got {int(targets.min())} to {int(targets.max())}"
            )
        self.images = images.contiguous()
        self.targets = targets
        self.classes = list(classes)
        self.wrong, self.copy_of = wrong, copy_of

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.images.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device | str) -> Self:
        """The same set on another device; itself if it is there already.

        Args:
            device: Where images and targets go.
        """
        images = self.images.to(device)
        if images is self.images:
            return self
        return type(self)(images, self.targets.to(device), self.classes, self.wrong, self.copy_of)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.targets[index])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The finished batch of these rows.

        Args:
            indices: Rows in [0, N): a list, or any integer tensor or array.

        Returns:
            (B, C, H, W) uint8 images and (B,) int64 targets.
        """
        rows = torch.as_tensor(indices, dtype=torch.int64, device=self.images.device)
        return self.images.index_select(0, rows), self.targets.index_select(0, rows)

    @staticmethod
    def collate(batch: Any) -> Any:
        """Pass a finished batch on; collate single samples (of a wrapper without `__getitems__`) as usual.

        Args:
            batch: The (images, targets) of `__getitems__`, or a list of samples.
        """
        return batch if isinstance(batch, tuple) else default_collate(batch)
