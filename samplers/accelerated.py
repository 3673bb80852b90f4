"""Handing on a selected loader's batches as Hugging Face accelerate's own loaders do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dynsel.samplers.selection_sampler import SelectionSampler

__all__ = ["AcceleratedFeed"]


class AcceleratedFeed:
    """Moves batches to the accelerator's device, begins epochs by itself, and tells accelerate which batch is the last.

    That is what `accelerator.prepare` makes loaders do; it must not rebuild a selected one, which knows by itself what
    part of the data is this process's.

    Args:
        accelerator: An `accelerate.Accelerator`.
        begin_epoch: Called when a loop over the loader begins.

    Raises:
        ValueError: If the accelerator wants batches split or dispatched, or processes share their samples.
    """

    def __init__(self, accelerator: Any, begin_epoch: Callable[[], None]) -> None:
        _check(accelerator)
        from accelerate.data_loader import DataLoaderStateMixin

        class Place(DataLoaderStateMixin):  # type: ignore[misc,unused-ignore]
            """Where a loop over the loader stands, as accelerate's gradient state looks at it."""

            gradient_state = accelerator.gradient_state

        self._device, self._begin_epoch = accelerator.device, begin_epoch
        # Kept, for accelerate itself remembers it by a weak reference.
        self._place: Any = Place()

    def feed(self, batches: Iterator[Any], sampler: SelectionSampler) -> Iterator[Any]:
        """The same batches, on the device; everything happens at the first one.

        Args:
            batches: Of one epoch.
            sampler: Of the loader that they come from.
        """
        from accelerate.utils import send_to_device

        self._begin_epoch()
        self._place.begin()
        try:
            for batch in batches:
                # Known without a look at the next batch, which would be read before this one is trained on.
                self._place.end_of_dataloader = sampler.stage.delivered >= sampler.num_batches()
                yield send_to_device(batch, self._device)
        finally:
            self._place.end()


def _check(accelerator: Any) -> None:
    if accelerator.split_batches:
        raise ValueError(
            "a selection's batches can't be split among processes: give the DataLoader the batch size of one process, "
            "and leave `split_batches` out"
        )
    if accelerator.dispatch_batches:
        raise ValueError(
            "a selection's batches can't be read on one process for all: every process reads its own; leave "
            "`dispatch_batches` out"
        )
    mesh: Any = getattr(accelerator, "torch_device_mesh", None)
    shared = [name for name in getattr(mesh, "mesh_dim_names", None) or () if name in ("tp", "cp", "sp")]
    if any(mesh[name].size() > 1 for name in shared):
        raise ValueError(
            f"processes that share their samples ({', '.join(shared)}) have not been tried with accelerate: wrap with "
            "`num_replicas=` and `rank=` of the data-parallel processes, without `accelerator=`"
        )
