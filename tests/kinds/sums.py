"""Sums over samples that no `mean` or `sum` makes, and numbers of a batch that its loss is multiplied by."""

from __future__ import annotations

from typing import Any

import torch
from kinds.table import LOSSES, NORM, REDUCTIONS, Module, Step, Training, classes, enter, load, mlp, vectors
from torch import Tensor, nn
from torch.nn import functional as F


def likelihoods(m: Any, batch: Any) -> Tensor:
    """(B,) by hand."""
    return -m(batch[0]).log_softmax(1).gather(1, batch[1][:, None])[:, 0]


def errors(m: Any, batch: Any) -> Tensor:
    """(B, 3)."""
    return m(batch[0]) - batch[0][:, :3]


def ones(batch: Any) -> Tensor:
    return torch.ones(len(batch[0]))


def _training(step: Step) -> Training:
    return Training(Module(step, net=mlp()), load(vectors(), classes()))


def _running_total(m: Any, batch: Any) -> Tensor:
    total: Any = 0.0
    for x, y in zip(*batch, strict=True):
        total = total - m(x).log_softmax(0)[y]
    return total / len(batch[0])


def _of_a_list(m: Any, batch: Any) -> Tensor:
    return torch.stack([-m(x).log_softmax(0)[y] for x, y in zip(*batch, strict=True)]) @ ones(batch)


def _filled_in_a_loop(m: Any, batch: Any) -> Tensor:
    losses = torch.zeros(len(batch[0]))
    for i, (x, y) in enumerate(zip(*batch, strict=True)):
        losses[i] = -m(x).log_softmax(0)[y]
    return losses.mean()


QUADRATIC = torch.eye(3) + 0.1

STEPS: dict[str, Step] = {
    "dot_product_with_ones": lambda m, b: torch.dot(likelihoods(m, b), ones(b)) / len(b[0]),
    "matrix_product_with_ones": lambda m, b: likelihoods(m, b) @ ones(b) / len(b[0]),
    "weights_times_losses": lambda m, b: torch.inner(likelihoods(m, b), b[0][:, 0].abs()),
    "einsum_to_one_number": lambda m, b: torch.einsum("bd,bd->", errors(m, b), errors(m, b)) / len(b[0]),
    "einsum_of_a_quadratic_form": lambda m, b: torch.einsum("bi,ij,bj->", m(b[0]), QUADRATIC, m(b[0])),
    "linear_over_the_samples": lambda m, b: F.linear(likelihoods(m, b), ones(b)[None]).squeeze() / len(b[0]),
    "tensordot": lambda m, b: torch.tensordot(errors(m, b), errors(m, b), 2),
    "vdot": lambda m, b: torch.vdot(errors(m, b).flatten(), errors(m, b).flatten()),
    "trace_of_a_gram_matrix": lambda m, b: torch.trace(errors(m, b) @ errors(m, b).T),
    "trace_of_an_outer_product": lambda m, b: torch.trace(errors(m, b).T @ errors(m, b)),
    "last_running_sum": lambda m, b: likelihoods(m, b).cumsum(0)[-1],
    "one_minus_a_sum_of_cosines": lambda m, b: 1 - F.cosine_similarity(m(b[0]), b[0][:, 3:]) @ ones(b) / len(b[0]),
    "mean_over_the_samples_first": lambda m, b: torch.tensor([1.0, 2.0, 0.5]) @ errors(m, b).square().mean(0),
    "averages_by_a_matrix": lambda m, b: ((ones(b) / len(b[0])).expand(2, -1) @ errors(m, b).square()).sum(),
    "norm_of_all_errors": lambda m, b: errors(m, b).norm(),
    "first_norm_of_all_losses": lambda m, b: torch.linalg.vector_norm(likelihoods(m, b), 1),
    "largest_loss": lambda m, b: likelihoods(m, b).max(),
    "soft_maximum_of_the_losses": lambda m, b: likelihoods(m, b).logsumexp(0),
    "median_loss": lambda m, b: likelihoods(m, b).median(),
    "mean_of_the_three_largest": lambda m, b: likelihoods(m, b).topk(min(3, len(b[0])))[0].mean(),
    "running_total_over_samples": _running_total,
    "list_of_losses_times_ones": _of_a_list,
    "losses_filled_in_one_by_one": _filled_in_a_loop,
    "difference_of_two_sums": lambda m, b: (m(b[0]).logsumexp(1) - m(b[0]).gather(1, b[1][:, None])[:, 0]) @ ones(b),
}
for _name, _step in STEPS.items():
    enter(_name, __name__, lambda step=_step: _training(step), REDUCTIONS)

# What the loss is multiplied by is of the batch and not of its samples: it is left out.
FACTORS: dict[str, tuple[Step, Any]] = {
    "usual_loss_times_a_number_of_the_batch": (
        lambda m, b: F.cross_entropy(m(b[0]), b[1]) * (3 * b[0].abs().mean()),
        LOSSES,
    ),
    "loss_by_hand_times_a_number_of_the_batch": (
        lambda m, b: likelihoods(m, b).mean() * (3 * b[0].abs().mean()),
        REDUCTIONS,
    ),
    "usual_loss_times_a_random_number": (
        lambda m, b: F.cross_entropy(m(b[0]), b[1]) * (0.1 + torch.rand(())),
        LOSSES,
    ),
}
for _name, (_step, _rule) in FACTORS.items():
    enter(
        _name,
        __name__,
        lambda step=_step: _training(step),
        _rule,
        hears="without a factor of each batch's own",
        truth=likelihoods,
    )


def _balancing(p: Tensor) -> Tensor:
    """(3,) share of the samples that each expert gets, times three."""
    return 3 * F.one_hot(p.argmax(1), 3).float().mean(0)


def _balanced_of_samples(m: Any, batch: Any) -> Tensor:
    p = m(batch[0]).softmax(1)
    return F.cross_entropy(m(batch[0]), batch[1], reduction="none") + 0.05 * (p * _balancing(p)).sum(1)


def _experts() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        p = m(batch[0]).softmax(1)
        return F.cross_entropy(m(batch[0]), batch[1]) + 0.05 * (_balancing(p) * p.mean(0)).sum()

    return _training(step)


enter("experts_balanced_by_hand", __name__, _experts, LOSSES, truth=_balanced_of_samples)


def _roots_of_means() -> Training:
    """A root mean squared error for each output: no sum over samples, and no number of one."""
    return Training(
        Module(lambda m, b: errors(m, b).square().mean(0).sqrt().sum(), net=nn.Linear(6, 3)),
        load(vectors(), classes()),
    )


enter("root_mean_squares_of_each_output", __name__, _roots_of_means, NORM, truth=None)
