"""What is overheard of a loss: calls of usual losses, means and sums of everything."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dynsel.callbacks.listening.losses import (
    CLASSIFIERS,
    INPUTS,
    TARGETS,
    argument_tag,
    first,
    reduction_of,
    row_shape,
    row_tag,
    row_values,
)
from dynsel.callbacks.listening.tags import Tag, Tags

__all__ = ["LossPart", "NormPart", "NumberPart", "Part", "SumPart"]


class Part(ABC):
    """Something overheard that a loss may be made of.

    Attributes:
        name: Of the function.
        kind: "mean", "sum", "batchmean", "norm", "extreme" or "none": how the values became the result.
        node: Of the result in the graph.
        result: What the function returned, detached.
        shape: Shape of the values of the loss.
        inputs: Samples of the values as the predictions have them, if known.
        targets: As the targets have them.
        light: The same as far as views and what is done to targets shows it.
        tag: Samples of the values, once it is decided; None = unknown.
        first: Whether it is known that the first dimension of the values is that of the samples.
        weighable: Whether weights of the samples, put on the gradients of its arguments' rows, weight its loss.
        summed: Whether it counts only where nothing but sums comes after it.
        coefficient: Derivative of what is differentiated with respect to the result; None before the backward pass.
        armed: Whether the backward pass to come counts.
        on_unarmed: Called when a backward pass comes by before that.
        ingredient: What it says of its samples, once it has been taken down.
    """

    def __init__(self, name: str, kind: str, result: Tensor) -> None:
        self.name, self.kind = name, kind
        self.node: Any = result.grad_fn
        # In place operations may follow.
        self.result = result.detach().clone() if result.ndim == 0 else result.detach()
        self.shape = torch.Size([])
        self.inputs: Tag | None = None
        self.targets: Tag | None = None
        self.light: Tag | None = None
        self.tag: Tag | None = None
        self.first = False
        self.summed = False
        self.weighable = True
        self.coefficient: Tensor | None = None
        self.armed = False
        self.on_unarmed: Callable[[Part], None] | None = None
        self.ingredient: Any = None

    @abstractmethod
    def numbers(self) -> tuple[Tensor, Tensor | None]:
        """Numerators and denominators of the rows; None = 1 each."""

    def forget(self) -> None:  # noqa: B027 - a hook that most parts leave empty
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

    def collect(self) -> None:  # noqa: B027 - likewise
        """After the backward pass: the coefficient, where no hook has it."""

    def arm(self) -> bool:
        """From now on the backward pass counts; whether it didn't before."""
        was, self.armed = self.armed, True
        return not was

    def belong(self, tag: Tag | None, *, first: bool = False) -> None:
        """Take its rows for those of these samples.

        Args:
            tag: Of its values.
            first: Whether it is known that the first dimension is that of the samples.
        """
        self.tag, self.first = tag, first

    def keep(self, ingredient: Any) -> Any:
        """Keep, and return, what it says of its samples."""
        self.ingredient = ingredient
        return ingredient

    def watch(self, on_unarmed: Callable[[Part], None] | None) -> None:
        """Have a backward pass announced that comes by before it counts; None = no longer."""
        self.on_unarmed = on_unarmed

    def restart(self) -> None:
        """Forget the backward passes that there were."""
        self.coefficient, self.on_unarmed = None, None

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
        return row_tag(self.func, tensor, tags.known(tensor), self.shape) if isinstance(tensor, Tensor) else None

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        """Numerators and denominators of the rows."""
        return row_values(self.func, self.call, self.node)

    def forget(self) -> None:
        """Let go of the arguments."""
        self.call = {}

    def rows_of(self, shape: torch.Size) -> Tag | None:
        """The samples in an argument of this shape, which may have classes beside the rows."""
        return argument_tag(self.func, self.tag, self.shape, shape)


class SumPart(Part):
    """A mean or a sum of everything, or what else makes one number of many.

    Args:
        kind: "mean" or "sum"; "extreme" of what a single sample gives its own value of, as a maximum.
        values: What it is made of.
        result: What the function returned.
        tags: Samples of the rows, where they are followed.
        name: Of the function; None = its kind.
    """

    def __init__(self, kind: str, values: Tensor, result: Tensor, tags: Tags | None, name: str | None = None) -> None:
        super().__init__(name or kind, kind, result)
        self.values, self.shape = values.detach(), values.shape
        self.weighable = kind != "extreme"
        if tags is not None:
            self.inputs = tags.known(values)

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        """The values, which count 1 each."""
        return self.values, None

    def forget(self) -> None:
        """Let go of the values."""
        self.values = self.result


class NumberPart(SumPart):
    """One number of one sample, as loops over samples add them up.

    Args:
        sample: The number of the sample.
        result: The number, with gradient.
    """

    def __init__(self, sample: int, result: Tensor) -> None:
        super().__init__("sum", result, result, None, "number of a sample")
        self.tag, self.summed, self.weighable = sample, True, False


class NormPart(SumPart):
    """A norm of everything: the root of a sum of powers, and of the sample alone the root of its own sum.

    Args:
        power: The norm's order, above 0.
        values: What it is taken of.
        result: What the function returned.
        tags: Samples of the rows, where they are followed.
    """

    def __init__(self, power: float, values: Tensor, result: Tensor, tags: Tags | None) -> None:
        super().__init__("norm", values, result, tags)
        self.power, self.weighable = power, False

    def numbers(self) -> tuple[Tensor, Tensor | None]:
        """Powers of the values."""
        return self.values.float().abs() ** self.power, None
