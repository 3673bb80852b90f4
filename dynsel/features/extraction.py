"""One rank's part of an extraction, as a LightningModule: batches in, blocks of features out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from dynsel._lib.provenance import package_version
from dynsel.features._items import preserved_rng
from dynsel.features.extractors.base import Extractor
from dynsel.features.writing import StoreWriter

__all__ = ["Extraction", "cant_read"]

_PROBED = 4

# start, stop of the rows of one batch
Rows = tuple[int, int]


class _Batches(Dataset[Any]):
    """Batches of prepared inputs by their rows; made whole in a worker, so that the loader has nothing to collate."""

    def __init__(self, dataset: Any, extractor: Extractor) -> None:
        self.dataset, self.extractor = dataset, extractor

    def __getitem__(self, rows: Rows) -> dict[str, Any]:
        indices = range(*rows)
        unreadable: dict[int, str] = {}
        try:
            values = self._prepared(indices)
        except Exception:
            values, unreadable = self._one_by_one(indices)
        good = [i - rows[0] for i in indices if i not in unreadable]
        return {"inputs": self.extractor.collate(values) if values else None, "good": good, "unreadable": unreadable}

    def _prepared(self, indices: Sequence[int]) -> list[Any]:
        return [self.extractor.prepare(value) for value in self.extractor.read(self.dataset, indices)]

    def _one_by_one(self, indices: Sequence[int]) -> tuple[list[Any], dict[int, str]]:
        values, unreadable = [], {}
        for i in indices:
            try:
                values += self._prepared([i])
            except Exception as error:  # whatever a decoder raises
                unreadable[i] = f"{type(error).__name__}: {error}"
        return values, unreadable


class Extraction(pl.LightningModule):
    """Everything that happens on one rank of an extraction.

    Args:
        dataset: Map-style data set.
        extractor: What makes the features, fitted.
        path: The `.npy` file to be.
        plan: What the store will hold, see `StoreWriter.begin`; `d` is found here.
        num_workers: Number of processes that read and prepare items.
        skip_unreadable: Write zeros for items that can't be read.
    """

    def __init__(
        self,
        dataset: Any,
        extractor: Extractor,
        path: Path,
        plan: dict[str, Any],
        num_workers: int,
        skip_unreadable: bool,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.batches = _Batches(dataset, extractor)
        self.path, self.plan, self.num_workers, self.skip_unreadable = path, plan, num_workers, skip_unreadable
        # A rank whose blocks are all there has nothing to do.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self._block: list[Tensor] = []
        self._skipped: list[int] = []

    def setup(self, stage: str) -> None:
        """Begin or take up the store, on the first rank; Lightning waits for all ranks between this and the loader.

        Args:
            stage: Lightning's name for what is done; not used.
        """
        if self.trainer.is_global_zero:
            StoreWriter.begin(self.path, {**self.plan, "d": self._probe(), "versions": _versions()})

    def _probe(self) -> int:
        """Width of the features, of the first item that can be read; refuses items that change."""
        count, width = self.plan["N"], 0
        places = sorted({i * (count - 1) // max(1, _PROBED - 1) for i in range(_PROBED)})
        with preserved_rng():
            for i in [*places, *range(count)]:
                if width and i not in places:
                    break
                first, second = self.batches[i, i + 1], self.batches[i, i + 1]
                self._complain(first)
                if first["inputs"] is None:
                    continue
                if not _same(first["inputs"], second["inputs"]):
                    raise ValueError(
                        f"item {i} is another one each time it is read: features would be of one random view; give the "
                        "data set without random augmentation"
                    )
                if not width:
                    with torch.inference_mode():
                        width = self._features(self.extractor.eval()(first["inputs"]), 1).shape[1]
        if not width:
            raise RuntimeError(f"none of the {count} items can be read; item 0: {self.batches[0, 1]['unreadable'][0]}")
        return width

    def predict_dataloader(self) -> DataLoader[Any]:
        """A loader of this rank's batches, none of which spans two blocks."""
        self.writer = StoreWriter(self.path, self.global_rank)
        world, size = self.trainer.world_size, self.plan["batch_size"]
        self.rows: list[Rows] = []
        for block in self.writer.missing():
            if block % world == self.global_rank:
                rows = self.writer.rows(block)
                self.rows += [(i, min(i + size, rows.stop)) for i in range(rows.start, rows.stop, size)]
        return DataLoader(
            self.batches,
            batch_size=None,
            sampler=self.rows,
            num_workers=self.num_workers,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """The features of a batch.

        Args:
            batch: What the loader made: `inputs`, the places of the `good` items, and why others are `unreadable`.
            batch_idx: Number of the batch; not used.

        Returns:
            (good items, d) floats, or None if no item of the batch could be read.

        Raises:
            ValueError: If an item can't be read and that isn't allowed, or the extractor returns something else.
        """
        self._complain(batch)
        return None if batch["inputs"] is None else self._features(self.extractor(batch["inputs"]), len(batch["good"]))

    def on_predict_batch_end(
        self, outputs: Tensor | None, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write a block when its last batch is there; not in the step, where types may be mixed.

        Args:
            outputs: (good items, d) floats that the step returned, or None if it could read no item.
            batch: Batch that was predicted.
            batch_idx: Number of the batch among this rank's.
            dataloader_idx: Number of the loader; there is one only.
        """
        start, stop = self.rows[batch_idx]
        self._block.append(self._rows_of(outputs, batch["good"], stop - start))
        self._skipped += batch["unreadable"]
        block = start // self.plan["block_rows"]
        if stop == self.writer.rows(block).stop:
            # One transfer a block: the accelerator doesn't wait for the disk after each batch.
            self.writer.write(block, torch.cat(self._block).cpu().numpy(), self._skipped)
            self._block, self._skipped = [], []

    def _rows_of(self, features: Tensor | None, good: list[int], count: int) -> Tensor:
        width, dtype = self.writer.plan["d"], getattr(torch, self.plan["dtype"])
        if features is not None and features.shape[1] != width:
            raise ValueError(f"features must have one width, got {features.shape[1]} after {width}")
        if features is not None and len(features) == count:
            return features.to(dtype)
        rows = torch.zeros(count, width, device=self.device, dtype=dtype)
        if features is not None:
            rows[torch.tensor(good, device=self.device)] = features.to(dtype)
        return rows

    def teardown(self, stage: str) -> None:
        """Finish the store, on the first rank.

        Called on a rank with nothing to do as well, unlike `on_predict_end`; but not after an exception.

        Args:
            stage: Lightning's name for what is done; not used.
        """
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero:
            self.writer.finish(dynsel=package_version("dynsel"))
        self.trainer.strategy.barrier()

    @staticmethod
    def _features(features: Any, count: int) -> Tensor:
        said = f"{tuple(features.shape)} {features.dtype}" if isinstance(features, Tensor) else type(features).__name__
        tensor = isinstance(features, Tensor) and features.is_floating_point() and features.ndim >= 2
        if not isinstance(features, Tensor) or not tensor or len(features) != count:
            raise ValueError(
                f"an extractor must return ({count}, d) floating-point features for {count} items, got {said}"
            )
        return features.flatten(1)

    def _complain(self, batch: dict[str, Any]) -> None:
        unreadable = batch["unreadable"]
        if unreadable and not self.skip_unreadable:
            index, why = next(iter(unreadable.items()))
            more = f" and {len(unreadable) - 1} more of its batch" if len(unreadable) > 1 else ""
            raise ValueError(cant_read(self.batches.dataset, index, why, more))


def cant_read(dataset: Any, index: int, why: str, more: str = "") -> str:
    """The message about an item that can't be read, with its file where the data set knows it.

    Args:
        dataset: Map-style data set.
        index: Number of the item.
        why: What went wrong, in words.
        more: What else to say of where it went wrong.
    """
    return (
        f"item {index}{_file_of(dataset, index)}{more} can't be read ({why}); mend or remove it, or skip such items "
        "(--skip_unreadable), whose rows are then zeros and masked"
    )


def _file_of(dataset: Any, index: int) -> str:
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, dataset.indices[index]
    samples = getattr(dataset, "samples", None)
    if not isinstance(samples, list) or not samples:
        return ""
    entry = samples[index]
    return f" ({entry[0] if isinstance(entry, tuple | list) else entry})"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _versions() -> dict[str, str]:
    names = ("torch", "torchvision", "lightning", "numpy", "open_clip_torch", "sentence-transformers")
    return {name: found for name in names if (found := package_version(name)) != "unknown"}
