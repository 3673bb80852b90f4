"""What a user's loader feeds from, and the sampler that takes its place."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
)

from dynsel.labels import declared_classes, declared_labels, encode_labels
from dynsel.samplers.drawing import is_shuffle
from dynsel.samplers.findings.excluded import kept_indices
from dynsel.samplers.loader import SelectedBatches
from dynsel.samplers.selection_sampler import SelectionSampler

__all__ = ["sampler_for"]


def sampler_for(
    loader: DataLoader[Any],
    *,
    num_replicas: int = 1,
    rank: int = 0,
    shuffle: bool | None = None,
    shared: bool = False,
    exclude: Any = None,
) -> SelectionSampler:
    """The sampler that feeds selections of the user's loader, in the order that the loader would have had.

    One process: the user's own sampler, filtered. Several: a (seed, epoch) permutation, as Lightning, Fabric and
    DistributedSampler have it.

    Args:
        loader: The user's own loader.
        num_replicas: Number of processes among which the samples are shared out.
        rank: Number of this rank, from 0.
        shuffle: Whether several processes permute; default: if the loader shuffles.
        shared: Whether other processes get the same samples (tensor parallelism), so that no process may draw an
            order of its own; with several replicas they mustn't anyway.
        exclude: Samples that are never fed, as `kept_indices` takes them; None = none.

    Raises:
        TypeError: If the loader's samples can't be selected by index.
        ValueError: If samples are to be left out of a sampler's order that isn't the data set's or a permutation.
    """
    loader = getattr(loader, "original", loader)
    _check_selectable(loader)
    source = _Source(loader)
    if exclude is not None:
        source.leave_out(exclude, warn=rank == 0)
    base, dataset = source.base, source.dataset
    options: dict[str, Any] = {"num_replicas": num_replicas, "rank": rank, **source.batches}
    if isinstance(base, SelectionSampler):
        base.share(num_replicas, rank)
        base.make_batches(**source.batches)
        return base
    if type(base) is DistributedSampler:
        return SelectionSampler(dataset, shuffle=base.shuffle, seed=base.seed, **options)
    shared = shared or num_replicas > 1
    ordered = isinstance(base, SequentialSampler)
    if shared and source.permutes:
        return SelectionSampler(
            dataset, shuffle=not ordered if shuffle is None else shuffle, pool=source.pool, **options
        )
    if source.own_batches and num_replicas > 1:
        raise TypeError(
            f"the batches of the loader's own batch sampler ({type(base).__name__}) can't be shared out so that every "
            "rank gets as many; on several ranks pass `batch_size=` and `sampler=` to the DataLoader instead"
        )
    return SelectionSampler(
        dataset,
        base=base,
        shuffle=not ordered,
        pool=source.pool,
        shared=shared,
        own_batches=source.own_batches,
        **options,
    )


class _Source:
    """Where a loader takes its indices from, and in what batches.

    Attributes:
        base: The sampler; with `own_batches` the batch sampler.
        dataset: What it samples from.
        batches: What `SelectionSampler.make_batches` takes.
        own_batches: Whether the batches are not simply runs of a sampler's order.
        lists: Whether the loader makes no batches because its sampler yields lists (`batch_size=None`).
        pool: (P,) int64 indices, ascending, if `base` says which ones it yields and these aren't all; else None.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.dataset: Any = loader.dataset
        self.length: int = len(loader.dataset)  # type: ignore[arg-type]
        self.base: Any = loader.sampler
        self.lists = loader.batch_sampler is None and isinstance(self.base, BatchSampler)
        batches: Any = self.base if self.lists else loader.batch_sampler
        self.own_batches = batches is not None and not _is_plain(batches)
        if batches is None:
            self.batches: dict[str, Any] = {"batch_size": None, "drop_last": False}
        elif self.own_batches:
            self.base = batches
            size = getattr(batches, "batch_size", None)
            self.batches = {"batch_size": size if isinstance(size, int) and size > 0 else 1, "drop_last": False}
        else:
            self.base = batches.sampler
            self.batches = {"batch_size": batches.batch_size, "drop_last": batches.drop_last}
        self.pool = None if self.own_batches else _pool(self.base, self.length)

    def leave_out(self, exclude: Any, *, warn: bool) -> None:
        """Sample from the others only, as a `SubsetRandomSampler` does, or in the data set's order."""
        kept = kept_indices(exclude, self.dataset)
        pool = self.base.whole.pool if isinstance(self.base, SelectionSampler) else self.pool
        fed = torch.arange(self.length) if pool is None else pool
        # A loader that was wrapped before has left them out.
        if bool(torch.isin(fed, kept).all()):
            return
        if not (self.permutes and self.pool is None):
            raise ValueError(
                "`exclude` is for loaders that shuffle or keep the data set's order, and this one has a sampler of its "
                f"own ({type(self.base).__name__}): leave the samples out of that, or of the data set by `Subset`"
            )
        shuffles = type(self.base) is not SequentialSampler
        # A list is a sampler too: it yields its entries.
        self.base = SubsetRandomSampler(kept.tolist(), generator=self.base.generator) if shuffles else kept.tolist()
        self.pool = kept
        if warn and (classes := _classes_left_out(self.dataset, kept)):
            several = f"{len(classes)} classes" if len(classes) > 1 else "class"
            names = f"{', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}"
            warnings.warn(
                f"`exclude` leaves out every sample of the {several} {names}: training never sees "
                f"{'them' if len(classes) > 1 else 'it'}; take some of these samples out of `exclude`",
                stacklevel=2,
            )

    @property
    def permutes(self) -> bool:
        """Whether an epoch has each sample of the pool once, in an order that is as good as any other."""
        base = self.base
        if type(base) is SubsetRandomSampler:
            return len(base.indices) == (self.length if self.pool is None else len(self.pool))
        full = is_shuffle(base) and base.num_samples == self.length
        return full or type(base) is SequentialSampler


def _classes_left_out(dataset: Any, kept: Tensor) -> list[str]:
    """Names of the classes of which nothing is kept, where the data set tells its labels without being read."""
    labels = declared_labels(dataset)
    if labels is None:
        return []
    try:
        codes, names = encode_labels(labels)
    except (TypeError, ValueError):
        return []  # not one class per sample
    if len(names) > max(2, len(codes) // 2):
        return []  # measurements, or names of the samples
    uses = torch.bincount(codes[kept].long(), minlength=len(names)).tolist()
    left_out = [name for name, count in zip(names, uses, strict=True) if not count]
    classes = declared_classes(dataset) or []
    return [repr(classes[n] if isinstance(n, int) and 0 <= n < len(classes) else n) for n in left_out]


def _is_plain(batches: Any) -> bool:
    """Whether a batch sampler cuts a sampler's order into runs: torch's, subclasses that leave that, torchdata's."""
    if not isinstance(batches, BatchSampler):
        return False
    known = type(batches).__module__.startswith("torchdata.") or isinstance(batches, SelectedBatches)
    return known or type(batches).__iter__ is BatchSampler.__iter__


def _pool(base: Any, length: int) -> Tensor | None:
    """The indices that a sampler says it yields, (P,) int64 ascending; None if it doesn't say, or these are all."""
    indices = base.indices if type(base) is SubsetRandomSampler else base
    if not isinstance(indices, (list, tuple, range, Tensor, np.ndarray)):
        return None
    pool = torch.from_numpy(np.unique(np.array([int(i) for i in indices], dtype=np.int64)))
    if len(pool) and not 0 <= int(pool[0]) <= int(pool[-1]) < length:
        raise ValueError(f"the loader's sampler has an index outside the data set, 0 .. {length - 1}")
    return None if len(pool) == length else pool


def _check_selectable(loader: Any) -> None:
    if not isinstance(loader, DataLoader):
        raise TypeError(
            f"selection needs a torch DataLoader, got {type(loader).__name__}; put the samples into a data set and "
            "that into a DataLoader, or leave this loader out of the selection"
        )
    if getattr(loader, "_is_accelerate_prepared", False):
        raise TypeError(
            "this loader was prepared by accelerate, which takes its own way through the data: give the selection the "
            "loader that you gave accelerate, `selection.wrap(loader, accelerator=accelerator)`"
        )
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        readable = hasattr(dataset, "__len__") and hasattr(type(dataset), "__getitem__")
        # Dataset itself has a `__getitem__` that raises.
        readable = readable and type(dataset).__getitem__ is not Dataset.__getitem__
        way_out = (
            "it can be read by index, so that `IndexedView(dataset)` of dynsel.samplers makes one of it"
            if readable
            else "give it `__getitem__` and `__len__`, leave this loader out of the selection, or select inside its "
            "batches: `BatchFraction(keep_ratio, selector=...)`"
        )
        raise TypeError(
            f"selection by index needs a map-style data set with a length, got {type(dataset).__name__}; {way_out}"
        )
    base = loader.sampler
    if isinstance(base, DistributedSampler) and not (
        type(base) is DistributedSampler or isinstance(base, SelectionSampler)
    ):
        raise TypeError(
            f"can't filter {type(base).__name__}, a DistributedSampler that knows one rank's part only; "
            "leave the sampler out and let the selection distribute the samples"
        )
