"""Notes the losses of a step and, in the backward pass, the weight of each in what is differentiated."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dynsel.callbacks.listening.taps import LOSSES

__all__ = ["Hearing", "Part", "nearest"]


class Part:
    """One overheard loss.

    Attributes:
        name: Of the function.
        node: Of the value, in the graph.
        values: (B,), once they are known.
        coefficient: Derivative of what is differentiated with respect to the value; None until the backward pass.
    """

    def __init__(self, func: Any, call: inspect.BoundArguments, result: Tensor) -> None:
        self.func, self.call, self.name = func, call, func.__name__
        self.node = result.grad_fn
        self.values: Tensor | None = None
        self.coefficient: Tensor | None = None

    def hear(self, gradients: tuple[Tensor, ...]) -> None:
        """The hook of the node."""
        gradient = gradients[0].detach().float()
        self.coefficient = gradient.clone() if self.coefficient is None else self.coefficient + gradient

    def compute(self) -> None:
        """The values, while the arguments are as they were."""
        self.call.arguments["reduction"] = "none"
        values = self.func(*self.call.args, **self.call.kwargs)
        self.values = values.flatten(1).mean(1) if values.ndim > 1 else values


class Hearing(TorchFunctionMode):
    """While active, notes the usual losses."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.parts: list[Part] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in LOSSES and result.requires_grad:
            call = inspect.signature(func).bind(*args, **kwargs)
            if len(call.arguments["input"]) == self.size:
                self.parts.append(Part(func, call, result))
        return result

    @torch.no_grad()
    def expect(self, loss: Tensor) -> None:
        """Learn the coefficients of the parts nearest to the loss, in the backward pass to come."""
        noted = {part.node: part for part in self.parts}
        for node in nearest(loss, noted):
            noted[node].compute()
            node.register_prehook(noted[node].hear)


def nearest(loss: Tensor, noted: dict[Any, Any]) -> list[Any]:
    """The noted nodes that the loss is made of: on each way back from it the first one."""
    seen, todo, met = set(), [loss.grad_fn], []
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in noted:
            met.append(node)
        else:
            todo += [before for before, _ in node.next_functions]
    return met
