"""The chain of rules that a sample's loss comes from, the most exact first, and one for a whole training."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from dynsel.callbacks.listening.batch_tags import leaves_of
from dynsel.callbacks.listening.contractions import ContractionPart
from dynsel.callbacks.listening.gradients import LEAST_SPREAD, GradientNorms
from dynsel.callbacks.listening.heard import Rule
from dynsel.callbacks.listening.hearing import Effort, Hearing
from dynsel.callbacks.listening.layout import Layout
from dynsel.callbacks.listening.overheard import Overheard
from dynsel.callbacks.listening.parts import LossPart, Part
from dynsel.callbacks.listening.recipes import Ingredient, Recipe, per_sample, without_trainers
from dynsel.callbacks.listening.rows import Way

__all__ = ["Chain"]

# Batches in a row without a number, after which the next rule takes over.
PATIENCE = 3


class Source(Enum):
    """What the losses of a whole training come from: values of different kinds must not be averaged."""

    LOSSES = (Rule.LOSSES, Rule.ROWS, Rule.REDUCTIONS)
    NORMS = (Rule.NORMS,)
    BATCH = (Rule.BATCH,)


class Chain:
    """Losses of the samples of each batch, by the first rule that gives any.

    Args:
        epochs: Length of the training, for the warning that the batch's loss is nearly noise; None where it isn't
            known.

    Attributes:
        source: The one in use; None before the first batch.
        rule: That by which its values are found.
        description: What is listened to.
        parts: The parts of the loss that was described last.
    """

    def __init__(self, epochs: int | None) -> None:
        self.epochs = epochs
        self.source: Source | None = None
        self.rule: Rule | None = None
        self.description = self.parts = ""
        self.overheard, self.norms = Overheard(), GradientNorms()
        self._misses = 0

    def begin(self, batch: Any, layout: Layout, size: int) -> None:
        """Before a batch of B samples; where it shows that earlier ones were guessed wrong, all is learnt anew."""
        if layout.guessed and layout.look(((leaf.path, leaf.tensor.shape) for leaf in leaves_of(batch, size)), size):
            self.overheard, self.norms = Overheard(), GradientNorms()
        self.overheard.begin()

    @property
    def effort(self) -> Effort:
        """How closely the next batch must be listened to."""
        if self.source is Source.BATCH:
            return Effort.BARE
        if self.source is Source.NORMS:
            return Effort.FULL if Way.TAGS in self.norms.ways else Effort.BARE
        return self.overheard.effort

    def expect(self, start: Any, hearing: Hearing, on_arm: Callable[[Part], None]) -> list[Part]:
        """Before a backward pass from the node `start`: the parts of the loss."""
        parts = self.overheard.expect(start, hearing, on_arm)
        if self.source is Source.NORMS or (self.source is None and not parts):
            self.norms.listen(start, hearing)
        return parts

    def losses(self, hearing: Hearing, loss: Tensor | None, scale: float) -> Tensor | None:
        """(B,) of the batch that has been trained on, NaN where nothing is told; None if there is nothing.

        Args:
            hearing: What was heard of the batch.
            loss: What was differentiated, as the step returned it.
            scale: From a coefficient in what was differentiated to one in the step's own loss.
        """
        found = self._found(hearing, loss, scale)
        if found is not None:
            self._misses = 0
        elif self.source is not None and (loss is not None or self.source is Source.LOSSES):
            self._misses += 1
            if self._misses >= PATIENCE and self.source is Source.LOSSES:
                self.source, self._misses = None, 0
                self.overheard.look_closely()
        self.overheard.finish(hearing.size)
        return found

    def _found(self, hearing: Hearing, loss: Tensor | None, scale: float) -> Tensor | None:
        if self.source in (None, Source.LOSSES):
            found = self._overheard(hearing, loss, scale)
            if self.source is not None or found is not None:
                return found
        if self.source in (None, Source.NORMS):
            norms = self.norms.norms(hearing.size, scale)
            if self.source is Source.NORMS:
                return norms
            if norms is not None and hearing.size > 1 and norms.std() > LEAST_SPREAD * norms.mean():
                self.source, self.rule = Source.NORMS, Rule.NORMS
                self.description = "norm of each sample's gradient at the last layers, which is no loss"
                return norms
        if loss is None:
            return None
        if self.source is None and hearing.size > 1:
            self._give_up(hearing.size)
        return loss.expand(hearing.size).clone()

    def _overheard(self, hearing: Hearing, loss: Tensor | None, scale: float) -> Tensor | None:
        heard = self.overheard.heard()
        if not heard or self.overheard.unsure:
            return None
        new = len(self.overheard.recipes)
        recipe = self.overheard.recipe(heard, hearing, loss, scale)
        found = per_sample(heard, recipe, hearing, scale)
        if self.source is None:
            if found is None or not bool(torch.isfinite(found).any()):
                return None
            self.source = Source.LOSSES
        if len(self.overheard.recipes) > new:
            self.parts, self.rule = described(heard, recipe, scale), _rule(heard)
        self.description = self.parts + recipe.factors.description
        return found

    def _give_up(self, size: int) -> None:
        self.source, self.rule, self.description = Source.BATCH, Rule.BATCH, "the batch's loss for each of its samples"
        epochs = self.epochs or 10
        near = 1 / math.sqrt(1 + (size - 1) / epochs)
        rank_zero_warn(
            "DynamicSelection can't tell the samples' losses apart in what `training_step` computes, so each sample is "
            f"credited with the loss of its batches. With {size} samples a batch, after {epochs} epochs that has a "
            f"correlation of about {near:.2f} with the samples' own. Return a dict with `per_sample_loss`, a (B,) "
            "tensor, beside `loss`, or pass `per_sample_loss=function` to DynamicSelection."
        )


def described(heard: list[Ingredient], recipe: Recipe, scale: float) -> str:
    """The parts with their weights, for people."""
    if recipe.alone:
        text = f"{heard[0].part.name}, of which the loss is a function"
    else:
        weights: dict[str, list[float]] = {}
        for one, (how, _) in zip(heard, recipe.treatments, strict=True):
            weights.setdefault(one.part.name, []).append(_weight(without_trainers(one, scale), how) * scale)
        text = " + ".join(
            f"{name} × {values[0]:.3g}" + (f" ({len(values)} calls)" if len(values) > 1 else "")
            for name, values in weights.items()
        )
    pairs = zip(heard, recipe.treatments, strict=True)
    if any(one.spreads and how != "sum" and isinstance(one.part, LossPart) for one, (how, _) in pairs):
        text += "; per sample over its valid targets"
    return text + ("; part of the loss is not heard" if recipe.unheard else "")


def _rule(heard: list[Ingredient]) -> Rule:
    """The rule that the main part is heard by."""

    def contribution(one: Ingredient) -> float:
        assert one.part.coefficient is not None
        if isinstance(one.part, ContractionPart):
            return abs(float(one.part.coefficient * one.sums.sum()))
        return abs(float((one.part.coefficient * one.part.result.float()).sum()))

    main = max(heard, key=contribution)
    if not isinstance(main.part, LossPart):
        return Rule.REDUCTIONS
    return Rule.LOSSES if main.part.first else Rule.ROWS


def _weight(one: Ingredient, how: str) -> float:
    assert one.part.coefficient is not None
    factor = float(one.part.coefficient.sum())
    if how == "size" and one.divisor is not None:
        return factor * float(one.divisor)
    if how in ("size", "shares"):
        return factor * len(one.sums)
    if how == "counts":
        return factor * float(one.counts.nansum())
    return factor * float(one.divisor) if how == "denominator" and one.divisor is not None else factor
