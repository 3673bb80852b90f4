"""Processes that share their samples (tensor parallelism, a mesh of 2 x 2), and what travels between processes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from programs.ranks import launch


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: Any) -> Any:
    """ranks[rank][check], of four processes."""
    return launch("mesh_checks", tmp_path_factory.mktemp("mesh"), 4)[4]


def uses(*seen: Any) -> list[int]:
    counts = Counter(i for batches in seen for batch in batches for i in batch)
    return [counts[i] for i in range(40)]


def test_processes_that_share_their_samples_train_on_the_same_ones_whatever_their_seeds(ranks):
    found = [rank["all_share"] for rank in ranks]
    assert found == [found[0]] * 4
    assert [[len(batch) for batch in epoch] for epoch in found[0]["seen"]] == [[5] * 4] * 2
    assert found[0]["usage"] == uses(*found[0]["seen"])
    assert found[0]["trained"] == 40


@pytest.mark.parametrize("part", ["False", "True"])
def test_a_mesh_counts_each_replica_once(ranks, part):
    found = [rank["mesh"][part] for rank in ranks]
    assert found[0]["seen"] == found[1]["seen"]
    assert found[2]["seen"] == found[3]["seen"]
    assert sum(uses(found[0]["seen"], found[2]["seen"])) == (8 if part == "True" else 20)
    for rank in found:
        assert rank["usage"] == uses(found[0]["seen"], found[2]["seen"])
        indices, losses = rank["told"]
        assert losses == [10.0 * i for i in indices]
        assert Counter(indices) == Counter(i for seen in (found[0], found[2]) for batch in seen["seen"] for i in batch)


def test_every_process_goes_on_with_its_own_random_state(ranks):
    for rank in ranks:
        wanted, resumed = rank["random_states"]
        assert resumed == wanted
    assert len({tuple(rank["random_states"][0]) for rank in ranks}) == 4


def test_feedback_takes_at_most_12_bytes_for_each_sample_trained_on(ranks):
    """Four for a value, eight for an index where batches were cut, and a few for sizes."""
    for rank in ranks:
        whole, part = rank["feedback_bytes"]
        assert 4 <= whole < 4.1
        assert 12 <= part < 12.1


@pytest.mark.parametrize(("name", "size"), [("fold", 20), ("weighted", 40), ("fewer", 20)])
def test_ranks_share_out_what_the_users_sampler_yields(ranks, name, size):
    found = [rank["own_samplers"][name] for rank in ranks]
    for epoch in range(3):
        seen = [[i for batch in rank["seen"][epoch] for i in batch] for rank in found]
        assert [len(theirs) for theirs in seen] == [size // 4] * 4
        samples = [i for theirs in seen for i in theirs]
        if name == "fold":
            assert set(samples) <= set(range(10, 50))
        if name != "weighted":
            assert len(set(samples)) == size
    assert [rank["usage"] for rank in found] == [3 * size] * 4
    if name == "weighted":
        # Drawn to a half, 8 of 80 samples; by chance it is 0.5 within six standard deviations of a binomial of 240.
        rare = sum(i < 8 for rank in found for epoch in rank["seen"] for batch in epoch for i in batch)
        assert abs(rare - 60) <= 6 * (240 * 0.25) ** 0.5 / 2
