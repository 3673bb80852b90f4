"""Loaders whose batches don't hold the samples in the order in which they were fed."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from support import Indexed, Listening, Module, SaveEvery, fit, same_weights
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from dynsel.callbacks import BatchFraction, DynamicSelection
from dynsel.selectors import SelectiveBackprop

N = 40


def longest_first(items: list[Any]) -> Any:
    """As for `pack_padded_sequence`: sorted by a length, here i mod 7."""
    return default_collate(sorted(items, key=lambda item: -(item[2] % 7)))


def loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(Indexed(N), 4, shuffle=True, collate_fn=longest_first, **options)


class Still(Module):
    """Doesn't learn, so that a sample's loss is always the same."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.0)


def losses_of(module: Module) -> Tensor:
    data = Indexed(N)
    with torch.no_grad():
        return F.cross_entropy(module(data.x), torch.tensor(data.targets), reduction="none")


def told_of(selector: Listening) -> list[tuple[int, float]]:
    return [
        pair
        for told in selector.heard
        for pair in zip(told.indices.tolist(), told.per_sample_loss.tolist(), strict=True)
    ]


def test_an_order_that_is_changed_is_refused_with_the_way_out():
    module = Still()
    with pytest.raises(ValueError, match=r"collate function longest_first puts .* `indices=`, a key of the batch or"):
        fit(DynamicSelection(Listening(), 0.5), module=module, loader=loader())
    assert dict(module.seen) == {}
    fit(DynamicSelection("random", 0.5), module=Still(), loader=loader())


@pytest.mark.parametrize("indices", [2, lambda batch: batch[2]])
@pytest.mark.parametrize("workers", [0, 1])
def test_told_by_the_batch_every_loss_is_that_of_its_sample(indices, workers):
    selector, module = Listening(), Still()
    callback = DynamicSelection(selector, 0.5, indices=indices)
    fit(callback, module=module, loader=loader(num_workers=workers), max_epochs=3)
    wanted, told = losses_of(module), told_of(selector)
    assert len(told) == 60
    assert all(loss == pytest.approx(float(wanted[i]), rel=1e-5) for i, loss in told)
    assert selector.usage.sum() == 60


class Known(pl.Callback):
    """Compares what the selection says a batch holds with what it holds."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert trainer.selection.indices(batch_idx).tolist() == batch[2].tolist()


@pytest.mark.parametrize("fraction_first", [True, False])
def test_of_a_part_of_the_batch_as_well(fraction_first):
    selector, module = Listening(), Still()
    pair = [DynamicSelection(selector, 0.5, indices=2), BatchFraction(0.5)]
    pair[1].score = lambda module, batch: F.cross_entropy(module(batch[0]), batch[1], reduction="none")
    fit(*(pair[::-1] if fraction_first else pair), Known(), module=module, loader=loader(), max_epochs=2)
    wanted, told = losses_of(module), told_of(selector)
    assert len(told) == 20
    assert all(loss == pytest.approx(float(wanted[i]), rel=1e-5) for i, loss in told)


def test_batches_cut_by_their_losses_are_known_as_well():
    def score(module: Any, batch: Any) -> Tensor:
        return F.cross_entropy(module(batch[0]), batch[1], reduction="none")

    callback = DynamicSelection(SelectiveBackprop(), 0.5, per_sample_loss=score, indices=2)
    module, _ = fit(callback, Known(), loader=loader(), max_epochs=2)
    seen = [i for batches in module.seen.values() for batch in batches for i in batch]
    assert callback.selector.usage.tolist() == [seen.count(i) for i in range(N)]


def test_resumed_after_every_step_it_ends_the_same(tmp_path):
    def run(*callbacks: Any, **options: Any) -> tuple[Module, Listening]:
        selector = Listening()
        chosen = DynamicSelection(selector, 0.5, indices=2)
        return fit(chosen, *callbacks, loader=loader(), max_epochs=2, **options)[0], selector

    saver = SaveEvery(tmp_path)
    whole, selector = run(saver)
    for path in saver.paths:
        module, again = run(ckpt_path=path, seed=2)
        assert same_weights(module, whole)
        assert again.usage.tolist() == selector.usage.tolist()


def test_samples_left_out_are_one_clear_error_at_the_first_batch():
    def readable(items: list[Any]) -> Any:
        return default_collate([item for item in items if item[2] != 3])

    module = Module()
    unshuffled = DataLoader(Indexed(N), 4, collate_fn=readable)
    with pytest.raises(ValueError, match="batch 0 holds 3 samples, but 4 were fed"):
        fit(DynamicSelection(Listening(), 1.0), module=module, loader=unshuffled)
    assert dict(module.seen) == {}
    fit(DynamicSelection(Listening(), 1.0, indices=2), Known(), module=module, loader=unshuffled)
    assert module.seen[0][0] == [0, 1, 2]


def test_a_step_that_fetches_its_batches_itself_tells_no_indices():
    class Fetches(Module):
        def training_step(self, dataloader_iter: Any) -> Any:
            batch, batch_idx, _ = next(dataloader_iter)
            return super().training_step(batch, batch_idx)

    with pytest.raises(TypeError, match="fetches its batches itself, out of `indices="):
        fit(DynamicSelection(Listening(), 0.5, indices=2), module=Fetches(), loader=loader())
