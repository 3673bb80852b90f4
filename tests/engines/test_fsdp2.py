"""FSDP2 (`fully_shard`) on two processes: each holds half of every weight and trains on its own samples."""

from __future__ import annotations

from typing import Any

import pytest
from programs.by_hand import check_shares
from programs.ranks import launch

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: Any) -> Any:
    found = launch("fsdp_checks", tmp_path_factory.mktemp("fsdp"), 2)[2]
    return [rank["selected"] for rank in found]


def test_processes_share_the_selection(ranks):
    assert [rank["is_sharded"] for rank in ranks] == [True, True]
    check_shares(ranks)


def test_a_replay_of_the_batches_gives_the_same_weights(ranks):
    assert [rank["replayed"] for rank in ranks] == [True, True]


def test_resumed_it_trains_on_the_rest(ranks):
    for rank in ranks:
        seen = [batch for epoch in rank["seen"] for batch in epoch]
        assert [batch for epoch in rank["rest"] for batch in epoch] == seen[8:]
