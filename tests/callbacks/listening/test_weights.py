"""Loss weights reach the gradient, against gradients of the weighted loss by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel.callbacks.listening import Listener
from dynsel.selectors import Hybrid

B, T, V, D = 6, 5, 7, 4
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def _vectors() -> tuple[nn.Module, Tensor, Tensor]:
    return nn.Linear(D, 3), torch.randn(B, D), torch.randint(0, 3, (B,))


def _tokens() -> tuple[nn.Module, Tensor, Tensor]:
    targets = torch.randint(0, V, (B, T))
    return (
        nn.Linear(D, V),
        torch.randn(B, T, D),
        targets.masked_fill(torch.arange(T) > torch.arange(B)[:, None] % T, -100),
    )


def losses(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net(x), y, reduction="none")


def of_tokens(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net(x).transpose(1, 2), y, reduction="none")


def errors(net: nn.Module, x: Tensor) -> Tensor:
    return (net(x) - x[:, :3]).square()


def focal(values: Tensor) -> Tensor:
    return (1 - (-values).exp()) ** 2 * values


def masked(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    valid = (y >= 0).float()
    return (of_tokens(net, x, y.clamp(min=0)) * valid).sum() / valid.sum()


def weighted_tokens(net: nn.Module, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return (w[:, None] * of_tokens(net, x, y)).sum() / (y >= 0).sum()


# What the step computes, and the same with weights by hand.
PAIRS: dict[str, tuple[Any, Loss, Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]]] = {
    "cross entropy": (
        _vectors,
        lambda net, x, y: F.cross_entropy(net(x), y),
        lambda net, x, y, w: (w * losses(net, x, y)).mean(),
    ),
    "focal": (
        _vectors,
        lambda net, x, y: focal(losses(net, x, y)).mean(),
        lambda net, x, y, w: (w * focal(losses(net, x, y))).mean(),
    ),
    "a root of the mean": (
        _vectors,
        lambda net, x, y: F.mse_loss(net(x), x[:, :3]).sqrt(),
        lambda net, x, y, w: (w[:, None] * errors(net, x)).mean().sqrt(),
    ),
    "two losses and a decay": (
        _vectors,
        lambda net, x, y: F.cross_entropy(net(x), y) + 0.1 * F.mse_loss(net(x), x[:, :3]) + net.weight.pow(2).sum(),
        lambda net, x, y, w: (
            (w * losses(net, x, y)).mean() + 0.1 * (w[:, None] * errors(net, x)).mean() + net.weight.pow(2).sum()
        ),
    ),
    "a mean inside, which is none of the loss": (
        _vectors,
        lambda net, x, y: (net(x) - net(x).mean()).pow(2).mean(),
        lambda net, x, y, w: (w[:, None] * (net(x) - net(x).mean()).pow(2)).mean(),
    ),
    "tokens": (_tokens, lambda net, x, y: F.cross_entropy(net(x).view(-1, V), y.view(-1)), weighted_tokens),
    "tokens, time first": (
        _tokens,
        lambda net, x, y: F.cross_entropy(net(x.transpose(0, 1)).reshape(-1, V), y.t().reshape(-1)),
        weighted_tokens,
    ),
    "tokens, masked by hand": (_tokens, masked, weighted_tokens),
}


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("name", PAIRS)
def test_the_gradient_is_that_of_the_weighted_loss(name: str, before: int) -> None:
    """Whether or not there were batches without weights before."""
    torch.manual_seed(0)
    make, step, by_hand = PAIRS[name]
    net, x, y = make()
    weights, listener = torch.rand(B) * 3, Listener(Hybrid(terms={"loss": 1.0}))
    for k in range(before + 3):
        net.zero_grad()
        listener.begin_batch(0, B, None if k < before else weights, (x, y))
        loss = step(net, x, y)
        listener.before_backward(loss)
        loss.backward()
        told = listener.end_batch({"loss": loss}, (x, y)).per_sample_loss
    found = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    wanted = by_hand(net, x, y, weights)
    wanted.backward()
    torch.testing.assert_close(found, [p.grad for p in net.parameters()])
    # What is logged is the loss that was trained on, and what is told is without the weights.
    torch.testing.assert_close(loss.detach(), wanted.detach())
    listener.begin_batch(0, B, None, (x, y))
    plain = step(net, x, y)
    listener.before_backward(plain)
    plain.backward()
    torch.testing.assert_close(told, listener.end_batch({"loss": plain}, (x, y)).per_sample_loss, equal_nan=True)


def test_weights_reach_the_loss_and_not_what_is_returned_beside_it() -> None:
    torch.manual_seed(0)
    net, x, y = _tokens()
    weights, listener = torch.rand(B) * 3, Listener(Hybrid(terms={"loss": 1.0}))
    listener.begin_batch(0, B, weights, (x, y))
    loss = F.cross_entropy(net(x).flatten(0, 1), y.flatten())
    beside = of_tokens(net, x, y).mean(1)
    listener.before_backward(loss)
    loss.backward()
    told = listener.end_batch({"loss": loss, "per_sample_loss": beside}, (x, y)).per_sample_loss
    torch.testing.assert_close(told, beside.detach())
    found = net.weight.grad.clone()
    net.zero_grad()
    weighted_tokens(net, x, y, weights).backward()
    torch.testing.assert_close(found, net.weight.grad)


@pytest.mark.parametrize("part", [False, True])
def test_a_loss_that_weights_cant_reach_is_refused(part: bool) -> None:
    net, x, y = _vectors()
    listener = Listener(Hybrid(terms={"loss": 1.0}))
    listener.begin_batch(0, B, torch.ones(B), (x, y))
    loss = (net(x) - x[:, :3]).norm()
    if part:
        loss = loss + F.cross_entropy(net(x), y)
    who = "part of the loss" if part else "the loss"
    with pytest.raises(RuntimeError, match=rf"can't apply .* weights: {who} of .*trainer\.selection\.weights"):
        listener.before_backward(loss)


def test_who_asks_for_the_weights_has_them_alone() -> None:
    net, x, y = _vectors()
    listener = Listener(Hybrid(terms={"loss": 1.0}))
    listener.begin_batch(0, B, torch.full((B,), 5.0), (x, y))
    listener.leave_weights()
    loss = F.cross_entropy(net(x), y)
    listener.before_backward(loss)
    loss.backward()
    found = net.weight.grad.clone()
    net.zero_grad()
    F.cross_entropy(net(x), y).backward()
    torch.testing.assert_close(found, net.weight.grad)
