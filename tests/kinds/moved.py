"""Rows that are picked, put elsewhere, masked, counted or mapped over on their way to the loss."""

from __future__ import annotations

from typing import Any

import torch
from kinds.sequences import lengths, padded
from kinds.sums import likelihoods
from kinds.table import LOSSES, REDUCTIONS, Module, N, Step, Training, classes, enter, load, mlp, vectors
from torch import Tensor
from torch.nn import functional as F


def _order(batch: Any) -> Tensor:
    return torch.randperm(len(batch[0]))


def _of_rows(m: Any, batch: Any, rows: Tensor) -> Tensor:
    return likelihoods(m, [part[rows] for part in batch])


def _put_back(name: str, *, weighted: bool = False) -> Step:
    """Losses of the rows in another order, put back to their places by an operation."""

    def step(m: Any, batch: Any) -> Tensor:
        rows = _order(batch)
        losses, empty = _of_rows(m, batch, rows), torch.zeros(len(rows))
        args = ((rows,), losses) if name == "index_put" else (0, rows, losses)
        losses = getattr(empty, name)(*args)
        return (losses * batch[0][:, 0].abs()).mean() if weighted else losses.mean()

    return step


def _by_class(m: Any, batch: Any) -> Tensor:
    losses = torch.zeros(len(batch[0]))
    for c in range(3):
        rows = batch[1] == c
        if rows.any():
            losses[rows] = _of_rows(m, batch, rows)
    return losses.mean()


def _written_over(m: Any, batch: Any) -> Tensor:
    losses = torch.zeros(len(batch[0]))
    losses[:] = likelihoods(m, batch)
    return losses.mean()


def _sorted_and_back(m: Any, batch: Any) -> Tensor:
    rows = batch[0][:, 1].argsort()
    back = torch.empty_like(rows)
    back[rows] = torch.arange(len(rows))
    return F.cross_entropy(m(batch[0][rows])[back], batch[1])


def _padded_in_place(m: Any, batch: Any) -> Tensor:
    """Inputs shifted by one into a buffer of zeros, as encoder-decoders shift their targets."""
    x = torch.zeros_like(batch[0])
    x[:, 1:] = batch[0][:, :-1].clone()
    return likelihoods(m, [x, batch[1]]).mean()


def _chosen_rows(m: Any, batch: Any) -> Tensor:
    rows = (batch[0][:, 0] > -1.5).nonzero()[:, 0]
    return F.cross_entropy(m(batch[0][rows]), batch[1][rows])


def _mapped(m: Any, batch: Any) -> Tensor:
    losses = torch.vmap(lambda z, y: -z.log_softmax(0).gather(0, y[None])[0])
    return losses(m(batch[0]), batch[1]).mean()


def _mapped_jacobians(m: Any, batch: Any) -> Tensor:
    weights = dict(m.net.named_parameters())
    slopes = torch.func.jacrev(lambda x: torch.func.functional_call(m.net, weights, (x[None],))[0])
    return F.cross_entropy(m(batch[0]), batch[1]) + torch.vmap(slopes)(batch[0]).square().sum((1, 2)).mean()


def _second_derivative(m: Any, batch: Any) -> Tensor:
    x = batch[0].clone().requires_grad_()
    u = m(x)[:, :1]
    slope = torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]
    bend = torch.autograd.grad(slope[:, 0].sum(), x, create_graph=True)[0]
    return (bend[:, 0] + u[:, 0]).square().mean()


STEPS: dict[str, tuple[Step, Any]] = {
    "losses_put_by_index": (_put_back("index_put"), REDUCTIONS),
    "losses_copied_by_index": (_put_back("index_copy"), REDUCTIONS),
    "losses_scattered": (_put_back("scatter", weighted=True), REDUCTIONS),
    "losses_taken": (lambda m, b: 2 * likelihoods(m, b).take(_order(b)).mean(), REDUCTIONS),
    "losses_gathered": (lambda m, b: (2 * likelihoods(m, b).gather(0, _order(b))).mean(), REDUCTIONS),
    "losses_taken_along": (lambda m, b: torch.take_along_dim(likelihoods(m, b), _order(b), 0).mean(), REDUCTIONS),
    "losses_sorted": (lambda m, b: likelihoods(m, b).sort().values.mean(), REDUCTIONS),
    "losses_written_class_by_class": (_by_class, REDUCTIONS),
    "losses_written_over_zeros": (_written_over, REDUCTIONS),
    "rows_sorted_and_back": (_sorted_and_back, LOSSES),
    "rows_chosen_by_number": (_chosen_rows, LOSSES),
    "inputs_shifted_into_a_buffer": (_padded_in_place, REDUCTIONS),
    "losses_by_vmap": (_mapped, REDUCTIONS),
    "penalty_on_jacobians_by_vmap": (_mapped_jacobians, LOSSES),
    "second_derivative_of_the_network": (_second_derivative, REDUCTIONS),
}
for _name, (_step, _rule) in STEPS.items():
    _row: Any = {"truth": likelihoods} if "losses_" in _name and _name != "losses_scattered" else {}
    enter(
        _name,
        __name__,
        lambda step=_step: Training(Module(step, net=mlp()), load(vectors(), classes())),
        _rule,
        **_row,
    )


# ---------------------------------------------------------------- tokens, of which some count
def _tokens(m: Any, batch: Any) -> Tensor:
    """(B, T)."""
    return F.cross_entropy(m(batch[0]).transpose(1, 2), batch[1].clamp(min=0), reduction="none")


def _of_valid(m: Any, batch: Any) -> Tensor:
    return _tokens(m, batch) * (batch[1] >= 0)


def _pooled(m: Any, batch: Any) -> Tensor:
    """A sum for each step of time, divided by the number of all."""
    total, count = torch.zeros(()), 0
    for t in range(batch[0].shape[1]):
        valid = batch[1][:, t] >= 0
        if valid.any():
            total = total + F.cross_entropy(m(batch[0][valid, t]), batch[1][valid, t], reduction="sum")
            count += int(valid.sum())
    return total / count


def _pooled_by_hand(m: Any, batch: Any) -> Tensor:
    steps = range(batch[0].shape[1])
    parts = [_of_valid(m, [part[:, t : t + 1] for part in batch]).sum() for t in steps]
    return sum(parts, torch.zeros(())) / (batch[1] >= 0).sum()


def _rewarded(m: Any, batch: Any) -> Tensor:
    """As GRPO clips ratios of probabilities, with an advantage for each answer."""
    likelihood, valid = -_tokens(m, batch), (batch[1] >= 0).float()
    ratio, advantage = (likelihood - likelihood.detach()).exp(), batch[0][:, :1, 0]
    gain = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    return -((gain * valid).sum(1) / valid.sum(1)).mean()


def _preferred(m: Any, batch: Any) -> Tensor:
    """As DPO compares two answers, both in one forward; which is which lies in the first dimension."""
    both = torch.cat([batch[0][:, :3], batch[0][:, 3:]])
    likelihood = m(both).log_softmax(-1)[..., 0].sum(-1)
    chosen, rejected = likelihood.chunk(2)
    return -F.logsigmoid(chosen - rejected).mean()


OF_TOKENS: dict[str, tuple[Step, Any]] = {
    "valid_tokens_counted": (lambda m, b: _of_valid(m, b).sum() / torch.count_nonzero(b[1] >= 0), REDUCTIONS),
    "valid_tokens_selected_and_counted": (lambda m, b: _of_valid(m, b).sum() / b[1][b[1] >= 0].numel(), REDUCTIONS),
    "mean_over_the_share_of_valid_tokens": (
        lambda m, b: _of_valid(m, b).mean() / (b[1] >= 0).float().mean(),
        REDUCTIONS,
    ),
    "sums_of_time_steps_over_all_tokens": (_pooled, LOSSES),
    "sums_of_time_steps_by_hand": (_pooled_by_hand, REDUCTIONS),
    "clipped_ratios_with_advantages": (_rewarded, REDUCTIONS),
    "preferences_in_one_forward": (_preferred, REDUCTIONS),
}
for _name, (_step, _rule) in OF_TOKENS.items():
    enter(
        _name,
        __name__,
        lambda step=_step: Training(
            Module(step, net=mlp()),
            load(torch.randn(N, 6, 6), padded(torch.randint(0, 3, (N, 6)), lengths())),
        ),
        _rule,
    )
