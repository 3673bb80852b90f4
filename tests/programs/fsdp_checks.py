"""A model that FSDP2 shards over two processes; what engines/test_fsdp2.py looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from by_hand import controller, network, replay, select_and_train, sgd

RANK, WORLD = 0, 1


def sharded() -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not dist.is_initialized():
        dist.init_process_group("gloo", rank=RANK, world_size=WORLD)
    net, mesh = network(), init_device_mesh("cpu", (WORLD,))
    for layer in net:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    return fully_shard(net, mesh=mesh)


def equal(one: Any, other: Any) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a.to_local(), b.to_local()) for a, b in pairs)


def selected(folder: Path) -> dict[str, Any]:
    """Trained with a selection, and on the same batches without; and the rest of a run from its middle."""
    net, states = sharded(), []
    result = select_and_train(net, sgd(net), after_step=lambda selection: states.append(selection.state_dict()))
    twin = sharded()
    replay(twin, sgd(twin), result["seen"])
    result["replayed"] = equal(net, twin)
    result["is_sharded"] = all(p.to_local().numel() < p.numel() for p in net.parameters() if p.shape[0] > 1)
    result["rest"] = select_and_train(net, sgd(net), selection=controller(), state=states[7])["seen"]
    return result


CHECKS = {2: [selected]}
