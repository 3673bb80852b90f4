"""Lightning's Trainer on two workers of Ray Train. Starting them takes minutes on a busy machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from programs.by_hand import check_shares

PROGRAM = Path(__file__).parents[1] / "programs/ray_checks.py"
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
pytest.importorskip("ray.train")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: Any) -> Any:
    folder = tmp_path_factory.mktemp("ray")
    paths = [str(PROGRAM.parents[1]), str(PROGRAM.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1500",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, str(PROGRAM), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_workers_share_the_selection(ranks):
    check_shares(ranks)


def test_resumed_it_goes_on_to_the_bit(ranks):
    for rank in ranks:
        seen = [batch for epoch in rank["seen"] for batch in epoch]
        assert [batch for epoch in rank["rest"] for batch in epoch] == seen[8:]
        assert rank["same"]
