"""DeepSpeed's ZeRO stages on CPUs: `torchrun --nproc-per-node 2 deepspeed_checks.py FOLDER`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from by_hand import controller, network, replay, select_and_train, sgd
from torch import Tensor


def engine(stage: int) -> Any:
    net = network()
    settings = {
        "train_micro_batch_size_per_gpu": 4,
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,
    }
    made, *_ = deepspeed.initialize(model=net, optimizer=sgd(net), dist_init_required=False, config=settings)
    return made


def step(net: Any, optimizer: Any, loss: Tensor) -> None:
    net.backward(loss)
    net.step()


def weights(net: Any) -> list[Tensor]:
    """What this process holds of them."""
    return [getattr(p, "ds_tensor", p).detach() for p in net.module.parameters()]


def trained(stage: int) -> dict[str, Any]:
    net, states = engine(stage), []
    result = select_and_train(net, None, step=step, after_step=lambda selection: states.append(selection.state_dict()))
    twin = engine(stage)
    replay(twin, None, result["seen"], step=step)
    result["replayed"] = all(torch.equal(a, b) for a, b in zip(weights(net), weights(twin), strict=True))
    result["rest"] = select_and_train(net, None, step=step, selection=controller(), state=states[7])["seen"]
    return result


if __name__ == "__main__":
    dist.init_process_group("gloo")
    found = {stage: trained(stage) for stage in (1, 2, 3)}
    (Path(sys.argv[1]) / f"{os.environ['RANK']}.json").write_text(json.dumps(found))
    dist.barrier()
    os._exit(0)
