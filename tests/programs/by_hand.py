"""A training of several ranks whose batches are given: what an engine's own, with a selection, is compared with.

`select_and_train` lets a selection feed a model that an engine has wrapped, `replay` feeds the same batches to another
one, by their numbers alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from support import Sizes, train_loader
from torch import Tensor, nn

from dynsel.samplers import SelectionController
from dynsel.selectors import Random

SIZES = (12, 40, 20, 8)
# ranks[rank][epoch][batch] -> indices
Seen = list[list[list[int]]]


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def controller(sizes: tuple[int, ...] = SIZES) -> SelectionController:
    return SelectionController(Random(), Sizes(sizes), max_epochs=len(sizes), seed=3)


def sgd(net: Any) -> Any:
    return torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)


def plain_step(net: Any, optimizer: Any, loss: Tensor) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def select_and_train(
    net: Any,
    optimizer: Any,
    *,
    selection: SelectionController | None = None,
    step: Callable[[Any, Any, Tensor], None] = plain_step,
    state: dict[str, Any] | None = None,
    after_step: Callable[[SelectionController], None] = lambda selection: None,
) -> dict[str, Any]:
    """Four epochs, or what is left of them after `state`; what was trained on, and what the books hold."""
    selection = controller() if selection is None else selection
    loader = selection.wrap(train_loader())
    start = 0
    if state is not None:
        selection.load_state_dict(state)
        start = selection.epoch
    seen: Seen = []
    for epoch in range(start, len(SIZES)):
        loader.sampler.set_epoch(epoch)
        seen.append([])
        for number, (x, y, i) in enumerate(loader, loader.sampler.first_batch):
            assert selection.indices(number).tolist() == i.tolist()
            losses = F.cross_entropy(net(x), y, reduction="none")
            step(net, optimizer, losses.mean())
            selection.observe(number, per_sample_loss=losses.detach())
            seen[-1].append(i.tolist())
            after_step(selection)
    selection.finish_epoch()
    return {
        "seen": seen,
        "usage": selection.selector.usage.tolist(),
        "trained": [record.samples_trained for record in selection.history],
    }


def replay(net: Any, optimizer: Any, seen: Seen, *, step: Callable[[Any, Any, Tensor], None] = plain_step) -> None:
    """Train on just these batches, read from the data set without a loader."""
    data: Any = train_loader().dataset
    for epoch in seen:
        for batch in epoch:
            x, y = torch.stack([data[i][0] for i in batch]), torch.tensor([data[i][1] for i in batch])
            step(net, optimizer, F.cross_entropy(net(x), y))


def check_shares(ranks: list[dict[str, Any]], sizes: tuple[int, ...] = SIZES, n: int = 40) -> None:
    """Ranks must have shared out, in each epoch, so many samples in the order that a DistributedSampler has for all."""
    usage = torch.zeros(n, dtype=torch.int64)
    for epoch, size in enumerate(sizes):
        batches = zip(*(rank["seen"][epoch] for rank in ranks), strict=True)
        order = [i for batch in batches for row in zip(*batch, strict=True) for i in row]
        whole = torch.randperm(n, generator=torch.Generator().manual_seed(3 + epoch)).tolist()
        assert order == [i for i in whole if i in set(order)]
        assert len(order) == size
        usage += torch.bincount(torch.tensor(order), minlength=n)
    totals = [sum(sizes[: epoch + 1]) for epoch in range(len(sizes))]
    for rank in ranks:
        assert (rank["usage"], rank["trained"]) == (usage.tolist(), totals)
