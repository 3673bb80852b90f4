"""Dataset distillation: synthesises a few images per class that train a network as the whole set does."""

from dynsel.distill.evaluate import Evaluation
from dynsel.distill.ncfm import NCFM
from dynsel.distill.pool import Pool
from dynsel.distill.sheet import Sheet

__all__ = ["NCFM", "Evaluation", "Pool", "Sheet"]
