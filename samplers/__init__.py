"""Feeding a selection to PyTorch: the sampler, and the controller that decides each epoch's selection."""

from dynsel.samplers.batch import BatchSelectionSampler
from dynsel.samplers.controller import SelectionController
from dynsel.samplers.driver import Driver, PlainDriver
from dynsel.samplers.epoch_record import EpochRecord
from dynsel.samplers.indexed_view import IndexedView
from dynsel.samplers.loader import wrap_loader
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.stage import Phase
from dynsel.samplers.users_loader import sampler_for

__all__ = [
    "BatchSelectionSampler",
    "Driver",
    "EpochRecord",
    "IndexedView",
    "Phase",
    "PlainDriver",
    "SelectionController",
    "SelectionSampler",
    "sampler_for",
    "wrap_loader",
]
