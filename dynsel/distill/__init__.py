"""Dataset distillation: synthesises a few images per class that train a network as the whole set does."""

from dynsel.distill.ncfm import NCFM
from dynsel.distill.pool import Pool

__all__ = ["NCFM", "Pool"]
