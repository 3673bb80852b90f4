"""Feeding a selection to PyTorch: the sampler, and the controller that decides each epoch's selection."""

from dynsel.samplers.batch import BatchSelectionSampler
from dynsel.samplers.controller import EpochRecord, SelectionController
from dynsel.samplers.loader import sampler_for, wrap_loader
from dynsel.samplers.selection_sampler import SelectionSampler

__all__ = [
    "BatchSelectionSampler",
    "EpochRecord",
    "SelectionController",
    "SelectionSampler",
    "sampler_for",
    "wrap_loader",
]
