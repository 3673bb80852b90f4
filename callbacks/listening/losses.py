"""The usual loss functions: what each of them says of each row, and by what it divides."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel.callbacks.listening.tags import Tag, drop_dim

__all__ = [
    "CLASSIFIERS",
    "LOSSES",
    "argument_tag",
    "bound",
    "log_probabilities",
    "reduction_of",
    "row_shape",
    "row_tag",
    "row_values",
]

Losses = tuple[Callable[..., Tensor], ...]
# Tuples, since torch's compiler, which traces calls too, can't look into a set of functions in every version.
CLASSIFIERS: Losses = (F.cross_entropy, F.nll_loss)
ELEMENTWISE: Losses = (
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.kl_div,
    F.poisson_nll_loss,
    F.gaussian_nll_loss,
    F.soft_margin_loss,
    F.hinge_embedding_loss,
    F.margin_ranking_loss,
)
# One value a row of (N, D).
ROWWISE: Losses = (
    F.multi_margin_loss,
    F.multilabel_margin_loss,
    F.multilabel_soft_margin_loss,
    F.cosine_embedding_loss,
    F.triplet_margin_loss,
    F.triplet_margin_with_distance_loss,
)
# The cross entropy of a linear layer's outputs, which are never made as a whole.
LINEAR: Losses = (F.linear_cross_entropy,) if hasattr(F, "linear_cross_entropy") else ()
LOSSES: Losses = (*CLASSIFIERS, *ELEMENTWISE, *ROWWISE, *LINEAR, F.ctc_loss)
# Of one value a row.
OF_ROWS = (*ROWWISE, *LINEAR)

INPUTS = ("input", "input1", "anchor", "log_probs")
TARGETS = ("target", "targets", "positive", "input2")

# Above so many numbers the values come from what autograd has saved, and not from the loss computed once more.
SMALL = 2**20


# Made once: the compiler, which traces calls too, can't look at signatures.
PARAMETERS = {func: tuple(inspect.signature(func).parameters) for func in LOSSES}


def bound(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, without torch's outdated ones, which `reduction` stands for."""
    call = {**dict(zip(PARAMETERS[func][: len(args)], args, strict=True)), **kwargs}
    reduction = call.get("reduction", "mean")
    size_average, reduce = call.pop("size_average", None), call.pop("reduce", None)
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    call["reduction"] = reduction
    return call


def reduction_of(call: dict[str, Any]) -> str:
    """ "mean", "sum", "none" or "batchmean"."""
    return str(call["reduction"])


def first(call: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The argument that has one of these names."""
    return next((call[name] for name in names if name in call), None)


def row_shape(func: Callable[..., Any], call: dict[str, Any]) -> torch.Size:
    """Shape of the values with reduction "none"."""
    x: Tensor = first(call, INPUTS)
    if func in CLASSIFIERS:
        return x.shape[:1] + x.shape[2:] if x.ndim > 1 else torch.Size([])
    if func in OF_ROWS:
        return x.shape[:-1]
    if func is F.ctc_loss:
        return x.shape[1:2] if x.ndim == 3 else torch.Size([])
    shape: torch.Size = torch.broadcast_shapes(x.shape, first(call, TARGETS).shape)  # type: ignore[no-untyped-call]
    return shape


def row_tag(func: Callable[..., Any], tensor: Tensor, tag: Tag | None, shape: torch.Size) -> Tag | None:
    """Samples of the values, from those of one of the arguments.

    Args:
        func: Loss function that was called.
        tensor: Argument of the loss that carries the tag.
        tag: Tag of the argument: the sample of each row.
        shape: Shape of the values of the loss.
    """
    if tag is None or isinstance(tag, int):
        return tag
    if func in CLASSIFIERS and tensor.ndim == len(shape) + 1:
        found = drop_dim(tag, 1 if tensor.ndim > 1 else 0)
        if found is None and tensor.ndim == 2 and tag.shape[0] == 1 and tensor.shape[0] == tensor.shape[1]:
            # Similarities of all with all, transposed: the columns' samples are those of the rows.
            found = tag[0]
        tag = found
    elif func in OF_ROWS and tensor.ndim == len(shape) + 1:
        tag = drop_dim(tag, -1)
    elif func is F.ctc_loss and tensor.ndim == 3:
        tag = tag[0, :, 0] if tag.shape[0] == 1 else None
    elif func is F.ctc_loss and tensor.ndim == 2 and tensor.shape[:1] == shape:
        tag = drop_dim(tag, 1)
    if not isinstance(tag, Tensor) or tag.ndim > len(shape):
        return None
    tag = tag.view(*[1] * (len(shape) - tag.ndim), *tag.shape)
    return tag if all(a in (1, b) for a, b in zip(tag.shape, shape, strict=True)) else None


def argument_tag(func: Callable[..., Any], tag: Tag | None, shape: torch.Size, wanted: torch.Size) -> Tag | None:
    """Samples in an argument, from those of the values.

    Args:
        func: Loss function that was called.
        tag: Tag of the values: the sample of each of them.
        shape: Shape of the values of the loss.
        wanted: Shape of the argument that the tag is for.
    """
    if tag is None or isinstance(tag, int) or shape == wanted:
        return tag
    if len(wanted) == len(shape) + 1 and func in CLASSIFIERS:
        return tag.unsqueeze(1) if len(shape) else tag.view(1)
    if len(wanted) == len(shape) + 1 and func in OF_ROWS:
        return tag.unsqueeze(-1)
    if func is F.ctc_loss and len(wanted) == 3:
        return tag.view(1, -1, 1)
    # Broadcast: possible where what was repeated belongs to one sample.
    extra = len(shape) - len(wanted)
    if extra < 0 or any(n > 1 for n in tag.shape[:extra]):
        return None
    tag = tag.reshape(tag.shape[extra:])
    return tag if all(a in (1, b) for a, b in zip(tag.shape, wanted, strict=True)) else None


def row_values(func: Callable[..., Any], call: dict[str, Any], node: Any) -> tuple[Tensor, Tensor | None]:
    """Numerator and denominator of the loss of each row; the sample's loss is the quotient of their sums.

    Args:
        func: Loss function that was called.
        call: Its arguments by name.
        node: Where the loss stands in the graph, before the backward pass.

    Returns:
        Float32 values, and what each counts in the mean; None = 1 each. Their shape is `row_shape`'s.
    """
    if func in CLASSIFIERS:
        return _of_classifier(func, call, node)
    values = func(**{**_in_full(call), "reduction": "none"})
    if func is F.ctc_loss and call["reduction"] == "mean":
        values = values / call["target_lengths"].to(values.device).clamp(min=1)
    if call["reduction"] == "batchmean":
        return values, torch.full_like(values, len(values) / values.numel())
    counts = None
    if func in LINEAR and call.get("ignore_index") is not None:
        counts = (call["target"] != call["ignore_index"]).float()
    elif call.get("weight") is not None and func in (F.mse_loss, F.l1_loss, F.huber_loss):
        counts = call["weight"].expand_as(values).float()
    return values, counts


def _of_classifier(func: Callable[..., Any], call: dict[str, Any], node: Any) -> tuple[Tensor, Tensor | None]:
    x, target = call["input"], call["target"]
    weight, ignored = call.get("weight"), call.get("ignore_index", -100)
    if target.is_floating_point():
        return func(**{**_in_full(call), "reduction": "none"}), None
    log_p = log_probabilities(node) if x.numel() > SMALL and func is F.cross_entropy else None
    if log_p is None:
        values = func(**{**_in_full(call), "reduction": "none"})
    else:
        values = _gathered(log_p, target, weight, ignored, call.get("label_smoothing", 0.0))
    valid = target != ignored
    if weight is None:
        return values, valid.float()
    return values, torch.where(valid, weight.float()[target.clamp(0, len(weight) - 1)], 0.0)


def _gathered(log_p: Tensor, target: Tensor, weight: Tensor | None, ignored: int, smoothing: float) -> Tensor:
    """Cross entropy of each row from the normalised logits (N, C, ...) that it has computed anyway."""
    valid = target != ignored
    safe = torch.where(valid, target, 0)
    values = -log_p.gather(1, safe.unsqueeze(1)).squeeze(1).float()
    if weight is not None:
        values = values * weight.float()[safe]
    if smoothing:
        spread = log_p if weight is None else log_p * weight.view(-1, *[1] * (log_p.ndim - 2))
        values = (1 - smoothing) * values - smoothing / log_p.shape[1] * spread.sum(1).float()
    return torch.where(valid, values, 0.0)


def log_probabilities(node: Any) -> Tensor | None:
    """The normalised logits that autograd keeps for the backward pass of a `cross_entropy`, (N, C, ...); no copy."""
    for _ in range(8):
        if node is None:
            return None
        if node.name() == "LogSoftmaxBackward0":
            return node._saved_result if node._saved_dim % 2**64 == 1 else None
        node = node.next_functions[0][0] if node.next_functions else None
    return None


def _in_full(call: dict[str, Any]) -> dict[str, Any]:
    """The arguments in float32 at least: what autocast does to losses is not done where it is not active."""
    return {
        name: value.float() if isinstance(value, Tensor) and value.dtype in (torch.half, torch.bfloat16) else value
        for name, value in call.items()
    }
