"""Runs a file of checks on several real processes: `python ranks.py MODULE FOLDER WORLD [WORLD ...]`.

MODULE has CHECKS, a dict from the number of processes to functions (folder) -> something for JSON; each runs on
every rank, one after the other, and finds RANK and WORLD in MODULE. The processes are forked, so that torch and
Lightning are imported only once, and find their ranks in the environment, as those that torchrun or Slurm starts.
Results: FOLDER/WORLD-RANK.json.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing as mp
import os
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
PATIENCE = 180.0  # seconds; a rank that waits for another in vain must not hold up the tests


def launch(module: str, folder: Path, *worlds: int, by_lightning: bool = False) -> dict[int, list[dict[str, Any]]]:
    """What every check returned: results[world][rank][check]. For tests.

    Args:
        module: File with the checks.
        folder: Where results and whatever the checks save go.
        worlds: Numbers of processes, one after the other.
        by_lightning: Start one process only; Lightning runs the program again for the other ranks.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PL_GLOBAL_SEED"} | {"OMP_NUM_THREADS": "1"}
    mode = ["--by-lightning"] if by_lightning else []
    command = [sys.executable, __file__, module, str(folder), *map(str, worlds), *mode]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stderr[-5000:]}"
    return {w: [json.loads((folder / f"{w}-{r}.json").read_text()) for r in range(w)] for w in worlds}


def interleave(ranks: list[list[list[int]]]) -> list[int]:
    """The order that ranks took their batches from: ranks[rank][batch] -> indices in global order."""
    return [i for batches in zip(*ranks, strict=True) for row in zip(*batches, strict=True) for i in row]


def _work(module: str, folder: Path, world: int, rank: int) -> None:
    status = 1
    try:
        checks = importlib.import_module(module)
        # Lightning takes its part of the environment away after a fit.
        checks.RANK, checks.WORLD = rank, world
        results = {check.__name__: check(folder) for check in checks.CHECKS[world]}
        (folder / f"{world}-{rank}.json").write_text(json.dumps(results))
        status = 0
    except BaseException:
        sys.stderr.write(f"--- rank {rank} of {world}\n{traceback.format_exc()}")
        sys.stderr.flush()
    # Some builds of gloo abort while the interpreter shuts down, when all is done and written.
    os._exit(status)


def _join(module: str, folder: Path, world: int, rank: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), NODE_RANK="0")
    os.environ.update(WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    _work(module, folder, world, rank)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(module: str, folder: Path, world: int) -> bool:
    port, context = _free_port(), mp.get_context("fork")
    ranks = [context.Process(target=_join, args=(module, folder, world, rank, port)) for rank in range(world)]
    for process in ranks:
        process.start()
    deadline = time.monotonic() + PATIENCE
    while any(p.is_alive() for p in ranks) and not any(p.exitcode for p in ranks) and time.monotonic() < deadline:
        time.sleep(0.02)
    for rank, process in enumerate(ranks):
        process.join(1.0)
        if process.is_alive():
            sys.stderr.write(f"--- rank {rank} of {world} was still waiting\n")
            process.kill()
    return all(p.exitcode == 0 for p in ranks)


if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(TESTS / "programs")]
    importlib.import_module(sys.argv[1])
    importlib.import_module("conftest")  # quiet Lightning
    if "--by-lightning" in sys.argv:
        _work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(os.environ.get("LOCAL_RANK", "0")))
    if not all(_run(sys.argv[1], Path(sys.argv[2]), int(world)) for world in sys.argv[3:]):
        raise SystemExit(1)
