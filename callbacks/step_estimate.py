"""An exact answer to `trainer.estimated_stepping_batches`, for which Lightning looks at one epoch's length only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["StepEstimate"]

Planner = Callable[[], list[int] | None]


class StepEstimate:
    """Answers for a Trainer, from `install` to `uninstall`, how many optimiser steps its fit takes.

    The property can't be shadowed on the Trainer itself, so that is an instance of a private subclass meanwhile: one,
    however many callbacks select.

    Args:
        trainer: The Trainer.
        plan: Optimiser steps of each epoch, asked for once there is a train loader; None = Lightning knows better.
    """

    def __init__(self, trainer: Any, plan: Planner) -> None:
        self._trainer, self._plan = trainer, plan

    def install(self) -> None:
        """Answer from now on."""
        kind = type(self._trainer)
        if not hasattr(kind, "_dynsel_plans"):
            kind = _answering(kind)
            self._trainer.__class__ = kind
        kind._dynsel_plans.append(self._plan)

    def uninstall(self) -> None:
        """Leave the Trainer as it was; calling it again, or without `install`, does nothing."""
        kind = type(self._trainer)
        plans = getattr(kind, "_dynsel_plans", [])
        if self._plan in plans:
            plans.remove(self._plan)
            if not plans:
                self._trainer.__class__ = kind.__base__


def _answering(kind: Any) -> Any:
    plans: list[Planner] = []

    def estimated_stepping_batches(trainer: Any) -> int | float:
        # First, for it loads the train loader if that isn't done.
        estimate: int | float = kind.estimated_stepping_batches.fget(trainer)
        planned = [steps for plan in plans if (steps := plan()) is not None]
        return max(sum(steps) for steps in planned) if planned else estimate

    answer = property(estimated_stepping_batches, doc=kind.estimated_stepping_batches.__doc__)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {**names, "_dynsel_plans": plans, "estimated_stepping_batches": answer})
