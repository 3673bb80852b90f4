"""The random states that a user's training draws from (order, dropout, augmentation), saved and put back.

dynsel never draws from them itself; it restores them so that a resumed run continues as if uninterrupted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from dynsel._lib.checks import check_keys
from dynsel.samplers.ranks import gather, this_rank

__all__ = ["RandomStates", "get_rng_state", "set_rng_state"]


def get_rng_state(generators: Sequence[torch.Generator] = ()) -> dict[str, Any]:
    """Global random states of torch (CPU and CUDA), NumPy and `random`, and those of the user's generators.

    Args:
        generators: Generators that the user's loader and sampler draw from, in a fixed order.

    Returns:
        Tensors and plain numbers only, so that a checkpoint loads with `weights_only=True`; a CUDA device is left out
        while nothing has run on it.
    """
    version, internal, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    name, keys, position, has_gauss, cached = legacy
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "random": [version, list(internal), gauss],
        "numpy": [
            str(name),
            torch.from_numpy(keys.astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "generators": [generator.get_state() for generator in generators],
    }
    # An uninitialised CUDA context has no state, and asking for one would take memory on the GPU.
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: dict[str, Any], generators: Sequence[torch.Generator] = ()) -> None:
    """Restore what `get_rng_state` gave. GPUs and generators that are not there (any more) are passed over.

    Args:
        state: What `get_rng_state` gave, checked by `check_rng_state` if it comes from a file.
        generators: The user's generators, in the same order as then.
    """
    for generator, own in zip(generators, state["generators"], strict=False):
        generator.set_state(own)
    torch.set_rng_state(state["torch"])
    _set_random(random, state["random"])
    _set_numpy(np.random, state["numpy"])
    if torch.cuda.is_available():
        for device, cuda in enumerate(state.get("cuda", [])[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(cuda, device)


def check_rng_state(state: Any) -> None:
    """Check what `get_rng_state` gave, without changing any of the states in use.

    Args:
        state: What came out of a checkpoint.

    Raises:
        ValueError: If a key is missing or not known, or what it holds is no such state.
    """
    check_keys("the random numbers", state, ("torch", "random", "numpy", "generators"), optional=("cuda",))
    trials: dict[str, Callable[[], Any]] = {
        "torch": lambda: torch.Generator().set_state(state["torch"]),
        "random": lambda: _set_random(random.Random(), state["random"]),
        "numpy": lambda: _set_numpy(np.random.RandomState(), state["numpy"]),
        "generators": lambda: [own.numel() for own in state["generators"]],
    }
    for name, trial in trials.items():
        try:
            trial()
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"`{name}` of the random numbers can't be read: the checkpoint is damaged") from error


def _set_random(generator: Any, state: list[Any]) -> None:
    version, internal, gauss = state
    generator.setstate((version, tuple(internal), gauss))


def _set_numpy(generator: Any, state: list[Any]) -> None:
    name, keys, position, has_gauss, cached = state
    generator.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))


class RandomStates:
    """The random state of a checkpoint, until the resumed run comes to the place where it belongs."""

    def __init__(self) -> None:
        self._waiting: dict[str, Any] | None = None

    @staticmethod
    def state_dict(loader: Any) -> list[dict[str, Any]]:
        """The states of all processes, in the order of ranks; every rank must call it.

        Args:
            loader: The wrapped loader, whose generators count as well; None without one.
        """
        return gather(get_rng_state(_generators(loader)))

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Wait with the state of this process: by its number among all, for those that share samples differ as well.

        Args:
            states: What `state_dict` gave; of a run with fewer processes the first one stands for those that are
                missing.

        Raises:
            ValueError: If a key is missing or not known, or what one holds is no such state.
        """
        for state in states:
            check_rng_state(state)
        self._waiting = states[this_rank()] if this_rank() < len(states) else states[0]

    def restore(self, loader: Any) -> None:
        """Set the waiting state at an epoch's boundary: before anything of the next epoch draws.

        Args:
            loader: The wrapped loader, whose next iterator must not draw from it; None without one.
        """
        if self._waiting is not None:
            set_rng_state(self._waiting, _generators(loader))
            self._waiting = None
            if loader is not None:
                loader.keep_rng()

    def hand_over(self, loader: Any) -> None:
        """Leave the waiting state to the loader inside an epoch, which sets it once its iterator stands.

        Args:
            loader: The wrapped loader; without one the state waits on.
        """
        if self._waiting is not None and loader is not None:
            loader.resume(self._waiting)
            self._waiting = None


def _generators(loader: Any) -> list[torch.Generator]:
    return [] if loader is None else loader.generators
