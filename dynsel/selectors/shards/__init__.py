"""Selections of data sets of which no process knows all samples: their parts, ranks, draws and quotas."""

from dynsel.selectors.shards.cdf import Cdf, Reduce, fit_cdf
from dynsel.selectors.shards.draws import uniform_at
from dynsel.selectors.shards.layout import Shards, default_shards
from dynsel.selectors.shards.permutation import Permutation, mixed_key
from dynsel.selectors.shards.quotas import class_quotas

__all__ = [
    "Cdf",
    "Permutation",
    "Reduce",
    "Shards",
    "class_quotas",
    "default_shards",
    "fit_cdf",
    "mixed_key",
    "uniform_at",
]
