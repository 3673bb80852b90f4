"""Small data sets with a structure that is known, and FAST made quickly on them."""

from __future__ import annotations

import torch
from sklearn.datasets import make_blobs

from dynsel.selectors.fast import FAST

QUICK = {"steps": 20, "num_frequencies": 96, "steps_again": 4, "assign_every": 4, "frequencies_per_step": 16}


def three_blobs(n: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three well separated classes of n / 3."""
    labels = torch.arange(n) % 3
    noise = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    return noise + 8 * torch.nn.functional.one_hot(labels, 5), labels


def uneven_blobs(count: int = 300, classes: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes of several clusters each, of different sizes."""
    x, cluster = make_blobs(count, 8, centers=3 * classes, random_state=seed)
    return torch.from_numpy(x).float(), torch.from_numpy(cluster % classes)


def fitted_fast(x: torch.Tensor, labels: torch.Tensor | None = None, **options: object) -> FAST:
    """FAST with few steps, fitted."""
    selector = FAST(**{**QUICK, "class_balance": labels is not None, "seed": 0, **options})
    selector.bind(len(x), labels)
    selector.fit(x)
    return selector
