"""Ranks: alone nothing travels; of two, decisions, errors and rows of any number reach both."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from dynsel.samplers.ranks import Reduction, decide_once, gather, gather_rows, num_ranks, this_rank, together


def test_alone_there_is_one_rank():
    assert (num_ranks(), this_rank()) == (1, 0)
    rows = torch.arange(3)
    assert gather_rows(rows)[0] is rows
    assert gather("x") == ["x"]
    assert decide_once(lambda: 7) == together(lambda: 7) == 7
    assert Reduction().sum(np.array([3])).tolist() == [3]
    with pytest.raises(KeyError):
        decide_once({}.popitem)


class Unsendable(Exception):
    """Can't be pickled: its constructor wants two arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("no")


def _fail(error: Exception) -> None:
    raise error


def _caught(error: Exception) -> str:
    try:
        decide_once(lambda: _fail(error))
    except Exception as caught:
        return type(caught).__name__
    return "nothing"


def _together(rank: int) -> list[object]:
    """What all do where nobody fails, and where the second does."""
    try:
        together(lambda: _fail(OSError("no disk")) if rank else None)
    except Exception as caught:
        return [together(lambda: rank), f"{type(caught).__name__}: {caught}"]
    return ["nothing"]


def _reduced(rank: int) -> list[object]:
    reduce = Reduction()
    mine = np.array([rank, 5])
    found = [reduce.sum(mine).tolist(), reduce.max(mine / 2).tolist(), mine.tolist()]
    return [*found, reduce.calls, reduce.bytes]


def _work(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    found = {
        "decided": decide_once(lambda: ["by", this_rank()]),
        "everyone": gather(10 * rank),
        "rows": [rows.tolist() for rows in gather_rows(torch.full((rank, 2), rank))],
        "together": _together(rank),
        "reduced": _reduced(rank),
        "errors": [_caught(KeyError("x")), _caught(Unsendable(1, 2))],
    }
    Path(folder, f"{rank}.txt").write_text(repr(found))
    dist.destroy_process_group()


def test_two_ranks_agree(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(_work, (port, str(tmp_path)), nprocs=2, start_method="fork")
    here, there = (eval((tmp_path / f"{rank}.txt").read_text()) for rank in (0, 1))
    for found in (here, there):
        assert found["decided"] == ["by", 0]
        assert found["everyone"] == [0, 10]
        assert found["rows"] == [[], [[1, 1]]]
        assert found["reduced"][:2] == [[1, 10], [0.5, 2.5]]
        assert found["reduced"][3:] == [2, 32]
    assert [found["reduced"][2] for found in (here, there)] == [[0, 5], [1, 5]]
    assert here["together"] == [0, "RuntimeError: rank 1: OSError: no disk"]
    assert there["together"] == [1, "OSError: no disk"]
    assert here["errors"] == ["KeyError", "Unsendable"]
    assert there["errors"] == ["KeyError", "RuntimeError"]
