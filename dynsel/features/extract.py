"""Extraction of features into a store, through Lightning's `Trainer.predict`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from dynsel._lib.provenance import package_version
from dynsel._lib.quiet import quiet
from dynsel.features._items import check_dataset, preserved_rng
from dynsel.features.extractors.base import Extractor
from dynsel.features.fingerprint import fingerprint
from dynsel.features.store import FeatureStore, StoreWriter, manifest_path, open_store, plan_difference

__all__ = ["extract"]

_BLOCK_ROWS = 4096
_PROBED = 4
_DTYPES = ("float16", "float32")

# start, stop of the rows of one batch
Rows = tuple[int, int]


def extract(
    dataset: Any,
    extractor: Extractor,
    path: str | os.PathLike[str],
    *,
    batch_size: int = 256,
    block_rows: int | None = None,
    num_workers: int = 0,
    dtype: str = "float16",
    skip_unreadable: bool = False,
    progress_bar: bool = False,
    **trainer_options: Any,
) -> FeatureStore:
    """Write the features of every item into a store, or complete one that was interrupted.

    Blocks are the unit of everything: a batch never spans two, a block is written when it is whole, each rank does
    every world-th block. So the bytes are the same whatever was interrupted, and with any number of ranks that compute
    alike.
    A store that is already complete is checked and opened.

    Args:
        dataset: Map-style data set whose items are the same each time: without random augmentation.
        extractor: What makes the features.
        path: The `.npy` file to write; with several machines, on a disk that all of them see.
        batch_size: Items at a time.
        block_rows: Rows of a block; default: batches of about 4,096 rows.
        num_workers: Processes that read and prepare items.
        dtype: "float16" or "float32".
        skip_unreadable: Write zeros for items that can't be read and note them, instead of an error.
        progress_bar: Show one.
        **trainer_options: Of Lightning's Trainer, as in `devices=2, strategy="ddp"` or `precision="bf16-mixed"`.

    Raises:
        RuntimeError: If the disk is full, or all items are unreadable.
        TypeError: If the data set isn't map-style, or an item holds no input.
        ValueError: If an item can't be read or gives NaN, the data set draws at random, an option is out of range,
            or the file holds something else; says what differs.
    """
    check_dataset(dataset)
    path = Path(path)
    if batch_size < 1 or (block_rows is not None and block_rows < 1):
        raise ValueError(f"`batch_size` and `block_rows` must be at least 1, got {batch_size} and {block_rows}")
    if dtype not in _DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(_DTYPES)}, got {dtype!r}")
    if path.suffix != ".npy":
        raise ValueError(f"`path` must end in .npy, got {path.name!r}")
    with preserved_rng():
        _fit(extractor, dataset, skip_unreadable)
    plan = {
        "fingerprint": fingerprint(dataset),
        "extractor": extractor.describe(),
        "N": len(dataset),
        "dtype": dtype,
        "batch_size": batch_size,
        "block_rows": batch_size * max(1, _BLOCK_ROWS // batch_size) if block_rows is None else block_rows,
        "precision": str(trainer_options.get("precision") or "32-true"),
    }
    if path.exists() and not (path.with_name(f"{path.name}.part") / "plan.json").exists():
        return _complete(path, plan)
    extraction = _Extraction(dataset, extractor, path, plan, num_workers, skip_unreadable)
    callbacks: list[pl.Callback] = [*(trainer_options.pop("callbacks", None) or [])]
    if progress_bar:
        from dynsel.features.progress import SampleProgress

        callbacks.append(SampleProgress())
    options = {"accelerator": "auto", "devices": 1, **trainer_options}
    # The loader draws a seed for its workers.
    with quiet(), preserved_rng():
        trainer = pl.Trainer(
            **options,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.predict(extraction, return_predictions=False)
    return open_store(path)


def _fit(extractor: Extractor, dataset: Any, skip_unreadable: bool) -> None:
    if type(extractor).fit is Extractor.fit:
        return
    if skip_unreadable:
        bad = dict(_unreadable(extractor, dataset))
        if len(bad) == len(dataset):
            raise RuntimeError(f"none of the {len(bad)} items can be read; item 0: {bad[0]}")
        dataset = Subset(dataset, [i for i in range(len(dataset)) if i not in bad]) if bad else dataset
    try:
        extractor.fit(dataset)
    except (TypeError, ValueError):
        raise  # says what is wrong
    except Exception as error:  # whatever a decoder raises
        for index, why in _unreadable(extractor, dataset):
            raise ValueError(_cant_read(dataset, index, why)) from error
        raise


def _unreadable(extractor: Extractor, dataset: Any) -> Iterator[tuple[int, str]]:
    """Items that can't be read, and why."""
    for i in range(len(dataset)):
        try:
            extractor.read(dataset, [i])
        except Exception as error:  # whatever a decoder raises
            yield i, f"{type(error).__name__}: {error}"


def _complete(path: Path, plan: dict[str, Any]) -> FeatureStore:
    if not manifest_path(path).is_file():
        raise ValueError(f"{path} is there and is no feature store; choose another file, or delete it")
    store = open_store(path)
    difference = plan_difference(store.manifest, plan)
    if difference:
        raise ValueError(
            f"{path} is there and holds other features; they differ in: {difference}. Choose another "
            "file, or delete it and its manifest"
        )
    return store


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


class _Extraction(pl.LightningModule):
    """Everything that happens on one rank."""

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

    # Lightning waits for all ranks between this and the loader.
    def setup(self, stage: str) -> None:
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
        self._complain(batch)
        return None if batch["inputs"] is None else self._features(self.extractor(batch["inputs"]), len(batch["good"]))

    # Not in the step, where types may be mixed.
    def on_predict_batch_end(
        self, outputs: Tensor | None, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
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

    # Called on a rank with nothing to do as well, unlike `on_predict_end`; but not after an exception.
    def teardown(self, stage: str) -> None:
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero:
            self.writer.finish(dynsel=package_version("dynsel"))
        self.trainer.strategy.barrier()

    @staticmethod
    def _features(features: Any, count: int) -> Tensor:
        if not isinstance(features, Tensor) or not features.is_floating_point() or len(features) != count:
            said = (
                f"{tuple(features.shape)} {features.dtype}" if isinstance(features, Tensor) else type(features).__name__
            )
            raise ValueError(
                f"an extractor must return ({count}, d) floating-point features for {count} items, got {said}"
            )
        return features.flatten(1)

    def _complain(self, batch: dict[str, Any]) -> None:
        unreadable = batch["unreadable"]
        if unreadable and not self.skip_unreadable:
            index, why = next(iter(unreadable.items()))
            more = f" and {len(unreadable) - 1} more of its batch" if len(unreadable) > 1 else ""
            raise ValueError(_cant_read(self.batches.dataset, index, why, more))


def _cant_read(dataset: Any, index: int, why: str, more: str = "") -> str:
    return (
        f"item {index}{_file_of(dataset, index)}{more} can't be read ({why}); mend or remove it, or skip such items "
        "(--skip-unreadable), whose rows are then zeros and masked"
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
