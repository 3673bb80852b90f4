"""Losses inside compiled code: the batch's own targets tell whose the rows are, or it is said that nothing does."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel.callbacks.listening import Listener, Rule
from dynsel.callbacks.listening.compiled import way_by_targets
from dynsel.callbacks.listening.rows import Way
from dynsel.callbacks.listening.tags import Tags
from dynsel.selectors import Hybrid, Random

B, T, V = 4, 6, 7


class Wants(Random):
    wants = frozenset({"per_sample_loss"})


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.compiler.reset()


def tagged(targets: Tensor, dim: int = 0) -> Tags:
    tags = Tags(B)
    tags.set(targets, torch.arange(B).view([-1 if d == dim else 1 for d in range(targets.ndim)]))
    return tags


Y = torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(0))
PADDED = Y.masked_fill(torch.arange(T) >= torch.tensor([2, 6, 3, 5])[:, None], -100)
ORDER = torch.tensor([2, 0, 3, 1])
ROWS: dict[str, tuple[Tensor, Way | str]] = {
    "as they are": (Y, Way.FIRST),
    "sample by sample": (Y.flatten(), Way.BLOCKS),
    "step by step": (Y.t().flatten(), Way.CYCLES),
    "the next words": (Y[:, 1:].flatten(), Way.BLOCKS),
    "the next words, padded": (F.pad(Y, (0, 1), value=-100)[:, 1:].flatten(), Way.BLOCKS),
    "the next words, step by step": (Y[:, 1:].t().flatten(), Way.CYCLES),
    "some of them ignored": (PADDED.flatten(), Way.BLOCKS),
    "other samples'": (Y[ORDER].flatten(), "mixed"),
    "one column": (Y[:, 2], Way.FIRST),
    "others": (torch.randint(0, V, (B * T,), generator=torch.Generator().manual_seed(1)), "unknown"),
    "no rows of samples": (torch.zeros(5, dtype=torch.long), "unknown"),
}


@pytest.mark.parametrize("name", ROWS)
def test_targets_tell_how_rows_lie(name: str) -> None:
    rows, way = ROWS[name]
    assert way_by_targets(rows, rows.shape, tagged(Y)) == way
    turned = Y.t().contiguous()
    assert way_by_targets(rows, rows.shape, tagged(turned, 1)) == way


net = nn.Linear(5, V)


def sample_by_sample(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net(x).flatten(0, 1), y.flatten())


def step_by_step(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net(x.transpose(0, 1)).flatten(0, 1), y.t().flatten())


def mixed(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net(x[ORDER]).flatten(0, 1), y[ORDER].flatten())


def of_noise(x: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(net(x), 2.5 + y[..., None].float().expand(-1, -1, V))


def heard(step: Callable[..., Tensor], weights: Tensor | None = None) -> tuple[Listener, list[Tensor], list[Tensor]]:
    """Three batches: what was told, and what is true."""
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    listener, told, truth = Listener(Wants() if weights is None else Hybrid(terms={"loss": 1.0})), [], []
    for _ in range(3):
        x, y = torch.randn(B, T, 5), torch.randint(0, V, (B, T))
        listener.begin_batch(0, B, weights, (x, y))
        loss = compiled(x, y)
        listener.before_backward(loss)
        loss.backward()
        losses = listener.end_batch({"loss": loss}, (x, y)).per_sample_loss
        assert losses is not None
        told.append(losses)
        truth.append(torch.stack([step(x[i : i + 1], y[i : i + 1]) for i in range(B)]).detach() if B else loss)
    return listener, told, truth


@pytest.mark.parametrize("step", [sample_by_sample, step_by_step])
def test_rows_inside_compiled_code_are_the_right_samples(step: Callable[..., Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="DynamicSelection")
        listener, told, truth = heard(step)
    assert listener.heard.rule is Rule.ROWS
    torch.testing.assert_close(torch.cat(told), torch.cat(truth), rtol=1e-4, atol=1e-5)


def test_samples_in_another_order_inside_compiled_code_are_not_guessed() -> None:
    compiled = torch.compile(mixed, backend="aot_eager", fullgraph=True)
    listener, x, y = Listener(Wants()), torch.randn(B, T, 5), Y.clone()
    listener.begin_batch(0, B, None, (x, y))
    loss = compiled(x, y)
    listener.before_backward(loss)
    loss.backward()
    with pytest.warns(UserWarning, match="can't tell the samples' losses apart"):
        listener.end_batch({"loss": loss}, (x, y))
    assert listener.heard.rule is Rule.BATCH


def test_targets_of_its_own_inside_compiled_code_are_said() -> None:
    with pytest.warns(UserWarning, match="mse_loss is computed inside compiled code .* taken to lie sample by sample"):
        _, told, truth = heard(of_noise)
    torch.testing.assert_close(torch.cat(told), torch.cat(truth), rtol=1e-4, atol=1e-5)


def test_weights_of_a_loss_inside_compiled_code_are_refused_with_the_way_out() -> None:
    with pytest.raises(RuntimeError, match=r"can't apply .* inside compiled code.* outside .*selection\.weights"):
        heard(sample_by_sample, torch.ones(B))
