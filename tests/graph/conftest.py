"""Point clouds and graphs that the tests of this folder share."""

from __future__ import annotations

import pytest
import torch
from scipy.sparse import csr_array

from dynsel.graph import fuzzy_graph, nearest_neighbours


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blobs(count: int, dim: int = 5, centres: int = 3, seed: int = 0, apart: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(centres, dim, generator=generator) * apart
    return middle[torch.arange(count) % centres] + torch.randn(count, dim, generator=generator)


def graph_of(x: torch.Tensor, scales: tuple[int, ...] = (5, 15)) -> csr_array:
    return fuzzy_graph(*nearest_neighbours(x, max(scales)), scales)


def path(count: int) -> torch.Tensor:
    return torch.diag(torch.ones(count - 1), 1) + torch.diag(torch.ones(count - 1), -1)
