"""From the parts of a loss to the losses of the samples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dynsel.callbacks.listening.contractions import ContractionPart
from dynsel.callbacks.listening.factors import Factors
from dynsel.callbacks.listening.hearing import Hearing
from dynsel.callbacks.listening.parts import LossPart, NormPart, Part, SumPart
from dynsel.callbacks.listening.rows import counted, fold

__all__ = ["Ingredient", "Recipe", "per_sample", "recipe_of", "taken_down", "without_trainers"]


@dataclass(eq=False)
class Ingredient:
    """A part of the loss with what its rows say of each sample.

    Attributes:
        part: The part.
        sums: (B,) sums of the numerators.
        counts: (B,) sums of the denominators.
        spreads: Whether a sample has more than one row.
        divisor: What the step divides it by soon after it, if it does.
        nonzero: (B,) numbers of values that aren't 0, of a sum by hand.
    """

    part: Part
    sums: Tensor
    counts: Tensor
    spreads: bool
    divisor: Tensor | None = None
    nonzero: Tensor | None = None


@dataclass
class Recipe:
    """What the first batch with these parts has shown, so that the others need not be looked at so closely.

    Attributes:
        treatments: For each part, how its value counts; see `_treatment`.
        partition: Whether each part has samples of its own and the loss is the mean over all samples.
        alone: Whether the only part is no summand of the loss, so that its coefficient is of this batch alone.
        unheard: Whether samples enter the loss by other ways as well.
        factors: What the parts are multiplied by.
    """

    treatments: list[tuple[str, int]]
    partition: bool
    alone: bool
    unheard: bool
    factors: Factors = field(default_factory=Factors)


def taken_down(part: Part, size: int) -> Ingredient:
    """What a part says of its samples."""
    tag = part.tag
    assert tag is not None
    if isinstance(part, ContractionPart):
        counts = counted(part.shape, tag, size, part.rows.device)
        return Ingredient(part, torch.zeros_like(counts), counts, spreads=False)
    values, denominators = part.numbers()
    nonzero = (
        fold(values != 0, tag, size, first=part.first) if isinstance(part, SumPart) and part.kind == "sum" else None
    )
    sums = fold(values, tag, size, first=part.first)
    if denominators is not None:
        counts = fold(denominators, tag, size, first=part.first)
    elif part.first:
        counts = torch.full_like(sums, values.numel() / size)
    else:
        counts = counted(values.shape, tag, size, values.device)
    return Ingredient(part, sums, counts, spreads=not (part.first and len(part.shape) == 1), nonzero=nonzero)


def recipe_of(
    heard: list[Ingredient], hearing: Hearing, loss: Tensor | None, scale: float, *, unheard: bool, bent: bool
) -> Recipe:
    """What a batch shows of its loss; waits for the device.

    Args:
        heard: The parts, after the backward pass.
        hearing: What was heard of the batch.
        loss: What was differentiated, as the step returned it.
        scale: From a coefficient in what was differentiated to one in the step's own loss.
        unheard: Whether samples enter the loss by other ways as well.
        bent: Whether the loss may be another function of its parts than a sum.
    """
    treatments = [_treatment(without_trainers(one, scale), hearing, scale) for one in heard]
    pooled = _pooled(heard, scale)
    if pooled is not None:
        treatments = [pooled] * len(heard)
    elif any(one.part.kind != "sum" for one in heard) or ("shares", 0) in treatments:
        treatments = [("shares", 0) if t == ("sum", 0) else t for t in treatments]
    alone = len(heard) == 1 and bent and loss is not None and _is_no_summand(heard[0].part, loss, scale)
    return Recipe(treatments, _is_partition(heard, scale), alone, unheard)


def without_trainers(one: Ingredient, scale: float) -> Ingredient:
    """The ingredient without the divisor, where that is the trainer's, which accumulates batches."""
    assert one.part.coefficient is not None
    if one.part.kind == "sum" and one.divisor is not None:
        own = abs(float(one.part.coefficient.sum()) * scale)
        if float(one.divisor) == 1.0 or _near(own, 1.0):
            return replace(one, divisor=None)
    return one


def _treatment(one: Ingredient, hearing: Hearing, scale: float) -> tuple[str, int]:
    """How the value of a part becomes the loss that the sample alone would have.

    "mean": of the sample's own rows. "sum": of them. "size": likewise, as the step divides by B or by the size
    that batches usually have. "shares": the sum times B, as the step divides by a number of its own. "counts":
    the mean, as the step divides by the number of rows that count, in this batch or in several. "denominator":
    the sum divided by the sample's part of another sum, given by number. "norm": the root of the sum of powers.
    "own": the sum, which is that of the sample alone already. "nonzero": the mean of the values that aren't 0.
    "pooled", "pooled nonzero": the mean over the rows of all parts.
    """
    part = one.part
    if isinstance(part, NormPart):
        return "norm", 0
    if part.kind == "mean" and one.divisor is not None:
        for k, (values, result) in enumerate(hearing.sums):
            if values.shape == part.shape and _near(float(result), float(one.divisor)):
                return "denominator", k
    if part.kind != "sum":
        return "mean", 0
    if isinstance(part, ContractionPart) and part.averages:
        return "own", 0
    assert part.coefficient is not None
    own = abs(float(part.coefficient.sum()) * scale)
    divisor = 1 / max(own, 1e-30) if one.divisor is None else abs(float(one.divisor))
    if isinstance(part.tag, int) and hearing.size > 1:
        return ("sum" if one.divisor is None and not _near(own * hearing.size, 1.0) else "shares"), 0
    for k, (values, result) in enumerate(hearing.sums):
        if _near(float(result), divisor) and values.shape == part.shape:
            return "denominator", k
    total = float(one.counts.sum())
    several = isinstance(part, LossPart) and part.classifies and divisor > total and _near(divisor, round(divisor))
    several = several and not _near(divisor, hearing.size)  # a part of the batch, as a chunk of it, divided by B
    if one.spreads and (_near(divisor, total) or several):
        return "counts", 0
    if _near(divisor, hearing.size):
        return ("size" if one.divisor is not None else "shares"), 0
    if one.spreads and one.nonzero is not None and _near(divisor, float(one.nonzero.sum())):
        return "nonzero", 0
    return ("shares" if one.divisor is not None else "sum"), 0


def _pooled(heard: list[Ingredient], scale: float) -> tuple[str, int] | None:
    """The treatment of sums, as one for each step of a loop, that are divided by the number of all their rows."""
    if len(heard) < 2 or len({(one.part.name, one.part.kind) for one in heard}) > 1 or heard[0].part.kind != "sum":
        return None
    own = [float(one.part.coefficient.sum()) * scale for one in heard if one.part.coefficient is not None]
    if len(own) < len(heard) or own[0] == 0 or not all(_near(factor, own[0]) for factor in own):
        return None
    rows = float(torch.stack([one.counts.sum() for one in heard]).sum())
    if _near(1 / abs(own[0]), rows):
        return "pooled", 0
    counts = [one.nonzero for one in heard if one.nonzero is not None]
    if len(counts) == len(heard) and _near(1 / abs(own[0]), float(torch.stack(counts).sum())):
        return "pooled nonzero", 0
    return None


def per_sample(heard: list[Ingredient], recipe: Recipe, hearing: Hearing, scale: float) -> Tensor | None:
    """(B,) losses; NaN where nothing counts. None if nothing was heard."""
    if not heard:
        return None
    rows = torch.stack([one.nonzero if one.nonzero is not None else one.counts for one in heard]).sum(0)
    if recipe.treatments[0][0] == "pooled":
        rows = torch.stack([one.counts for one in heard]).sum(0)
    found = [
        _value(one, how, k, rows, hearing, scale, alone=recipe.alone)
        for one, (how, k) in zip(heard, recipe.treatments, strict=True)
    ]
    factors = torch.stack([factor for _, factor, _ in found])
    if recipe.partition:
        factors = factors * torch.stack([hearing.size / (counts > 0).sum() for _, _, counts in found])
    if not any(isinstance(one.part.tag, int) for one in heard):
        factors = recipe.factors.steadied(factors, hearing.size)
    if len(found) == 1:
        return found[0][0] * factors[0]
    valid = torch.stack([counts > 0 for _, _, counts in found])
    values = torch.stack([value for value, _, _ in found]) * factors[:, None]
    return torch.where(valid.any(0), torch.where(valid, values, 0.0).sum(0), torch.nan)


def _value(
    one: Ingredient, how: str, k: int, rows: Tensor, hearing: Hearing, scale: float, *, alone: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(B,) values of a part, what they count in the loss, and (B,) how many rows each sample has of it."""
    part, counts = one.part, one.counts
    assert part.coefficient is not None
    assert part.tag is not None
    factor = part.coefficient.sum() * scale
    if alone:
        factor = factor.sign()
    if how == "denominator" and k < len(hearing.sums):
        values, result = hearing.sums[k]
        counts = fold(values, part.tag, hearing.size)
        return one.sums / counts, factor * result, counts
    if isinstance(part, NormPart):
        return one.sums ** (1 / part.power), factor, counts
    if how == "mean":
        return one.sums / counts, factor, counts
    if how == "counts":
        return one.sums / counts, factor * counts.sum(), counts
    if how in ("nonzero", "pooled", "pooled nonzero"):
        return one.sums / rows, factor * rows.sum(), counts
    if how == "size" and one.divisor is not None:
        factor = factor * one.divisor
    elif how in ("size", "shares"):
        factor = factor * hearing.size
    return torch.where(counts > 0, one.sums, torch.nan), factor, counts


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-3 * max(abs(a), abs(b))


def _is_partition(heard: list[Ingredient], scale: float) -> bool:
    """See `Recipe`."""
    size = len(heard[0].sums)
    covered = [one.counts > 0 for one in heard]
    if len(heard) < 2 or len({one.part.name for one in heard}) > 1 or any(one.part.kind == "none" for one in heard):
        return False
    if not bool((torch.stack(covered).sum(0) == 1).all()):
        return False
    shares = [
        (float(one.part.coefficient.sum()) * scale, float(c.sum()) / size)
        for one, c in zip(heard, covered, strict=True)
        if one.part.coefficient is not None
    ]
    return all(_near(weight, share) for weight, share in shares)


def _is_no_summand(part: Part, loss: Tensor, scale: float) -> bool:
    """Whether the loss is another function of the part than a multiple of it."""
    assert part.coefficient is not None
    if part.result.ndim and isinstance(part, ContractionPart):
        return False
    explained = float((part.coefficient * part.result.float()).sum()) * scale
    return not abs(float(loss) - explained) <= 0.01 * abs(float(loss)) + 1e-9
