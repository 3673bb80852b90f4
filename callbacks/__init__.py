"""Lightning callbacks."""

from dynsel.callbacks.dynamic_selection import DynamicSelection

__all__ = ["DynamicSelection"]
