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
from dynsel.callbacks.listening.compiled import CompiledPart
from dynsel.callbacks.listening.contractions import LINEAR_OPS, contraction
from dynsel.callbacks.listening.following import LIGHT, follow, follow_light
from dynsel.callbacks.listening.layout import Layout
from dynsel.callbacks.listening.losses import bound, row_values
from dynsel.callbacks.listening.noting import (
    HIGHEST,
    LOSSES,
    NORMALIZERS,
    NOTED,
    denominator,
    maps_samples,
    part_of,
)
from dynsel.callbacks.listening.parts import LossPart, NumberPart, Part
from dynsel.callbacks.listening.tags import MIXED, Tag, Tags
from dynsel.callbacks.listening.weighing import Weighing

__all__ = ["Effort", "Hearing"]


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
        weighing: Puts loss weights on the gradients of the arguments of a part, and corrects its result.
        probes: Zeros that require gradients, for what is compiled.
        layout: What is known of the training's batches.

    Attributes:
        parts: Losses and reductions with gradient, in order.
        sums: Values and result of each sum, mean or count without gradient: what losses may be divided by.
        normalized: Node, logits, dimension and the samples' tag of each call of `log_softmax`.
        tags: Samples of the rows.
        light: The same, followed through `LIGHT` operations only.
        given: The same of what the step is given alone.
        nodes: In the graph, of the tagged tensors.
        mapped: Whether `torch.vmap` went over the samples: what comes out has them first, and tags don't go through.
    """

    def __init__(
        self,
        size: int,
        batch: Any,
        effort: Effort,
        on_note: Callable[[Part], None] | None = None,
        weighing: Weighing | None = None,
        probes: Sequence[Tensor] = (),
        layout: Layout | None = None,
    ) -> None:
        super().__init__()
        self.size, self.effort, self.on_note, self.weighing = size, effort, on_note, weighing
        self.probes = probes
        self.compiled: list[tuple[Any, dict[str, Any], Tensor, Tensor, Tensor | None]] = []
        self.parts: list[Part] = []
        self.sums: list[tuple[Tensor, Tensor]] = []
        self.normalized: list[tuple[Any, Tensor, int, Tag | None]] = []
        self.tags: Tags | None = None
        self.light: Tags | None = None
        self.given: Tags | None = None
        self.nodes: dict[Any, Tag] = {}
        self.mapped = False
        if effort > Effort.BARE:
            tags = Tags(size)
            tag_batch(tags, batch, layout or Layout())
            self.tags, self.light, self.given = tags, tags.copy() if effort is Effort.FULL else tags, tags.copy()

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

    def leave_weights(self) -> bool:
        """Weight nothing of what is still to come, if no loss has been computed yet; whether that is so."""
        if any(isinstance(part, LossPart) for part in self.parts):
            return False
        self.weighing = None
        return True

    def take_compiled(self) -> list[CompiledPart]:
        """What was noted inside `torch.compile`, each part once: nobody can tell where in the graph it stands."""
        pairs = zip(self.compiled, self.probes, strict=False)
        parts = [CompiledPart(*noted, probe) for noted, probe in pairs]
        self.compiled.clear()
        return parts

    def _follow(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        # Whatever an operation is like, following it must not stop a training: its results have no samples then.
        with suppress(Exception):
            if self.light is not None and func in LIGHT:
                follow_light(self.light, func, args, kwargs, result)
        if self.effort is not Effort.FULL or self.tags is None:
            return
        if not self.mapped and torch._C._functorch.peek_interpreter_stack() is not None:
            with suppress(Exception):
                self.mapped = maps_samples(self.tags, (*args, *kwargs.values()))
        with suppress(Exception):
            follow(self.tags, func, args, kwargs, result)
        if func in LINEAR_OPS and torch.is_grad_enabled() and torch._C._functorch.peek_interpreter_stack() is None:
            self._note_contraction(func, args, kwargs, result)
        for r in (result,) if isinstance(result, Tensor) else result if isinstance(result, tuple) else ():
            tag = self.tags.get(r)
            if isinstance(tag, int) and tag != MIXED and self.size > 1:
                self._note_number(r, tag)
            # What belongs to one sample as a whole may be its loss.
            if isinstance(tag, Tensor) and r.requires_grad:
                self.nodes[r.grad_fn] = tag

    def _note_contraction(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        assert self.tags is not None
        with suppress(Exception):
            part = contraction(self.tags, func, args, kwargs, result)
            if part is not None:
                self._keep(part)

    def _note_number(self, result: Tensor, tag: int) -> None:
        """One number of one sample, as they are added up in a loop over samples."""
        outside = torch.is_grad_enabled() and torch._C._functorch.peek_interpreter_stack() is None
        if result.ndim == 0 and result.requires_grad and outside:
            self._keep(NumberPart(tag, result))

    def _keep(self, part: Part) -> None:
        self.parts.append(part)
        part.node.register_prehook(part.hear)
        if self.on_note is not None:
            self.on_note(part)

    def _noted(self, func: Any, args: Any, kwargs: Any) -> Any:
        handles: list[Tensor] = []
        if self.weighing is not None and torch.is_grad_enabled():
            args = tuple(self._handle(value, handles) for value in args)
            kwargs = {name: self._handle(value, handles) for name, value in kwargs.items()}
        result = func(*args, **kwargs)
        if self.effort is not Effort.BARE:
            self._follow(func, args, kwargs, result)
        told = result[0] if func in HIGHEST else result
        if not isinstance(told, Tensor) or torch._C._functorch.peek_interpreter_stack() is not None:
            return result
        part = self._part(func, args, kwargs, told)
        if part is not None:
            self._keep(part)
            if self.weighing is not None:
                for handle in handles:
                    handle.register_hook(partial(self.weighing.weigh, part))  # type: ignore[no-untyped-call]
                if told is result:
                    result = self.weighing.correct(part, result)
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
        elif result.requires_grad:
            return part_of(func, args, kwargs, result, self.tags, self.light)
        elif (found := denominator(func, args, kwargs, result)) is not None:
            self.sums.append(found)
        return None

    def _normalizer(self, args: Any, kwargs: Any, result: Tensor) -> None:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if result.requires_grad and isinstance(dim, int):
            logits = args[0] if args else kwargs["input"]
            tag = None if self.tags is None else self.tags.get(logits)
            self.normalized.append((result.grad_fn, logits.detach(), dim % logits.ndim, tag))
