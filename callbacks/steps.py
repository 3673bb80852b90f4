"""What becomes of the steps of a fit, said once, and schedulers that were built for more of them."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.optim import lr_scheduler

from dynsel.callbacks.lightning_driver import LightningDriver
from dynsel.samplers.controller import SelectionController
from dynsel.samplers.planning import share_of_round, stays_at_the_beginning
from dynsel.schedules import Constant, Schedule

__all__ = ["Steps", "built_for", "count_steps", "say_what_becomes_of_steps", "schedulers_built_for_more", "summary"]


class Steps(NamedTuple):
    """Optimiser steps of a fit; None = it has no end that is known.

    Attributes:
        now: Number with the selection; at most so many, if the selector itself decides how many samples it takes.
        full: Number without the selection; None if training has no end.
    """

    now: int | None
    full: int | None


def count_steps(controller: SelectionController, driver: LightningDriver) -> Steps:
    """Optimiser steps of a fit whose only train loader is the one selected from.

    Args:
        controller: Controller bound to that loader.
        driver: Driver of the Trainer.
    """
    trainer = driver.trainer
    if driver.max_epochs is None:
        limit = trainer.max_steps if trainer.max_steps > 0 else None
        return Steps(limit, limit)
    full = driver.max_epochs * driver.optimizer_steps(controller.sampler.full_batches())
    if trainer.max_steps > 0:
        full = min(full, trainer.max_steps)
    planned = controller.chooser.sizes.plan(
        controller.sampler, driver.max_epochs, trainer.max_steps, driver.optimizer_steps
    )
    return Steps(sum(planned), full)


def summary(controller: SelectionController, driver: LightningDriver, steps: Steps) -> str:
    """What the selection makes of the fit, in one line.

    Args:
        controller: Controller bound to the loader.
        driver: Driver of the Trainer.
        steps: As `count_steps` counted them.
    """
    ratio = _percent(controller.keep_ratio)
    if steps.now is None or steps.full is None:
        return f"dynsel: selections of {ratio}, training has no end that is known"
    same = steps.now == steps.full
    count = f"{steps.now} steps as without it" if same else f"{steps.now} steps instead of {steps.full}"
    if controller.budget is not None:
        return f"dynsel: {_rounds(controller)}, {count}"
    constant = isinstance(controller.keep_ratio, Constant)
    given = f"keep_ratio={controller.keep_ratio(0.0):g}" if constant else f"a keep ratio of {ratio}"
    if same:
        return f"dynsel: {given}, {count}"
    assert driver.max_epochs is not None
    epochs = max(1, math.floor(driver.max_epochs * steps.full / max(1, steps.now) + 0.5))
    return f"dynsel: {given} without budget: {count}; the same steps: budget=1 or max_epochs={epochs}"


def _rounds(controller: SelectionController) -> str:
    assert controller.budget is not None
    selector, ratio = controller.selector, controller.keep_ratio
    if not isinstance(ratio, Constant):
        return f"rounds of {_percent(ratio)}"
    share = share_of_round(selector, ratio(0.0))
    if not selector.exact and not controller.cuts_batches:
        return f"rounds as large as {type(selector).__name__} makes them"
    number = f"{controller.budget / share:.3g}"
    number += " round" if number == "1" else " rounds"
    if share != ratio(0.0):
        return f"{number} of all data an epoch, {_percent(ratio)} of each batch"
    return f"{number} of {_percent(ratio)} an epoch"


def _percent(ratio: Schedule) -> str:
    values = [100 * ratio(i / 1000) for i in range(1001)]
    low, high = min(values), max(values)
    return f"{low:.3g} %" if low == high else f"{low:.3g} to {high:.3g} %"


def say_what_becomes_of_steps(controller: SelectionController, driver: LightningDriver) -> None:
    """Say what the selection makes of the fit's steps, and of schedulers that were built for more, on rank 0.

    Args:
        controller: Controller bound to the only train loader.
        driver: Driver of the Trainer.
    """
    steps = count_steps(controller, driver)
    rank_zero_info(summary(controller, driver, steps))
    if steps.now is None and (waiting := stays_at_the_beginning(controller.selector, controller.keep_ratio)):
        rank_zero_warn(f"DynamicSelection: {waiting}. Set `max_epochs` or `max_steps`.")
    for message in schedulers_built_for_more(driver.trainer, steps):
        rank_zero_warn(message)


# ---------------------------------------------------------------- schedulers
def schedulers_built_for_more(trainer: pl.Trainer, steps: Steps) -> list[str]:
    """What to say of each scheduler of a fit that will not come to its end because of the selection.

    One that the full training wouldn't have brought to its end either is the user's own affair, and so is one that
    counts epochs, whose number stays.

    Args:
        trainer: The Trainer, once training has started.
        steps: Optimiser steps of the fit.
    """
    if steps.now is None or steps.full is None:
        return []
    said = []
    for config in trainer.lr_scheduler_configs:
        expected = built_for(config.scheduler)
        if expected is None or config.interval != "step":
            continue
        now, full = steps.now // config.frequency, (steps.full + (trainer.max_epochs or 0)) // config.frequency
        if now < expected <= full:
            said.append(
                f"{type(config.scheduler).__name__} is built for {expected} steps, but with dynsel's selection there "
                f"are {now} of them ({steps.full // config.frequency} without it), so that it ends on its way. Give "
                "budget=1, or build it for `trainer.estimated_stepping_batches`"
            )
    return said


def built_for(scheduler: Any) -> int | None:
    """Number of calls of `step` that bring a scheduler to its end.

    Args:
        scheduler: A learning rate scheduler of torch, or any other object.

    Returns:
        The number; None if it has none, or none that can be read.
    """
    if isinstance(scheduler, lr_scheduler.OneCycleLR):
        return int(scheduler.total_steps)
    if isinstance(scheduler, lr_scheduler.CosineAnnealingLR):
        return int(scheduler.T_max)
    if isinstance(scheduler, lr_scheduler.LinearLR | lr_scheduler.PolynomialLR):
        return int(scheduler.total_iters)
    if isinstance(scheduler, lr_scheduler.MultiStepLR):
        return max(scheduler.milestones, default=None)
    if isinstance(scheduler, lr_scheduler.SequentialLR):
        parts, milestones = getattr(scheduler, "_schedulers", []), getattr(scheduler, "_milestones", [])
        return milestones[-1] + (built_for(parts[-1]) or 0) if parts and milestones else None
    if isinstance(scheduler, lr_scheduler.ChainedScheduler):
        return _largest([built_for(part) for part in getattr(scheduler, "_schedulers", [])])
    if isinstance(scheduler, lr_scheduler.LambdaLR):
        return _largest([_read(function) for function in scheduler.lr_lambdas])
    return None


def _largest(counts: list[int | None]) -> int | None:
    return max((count for count in counts if count is not None), default=None)


def _read(function: Any) -> int | None:
    """The end of a schedule as transformers makes it: a partial function or one that closes over its length."""
    if isinstance(function, functools.partial):
        known = function.keywords
    else:
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        known = dict(zip(names, [c.cell_contents for c in getattr(function, "__closure__", None) or ()], strict=False))
    parts = [known.get("num_training_steps")]
    if parts == [None]:
        parts = [known.get(f"num_{part}_steps") for part in ("warmup", "stable", "decay")]
    whole = [part for part in parts if isinstance(part, int)]
    return sum(whole) if len(whole) == len(parts) else None
