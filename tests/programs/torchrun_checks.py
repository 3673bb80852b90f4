"""A loop by hand under torchrun, and Lightning's Trainer: `torchrun --nproc-per-node 2 torchrun_checks.py FOLDER`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from by_hand import controller, network, replay, select_and_train, sgd
from support import Module, selection, train_loader, trainer


def by_hand() -> dict[str, Any]:
    net = DistributedDataParallel(network())
    states: list[Any] = []
    weights: list[Any] = []

    def save(selected: Any) -> None:
        states.append(selected.state_dict())
        weights.append({name: value.clone() for name, value in net.state_dict().items()})

    optimizer = sgd(net)
    result = select_and_train(net, optimizer, after_step=save)
    twin = DistributedDataParallel(network())
    replay(twin, sgd(twin), result["seen"])
    result["replayed"] = equal(net, twin)
    # Without the momentum, so that weights and the selection's state are all that a resume needs.
    again = controller()
    rest = select_and_train(net, torch.optim.SGD(net.parameters(), 0.1), selection=again, state=states[7])
    result["rest"] = rest["seen"]
    return result


def by_lightning() -> dict[str, Any]:
    callback, module = selection(seed=3), Module()
    fit = trainer(callback, devices=2, strategy="ddp")
    fit.fit(module, train_loader())
    return {
        "seen": [module.seen[epoch] for epoch in sorted(module.seen)],
        "usage": callback.selector.usage.tolist(),
        "trained": [record.samples_trained for record in callback.history],
    }


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


if __name__ == "__main__":
    dist.init_process_group("gloo")
    found = {"by_hand": by_hand(), "by_lightning": by_lightning()}
    (Path(sys.argv[1]) / f"{os.environ['RANK']}.json").write_text(json.dumps(found))
    dist.barrier()
    # Some builds of gloo abort while the interpreter shuts down, when all is done and written.
    os._exit(0)
