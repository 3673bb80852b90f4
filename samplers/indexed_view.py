"""A streaming data set, read by index."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset

__all__ = ["IndexedView"]


class IndexedView(Dataset[Any]):
    """Makes a data set that is iterated, but can be read by index as well, one to select from.

    Streaming data sets such as those of mosaicml-streaming and litdata have `__getitem__` and `__len__`. Read in the
    order of a sampler, they fetch and keep the shards that are asked for; how long that takes is theirs to say.

    Args:
        source: Has `__len__` and `__getitem__`. Its other attributes (`targets`, say) are the view's as well.

    Raises:
        TypeError: If it has no random access.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> loader = DataLoader(IndexedView([10, 20, 30]), batch_size=2)
        >>> [batch.tolist() for batch in loader]
        [[10, 20], [30]]
    """

    def __init__(self, source: Any) -> None:
        if not hasattr(source, "__len__") or not hasattr(type(source), "__getitem__"):
            raise TypeError(
                f"`source` must have `__len__` and `__getitem__` to be read by index, got {type(source).__name__}; "
                "select inside the batch instead: `BatchFraction`"
            )
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        return self.source[index]

    def __getattr__(self, name: str) -> Any:
        # Not while it is being unpickled, before it has a source.
        if name == "source" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.source, name)
