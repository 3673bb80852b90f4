"""Extraction of features into a store, through Lightning's `Trainer.predict`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch.utils.data import Subset

from dynsel._lib.files import only_writer
from dynsel._lib.outputs import check_output
from dynsel._lib.quiet import quiet
from dynsel._lib.trainers import check_processes
from dynsel.features._items import check_dataset, preserved_rng
from dynsel.features.extraction import Extraction, cant_read
from dynsel.features.extractors.base import Extractor
from dynsel.features.fingerprint import fingerprint
from dynsel.features.layout import is_finished, manifest_path, plan_difference
from dynsel.features.progress import SampleProgress
from dynsel.features.store import FeatureStore, open_store

__all__ = ["check_place", "extract"]

_BLOCK_ROWS = 4096
_DTYPES = ("float16", "float32")


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
        batch_size: Number of items that go through the extractor at a time.
        block_rows: Rows of a block; by default batches of about 4,096 rows together.
        num_workers: Number of processes that read and prepare items; 0 = this one does.
        dtype: Type of the features on disk, "float16" or "float32".
        skip_unreadable: Write zeros for items that can't be read and note them, instead of an error.
        progress_bar: Whether a bar shows on the standard error.
        **trainer_options: Options of Lightning's Trainer, as in `devices=2, strategy="ddp"` or
            `precision="bf16-mixed"`.

    Returns:
        The finished store, opened; its features are (N, d).

    Raises:
        RuntimeError: If the disk is full, all items are unreadable, or another process writes the same store.
        TypeError: If the data set isn't map-style, or an item holds no input.
        ValueError: If an item can't be read or gives NaN, the data set draws at random, an option is out of range,
            or the file holds something else; says what differs.
    """
    check_dataset(dataset)
    path = Path(path)
    _check_options(batch_size, block_rows, dtype)
    check_place(path)
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
    if is_finished(path):
        return _complete(path, plan)
    extraction = Extraction(dataset, extractor, path, plan, num_workers, skip_unreadable)
    # The loader draws a seed for its workers.
    with quiet(), preserved_rng():
        trainer = _trainer(progress_bar, **trainer_options)
        check_processes(trainer)
        with only_writer(path, wait=False) if trainer.is_global_zero else nullcontext():
            if trainer.is_global_zero and is_finished(path):
                raise RuntimeError(f"another process finished {path} meanwhile; the same command opens it")
            trainer.predict(extraction, return_predictions=False)
    return open_store(path)


def _check_options(batch_size: int, block_rows: int | None, dtype: str) -> None:
    if batch_size < 1 or (block_rows is not None and block_rows < 1):
        raise ValueError(f"`batch_size` and `block_rows` must be at least 1, got {batch_size} and {block_rows}")
    if dtype not in _DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(_DTYPES)}, got {dtype!r}")


def _trainer(progress_bar: bool, callbacks: list[pl.Callback] | None = None, **options: Any) -> pl.Trainer:
    """A Trainer that writes nothing of its own."""
    return pl.Trainer(
        **{"accelerator": "auto", "devices": 1, **options},
        callbacks=[*(callbacks or []), *([SampleProgress()] if progress_bar else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def check_place(path: Path, name: str = "path") -> None:
    """A store can be written here, or is there already.

    Args:
        path: The `.npy` file.
        name: How the messages call it.

    Raises:
        ValueError: If it has another ending, can't be written, or is a link, beside which its manifest would not be
            found again.
    """
    if path.suffix != ".npy":
        raise ValueError(f"`{name}` must end in .npy, got {path.name!r}")
    if is_finished(path):
        return
    if path.is_symlink():
        raise ValueError(f"`{name}` must not be a link, and {path} leads to {os.path.realpath(path)}; name that itself")
    check_output(name, path)


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
            raise ValueError(cant_read(dataset, index, why)) from error
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
