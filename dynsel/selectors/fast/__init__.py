"""FAST: a coreset by frequency matching on a graph."""

from dynsel.selectors.fast.selector import FAST

__all__ = ["FAST"]
