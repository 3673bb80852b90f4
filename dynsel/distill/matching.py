"""The loss of one step of NCFM, and how its classes are shared out over ranks and over time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from dynsel.cfd.distances import amplitude_phase, characteristic_function, discrepancy

__all__ = ["add_ranks", "class_chunks", "explained_memory", "match_loss"]

SCALE = 300  # of the loss in the published code; decides how fast the frequency network learns


def match_loss(
    synthetic: Tensor, real: Tensor, t: Tensor, amplitude: float, weights: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Distance of the characteristic functions of two sets of features, class by class, summed over the classes.

    Args:
        synthetic: (C, n, d) float32 features of the synthetic images.
        real: (C, m, d) float32 features of the real images.
        t: (F, d) float32 frequencies.
        amplitude: Weight of amplitudes against phases, in [0, 1].
        weights: (C, m) weights of the real images, 0 where a class has fewer; None = all count alike.

    Returns:
        The loss, and without gradient the loss and its parts from amplitudes and from phases.

    Reference:
        Wang et al. (2025), Dataset Distillation with Neural Characteristic Function: A Minmax Perspective,
        arXiv:2502.20653.
    """
    a, b = characteristic_function(synthetic, t), characteristic_function(real, t, weights)
    loss = (SCALE * discrepancy(a, b, amplitude)).sum()
    parts = [SCALE * part.detach().mean(-1).sum() for part in amplitude_phase(a, b)]
    return loss, [loss.detach(), *parts]


def class_chunks(num_classes: int, size: int | None, rank: int = 0, world: int = 1) -> Iterator[slice]:
    """The classes of a rank, some at a time.

    Args:
        num_classes: Number of classes, C.
        size: Most classes at a time; None = all.
        rank: Number of this rank, from 0.
        world: Number of ranks.

    Example:
        >>> [list(range(9))[chunk] for chunk in class_chunks(9, 2, rank=1, world=3)]
        [[3, 4], [5]]
    """
    first, last = (num_classes * r // world for r in (rank, rank + 1))
    size = size or num_classes
    for start in range(first, last, size):
        yield slice(start, min(start + size, last))


def add_ranks(tensors: list[Tensor]) -> None:
    """Replace tensors by their sums over all ranks, if there are several.

    Args:
        tensors: The same shapes on every rank.
    """
    if dist.is_available() and dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor)


@contextmanager
def explained_memory(classes: int, chunk: int | None) -> Iterator[None]:
    """Say which option to lower if memory runs out.

    Args:
        classes: Number of classes, C.
        chunk: Most classes at a time; None = all.

    Raises:
        RuntimeError: If memory runs out.
    """
    try:
        yield
    except RuntimeError as error:
        # A CPU's allocator raises no type of its own.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        now = chunk or classes
        raise RuntimeError(
            f"out of memory with {now} classes at a time: set `class_chunk` to {max(1, now // 2)} or less, or lower "
            f"`real_batch` or `num_frequencies` ({error})"
        ) from error
