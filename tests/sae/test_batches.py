"""Batches of rows: all rows, each once a pass, shared by ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sae.conftest import mapped, pools

from dynsel.sae.batches import Batches


def test_batches_cover_every_row_once_an_epoch() -> None:
    features = torch.arange(10.0)[:, None]
    batches = Batches(features, 4, 2, torch.Generator().manual_seed(0))
    drawn = list(batches)
    assert len(drawn) == len(batches) == 6
    assert sorted(len(batch) for batch in drawn) == [3, 3, 3, 3, 4, 4]
    first, second = torch.cat(drawn[:3])[:, 0], torch.cat(drawn[3:])[:, 0]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert all(torch.equal(batch, batch.sort(0).values) for batch in drawn)


@pytest.mark.parametrize("n", [240, 250, 257])
def test_pools_cover_every_row_once_a_pass(n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pools(monkeypatch, 60, 4, 1)
    features = mapped(tmp_path, np.arange(n, dtype=np.float32)[:, None])
    batches = Batches(features, 20, 3, torch.Generator().manual_seed(0))
    assert batches.pooled
    assert len(batches) == 3 * -(-n // 20)
    drawn = list(batches)
    assert len(drawn) == len(batches)
    assert max(map(len, drawn)) <= 20
    order = torch.cat(drawn).flatten().int().tolist()
    passes = [order[i * n : (i + 1) * n] for i in range(2)]
    assert [sorted(rows) for rows in passes] == [list(range(n))] * 2
    assert passes[0] != passes[1]
    again = torch.cat(list(Batches(features, 20, 3, torch.Generator().manual_seed(0))))
    assert torch.equal(again, torch.cat(drawn))


def test_batches_of_a_sorted_file_are_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten classes one after the other: class counts of the batches vary as those of a free draw do."""
    n, size = 40_000, 200
    pools(monkeypatch, 8_000, 16, 1)
    features = mapped(tmp_path, (np.arange(n) * 10 // n).astype(np.float32)[:, None])
    batches = list(Batches(features, size, 2, torch.Generator().manual_seed(0)))
    counts = torch.stack([torch.bincount(rows.flatten().long(), minlength=10) for rows in batches]).double()
    # Binomial: variance 200 * 0.1 * 0.9 = 18 for a free draw; what 500 chunks a pool add is as documented. Batches of
    # neighbours would have 3,600.
    assert 0.9 * 18 < counts.var(0).mean() < 1.1 * 18 * (1 + size / 500)
    assert counts.mean(0).numpy() == pytest.approx(20, abs=1)


def test_ranks_share_every_batch() -> None:
    features = torch.arange(100.0)[:, None]
    shares = []
    for rank in range(3):
        batches = Batches(features, 30, 2, torch.Generator().manual_seed(0))
        batches.rank, batches.world = rank, 3
        shares.append(list(batches))
    alone = list(Batches(features, 30, 2, torch.Generator().manual_seed(0)))
    for parts, whole in zip(zip(*shares, strict=True), alone, strict=True):
        assert sorted(torch.cat(parts).flatten().tolist()) == whole.flatten().tolist()
