"""The loss of a step by its definition, and classes shared out over ranks and time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynsel.distill.matching import add_ranks, class_chunks, explained_memory, match_loss


def definition(synthetic: np.ndarray, real: np.ndarray, t: np.ndarray, amplitude: float) -> list[float]:
    """Equations 5 to 8 of the paper, with the published scale, class by class in NumPy."""
    total = np.zeros(3)
    for a, b in zip(synthetic, real, strict=True):
        one, other = (np.exp(1j * rows @ t.T).mean(0) for rows in (a, b))
        spread = (np.abs(one) - np.abs(other)) ** 2
        place = 2 * (np.abs(one * other) - (one * other.conj()).real)
        total += [np.sqrt(amplitude * spread + (1 - amplitude) * place).mean(), spread.mean(), place.mean()]
    return (300 * total).tolist()


@pytest.mark.parametrize("amplitude", [0.0, 0.5, 1.0])
def test_the_loss_is_the_papers(amplitude):
    generator = torch.Generator().manual_seed(0)
    synthetic, real, t = (torch.randn(*s, generator=generator).double() for s in ((2, 3, 4), (2, 7, 4), (16, 4)))
    loss, parts = match_loss(synthetic, real, t, amplitude)
    wanted = definition(synthetic.numpy(), real.numpy(), t.numpy(), amplitude)
    assert float(loss) == pytest.approx(wanted[0], rel=1e-4)
    assert [float(part) for part in parts] == pytest.approx(wanted, rel=1e-4)
    assert not any(part.requires_grad for part in parts)


@given(st.integers(1, 40), st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 8))
def test_every_class_has_one_rank_and_one_turn(classes, size, world):
    chunks = [chunk for rank in range(world) for chunk in class_chunks(classes, size, rank, world)]
    assert [c for chunk in chunks for c in range(classes)[chunk]] == list(range(classes))
    assert all(chunk.stop - chunk.start <= (size or classes) for chunk in chunks)


def test_without_ranks_nothing_is_added():
    tensors = [torch.ones(2), torch.zeros(1)]
    add_ranks(tensors)
    assert [t.tolist() for t in tensors] == [[1, 1], [0]]


def test_only_want_of_memory_is_explained():
    message = "out of memory with 5 classes at a time: set `class_chunk` to 2 or less"
    with pytest.raises(RuntimeError, match=message), explained_memory(10, 5):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    with pytest.raises(RuntimeError, match="something else"), explained_memory(10, None):
        raise RuntimeError("something else")
