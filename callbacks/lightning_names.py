"""The two names that Lightning goes by, and what is said where one of them lacks something."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

__all__ = ["Callback", "has", "package_of", "refuse"]

# Lightning goes by two names that have no class in common.
NAMES = ("lightning.pytorch", "pytorch_lightning")

if TYPE_CHECKING:
    Callback = pl.Callback
else:

    def _callback_classes() -> list[type]:
        classes = [pl.Callback]
        with suppress(Exception):  # not installed, or in no state to be imported, and so in nobody's use
            classes.append(import_module("pytorch_lightning").Callback)
        return classes

    class Callback(*_callback_classes()):
        """A callback for the Trainers of both names: versions before 2.6 insist on their own class."""


def refuse(trainer: Any, lacking: list[str], consequence: str) -> None:
    """Say that this Lightning is another one than was built for, if it lacks anything.

    Args:
        trainer: Trainer of the Lightning that is looked at.
        lacking: Names that this Lightning lacks.
        consequence: Who needs them, and the way out.

    Raises:
        RuntimeError: If there is such a name.
    """
    if lacking:
        package = package_of(trainer)
        raise RuntimeError(f"{package.__name__} {package.__version__} has no {', '.join(lacking)}, {consequence}")


def package_of(trainer: Any) -> Any:
    """The package, `lightning` or `pytorch_lightning`, whose Trainer this is.

    Args:
        trainer: A Trainer, or an object of a subclass.
    """
    modules = [kind.__module__ for kind in type(trainer).__mro__]
    return import_module(next(name for name in NAMES if any(m.startswith(f"{name}.") for m in modules)))


def has(owner: Any, path: str) -> bool:
    """Whether there is such an attribute of an attribute.

    Args:
        owner: Object to look into.
        path: Names joined by dots, as in "fit_loop.epoch_loop".
    """
    for name in path.split("."):
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True
