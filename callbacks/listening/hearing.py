"""Notes the losses and the reductions of a step, and which samples the rows of tensors belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dynsel.callbacks.listening.batch_tags import tag_batch
from dynsel.callbacks.listening.following import LIGHT, follow, follow_light
from dynsel.callbacks.listening.layout import Layout
from dynsel.callbacks.listening.losses import LOSSES, bound, row_values
from dynsel.callbacks.listening.parts import CompiledPart, LossPart, Part, SumPart
from dynsel.callbacks.listening.tags import Tag, Tags

__all__ = ["Effort", "Hearing"]

MEANS = frozenset({torch.mean, Tensor.mean, torch.nanmean, Tensor.nanmean})
SUMS = frozenset({torch.sum, Tensor.sum, torch.nansum, Tensor.nansum})
REDUCTIONS = MEANS | SUMS
# What losses written by hand start with, as timm's do.
NORMALIZERS: frozenset[Any] = frozenset({torch.nn.functional.log_softmax, torch.log_softmax, Tensor.log_softmax})

NOTED = LOSSES | REDUCTIONS | NORMALIZERS


class Effort(IntEnum):
    """How closely a step is listened to."""

    BARE = 0  # losses and reductions
    LIGHT = 1  # what is done to the batch's own tensors as well
    FULL = 2  # every operation


class Hearing(TorchFunctionMode):
    """While active, notes what a step does.

    Args:
        size: Number of samples in the batch, B.
        batch: What the step is given.
        effort: How closely to listen.
        on_note: Called with each part as soon as it is noted.
        weigh: Given with loss weights: what to do to the gradient of each argument of a part.
        correct: Given with loss weights: makes the result of a part what it is with them.
        probes: Zeros that require gradients, for what is compiled.
        layout: What is known of the training's batches.

    Attributes:
        parts: Losses and reductions with gradient, in order.
        sums: Values and result of each sum without gradient: what losses may be divided by.
        normalized: Node, logits, dimension and the samples' tag of each call of `log_softmax`.
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
        layout: Layout | None = None,
    ) -> None:
        super().__init__()
        self.size, self.effort, self.on_note, self.weigh = size, effort, on_note, weigh
        self.correct, self.probes = correct, probes
        self.compiled: list[tuple[Any, dict[str, Any], Tensor, Tensor, Tensor | None]] = []
        self.parts: list[Part] = []
        self.sums: list[tuple[Tensor, Tensor]] = []
        self.normalized: list[tuple[Any, Tensor, int, Tag | None]] = []
        self.tags: Tags | None = None
        self.light: Tags | None = None
        self.nodes: dict[Any, Tag] = {}
        if effort > Effort.BARE:
            layout = layout or Layout()
            self.tags = self.light = Tags(size)
            tag_batch(self.tags, batch, layout)
        if effort is Effort.FULL:
            self.light = self.tags.copy()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():
            return self._traced(func, args, kwargs)
        if func in NOTED:
            return self._noted(func, args, kwargs)
        result = func(*args, **kwargs)
        if self.effort is not Effort.BARE:
            self._follow(func, args, kwargs, result)
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
        # Whatever an operation is like, following it must not stop a training: its results have no samples then.
        with suppress(Exception):
            if self.light is not None and func in LIGHT:
                follow_light(self.light, func, args, kwargs, result)
        if self.effort is not Effort.FULL or self.tags is None:
            return
        with suppress(Exception):
            follow(self.tags, func, args, kwargs, result)
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
        if self.effort is not Effort.BARE:
            self._follow(func, args, kwargs, result)
        if not isinstance(result, Tensor) or torch._C._functorch.peek_interpreter_stack() is not None:
            return result
        part = self._part(func, args, kwargs, result)
        if part is not None:
            self.parts.append(part)
            part.node.register_prehook(part.hear)
            if self.weigh is not None:
                for handle in handles:
                    handle.register_hook(partial(self.weigh, part))  # type: ignore[no-untyped-call]
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
        if func in NORMALIZERS:
            self._normalizer(args, kwargs, result)
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

    def _normalizer(self, args: Any, kwargs: Any, result: Tensor) -> None:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if result.requires_grad and isinstance(dim, int):
            logits = args[0] if args else kwargs["input"]
            tag = None if self.tags is None else self.tags.get(logits)
            self.normalized.append((result.grad_fn, logits.detach(), dim % logits.ndim, tag))
