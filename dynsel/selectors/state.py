"""What must survive a restart, declared once: `add_state`, for selectors and for terms."""

from __future__ import annotations

import inspect
import numbers
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from dynsel.selectors.population import Population

__all__ = ["Stateful"]


@dataclass(frozen=True)
class _Declared:
    """How a state begins: a number for each sample, a tensor, or None."""

    default: float | Tensor | None
    dtype: torch.dtype | None

    def fresh(self, num_samples: int) -> Tensor | None:
        if isinstance(self.default, Tensor):
            return self.default.clone()
        if self.default is None:
            return None
        return torch.full((num_samples,), self.default, dtype=self.dtype)

    def problem(self, value: Any, num_samples: int) -> str | None:
        """What is wrong with a value that was loaded; None if nothing is."""
        if not isinstance(value, Tensor):
            return f"a tensor, got {type(value).__name__}"
        fresh = self.fresh(num_samples)
        shape = None if fresh is None else fresh.shape
        if shape not in (None, value.shape) or self.dtype not in (None, value.dtype):
            wanted = "any shape" if shape is None else f"shape {tuple(shape)}"
            kind = "" if self.dtype is None else f" and {self.dtype}"
            return f"of {wanted}{kind}, got {tuple(value.shape)} and {value.dtype}"
        return None


def _declared(name: str, default: Any, dtype: torch.dtype | None) -> _Declared:
    """The state that a default stands for."""
    if default is None:
        return _Declared(None, dtype)
    if isinstance(default, Tensor):
        return _Declared(default.detach().to(dtype or default.dtype, copy=True), dtype or default.dtype)
    if isinstance(default, bool | np.bool_):
        return _Declared(bool(default), dtype or torch.bool)
    if isinstance(default, numbers.Integral):
        return _Declared(int(default), dtype or torch.int32)
    if isinstance(default, numbers.Real):
        return _Declared(float(default), dtype or torch.float32)
    raise TypeError(f"`default` of {name} must be a number, a tensor or None, got {default!r}")


class Stateful:
    """A thing bound to N samples, with tensors that a checkpoint saves.

    Attributes:
        needs_features: Whether `fit` must be called with features.
        population: Whom to ask what concerns all samples together.
        fits_shards: Whether it does ask, so that it can choose where a process has only some of the samples. Every
            class says so for itself.
    """

    fits_shards: ClassVar[bool] = False

    needs_features: bool = False
    population: Population = Population()
    # Types in which a state is kept where there are hundreds of millions of samples.
    _state_compact: ClassVar[Mapping[str, torch.dtype]] = {}
    # Tensors of one entry per sample that are no state.
    _state_exempt: ClassVar[frozenset[str]] = frozenset()
    # All names begin with `_state_`, so that they don't meet a subclass's own.
    _state_declared: dict[str, _Declared]
    _state_size: int
    _state_told_of: set[str]

    # Not in `__init__`: whoever forgets `super().__init__()` must not find out by an AttributeError.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._state_declared, self._state_size, self._state_told_of = {}, 0, set()
        self._state_defaults(args, kwargs)
        return self

    def _state_defaults(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What every object has before its constructor runs with these arguments."""

    def add_state(self, name: str, default: float | Tensor | None, *, dtype: torch.dtype | None = None) -> None:
        """Declare an attribute that survives a restart. Made anew by every `bind`, saved and restored by itself.

        Args:
            name: Name of the attribute that holds it.
            default: What it is after `bind`: a number stands for an (N,) tensor filled with it, a tensor for a copy
                of itself, and None for None until a tensor is assigned (in `fit`, for instance).
            dtype: Type of the tensor; default: float32 for a float, int32 for an int, bool for a bool, the tensor's
                own; any for None.

        Raises:
            TypeError: If the default is something else.
            ValueError: If `name` can't be an attribute.

        Example:
            >>> from dynsel.selectors import Random
            >>> selector = Random()
            >>> selector.add_state("average", float("nan"))
            >>> selector.bind(3)
            >>> selector.average
            tensor([nan, nan, nan])
        """
        if not isinstance(name, str) or not name.isidentifier() or name == "generator":
            raise ValueError(f"`name` must be that of an attribute, got {name!r}")
        self._state_declared[name] = declared = _declared(name, default, dtype)
        if default is None or self._state_size:
            setattr(self, name, declared.fresh(self._state_size))

    if not TYPE_CHECKING:  # with it, a misspelt attribute would pass for one that is declared here

        def __getattr__(self, name: str) -> Any:
            if name in vars(self).get("_state_declared", {}):
                kind = type(self).__name__
                raise RuntimeError(
                    f"{kind} has no `{name}` before `bind`: call `bind(num_samples)` first; if {kind} overrides "
                    "`bind`, it must call `super().bind(...)`, or better override `prepare()`"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def shrink_state(self) -> None:
        """Keep smaller types from the next `bind` on, as far as the class names some: counts of uses in 16 bits."""
        for name, dtype in self._state_compact.items():
            self._state_declared[name] = replace(self._state_declared[name], dtype=dtype)

    @property
    def ready(self) -> bool:
        """Whether features, if needed, were given: whether what `fit` sets, declared by `add_state(…, None)`, is."""
        return not self.needs_features or all(getattr(self, name) is not None for name in self._state_of_fit())

    def _state_of_fit(self) -> list[str]:
        return [name for name, declared in self._state_declared.items() if declared.default is None]

    def _state_begin(self, num_samples: int) -> None:
        """Make every declared state anew."""
        kind = type(self)
        if self.needs_features and kind.ready is Stateful.ready and not self._state_of_fit():
            raise TypeError(
                f"{kind.__name__} needs features, but nothing tells whether `fit` had them: declare what `fit` sets "
                "by `add_state(name, None)` in `__init__`, or override `ready`"
            )
        self._state_size = num_samples
        for name, declared in self._state_declared.items():
            setattr(self, name, declared.fresh(num_samples))

    # ---------------------------------------------------------------- saving
    def _state_parts(self) -> Mapping[str, Stateful]:
        """What has a state of its own, by the prefix of its keys."""
        return {}

    def _state_copies(self) -> dict[str, Tensor]:
        """Copies of the declared tensors, those of parts included; what is None is left out."""
        self._state_warn()
        # Copies: a checkpoint must not change when training goes on before it is written.
        state: dict[str, Tensor] = {}
        for name in self._state_declared:
            value = getattr(self, name)
            if value is not None and not isinstance(value, Tensor):
                what = f"{type(self).__name__}.{name}"
                raise TypeError(f"`{what}` is declared as state and must be a tensor, got {type(value).__name__}")
            if value is not None:
                state[name] = value.detach().clone()
        for prefix, part in self._state_parts().items():
            state |= {f"{prefix}.{key}": value for key, value in part._state_copies().items()}
        return state

    def _state_restore(self, state: Mapping[str, Any]) -> None:
        """Take what `_state_copies` gave, after `_state_problems` found nothing."""
        for name, declared in self._state_declared.items():
            setattr(self, name, state[name].detach().clone() if name in state else declared.fresh(self._state_size))
        for prefix, part in self._state_parts().items():
            part._state_restore(_below(prefix, state))

    def _state_problems(self, state: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
        """Keys of a state that are unexpected, that are missing, and what is wrong with the values of the others."""
        parts = self._state_parts()
        # A prefix may hold dots itself: that of a term by class path.
        mine = {key: value for key, value in state.items() if not key.startswith(tuple(f"{p}." for p in parts))}
        unexpected = sorted(set(mine) - set(self._state_declared))
        missing, wrong = [], []
        for name, declared in self._state_declared.items():
            if name not in mine:
                missing += [] if declared.default is None else [name]
            elif problem := declared.problem(mine[name], self._state_size):
                wrong.append(f"`{name}` must be {problem}")
        for prefix, part in parts.items():
            theirs = part._state_problems(_below(prefix, state))
            unexpected += [f"{prefix}.{key}" for key in theirs[0]]
            missing += [f"{prefix}.{key}" for key in theirs[1]]
            wrong += [text.replace("`", f"`{prefix}.", 1) for text in theirs[2]]
        return unexpected, missing, wrong

    def _state_warn(self) -> None:
        """Say once of each attribute that looks like state and isn't declared."""
        # What was given to the constructor is there again in a resumed run.
        known = {
            *self._state_declared,
            *self._state_exempt,
            *self._state_told_of,
            *inspect.signature(type(self)).parameters,
        }
        for name, value in vars(self).items():
            if (
                name.startswith("_")
                or name in known
                or not isinstance(value, Tensor | np.ndarray)
                or not value.ndim
                or len(value) != self._state_size
            ):
                continue
            self._state_told_of.add(name)
            warnings.warn(
                f"{type(self).__name__} keeps `{name}`, with one entry per sample, and never declared it: it is not "
                f'saved, and a resumed run goes on without it. Declare it by `self.add_state("{name}", ...)` in '
                f"`__init__`; if it follows from other things, call it `_{name}`",
                stacklevel=4,
            )


def _below(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {key[len(prefix) + 1 :]: value for key, value in state.items() if key.startswith(f"{prefix}.")}
