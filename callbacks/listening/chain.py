"""The chain of rules that a sample's loss comes from, the most exact first, and one for a whole training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from dynsel.callbacks.listening.gradients import LEAST_SPREAD, GradientNorms
from dynsel.callbacks.listening.hearing import Effort, Hearing, LossPart, Part
from dynsel.callbacks.listening.overheard import Ingredient, Overheard, Recipe
from dynsel.callbacks.listening.rows import Way

__all__ = ["Chain", "Rule"]

# Batches in a row without a number, after which the next rule takes over.
PATIENCE = 3


class Rule:
    """The rules by which losses are heard."""

    LOSSES = "losses"
    NORMS = "gradient norms"
    BATCH = "the batch's loss"


class Chain:
    """Losses of the samples of each batch, by the first rule that gives any.

    Args:
        epochs: Length of the training, for the warning that the batch's loss is nearly noise.

    Attributes:
        rule: The one in use; None before the first batch.
        description: What is listened to.
    """

    def __init__(self, epochs: int | None) -> None:
        self.epochs = epochs
        self.rule: str | None = None
        self.description = ""
        self.overheard, self.norms = Overheard(), GradientNorms()
        self._misses = 0

    @property
    def effort(self) -> Effort:
        """How closely the next batch must be listened to."""
        if self.rule == Rule.BATCH:
            return Effort.BARE
        if self.rule == Rule.NORMS:
            return Effort.FULL if Way.TAGS in self.norms.ways else Effort.BARE
        return self.overheard.effort

    def expect(self, start: Any, hearing: Hearing, on_arm: Callable[[Part], None]) -> list[Part]:
        """Before a backward pass from the node `start`: the parts of the loss."""
        parts = self.overheard.expect(start, hearing, on_arm)
        if self.rule == Rule.NORMS or (self.rule is None and not parts):
            self.norms.listen(start, hearing)
        return parts

    def losses(self, hearing: Hearing, loss: Tensor | None, scale: float) -> Tensor | None:
        """(B,) of the batch that has been trained on, NaN where nothing is told; None if there is nothing.

        Args:
            hearing: The batch's.
            loss: What was differentiated, as the step returned it.
            scale: From a coefficient in what was differentiated to one in the step's own loss.
        """
        found = self._found(hearing, loss, scale)
        if found is not None:
            self._misses = 0
        elif self.rule is not None and (loss is not None or self.rule == Rule.LOSSES):
            self._misses += 1
            if self._misses >= PATIENCE and self.rule == Rule.LOSSES:
                self.rule, self.overheard.effort, self._misses = None, Effort.FULL, 0
        self.overheard.finish()
        return found

    def _found(self, hearing: Hearing, loss: Tensor | None, scale: float) -> Tensor | None:
        if self.rule in (None, Rule.LOSSES):
            found = self._overheard(hearing, loss, scale)
            if self.rule is not None or found is not None:
                return found
        if self.rule in (None, Rule.NORMS):
            norms = self.norms.norms(hearing.size, scale)
            if self.rule == Rule.NORMS:
                return norms
            if norms is not None and hearing.size > 1 and norms.std() > LEAST_SPREAD * norms.mean():
                self.rule = Rule.NORMS
                self.description = "norm of each sample's gradient at the last layers, which is no loss"
                return norms
        if loss is None:
            return None
        if self.rule is None and hearing.size > 1:
            self._give_up(hearing.size)
        return loss.expand(hearing.size).clone()

    def _overheard(self, hearing: Hearing, loss: Tensor | None, scale: float) -> Tensor | None:
        heard = self.overheard.heard()
        if not heard or self.overheard.unsure:
            return None
        new = len(self.overheard.recipes)
        recipe = self.overheard.recipe(heard, hearing, loss, scale)
        found = self.overheard.per_sample(heard, recipe, hearing, scale)
        if self.rule is None:
            if found is None or not bool(torch.isfinite(found).any()):
                return None
            self.rule = Rule.LOSSES
        if len(self.overheard.recipes) > new:
            self.description = described(heard, recipe, scale)
        return found

    def _give_up(self, size: int) -> None:
        self.rule, self.description = Rule.BATCH, "the batch's loss for each of its samples"
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
            weights.setdefault(one.part.name, []).append(_weight(one, how) * scale * recipe.repeats)
        text = " + ".join(
            f"{name} × {values[0]:.3g}" + (f" ({len(values)} calls)" if len(values) > 1 else "")
            for name, values in weights.items()
        )
    pairs = zip(heard, recipe.treatments, strict=True)
    if any(one.spreads and how != "sum" and isinstance(one.part, LossPart) for one, (how, _) in pairs):
        text += "; per sample over its valid targets"
    return text + ("; part of the loss is not heard" if recipe.unheard else "")


def _weight(one: Ingredient, how: str) -> float:
    assert one.part.coefficient is not None
    factor = float(one.part.coefficient.sum())
    if how == "shares":
        return factor * len(one.sums)
    if how == "counts":
        return factor * float(one.counts.nansum())
    return factor * float(one.divisor) if how == "denominator" and one.divisor is not None else factor
