"""What the active factors of a sparse autoencoder say about each sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynsel.sae import SparseCodes

__all__ = ["factor_scores"]


def factor_scores(
    codes: SparseCodes, labels: Tensor | None = None, *, split: bool = False, too_common: float = 0.9
) -> tuple[Tensor, Tensor]:
    """Representativeness and rarity of each sample from the frequencies of its active factors.

    Args:
        codes: Sparse codes of the N samples.
        labels: (N,) class codes: a factor's frequency is then its share of the samples of the same class.
        split: Count only factors above the median frequency for representativeness, below it for rarity.
        too_common: Factors active in more than this share of all samples say nothing and are left out.

    Returns:
        Two (N,) float32: Σ_j w_ij p_j in [0, 1], and Σ_j w_ij (-log p_j) / log N in [0, 1].

    Example:
        >>> codes = SparseCodes(torch.tensor([[0], [0], [0], [1], [1], [0]]), torch.ones(6, 1), 2)
        >>> factor_scores(codes)[0][-1]  # 4 of 6 samples have factor 0
        tensor(0.6667)
        >>> factor_scores(codes, torch.tensor([0, 0, 0, 1, 1, 1]))[0][-1]  # but only one of the three of its class
        tensor(0.3333)
    """
    frequency = codes.frequency()
    codes = codes.keep_factors(frequency <= too_common)
    if labels is None:
        frequency = codes.frequency()
    else:
        classes = torch.bincount(labels.long())
        codes = codes.by_class(labels)
        frequency = codes.frequency() * (len(labels) / classes.clamp_min(1)).repeat_interleave(
            codes.num_factors // len(classes)
        )
    counted = frequency > 0
    common = frequency
    rare = torch.where(counted, -frequency.clamp_min(1e-12).log() / math.log(max(2, len(codes))), 0.0)
    if split and bool(counted.any()):
        # torch.median takes the lower of the two middle ones, which leaves less than half below it.
        median = frequency[counted].quantile(0.5)
        common = torch.where(frequency >= median, common, 0.0)
        rare = torch.where(frequency < median, rare, 0.0)
    return codes.weighted_mean(common.float()), codes.weighted_mean(rare.float())
