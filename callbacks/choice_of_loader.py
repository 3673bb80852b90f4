"""Which of a fit's train loaders is selected from."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from dynsel.callbacks.lightning_driver import LightningDriver
from dynsel.samplers.controller import SelectionController

__all__ = ["ChosenLoader", "place_of_loader"]


class ChosenLoader:
    """Puts a selected loader in the place of one of a fit's, and plans the steps of the fit.

    Args:
        controller: What decides the selections.
        driver: Driver of the fit.
        key: Key or position of the loader; None = the only one.

    Attributes:
        is_only: Whether there is no other train loader, as far as is known.
    """

    def __init__(self, controller: SelectionController, driver: LightningDriver, key: str | int | None) -> None:
        self._controller, self._driver, self._key = controller, driver, key
        self.is_only = True

    def select_from(self, loaders: Any) -> Any:
        """The same loaders, with the chosen one selected from.

        Args:
            loaders: What `train_dataloader` gave.

        Raises:
            ValueError: If there is no such loader, or there are several and nobody says which.
        """
        if self._driver.overfits:
            rank_zero_warn("DynamicSelection: `overfit_batches` is set, so the selection is off.")
            return loaders
        return self._driver.with_one_changed(loaders, self._place, self._wrapped)

    def _place(self, loaders: Any, count: int) -> int:
        self.is_only = count == 1
        return place_of_loader(loaders, count, self._key)

    def _wrapped(self, loader: Any) -> Any:
        ranks = self._driver.trainer.distributed_sampler_kwargs or {}
        # On several ranks Lightning permutes for training, whatever the loader does.
        return self._controller.wrap(
            loader, num_replicas=ranks.get("num_replicas", 1), rank=ranks.get("rank", 0), shuffle=True
        )

    def plan(self) -> list[int] | None:
        """Optimiser steps of each epoch, once there is a loader; None = Lightning's own estimate is right."""
        controller, driver, trainer = self._controller, self._driver, self._driver.trainer
        if not driver.max_epochs or driver.overfits:
            return None
        if controller.budget is not None or driver.is_endless:
            return None  # epochs have one length, which Lightning has read
        sizes, sampler = controller.chooser.sizes, controller.sampler
        return sizes.plan(sampler, driver.max_epochs, trainer.max_steps, driver.fit_steps)


def place_of_loader(loaders: Any, count: int, key: str | int | None) -> int:
    """The place of that loader.

    Args:
        loaders: What `train_dataloader` gave: one loader, or a collection of them.
        count: Number of loaders in it.
        key: Key or position of the loader; None = the only one.

    Raises:
        ValueError: If there is no such loader, or there are several and nobody says which.

    Example:
        >>> place_of_loader({"a": [1], "b": [2]}, 2, "b")
        1
    """
    if count == 1 and key is None:
        return 0
    names = list(loaders) if isinstance(loaders, dict) and len(loaders) == count else []
    places = [*names, *range(count)]
    if key not in places:
        problem = "several train loaders" if key is None else f"no train loader {key!r}"
        raise ValueError(f"{problem}; say which one to select from by `loader=`, one of {names or places}")
    return places.index(key) % count
