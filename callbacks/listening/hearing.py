"""Notes the losses and the reductions of a step, and which samples the rows of tensors belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dynsel.callbacks.listening.losses import (
    CLASSIFIERS,
    INPUTS,
    LOSSES,
    TARGETS,
    argument_tag,
    bound,
    first,
    reduction_of,
    row_shape,
    row_tag,
    row_values,
)
from dynsel.callbacks.listening.tags import LIGHT, Tag, Tags, follow, follow_shape, tag_batch

__all__ = ["CompiledPart", "Effort", "Hearing", "LossPart", "Part", "SumPart"]

MEANS = frozenset({torch.mean, Tensor.mean, torch.nanmean, Tensor.nanmean})
SUMS = frozenset({torch.sum, Tensor.sum, torch.nansum, Tensor.nansum})
REDUCTIONS = MEANS | SUMS
# What losses written by hand start with, as timm's do.
NORMALISERS: frozenset[Any] = frozenset({torch.nn.functional.log_softmax, torch.log_softmax, Tensor.log_softmax})

NOTED = LOSSES | REDUCTIONS | NORMALISERS


class Effort(IntEnum):
    """How closely a step is listened to."""

    BARE = 0  # losses and reductions
    LIGHT = 1  # what is done to the batch's own tensors as well
    FULL = 2  # every operation


class Part:
    """Something overheard that a loss may be made of.

    Attributes:
        name: Of the function.
        kind: "mean", "sum", "batchmean" or "none": how the values became the result.
        node: Of the result in the graph.
        result: What the function returned, detached.
        shape: That of the values.
        inputs: Samples of the values as the predictions have them, if known.
        targets: As the targets have them.
        light: The same as far as views and what is done to targets shows it.
        tag: Samples of the values, once it is decided; None = unknown.
        coefficient: Derivative of what is differentiated with respect to the result; None before the backward pass.
        armed: Whether the backward pass to come counts.
        on_unarmed: Called when a backward pass comes by before that.
        ingredient: What it says of its samples, once it has been taken down.
    """

    def __init__(self, name: str, kind: str, result: Tensor) -> None:
        self.name, self.kind, self.node = name, kind, result.grad_fn
        # In place operations may follow.
        self.result = result.detach().clone() if result.ndim == 0 else result.detach()
        self.shape = torch.Size([])
        self.inputs: Tag | None = None
        self.targets: Tag | None = None
        self.light: Tag | None = None
        self.tag: Tag | None = None
        self.first = False
        self.coefficient: Tensor | None = None
        self.armed = False
        self.on_unarmed: Callable[[Part], None] | None = None
        self.ingredient: Any = None

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        """Numerators and denominators of the rows; None = 1 each."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of the arguments."""

    def hear(self, gradients: tuple[Tensor | None, ...]) -> None:
        """The hook of the node."""
        gradient = gradients[0]
        if gradient is None:
            return
        if not self.armed and self.on_unarmed is not None:
            self.on_unarmed(self)
        if self.armed:
            gradient = gradient.detach().float()
            self.coefficient = gradient.clone() if self.coefficient is None else self.coefficient + gradient

    def collect(self) -> None:
        """After the backward pass: the coefficient, where no hook has it."""

    def rows_of(self, shape: torch.Size) -> Tag | None:
        """The samples in an argument of this shape."""
        return self.tag if isinstance(self.tag, int) or shape == self.shape else None


class LossPart(Part):
    """A call of a usual loss."""

    def __init__(
        self, func: Callable[..., Tensor], call: dict[str, Any], result: Tensor, tags: Tags | None, light: Tags | None
    ) -> None:
        super().__init__(func.__name__, reduction_of(call), result)
        self.func, self.call = func, call
        self.shape = row_shape(func, call)
        self.classifies = func in CLASSIFIERS
        if tags is not None and light is not None:
            self.inputs, self.targets = self._tag(tags, INPUTS), self._tag(tags, TARGETS)
            self.light = self._tag(light, TARGETS)

    def _tag(self, tags: Tags, names: tuple[str, ...]) -> Tag | None:
        tensor = first(self.call, names)
        return row_tag(self.func, tensor, tags.get(tensor), self.shape) if isinstance(tensor, Tensor) else None

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        return row_values(self.func, self.call, self.node)

    def forget(self) -> None:
        self.call = {}

    def rows_of(self, shape: torch.Size) -> Tag | None:
        return argument_tag(self.func, self.tag, self.shape, shape)


class CompiledPart(LossPart):
    """A call of a usual loss inside compiled code, which has the values among its outputs."""

    def __init__(
        self,
        func: Callable[..., Tensor],
        call: dict[str, Any],
        result: Tensor,
        values: Tensor,
        counts: Tensor | None,
        probe: Tensor,
        size: int,
    ) -> None:
        super().__init__(func, call, result, None, None)
        self.values, self.counts, self.probe = values, counts, probe
        # Tags don't go through compiled code. Rows that are no samples lie as nearly all networks lay them.
        length = self.shape[0] if self.shape else 0
        if length and length % size == 0:
            self.first = length == size
            rows = torch.arange(size).repeat_interleave(length // size)
            self.tag = rows.view(-1, *[1] * (len(self.shape) - 1))

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        return self.values, self.counts

    def collect(self) -> None:
        self.coefficient = None if self.probe.grad is None else self.probe.grad.detach().clone()


class SumPart(Part):
    """A mean or a sum of everything."""

    def __init__(self, kind: str, values: Tensor, result: Tensor, tags: Tags | None) -> None:
        super().__init__(kind, kind, result)
        self.values, self.shape = values.detach(), values.shape
        if tags is not None:
            self.inputs = tags.get(values)

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        return self.values, None

    def forget(self) -> None:
        self.values = self.result


class Hearing(TorchFunctionMode):
    """While active, notes what a step does.

    Args:
        size: B.
        batch: What the step is given.
        effort: How closely to listen.
        on_note: Called with each part as soon as it is noted.
        weigh: Given with loss weights: what to do to the gradient of each argument of a part.
        correct: Given with loss weights: makes the result of a part what it is with them.
        probes: Zeros that require gradients, for what is compiled.

    Attributes:
        parts: Losses and reductions with gradient, in order.
        sums: Values and result of each sum without gradient: what losses may be divided by.
        normalised: Node, logits, dimension and the samples' tag of each call of `log_softmax`.
        tags: Samples of the rows.
        light: The same, followed through `LIGHT` operations only.
        nodes: In the graph, of the tagged tensors.
    """

    def __init__(
        self,
        size: int,
        batch: Any,
        effort: Effort,
        on_note: Callable[[Part], None] | None = None,
        weigh: Callable[[Part, Tensor], Tensor] | None = None,
        correct: Callable[[Part, Tensor], Tensor] | None = None,
        probes: Sequence[Tensor] = (),
    ) -> None:
        super().__init__()
        self.size, self.effort, self.on_note, self.weigh = size, effort, on_note, weigh
        self.correct, self.probes = correct, probes
        self.compiled: list[tuple[Any, dict[str, Any], Tensor, Tensor, Tensor | None]] = []
        self.parts: list[Part] = []
        self.sums: list[tuple[Tensor, Tensor]] = []
        self.normalised: list[tuple[Any, Tensor, int, Tag | None]] = []
        self.tags: Tags | None = None
        self.light: Tags | None = None
        self.nodes: dict[Any, Tag] = {}
        if effort > Effort.BARE:
            self.tags = self.light = Tags(size)
            tag_batch(self.tags, batch)
        if effort is Effort.FULL:
            self.light = Tags(size)
            tag_batch(self.light, batch)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():
            return self._traced(func, args, kwargs)
        if func in NOTED:
            return self._noted(func, args, kwargs)
        result = func(*args, **kwargs)
        if self.effort is Effort.FULL:
            self._follow(func, args, kwargs, result)
        elif self.light is not None and func in LIGHT:
            follow_shape(self.light, func, args, kwargs, result)
        return result

    def _traced(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Inside `torch.compile`, where this runs once: what is noted here becomes an output of the compiled code.

        A hook would cut the compiled code in pieces; a leaf added to the result receives the same in its `grad`.
        """
        result = func(*args, **kwargs)
        room = len(self.compiled) < len(self.probes)
        if func in LOSSES and room and torch.is_grad_enabled() and result.requires_grad:
            call = bound(func, args, kwargs)
            with torch.no_grad():
                values, counts = row_values(func, call, None)
            self.compiled.append((func, call, result.detach(), values.detach(), counts))
            result = result + self.probes[len(self.compiled) - 1].to(result.dtype)
        return result

    def take_compiled(self) -> list[Part]:
        """What was noted inside `torch.compile`, each part once: nobody can tell where in the graph it stands."""
        pairs = zip(self.compiled, self.probes, strict=False)
        parts: list[Part] = [CompiledPart(*noted, probe, self.size) for noted, probe in pairs]
        self.compiled.clear()
        return parts

    def _follow(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        assert self.tags is not None
        assert self.light is not None
        follow(self.tags, func, args, kwargs, result)
        if func in LIGHT:
            follow_shape(self.light, func, args, kwargs, result)
        for r in (result,) if isinstance(result, Tensor) else result if isinstance(result, tuple) else ():
            tag = self.tags.get(r)
            # What belongs to one sample as a whole may be its loss.
            if isinstance(tag, Tensor) and r.requires_grad:
                self.nodes[r.grad_fn] = tag

    def _noted(self, func: Any, args: Any, kwargs: Any) -> Any:
        handles: list[Tensor] = []
        if self.weigh is not None and torch.is_grad_enabled():
            args = tuple(self._handle(value, handles) for value in args)
            kwargs = {name: self._handle(value, handles) for name, value in kwargs.items()}
        result = func(*args, **kwargs)
        if self.effort is Effort.FULL:
            self._follow(func, args, kwargs, result)
        elif self.light is not None and func in LIGHT:
            follow_shape(self.light, func, args, kwargs, result)
        if not isinstance(result, Tensor) or torch._C._functorch.peek_interpreter_stack() is not None:
            return result
        part = self._part(func, args, kwargs, result)
        if part is not None:
            self.parts.append(part)
            part.node.register_prehook(part.hear)
            for handle in handles:
                handle.register_hook(partial(self.weigh, part))  # type: ignore[arg-type]
            if self.on_note is not None:
                self.on_note(part)
            if self.weigh is not None and self.correct is not None:
                result = self.correct(part, result)
        return result

    def _handle(self, value: Any, handles: list[Tensor]) -> Any:
        """The same tensor with a place of its own in the graph, where the gradient of this call alone arrives."""
        if not isinstance(value, Tensor) or not value.requires_grad:
            return value
        handle = value.view_as(value)
        for tags in (self.tags, self.light):
            if tags is not None:
                tags.set(handle, tags.get(value))
        handles.append(handle)
        return handle

    def _part(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> Part | None:
        if func in NORMALISERS:
            self._normaliser(args, kwargs, result)
            return None
        if func in LOSSES:
            return (
                LossPart(func, bound(func, args, kwargs), result, self.tags, self.light)
                if result.requires_grad
                else None
            )
        values = args[0] if args else kwargs.get("input")
        if result.ndim or not isinstance(values, Tensor) or not values.ndim:
            return None
        if result.requires_grad:
            return SumPart("mean" if func in MEANS else "sum", values, result, self.tags)
        if func in SUMS:
            self.sums.append((values, result))
        return None

    def _normaliser(self, args: Any, kwargs: Any, result: Tensor) -> None:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if result.requires_grad and isinstance(dim, int):
            logits = args[0] if args else kwargs["input"]
            tag = None if self.tags is None else self.tags.get(logits)
            self.normalised.append((result.grad_fn, logits.detach(), dim % logits.ndim, tag))
