"""DeepSpeed, ZeRO stages 1 to 3, on two processes. The first run builds an operator of its own, for minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from programs.by_hand import check_shares

PROGRAM = Path(__file__).parents[1] / "programs/deepspeed_checks.py"
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
pytest.importorskip("deepspeed")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: Any) -> Any:
    folder = tmp_path_factory.mktemp("deepspeed")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = [str(PROGRAM.parents[1]), str(PROGRAM.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    done = subprocess.run(
        [*command, str(PROGRAM), str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("stage", "123")
def test_processes_share_the_selection(ranks, stage):
    check_shares([rank[stage] for rank in ranks])


@pytest.mark.parametrize("stage", "123")
def test_a_replay_of_the_batches_gives_the_same_weights(ranks, stage):
    assert [rank[stage]["replayed"] for rank in ranks] == [True, True]


@pytest.mark.parametrize("stage", "123")
def test_resumed_it_trains_on_the_rest(ranks, stage):
    for rank in ranks:
        seen = [batch for epoch in rank[stage]["seen"] for batch in epoch]
        assert [batch for epoch in rank[stage]["rest"] for batch in epoch] == seen[8:]
