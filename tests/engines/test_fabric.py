"""Fabric, which sets epochs by itself, on one process and on two."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from programs import fabric_checks
from programs.fabric_checks import SIZES
from programs.ranks import interleave, launch
from support import BATCHES


def used(seen: list[list[list[int]]]) -> list[int]:
    counts = Counter(i for epoch in seen for batch in epoch for i in batch)
    return [counts[i] for i in range(40)]


# ---------------------------------------------------------------- one process
def test_fabric_sets_the_epoch_by_itself():
    result = fabric_checks.without_set_epoch(None)
    assert [len(epoch) for epoch in result["seen"]] == BATCHES
    assert result["known"] == result["seen"]
    assert result["usage"] == used(result["seen"])
    assert result["epochs"] == [0, 1, 2, 3]


def test_fabric_resumes_by_an_explicit_epoch(tmp_path):
    # Fabric's own counter starts at 0 again, and `set_epoch` wins over it.
    assert fabric_checks.resume_sweep(tmp_path) == [str(5 + 4 + 10)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_fabric_keep_ratio_1_equals_plain(shuffle):
    plain, whole, same = fabric_checks.full_equals_plain(None)[f"shuffle={shuffle}"]
    assert whole == plain
    assert same


# ---------------------------------------------------------------- two processes
@pytest.fixture(scope="module")
def two(tmp_path_factory: Any) -> Any:
    return launch("fabric_checks", tmp_path_factory.mktemp("fabric"), 2)[2]


def test_fabric_on_two_processes(two):
    ranks = [rank["without_set_epoch"] for rank in two]
    assert [rank["sampler"] for rank in ranks] == ["SelectionSampler"] * 2
    assert [rank["known"] for rank in ranks] == [rank["seen"] for rank in ranks]
    for epoch, size in enumerate(SIZES):
        order = ranks[0]["orders"][epoch]
        assert len(set(order)) == size
        assert interleave([rank["seen"][epoch] for rank in ranks]) == order
    usage = [sum(pair) for pair in zip(*(used(rank["seen"]) for rank in ranks), strict=True)]
    assert [rank["usage"] for rank in ranks] == [usage, usage]


@pytest.mark.parametrize("shuffle", [True, False])
def test_fabric_keep_ratio_1_equals_plain_on_two_processes(two, shuffle):
    for rank in two:
        plain, whole, same = rank["full_equals_plain"][f"shuffle={shuffle}"]
        assert whole == plain
        assert same


def test_fabric_resumes_on_two_processes(two):
    assert [rank["resume_sweep"] for rank in two] == [[str(3 + 2 + 5)]] * 2
