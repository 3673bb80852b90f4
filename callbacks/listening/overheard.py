"""What the loss of a step is made of, and what each part says of each sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dynsel.callbacks.listening.contractions import ContractionPart
from dynsel.callbacks.listening.graph import Met, has_foreign, is_affine, is_shape, nearest
from dynsel.callbacks.listening.hearing import Effort, Hearing
from dynsel.callbacks.listening.parts import LossPart, NormPart, NumberPart, Part, SumPart
from dynsel.callbacks.listening.recipes import Ingredient, Recipe, recipe_of, taken_down
from dynsel.callbacks.listening.rows import Way, rows_by, way_of
from dynsel.callbacks.listening.tags import Tag

__all__ = ["Overheard"]

Kind = tuple[str, str, int]
# Batches that are listened to as closely as possible: what looks simple in one of them may not be so in all.
CLOSELY = 2


class Overheard:
    """Finds, batch after batch, the parts nearest to the loss and their samples.

    Attributes:
        effort: How closely the next batch must be listened to.
        unsure: Whether a part of the loss of this batch isn't as it was known: what it says must be left.
        unheard: Whether samples enter the loss of this batch by other ways than its parts.
        ways: What the rows of each kind of part are to the samples, by its place among its kind; None = nothing.
        recipes: By the names of the parts.
        fickle: Kinds of parts whose rows were once not as they had been, so that they must be followed each time.
        met: Kinds and places of the parts that were part of a loss.
    """

    def __init__(self) -> None:
        self.effort = Effort.FULL
        self.ways: dict[Kind, dict[int, Way | None]] = {}
        self.recipes: dict[tuple[str, ...], Recipe] = {}
        self.fickle: set[Kind] = set()
        self.met: set[tuple[Kind, int]] = set()
        self._batches = 0
        self.begin()

    # ---------------------------------------------------------------- one batch
    def begin(self) -> None:
        """Before a batch."""
        self.unsure = False
        self._used: set[Way] = set()
        self.ingredients: list[Ingredient] = []
        self.unheard = self._leaves = False
        self._above: dict[Any, Any] = {}

    def look_closely(self) -> None:
        """Listen to the next batch as closely as possible."""
        self.effort = Effort.FULL

    def expect(self, start: Any, hearing: Hearing, on_arm: Callable[[Part], None]) -> list[Part]:
        """Arm the parts nearest to a node, and take down what they say while it can still be had.

        Args:
            start: Node of what is about to be differentiated.
            hearing: What was heard of the batch.
            on_arm: Called with each part before its arguments are let go.
        """
        noted = {part.node: part for part in hearing.parts}
        places = self._places(hearing.parts)
        met = self._walk(start, noted, places, hearing)
        self.unheard |= met.stopped
        self._leaves |= met.leaves
        self._above.update(met.above)
        parts = sorted((noted[node] for node in met.found), key=hearing.parts.index)
        self.met |= {places[part.node] for part in parts}
        if any(isinstance(part, (ContractionPart, NumberPart)) for part in parts):
            self._used.add(Way.TAGS)
        parts += self._compiled(hearing)
        for part in parts:
            self.arm(part, hearing, on_arm)
        return parts

    def _walk(self, start: Any, noted: dict[Any, Part], places: dict[Any, tuple[Kind, int]], hearing: Hearing) -> Met:
        """The noted nodes that what is differentiated is made of, as far as their samples are known."""

        def walk(left_out: set[Any]) -> Met:
            def is_noted(node: Any) -> bool:
                return node in noted and node not in left_out and self._resolve(noted[node], places[node], hearing)

            return nearest([start], is_noted, hearing.nodes.__contains__)

        numbers = {node for node, part in noted.items() if isinstance(part, NumberPart)}
        met = walk(numbers)
        if numbers and (met.stopped or not met.found):
            met = walk(set())
        # Of some it counts that nothing but sums comes after them, and of norms unless the loss is of one alone.
        several = len(met.found) > 1
        bent = {n for n in met.found if noted[n].summed or (several and isinstance(noted[n], NormPart))}
        bent = {n for n in bent if not is_affine(n, met.above)}
        if bent:
            met = walk(bent)
        if not met.found and met.stopped:
            # Only some of the rows may have gone on, as of the hardest pixels.
            rows = {node for node, part in noted.items() if part.kind == "none"}
            met = nearest([start], lambda n: n in rows and self._resolve(noted[n], places[n], hearing), lambda n: False)
        return met

    def _compiled(self, hearing: Hearing) -> list[Part]:
        """The losses inside compiled code, as far as it is known how their rows lie."""
        parts: list[Part] = []
        for number, part in enumerate(hearing.take_compiled()):
            if _heard_twice(part, hearing):
                continue
            ways = self.ways.setdefault(("compiled " + part.name, part.kind, len(part.shape)), {})
            if hearing.given is not None and hearing.size > 1:
                ways[number] = part.way(hearing.given)
            way = ways.get(number)
            if way is not None:
                part.belong_by(way, hearing.size)
                parts.append(part)
        return [part for part in parts if part.tag is not None]

    def arm(self, part: Part, hearing: Hearing, on_arm: Callable[[Part], None]) -> None:
        """Take down what a part says of its samples, once."""
        if not part.arm():
            return
        on_arm(part)
        try:
            one = part.ingredient or taken_down(part, hearing.size)
        except RuntimeError:
            # Arguments may be of a kind that the loss can't be computed of once more.
            self.unsure = True
            return
        if isinstance(part, SumPart) or part.kind == "sum":
            one = replace(one, divisor=self._divisor(part))
        part.forget()
        self.ingredients.append(one)

    def resolve(self, part: Part, hearing: Hearing) -> bool:
        """Find out which samples the rows of a part belong to."""
        return self._resolve(part, self._places(hearing.parts)[part.node], hearing)

    def correction(self, part: Part, hearing: Hearing, weights: Tensor) -> Tensor | None:
        """What is to be added to the result of a part that has just been noted, for it to be the weighted one.

        Only its value is corrected: the gradient gets its weights on the way back. Means and sums may be of anything
        inside the step, so that only those count that have been part of the loss before.
        """
        summed = not isinstance(part, LossPart)
        if (
            part.result.ndim
            or part.kind in ("norm", "extreme")
            or (summed and self._places(hearing.parts)[part.node] not in self.met)
        ):
            return None
        if not self.resolve(part, hearing):
            return None
        one = part.keep(taken_down(part, hearing.size))
        extra = (torch.nan_to_num(one.sums) * (weights.to(one.sums) - 1)).sum()
        return extra if part.kind == "sum" else extra / one.counts.sum()

    @staticmethod
    def _places(parts: Sequence[Part]) -> dict[Any, tuple[Kind, int]]:
        counts: dict[Kind, int] = {}
        places = {}
        for part in parts:
            kind = part.name, part.kind, len(part.shape)
            places[part.node] = kind, counts.get(kind, 0)
            counts[kind] = counts.get(kind, 0) + 1
        return places

    def _resolve(self, part: Part, place: tuple[Kind, int], hearing: Hearing) -> bool:
        if part.tag is None and 0 not in part.shape:
            kind, number = place
            if hearing.effort is Effort.FULL:
                self._look_closely(part, kind, number, hearing)
            else:
                self._recognise(part, kind, number, hearing)
        return part.tag is not None

    def _look_closely(self, part: Part, kind: Kind, number: int, hearing: Hearing) -> None:
        size, way = hearing.size, None
        # Mixed inputs have two targets each; that of the logits is the sample. So these decide.
        tag = part.targets if part.inputs is None else part.inputs
        if tag is None and part.shape[:1] == (size,) and (hearing.mapped or has_foreign(part.node)):
            tag = rows_by(Way.FIRST, part.shape, size)
        if tag is not None:
            way = Way.TAGS if kind in self.fickle else way_of(tag, part.shape, size)
            if hearing.tags is not None and hearing.tags.masked and not isinstance(part, LossPart):
                way = Way.TAGS
            before = self.ways.get(kind, {}).get(number, way)
            if size > 1 and before not in (way, Way.TARGETS):
                self.fickle.add(kind)
                way = Way.TAGS
            if way not in (Way.FIRST, Way.SECOND) and _same(tag, part.light):
                way = Way.TARGETS
            self._used.add(way)
        part.belong(tag, first=way is Way.FIRST or (size == 1 and len(part.shape) == 1))
        if size > 1:
            self.ways.setdefault(kind, {})[number] = way

    def _recognise(self, part: Part, kind: Kind, number: int, hearing: Hearing) -> None:
        known = self.ways.get(kind, {})
        if hearing.size == 1 and self._is_usual(kind):
            part.belong(0)
            return
        alike = set(known.values())
        if number in known or len(alike) == 1:
            way = known.get(number, next(iter(alike)))
            if way is None:
                return
            if way is Way.TARGETS:
                part.belong(part.targets)
            elif way is not Way.TAGS:
                part.belong(rows_by(way, part.shape, hearing.size), first=way is Way.FIRST)
            self._used.add(way)
        if part.tag is None:
            self.unsure = True
            if known:
                self.fickle.add(kind)

    def _is_usual(self, kind: Kind) -> bool:
        """Whether parts of this kind, of whatever shape, have rows that are samples."""
        return any(
            way is not None for known, ways in self.ways.items() if known[:2] == kind[:2] for way in ways.values()
        )

    def finish(self, size: int) -> None:
        """After a batch of B samples: how closely to listen to the next one."""
        if size == 1 and not self.unsure:
            return  # which says nothing about others
        self._batches += 1
        if self.unsure or not self.recipes or Way.TAGS in self._used or self._batches < CLOSELY:
            self.effort = Effort.FULL
        else:
            self.effort = Effort.LIGHT if Way.TARGETS in self._used else Effort.BARE

    def misses_some(self, parts: list[Part]) -> bool:
        """Whether samples enter a loss of these parts by ways that weights can't reach, as far as is known."""
        if not parts or any(not part.weighable for part in parts):
            return True
        known = self.recipes.get(tuple(part.name for part in parts))
        return self.unheard or (known is not None and known.unheard)

    # ---------------------------------------------------------------- what it says
    def heard(self) -> list[Ingredient]:
        """The ingredients that the backward pass went through."""
        for one in self.ingredients:
            one.part.collect()
        found = [one for one in self.ingredients if one.part.coefficient is not None]
        return [
            replace(one, sums=one.part.contributions(len(one.counts))) if isinstance(one.part, ContractionPart) else one
            for one in found
        ]

    def recipe(self, heard: list[Ingredient], hearing: Hearing, loss: Tensor | None, scale: float) -> Recipe:
        """What is known of a loss of these parts, found out at the first batch that has them."""
        names = tuple(one.part.name for one in heard)
        if names not in self.recipes:
            affine = all(is_affine(one.part.node, self._above) for one in heard)
            self.recipes[names] = recipe_of(
                heard, hearing, loss, scale, unheard=self.unheard, bent=not (self._leaves or affine)
            )
        return self.recipes[names]

    def _divisor(self, part: Part) -> Tensor | None:
        """What the step divides a sum by, where it does so soon."""
        node = self._above.get(part.node)
        for _ in range(3):
            while node is not None and is_shape(node):
                node = self._above.get(node)
            if node is None or node.name() not in ("DivBackward0", "MulBackward0", "NegBackward0", "ToCopyBackward0"):
                return None
            if node.name() == "DivBackward0":
                other = node._saved_other
                return other.detach() if isinstance(other, Tensor) and other.numel() == 1 else None
            node = self._above.get(node)
        return None


def _heard_twice(part: Part, hearing: Hearing) -> bool:
    """Whether what the compiler has made runs as torch functions again, which were heard as such."""
    return any(other.name == part.name for other in hearing.parts)


def _same(tag: Tag, other: Tag | None) -> bool:
    if isinstance(tag, int) or other is None or isinstance(other, int):
        return isinstance(other, int) and isinstance(tag, int) and tag == other
    return tag.shape == other.shape and bool(torch.equal(tag, other))
