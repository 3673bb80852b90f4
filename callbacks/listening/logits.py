"""What a selector makes of the logits: its `measure`, one number per sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynsel.callbacks.listening.graph import nearest
from dynsel.callbacks.listening.hearing import Effort, Hearing
from dynsel.callbacks.listening.losses import CLASSIFIERS
from dynsel.callbacks.listening.parts import LossPart, Part
from dynsel.callbacks.listening.rows import Way, fold, rows_by, way_of
from dynsel.callbacks.listening.tags import Tag, drop_dim
from dynsel.selectors import Selector

__all__ = ["Logits", "Measured"]

# Numbers that the logits of a batch may have, to be looked at as a whole; of more, so many are looked at.
ENOUGH = 2**20


@dataclass(eq=False)
class Measured:
    """(B,) numbers made of the logits that a part was given, NaN = not told; `part` is None without one."""

    part: Part | None
    values: Tensor


class Logits:
    """Finds the logits of each batch and has them measured while they are there.

    Args:
        selector: Selector whose `measure` is given the logits.
    """

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self.measured: list[Measured] = []
        # Which `log_softmax` of the step the loss comes from, where it is written by hand, and how its rows lie.
        self._normalizer: tuple[int, Way] | None = None
        self._seen: set[int] = set()

    def begin(self) -> None:
        """Before a batch."""
        self.measured = []
        self._seen.clear()

    def take(self, part: Part, hearing: Hearing, features: Tensor | None) -> None:
        """Measure what a part was given, if it is a classifier's loss.

        Args:
            part: Armed, with its arguments.
            hearing: What was heard of the batch.
            features: (B, d), for selectors that measure them.
        """
        if not isinstance(part, LossPart) or part.func not in CLASSIFIERS or part.tag is None:
            return
        logits, targets = part.call["input"].detach(), part.call["target"]
        classes = not targets.is_floating_point()
        if self.selector.needs_targets and not classes:
            return
        if not self.selector.needs_targets:
            # Several losses of the same logits, as of mixup, are one.
            if id(part.call["input"]) in self._seen:
                return
            self._seen.add(id(part.call["input"]))
        valid = targets != part.call.get("ignore_index", -100) if classes else None
        values = self._measured(logits, targets, valid, part.tag, part.first, hearing.size, features)
        if values is not None:
            self.measured.append(Measured(part, values))

    def take_normalized(self, start: list[Any], hearing: Hearing, features: Tensor | None) -> None:
        """Measure what the nearest `log_softmax` was given, where the loss is written by hand.

        Args:
            start: Nodes of the parts of the loss.
            hearing: What was heard of the batch.
            features: (B, d), for selectors that measure them.
        """
        if self.selector.needs_targets:
            return
        if hearing.effort is Effort.FULL:
            self._find_normalizer(start, hearing)
        if self._normalizer is None or self._normalizer[0] >= len(hearing.normalized):
            return
        k, way = self._normalizer
        _, logits, dim, tag = hearing.normalized[k]
        logits = logits.movedim(dim, 1) if logits.ndim > 1 else logits[None]
        shape = logits.shape[:1] + logits.shape[2:]
        rows = _rows_of(tag, dim) if hearing.effort is Effort.FULL else rows_by(way, shape, hearing.size)
        if rows is not None:
            values = self._measured(logits, None, None, rows, way is Way.FIRST, hearing.size, features)
            if values is not None:
                self.measured.append(Measured(None, values))

    def _find_normalizer(self, start: list[Any], hearing: Hearing) -> None:
        places = {node: k for k, (node, *_) in enumerate(hearing.normalized)}
        found = nearest(start, places.__contains__, lambda node: False).found if places else []
        self._normalizer = None
        if found:
            k = max(places[node] for node in found)
            _, logits, dim, tag = hearing.normalized[k]
            rows = _rows_of(tag, dim)
            if rows is not None and hearing.size > 1:
                shape = [n for d, n in enumerate(logits.shape) if d != dim]
                self._normalizer = k, way_of(rows, shape, hearing.size)

    def _measured(
        self,
        logits: Tensor,
        targets: Tensor | None,
        valid: Tensor | None,
        tag: Tag,
        first: bool,
        size: int,
        features: Tensor | None,
    ) -> Tensor | None:
        """(B,) numbers from logits (N, C, ...)."""
        if first and logits.ndim == 2:
            values = self._measure(logits, targets, features)
            known = values if valid is None else torch.where(valid, values, torch.nan)
            return known if known.shape == (size,) else None
        if self.selector.measures_features or logits.ndim < 2:
            return None
        shape = logits.shape[:1] + logits.shape[2:]
        tag = torch.full((1,), tag).expand(shape) if isinstance(tag, int) else tag.expand(shape)
        rows = logits.movedim(1, -1).reshape(-1, logits.shape[1]) if logits.ndim == 2 else None
        return self._over_rows(logits, rows, targets, valid, tag, size)

    def _over_rows(
        self, logits: Tensor, rows: Tensor | None, targets: Tensor | None, valid: Tensor | None, tag: Tensor, size: int
    ) -> Tensor:
        places = tag.reshape(-1).to(logits.device, non_blocking=True)
        counts = places >= 0 if valid is None else (places >= 0) & valid.reshape(-1)
        chosen = None
        if logits.numel() > ENOUGH:
            chosen = _chosen(places, counts, size, max(ENOUGH // logits.shape[1], 4 * size))
            places, counts = places[chosen], counts[chosen]
        if rows is None:
            moved = logits.movedim(1, -1)
            rows = (
                moved.reshape(-1, logits.shape[1]) if chosen is None else moved[torch.unravel_index(chosen, tag.shape)]
            )
        elif chosen is not None:
            rows = rows[chosen]
        if targets is not None and not targets.is_floating_point():
            flat = targets.reshape(-1) if chosen is None else targets.reshape(-1)[chosen]
            targets = torch.where(counts, flat, 0)
        else:
            targets = None
        values = torch.where(counts, self._measure(rows, targets, None), 0.0)
        return fold(values, places, size) / fold(counts.float(), places, size)

    def _measure(self, logits: Tensor, targets: Tensor | None, features: Tensor | None) -> Tensor:
        given: Any = targets
        return self.selector.measure(logits.float(), given, None if features is None else features.float()).float()

    def value(self) -> Tensor | None:
        """(B,) the measures together, each by the weight of its loss; after the backward pass."""
        total: Tensor | None = None
        weight: Tensor | None = None
        for one in self.measured:
            if one.part is None or len(self.measured) == 1:
                return one.values
            if one.part.coefficient is None:
                continue
            share = one.part.coefficient.sum().abs() * torch.isfinite(one.values)
            summand = torch.where(torch.isfinite(one.values), one.values, 0.0) * share
            total = summand if total is None else total + summand
            weight = share if weight is None else weight + share
        return None if total is None or weight is None else total / weight


def _rows_of(tag: Tag | None, dim: int) -> Tag | None:
    return None if tag is None else drop_dim(tag, dim)


def _chosen(places: Tensor, counts: Tensor, size: int, number: int) -> Tensor:
    """So many rows that count, spread evenly over the samples and over the rows of each.

    Args:
        places: (N,) samples of the rows.
        counts: (N,) whether they count.
        size: Number of samples in the batch, B.
        number: Number of parts, K.

    Returns:
        (K,) numbers of rows; on the device, without waiting for it.
    """
    none = torch.zeros(size, device=places.device, dtype=torch.float32)  # the default is another one under "bf16-true"
    of_sample = none.index_add(0, places.clamp(min=0), counts.float())
    share = torch.where(counts, 1 / of_sample[places.clamp(min=0)], 0.0).double()
    reached = share.cumsum(0)
    wanted = (torch.arange(number, device=places.device) + 0.5) * (reached[-1] / number)
    return torch.searchsorted(reached, wanted).clamp(max=len(places) - 1)
