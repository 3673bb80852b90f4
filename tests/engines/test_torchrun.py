"""Two processes that torchrun starts: a loop by hand with torch's DDP, and Lightning's Trainer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from programs.by_hand import check_shares

PROGRAM = Path(__file__).parents[1] / "programs/torchrun_checks.py"
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: Any) -> Any:
    folder = tmp_path_factory.mktemp("torchrun")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(PROGRAM), str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("loop", ["by_hand", "by_lightning"])
def test_processes_share_the_selection(ranks, loop):
    check_shares([rank[loop] for rank in ranks])


def test_a_replay_of_the_batches_gives_the_same_weights(ranks):
    assert [rank["by_hand"]["replayed"] for rank in ranks] == [True, True]


def test_resumed_it_trains_on_the_rest(ranks):
    for rank in ranks:
        seen = [batch for epoch in rank["by_hand"]["seen"] for batch in epoch]
        assert [batch for epoch in rank["by_hand"]["rest"] for batch in epoch] == seen[8:]
