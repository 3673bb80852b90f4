"""Batches of as many steps as samples: which dimension is that of the samples is known, found out or said once."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from kinds.table import Module, load, mlp
from support import trainer
from torch import Tensor, nn

from dynsel.callbacks import DynamicSelection
from dynsel.callbacks.listening import Listener
from dynsel.callbacks.listening.layout import Layout
from dynsel.callbacks.train_batches import moves_batches
from dynsel.selectors import Random

B, V = 6, 5
GUESSED = r"a tensor of the batch, \(6, 6, 4\), has as many steps as samples, .* taken to be the first"
net = nn.Linear(4, V)


class Wants(Random):
    wants = frozenset({"per_sample_loss"})


def time_first(steps: int, size: int = B) -> tuple[Tensor, Tensor]:
    return torch.randn(steps, size, 4), torch.randint(0, V, (steps, size))


def hear(listener: Listener, batch: tuple[Tensor, Tensor], size: int = B) -> Tensor:
    listener.begin_batch(0, size, None, batch)
    loss = F.cross_entropy(net(batch[0]).flatten(0, 1), batch[1].flatten())
    listener.before_backward(loss)
    loss.backward()
    told = listener.end_batch({"loss": loss}, batch).per_sample_loss
    assert told is not None
    return told


def of_columns(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(net(x).movedim(-1, 1), y, reduction="none").mean(0)


def test_what_the_collate_function_does_decides() -> None:
    torch.manual_seed(0)
    listener, batch = Listener(Wants(), axis_of=lambda path: 1), time_first(B)
    assert torch.allclose(hear(listener, batch), of_columns(*batch))
    listener = Listener(Wants(), axis_of=lambda path: 0)
    assert torch.allclose(hear(listener, batch), of_columns(batch[0].transpose(0, 1), batch[1].t()))


@pytest.mark.parametrize(("steps", "size"), [(B + 1, B), (B, B - 2)], ids=["longer", "short last batch"])
def test_another_batch_settles_it_and_what_was_learnt_is_forgotten(steps: int, size: int) -> None:
    torch.manual_seed(0)
    listener = Listener(Wants())
    with pytest.warns(UserWarning, match=GUESSED):
        hear(listener, time_first(B))
    hear(listener, time_first(B))
    for shape in ((steps, size), (B, B), (B, B)):
        batch = time_first(*shape)
        assert torch.allclose(hear(listener, batch, shape[1]), of_columns(*batch))


def test_an_earlier_batch_settles_it_without_a_word() -> None:
    listener = Listener(Wants())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for steps in (B + 2, B, B, B):
            batch = time_first(steps)
            assert torch.allclose(hear(listener, batch), of_columns(*batch))


def test_a_guess_that_holds_is_said_once() -> None:
    listener = Listener(Wants())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for size in (B, B, 3, B):
            batch = torch.randn(size, B, 4), torch.randint(0, V, (size, B))
            told = hear(listener, batch, size)
            assert torch.allclose(told, of_columns(batch[0].transpose(0, 1), batch[1].t()))
    assert ["as many steps as samples" in str(one.message) for one in said] == [True]


def test_what_has_the_same_size_by_chance_is_learnt_of_the_place_that_it_has() -> None:
    layout = Layout()
    assert layout.axis(("x",), (B, B), B) is None
    assert not layout.look([(("x",), (3, B)), (("y",), (B,)), (("z",), (2, 2))], B)
    assert layout.axis(("x",), (B, B), B) == 1
    assert layout.axis(("y",), (B, B), B) is None
    # A batch of one says nothing.
    layout.look([(("x",), (1, B))], 1)
    assert layout.axis(("x",), (B, B), B) == 1


class Turns(Module):
    """Batches that a transfer hook makes time first: what the collate function does is then no answer."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [part.transpose(0, 1) for part in batch]


def test_own_transfer_hooks_make_what_the_collate_function_does_no_answer() -> None:
    def step(m: Any, batch: Any) -> Tensor:
        return F.mse_loss(m(batch[0]), batch[1])

    x = torch.randn(16, 4, 6)
    for kind, said in ((Turns, 1), (Module, 0)):
        module = kind(step, net=mlp(6, 2))
        run = trainer(DynamicSelection(Wants(), keep_ratio=0.5), max_epochs=1)
        assert moves_batches(run, module) is (kind is Turns)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run.fit(module, load(x, torch.randn(16, 4, 2), batch_size=4))
        assert sum("as many steps as samples" in str(w.message) for w in caught) == said
