"""Lightning callbacks."""

from dynsel.callbacks.batch_fraction import BatchFraction
from dynsel.callbacks.dynamic_selection import DynamicSelection

__all__ = ["BatchFraction", "DynamicSelection"]
