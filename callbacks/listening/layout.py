"""Along which dimension the tensors of a training's batches have their samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

__all__ = ["Layout", "Path"]

Path = tuple[Any, ...]


class Layout:
    """What is known of a tensor by its place in the batch, for a whole training.

    Tensors of as many steps as samples, (B, B, ...), may be batch first or time first. What the collate function does
    settles it, else another batch of the training whose sizes differ.

    Args:
        axis_of: The dimension by the path to a tensor, as the collate function is known to lay it; None = not known.

    Attributes:
        guessed: Paths of tensors taken for batch first without knowing it.
    """

    def __init__(self, axis_of: Callable[[Path], int | None] | None = None) -> None:
        self._axis_of = axis_of
        self._seen: dict[Path, int] = {}
        self._warned = False
        self.guessed: set[Path] = set()

    def axis(self, path: Path, shape: Sequence[int], size: int) -> int | None:
        """The dimension of the samples, if it is known of the tensor at this place and has B entries."""
        known = None if self._axis_of is None else self._axis_of(path)
        known = self._seen.get(path) if known is None else known
        return known if known is not None and len(shape) > known and shape[known] == size else None

    def look(self, tensors: Iterable[tuple[Path, Sequence[int]]], size: int) -> bool:
        """Learn from the shapes of the tensors of a batch of B samples.

        Returns:
            Whether they show that a guess was wrong.
        """
        wrong = False
        for path, shape in tensors:
            if size > 1 and len(shape) > 1 and (shape[0] == size) != (shape[1] == size):
                self._seen[path] = int(shape[0] != size)
                wrong |= path in self.guessed and self._seen[path] == 1
                self.guessed.discard(path)
        return wrong

    def guess(self, path: Path, shape: Sequence[int]) -> None:
        """A tensor is taken for batch first, and nothing shows whether that is right: said once."""
        self.guessed.add(path)
        if not self._warned:
            self._warned = True
            rank_zero_warn(
                f"DynamicSelection: a tensor of the batch, {tuple(shape)}, has as many steps as samples, and nothing "
                "tells which dimension is that of the samples; it is taken to be the first one until a batch shows "
                "otherwise. If it is the second, stack samples first, or return a dict with `per_sample_loss`, a (B,) "
                "tensor, beside `loss`."
            )
