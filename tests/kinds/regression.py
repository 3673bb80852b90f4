"""Regression, counts, distributions, survival and ranking."""

from __future__ import annotations

from typing import Any

import torch
from kinds.table import (
    LOSSES,
    REDUCTIONS,
    Module,
    Training,
    classes,
    kind,
    load,
    mlp,
    vectors,
)
from torch import Tensor, nn
from torch.nn import functional as F


def _targets(outputs: int = 2) -> Tensor:
    return torch.randn(40, outputs) * 2


def _regression(loss: Any, outputs: int = 2, targets: Tensor | None = None) -> Training:
    return Training(
        Module(lambda m, b: loss(m(b[0]), b[1]), net=mlp(outputs=outputs), lr=0.01),
        load(vectors(), _targets(outputs) if targets is None else targets),
    )


@kind(LOSSES, hears="mse_loss", also=("random", "infobatch"), resumes=True)
def squared_error() -> Training:
    return _regression(nn.MSELoss())


@kind(LOSSES, hears="mse_loss")
def squared_error_of_one_output() -> Training:
    return Training(
        Module(lambda m, b: F.mse_loss(m(b[0]).squeeze(-1), b[1]), net=mlp(outputs=1), lr=0.01),
        load(vectors(), torch.randn(40) * 2),
    )


@kind(REDUCTIONS, hears="mean")
def squared_error_by_hand() -> Training:
    return _regression(lambda prediction, y: ((prediction - y) ** 2).mean())


@kind(LOSSES, hears="mse_loss", truth=lambda m, b: ((m(b[0]) - b[1]) ** 2).mean(1))
def root_of_the_mean_squared_error() -> Training:
    return _regression(lambda prediction, y: F.mse_loss(prediction, y).sqrt())


@kind(LOSSES, hears="l1_loss", also=("infobatch",))
def absolute_error() -> Training:
    return _regression(F.l1_loss)


@kind(LOSSES, hears="huber_loss")
def huber() -> Training:
    return _regression(F.huber_loss)


@kind(LOSSES, hears="smooth_l1_loss")
def smooth_l1() -> Training:
    return _regression(F.smooth_l1_loss)


@kind(REDUCTIONS, hears="mean")
def log_cosh() -> Training:
    return _regression(lambda prediction, y: torch.log(torch.cosh(prediction - y)).mean())


@kind(LOSSES, hears="gaussian_nll_loss")
def gaussian_nll() -> Training:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        mean, spread = out.chunk(2, 1)
        return F.gaussian_nll_loss(mean, y, F.softplus(spread) + 0.1)

    return _regression(loss, 4, _targets(2))


@kind(REDUCTIONS, hears="mean")
def log_probability_of_a_distribution() -> Training:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        mean, spread = out.chunk(2, 1)
        return -torch.distributions.Normal(mean, F.softplus(spread) + 0.1).log_prob(y).mean()

    return _regression(loss, 4, _targets(2))


@kind(LOSSES, hears="poisson_nll_loss")
def counts() -> Training:
    return _regression(F.poisson_nll_loss, 2, torch.poisson(torch.full((40, 2), 3.0)))


@kind(REDUCTIONS, hears="mean")
def quantiles() -> Training:
    def loss(prediction: Tensor, y: Tensor) -> Tensor:
        error, levels = y - prediction, torch.tensor([0.1, 0.5, 0.9])
        return torch.maximum(levels * error, (levels - 1) * error).mean()

    return _regression(loss, 3, _targets(1))


@kind(REDUCTIONS)
def sample_weights_in_the_batch() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x, y, w = batch
        return (w * F.mse_loss(m(x), y, reduction="none").mean(1)).sum() / w.sum()

    return Training(Module(step, net=mlp(outputs=2), lr=0.01), load(vectors(), _targets(), 0.5 + torch.rand(40)))


@kind(LOSSES, hears="mse_loss", also=("random",))
def tabular_with_embeddings() -> Training:
    """Categories by embeddings, numbers as they are."""

    def step(m: Any, batch: Any) -> Tensor:
        numbers, categories, y = batch
        parts = [table(categories[:, i]) for i, table in enumerate(m.tables)]
        return F.mse_loss(m.net(torch.cat([numbers, *parts], 1))[:, 0], y)

    tables = nn.ModuleList(nn.Embedding(5, 3) for _ in range(2))
    categories = torch.randint(0, 5, (40, 2))
    return Training(
        Module(step, net=mlp(12, 1), tables=tables, lr=0.02), load(vectors(), categories, torch.randn(40) * 2)
    )


def _cox_of_samples(m: Any, batch: Any) -> Tensor:
    risk = m(batch[0])[:, 0]
    at_risk = batch[1][None] >= batch[1][:, None]
    losses = torch.where(at_risk, risk, -torch.inf).logsumexp(1) - risk
    return torch.where(batch[2] > 0, losses, torch.nan)


@kind(REDUCTIONS, truth=_cox_of_samples)
def survival_by_cox() -> Training:
    """Cox's partial likelihood: rows are sorted inside the loss, and only who had the event has a term."""

    def step(m: Any, batch: Any) -> Tensor:
        order = batch[1].argsort(descending=True)
        risk, event = m(batch[0])[:, 0][order], batch[2][order]
        return -((risk - risk.logcumsumexp(0)) * event).sum() / event.sum().clamp(min=1)

    return Training(Module(step, net=mlp(outputs=1)), load(vectors(), torch.rand(40), torch.rand(40).round()))


@kind(REDUCTIONS)
def survival_by_discrete_hazards() -> Training:
    """One hazard an interval, those after the end masked; Gensheimer & Narasimhan (2019), arXiv:1805.00917."""

    def step(m: Any, batch: Any) -> Tensor:
        x, until, event = batch
        steps = torch.arange(6)
        target = ((steps == until[:, None]) & (event[:, None] > 0)).float()
        losses = F.binary_cross_entropy_with_logits(m(x), target, reduction="none")
        return (losses * (steps <= until[:, None])).sum(1).mean()

    return Training(Module(step, net=mlp(outputs=6)), load(vectors(), classes(count=6), torch.rand(40).round()))


@kind(LOSSES, hears="margin_ranking_loss")
def ranking_of_pairs() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        better, worse = m(batch[0])[:, 0], m(batch[1])[:, 0]
        return F.margin_ranking_loss(better, worse, torch.ones_like(better), margin=1.0)

    return Training(Module(step, net=mlp(outputs=1)), load(vectors(), vectors()))


@kind(LOSSES, hears="cross_entropy")
def ranking_of_lists() -> Training:
    """One query with five documents a sample, the softmax over its documents."""

    def step(m: Any, batch: Any) -> Tensor:
        documents, clicked = batch
        return F.cross_entropy(m(documents).squeeze(-1), clicked)

    return Training(Module(step, net=mlp(outputs=1)), load(torch.randn(40, 5, 6), classes(count=5)))


@kind(REDUCTIONS, hears="mean")
def recommender_with_bpr() -> Training:
    """Matrix factorisation; Rendle et al. (2009), arXiv:1205.2618."""

    def step(m: Any, batch: Any) -> Tensor:
        user, item, other = (m.users(batch[0]), m.items(batch[1]), m.items(batch[2]))
        return -F.logsigmoid((user * item).sum(1) - (user * other).sum(1)).mean()

    return Training(
        Module(step, users=nn.Embedding(10, 8), items=nn.Embedding(20, 8)),
        load(classes(count=10), classes(count=20), classes(count=20)),
    )


@kind(
    LOSSES,
    hears="cross_entropy",
    truth=lambda m, b: F.cross_entropy(m.query(b[0]) @ m.item(b[1]).T, torch.arange(len(b[0])), reduction="none"),
)
def two_towers_with_negatives_of_the_batch() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        scores = m.query(batch[0]) @ m.item(batch[1]).T
        return F.cross_entropy(scores, torch.arange(len(scores)))

    return Training(Module(step, query=mlp(outputs=8), item=mlp(outputs=8)), load(vectors(), vectors()))


@kind(REDUCTIONS, hears="mean")
def policy_gradient_of_logged_actions() -> Training:
    """REINFORCE on a data set of (state, action, advantage); the loss may be negative."""

    def step(m: Any, batch: Any) -> Tensor:
        state, action, advantage = batch
        policy = torch.distributions.Categorical(logits=m(state))
        return -(policy.log_prob(action) * advantage).mean()

    return Training(Module(step, net=mlp()), load(vectors(), classes(), torch.randn(40)))


@kind(LOSSES, hears="mse_loss")
def q_learning_of_logged_transitions() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        state, action, reward, after = batch
        with torch.no_grad():
            goal = reward + 0.9 * m.target(after).max(1).values
        return F.mse_loss(m(state).gather(1, action[:, None])[:, 0], goal)

    target = mlp().requires_grad_(False)
    return Training(
        Module(step, net=mlp(), target=target, lr=0.01), load(vectors(), classes(), torch.randn(40), vectors())
    )
