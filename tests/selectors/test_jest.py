"""JEST: learnability by hand, draws in chunks against the exact probabilities, reference losses of any kind."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from dynsel.selectors import JEST
from dynsel.selectors.jest import draw_in_chunks

LOSSES = torch.tensor([2.0, 1.0, 0.5, 3.0])
REFERENCE = [0.1, 0.9, 0.0, 2.9]  # learnability 1.9, 0.1, 0.5, 0.1


def bound(**options: object) -> JEST:
    selector = JEST(**{"reference": torch.tensor(REFERENCE), **options})
    selector.bind(4)
    return selector


def test_learnability_decides():
    assert bound(temperature=0).keep(torch.arange(4), LOSSES, 2, torch.Generator()).tolist() == [0, 2]
    # The reference is that of the candidates, wherever they come in the batch.
    rows = torch.tensor([3, 2, 0])
    assert bound(temperature=0).keep(rows, LOSSES[rows], 1, torch.Generator()).tolist() == [2]


def test_a_low_temperature_approaches_the_highest():
    generator = torch.Generator().manual_seed(0)
    # One chunk would be all uniform; of 100 the first has one sample.
    kept = [bound(temperature=1e-3, chunks=100).keep(torch.arange(4), LOSSES, 3, generator) for _ in range(20)]
    assert all({0, 2} <= set(rows.tolist()) for rows in kept)


def shares(chunks: int, count: int, draws: int = 6000) -> dict[tuple[int, ...], float]:
    logits, generator = torch.tensor([1.0, 0.0, -1.0]).double(), torch.Generator().manual_seed(0)
    found = [tuple(draw_in_chunks(logits, count, chunks, generator).tolist()) for _ in range(draws)]
    return {rows: found.count(rows) / draws for rows in set(found)}


def test_more_chunks_than_samples_are_one_sample_each():
    logits = torch.linspace(0, 1, 8).double()
    found = [draw_in_chunks(logits, 5, chunks, torch.Generator().manual_seed(0)).tolist() for chunks in (5, 10**30)]
    assert found[0] == found[1]


def test_one_chunk_is_uniform():
    assert shares(1, 1) == pytest.approx({(0,): 1 / 3, (1,): 1 / 3, (2,): 1 / 3}, abs=0.02)


def test_the_second_chunk_is_by_softmax_of_what_is_left():
    weight = [math.exp(x) for x in (1.0, 0.0, -1.0)]
    exact: dict[tuple[int, ...], float] = {}
    for first, second in itertools.permutations(range(3), 2):
        p = 1 / 3 * weight[second] / (sum(weight) - weight[first])
        pair = tuple(sorted((first, second)))
        exact[pair] = exact.get(pair, 0.0) + p
    assert shares(2, 2) == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("count", [1, 3, 16, 17, 40])
def test_draws_as_many_as_asked(count):
    kept = draw_in_chunks(torch.randn(40).double(), count, 16, torch.Generator().manual_seed(0)).tolist()
    assert len(set(kept)) == count
    assert kept == sorted(kept)


def test_what_is_not_finite_is_never_drawn():
    losses = torch.tensor([torch.nan, 0.1, 0.2, torch.inf])
    for seed in range(20):
        kept = bound().keep(torch.arange(4), losses, 2, torch.Generator().manual_seed(seed)).tolist()
        assert kept == [1, 2]


# ---------------------------------------------------------------- the reference
@pytest.mark.parametrize("kind", ["tensor", "array", "list", "path", "string"])
def test_reference_losses_of_any_kind(tmp_path, kind):
    path = tmp_path / "reference.npy"
    np.save(path, np.asarray(REFERENCE, dtype=np.float32))
    given = {
        "tensor": torch.tensor(REFERENCE).half(),
        "array": np.asarray(REFERENCE),
        "list": REFERENCE,
        "path": path,
        "string": str(path),
    }
    selector = bound(reference=given[kind])
    assert selector._losses.tolist() == pytest.approx(REFERENCE, abs=2e-3)


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match=r"JEST needs `reference`, the path of an .npy file or a tensor"):
        bound(reference=None)
    with pytest.raises(
        FileNotFoundError, match=r"`reference` must be a loss for each sample .* there is no ./nowhere.npy"
    ):
        bound(reference="/nowhere.npy")
    with pytest.raises(ValueError, match=r"`reference` must have one loss per sample, shape \(4,\), got \(3,\)"):
        bound(reference=torch.zeros(3))
    with pytest.raises(ValueError, match="`reference` must be finite, got 1 that aren't"):
        bound(reference=torch.tensor([0.0, torch.nan, 1.0, 1.0]))
    np.save(tmp_path / "objects.npy", np.array([{}] * 4), allow_pickle=True)
    with pytest.raises(ValueError, match=r"`reference`: .*objects.npy is no .npy file of numbers, or damaged"):
        bound(reference=tmp_path / "objects.npy")
    with pytest.raises(ValueError, match="`chunks` must be at least 1, got 0"):
        JEST(chunks=0)
    with pytest.raises(ValueError, match="`temperature` must be at least 0, got -1; 0 takes the highest"):
        JEST(temperature=-1)
