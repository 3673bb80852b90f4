"""Whether a collate function keeps samples in the order in which they were fed, and where a batch says which they are.

Symbols: B samples of a batch, n copies of an item.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from dynsel._lib.batches import parts_of
from dynsel.samplers.rng import get_rng_state, set_rng_state

__all__ = ["Collation", "collation_of", "keeps_order", "read_indices", "read_numbers"]

logger = logging.getLogger("dynsel")

# Unlike most other sizes, so that a dimension of this size is that of the samples.
COPIES = 11
# Another number of them, so that what has the same size by chance is told from what follows their number.
MORE = 13
PLACES = (1, COPIES - 2)
MOST_ITEMS = 8


def keeps_order(collate: Callable[[list[Any]], Any], items: Sequence[Any]) -> bool | None:
    """Whether row k of a collated batch is item k.

    Found out by the odd one: of a batch of equal items with another one at place j only the rows that it changes can
    be its own, so j must be among them. Reversing a list instead would miss functions that sort or reverse.

    Args:
        collate: Takes a list of items. Called about six times for each further item; it may draw at random.
        items: Two or more, best of unlike sizes. The first is compared with each of the others.

    Returns:
        None if no field of the batch tells: none changes, or all do.
    """
    state = get_rng_state()
    verdicts = set[bool | None]()
    try:
        for other in items[1:]:
            for common, odd in ((items[0], other), (other, items[0])):
                verdicts |= {_verdict(collate, common, odd, place, state) for place in PLACES}
    finally:
        set_rng_state(state)
    # A sorting function keeps the order of items that are alike.
    return False if False in verdicts else True if True in verdicts else None


def _verdict(collate: Callable[[list[Any]], Any], common: Any, odd: Any, place: int, state: Any) -> bool | None:
    plain, mixed = [common] * COPIES, [common] * COPIES
    mixed[place] = odd
    found = []
    for batch in (plain, mixed):
        # One that draws at random must draw the same.
        set_rng_state(state)
        found.append(dict(_fields(collate([copy.copy(item) for item in batch]))))
    tells = [_changed(rows, found[1][path]) for path, rows in found[0].items() if path in found[1]]
    tells = [rows for rows in tells if 0 < len(rows) < COPIES]
    if not tells:
        return None
    return any(place in rows for rows in tells)


class _Rows(list[Any]):
    """A field's rows, and the axis that they were taken from."""

    axis = 0


def _fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], _Rows]]:
    """What of a batch has one row per sample, with the path to it."""
    if isinstance(value, (Tensor, np.ndarray)):
        for axis in (0, 1):
            if value.ndim > axis and value.shape[axis] == COPIES:
                rows = _Rows(value[(slice(None),) * axis + (i,)] for i in range(COPIES))
                rows.axis = axis
                yield path, rows
                return
    elif isinstance(value, (list, tuple)) and len(value) == COPIES:
        yield path, _Rows(value)
    else:
        for key, part in (parts_of(value) or {}).items():
            yield from _fields(part, (*path, key))


def _changed(before: list[Any], after: list[Any]) -> list[int]:
    return [i for i, (one, other) in enumerate(zip(before, after, strict=False)) if not _same(one, other)]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (Tensor, np.ndarray)) and isinstance(other, (Tensor, np.ndarray)):
        one, other = (np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x) for x in (one, other))
        if one.ndim != other.ndim:
            return False
        # A longer item pads all the others.
        common = tuple(slice(min(sizes)) for sizes in zip(one.shape, other.shape, strict=True))
        return bool(np.array_equal(one[common], other[common], equal_nan=one.dtype.kind in "fc"))
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(_same(x, y) for x, y in zip(one, other, strict=True))
    return bool(one == other)


@dataclass(frozen=True)
class Collation:
    """What is known of a loader's batches.

    Args:
        keeps_order: Whether row k is the k-th index that was fed; None = nothing told.
        fields: Paths to what has one row per sample; empty if that isn't known.
        axes: The dimension of the samples in each tensor, by the path to it, where it is 0 or 1.
        stacks: Whether it is the first one in every tensor, as `default_collate` has it.
    """

    keeps_order: bool | None
    fields: tuple[tuple[Any, ...], ...] = ()
    axes: Mapping[tuple[Any, ...], int] = field(default_factory=dict)
    stacks: bool = False

    def axis(self, path: tuple[Any, ...]) -> int | None:
        """The dimension of the samples in a tensor of the batch; None if it isn't known.

        Args:
            path: To the tensor, from the whole batch; of several loaders' batches the loader's key comes first.
        """
        return 0 if self.stacks else self.axes.get(path, self.axes.get(path[1:]))

    def rows(self, batch: Any) -> int | None:
        """Number of samples in a batch.

        Args:
            batch: Whatever the collate function made.

        Returns:
            The length of the first field that has a row for each sample; None if there is none.
        """
        for path in self.fields:
            value = batch
            for key in path:
                value = (parts_of(value) or {}).get(key)
            if hasattr(value, "__len__"):
                return len(value)
        return None


def collation_of(loader: DataLoader[Any], pool: Tensor | None = None, *, ordered: bool = True) -> Collation:
    """Find out what a loader's collate function does to its samples.

    Reads a few items of the data set, in this process and from a shallow copy: files that it opens when it is first
    read aren't shared with workers.

    Args:
        loader: A DataLoader over a map-style data set.
        pool: (P,) int64 indices to take items from; None = all.
        ordered: Whether to find out if it keeps the order; where the batch itself tells the samples it need not.
    """
    original = getattr(loader, "original", loader)
    collate = original.collate_fn
    if collate is default_collate or (original.batch_size is None and original.batch_sampler is None):
        return Collation(True, stacks=collate is default_collate)
    state = get_rng_state()
    try:
        items = _unlike_items(copy.copy(original.dataset), pool)
        few, many = (collate([copy.copy(items[0]) for _ in range(count)]) for count in (COPIES, MORE))
        fields = tuple(path for path, rows in _fields(few) if rows.axis == 0)
        found = Collation(keeps_order(collate, items) if ordered else None, fields, _axes(few, many))
    except Exception:
        # What it does with lists like these is nobody's concern; with the user's own it works.
        found = Collation(None)
    finally:
        set_rng_state(state)
    if ordered and found.keeps_order is None:
        logger.info(
            "whether the collate function %s keeps the samples' order couldn't be found out; it is taken to. If it "
            "doesn't, say by `indices=` where a batch holds the samples' indices",
            getattr(collate, "__qualname__", type(collate).__name__),
        )
    return found


def _axes(few: Any, many: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], int]:
    """The dimension whose size follows the number of samples, for each tensor of two batches by its path."""
    if isinstance(few, Tensor) and isinstance(many, Tensor):
        sizes = list(zip(few.shape, many.shape, strict=False))[:2]
        return {path: sizes.index((COPIES, MORE))} if (COPIES, MORE) in sizes else {}
    found: dict[tuple[Any, ...], int] = {}
    parts, others = parts_of(few) or {}, parts_of(many) or {}
    for key, part in parts.items():
        if key in others:
            found |= _axes(part, others[key], (*path, key))
    return found


def _unlike_items(dataset: Any, pool: Tensor | None) -> list[Any]:
    """Four items or fewer, those that differ in size first."""
    length = len(dataset) if pool is None else len(pool)
    places = np.unique(np.linspace(0, length - 1, MOST_ITEMS).round().astype(np.int64)).tolist()
    items = [dataset[i if pool is None else int(pool[i])] for i in places]
    first, rest = items[0], items[1:]
    rest.sort(key=lambda item: (_shapes(item) == _shapes(first), _numbers(item) == _numbers(first)))
    return [first, *rest[:3]]


def _shapes(item: Any) -> list[Any]:
    """Shapes and lengths of all that an item holds."""
    if isinstance(item, (Tensor, np.ndarray)):
        return [tuple(item.shape)]
    if isinstance(item, (str, bytes)):
        return [len(item)]
    parts = parts_of(item) or {}
    return [len(parts), *[shape for part in parts.values() for shape in _shapes(part)]]


def _numbers(item: Any) -> list[Any]:
    """Single numbers in an item, one of which may be its length."""
    if isinstance(item, (Tensor, np.ndarray)):
        return [item.item()] if item.ndim == 0 else []
    parts = parts_of(item)
    if parts is None:
        return [item] if isinstance(item, (int, float)) else []
    return [number for part in parts.values() for number in _numbers(part)]


Where = str | int | Callable[[Any], Any]


def read_numbers(where: Where, batch: Any, argument: str) -> Tensor:
    """(B,) numbers that a batch itself tells of its samples, on the CPU.

    Args:
        where: A key, an attribute or a position of the batch, or a function of it.
        batch: As the loader gives it.
        argument: What `where` was given as, for messages.

    Raises:
        ValueError: If the batch has no such part, or it isn't one number per sample.
    """
    try:
        if callable(where):
            found = where(batch)
        else:
            found = getattr(batch, where) if isinstance(where, str) and hasattr(batch, where) else batch[where]
        numbers = torch.as_tensor(found).detach().cpu()
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"`{argument}={where!r}` finds nothing in a batch of type {type(batch).__name__} ({error}); give a key or "
            "position of the batch, or a function of it that returns (B,) numbers"
        ) from error
    if numbers.ndim != 1:
        raise ValueError(f"`{argument}={where!r}` must give one number per sample, got shape {tuple(numbers.shape)}")
    return numbers


def read_indices(where: Where, batch: Any) -> Tensor:
    """(B,) int64 data set indices of a batch's samples, as the batch itself tells them.

    Args:
        where: A key, an attribute or a position of the batch, or a function of it.
        batch: As the loader gives it.

    Raises:
        ValueError: If the batch has no such part, or it isn't one whole number per sample.
    """
    indices = read_numbers(where, batch, "indices")
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise ValueError(f"`indices={where!r}` must give one whole number per sample, got {indices.dtype}")
    return indices.long()
