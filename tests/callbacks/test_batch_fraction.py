"""Of every batch only the highest-scored part is trained on."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from support import (
    Fixed,
    Indexed,
    Listening,
    Module,
    N,
    SaveEvery,
    Sizes,
    fit,
    same_weights,
    selection,
    train_loader,
    trainer,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dynsel.callbacks import BatchFraction, DynamicSelection
from dynsel.callbacks.batch_fraction import cross_entropy
from dynsel.samplers import SelectionController
from dynsel.samplers.feedback import EpochFeedback
from dynsel.schedules import Linear, Step
from dynsel.selectors import RRD


def mixed(module: pl.LightningModule, batch: Any) -> Tensor:
    """Scores by the index alone, so that a test can tell which samples stay."""
    return (batch[2] * 7 % 11).float()


def highest(indices: list[int], count: int) -> list[int]:
    """The `count` samples of highest `mixed` score, ties to the first, in the batch's order."""
    ranked = sorted(range(len(indices)), key=lambda p: (-(indices[p] * 7 % 11), p))[:count]
    return [indices[p] for p in sorted(ranked)]


def loss_score(module: pl.LightningModule, batch: Any) -> Tensor:
    return F.cross_entropy(module(batch[0]), batch[1], reduction="none")


def initial(kind: Any, **options: Any) -> Any:
    """A module with the same weights every time."""
    torch.manual_seed(1)
    return kind(**options)


# ---------------------------------------------------------------- who sees what
class Sees(Module):
    """Notes the batch sizes of each stage; logs what tells the batch size that `self.log` takes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, list[int]] = {"val": [], "test": [], "predict": []}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("number", float(batch_idx), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.sizes["val"].append(len(batch[0]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.sizes["test"].append(len(batch[0]))

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        self.sizes["predict"].append(len(batch[0]))


class Hook:
    """Shifts the inputs by one: a transfer hook that must have run before the batch is cut."""

    transferred = 0

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.transferred += 1
        return [batch[0] + 1, *batch[1:]]


class SeesHooked(Hook, Sees):
    pass


class Data(pl.LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return train_loader(9, shuffle=False)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Indexed(8), 4)


class DataHooked(Hook, Data):
    pass


class Watch(pl.Callback):
    """Notes the indices that callbacks see."""

    def __init__(self) -> None:
        self.starts: list[list[int]] = []
        self.ends: list[list[int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.starts.append(batch[2].tolist())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.ends.append(batch[2].tolist())


COMBINATIONS = {
    "module": (Sees, None),
    "module with hook": (SeesHooked, None),
    "datamodule": (Sees, Data),
    "datamodule with hook": (Sees, DataHooked),
}


@pytest.mark.parametrize("which", COMBINATIONS)
def test_step_callbacks_and_log_see_the_reduced_batch(which):
    make_module, make_data = COMBINATIONS[which]
    module, watch, inputs = make_module(), Watch(), []

    def score(module: pl.LightningModule, batch: Any) -> Tensor:
        inputs.append(batch[0])
        return mixed(module, batch)

    # Listed before the plugin: nobody's place in the list matters.
    t = trainer(watch, BatchFraction(0.5, score), max_epochs=2)
    pl.seed_everything(1, verbose=False)
    if make_data is None:
        t.fit(module, train_loader(9, shuffle=False), DataLoader(Indexed(8), 4))
    else:
        data = make_data()
        t.fit(module, datamodule=data)
    wanted = [highest([0, 1, 2, 3], 2), highest([4, 5, 6, 7], 2), [8]]
    assert module.seen == {0: wanted, 1: wanted}
    assert watch.starts == watch.ends == wanted * 2
    # Batches 0, 1 and 2 count 2, 2 and 1 samples; of 4, 4 and 1 it would be 6 / 9.
    assert float(t.callback_metrics["number"]) == pytest.approx((0 * 2 + 1 * 2 + 2 * 1) / 5)
    assert module.sizes["val"] == [4, 4] * 2
    hooked = "hook" in which
    assert torch.equal(inputs[0], Indexed().x[:4] + hooked)
    if hooked:
        assert (module if make_data is None else data).transferred == 2 * 3 + 2 * 2


def test_other_stages_see_full_batches():
    module, fraction = Sees(), BatchFraction(0.5, mixed)
    loader = DataLoader(Indexed(8), 4)
    t = trainer(fraction, max_epochs=1, val_check_interval=0.5, num_sanity_val_steps=1)
    for _ in range(2):  # before fit and after it
        t.validate(module, loader, verbose=False)
        t.test(module, loader, verbose=False)
        t.predict(module, loader)
        t.fit(module, train_loader(16), loader)
    # Validated twice alone, with one sanity check, and twice within the one epoch that is trained.
    assert {stage: set(sizes) for stage, sizes in module.sizes.items()} == {"val": {4}, "test": {4}, "predict": {4}}
    assert {len(batch) for batch in module.seen[0]} == {2}


class CutsByHand(Module):
    """What the callback is to do, written into `training_step`."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.eval()
        with torch.no_grad():
            kept = loss_score(self, batch).topk(round(len(batch[0]) / 2)).indices.sort().values
        self.train()
        return super().training_step([part[kept] for part in batch], batch_idx)


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"limit_train_batches": 3}])
def test_trains_the_same_weights_as_by_hand(options):
    by_hand, a = fit(module=initial(CutsByHand), max_epochs=2, **options)
    module, b = fit(BatchFraction(0.5, loss_score), module=initial(Module), max_epochs=2, **options)
    assert module.seen == by_hand.seen
    assert (
        a.global_step
        == b.global_step
        == 2 * {"accumulate_grad_batches": 5, "limit_train_batches": 3}.get(next(iter(options), ""), 10)
    )
    assert same_weights(module, by_hand)


class Pairs(Dataset[Any]):
    """Inputs and targets only."""

    def __init__(self) -> None:
        self.data = Indexed()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.data[i][:2]


class PairModule(Module):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen[self.current_epoch].append(batch[0][:, 0].tolist())
        return F.cross_entropy(self(batch[0]), batch[1])


def test_the_default_score_is_the_loss_of_a_classifier():
    runs = [
        fit(BatchFraction(0.3, *score), module=initial(PairModule), loader=DataLoader(Pairs(), 10), max_epochs=2)[0]
        for score in ((), (loss_score,))
    ]
    assert runs[0].seen == runs[1].seen
    assert [len(batch) for batch in runs[0].seen[0]] == [3] * 4
    assert same_weights(*runs)


def test_the_default_score_of_several_positions_is_their_mean():
    logits, targets = torch.randn(4, 3, 5), torch.randint(3, (4, 5))
    losses = cross_entropy(lambda inputs: inputs, (logits, targets))
    wanted = [float(F.cross_entropy(z.T, y)) for z, y in zip(logits, targets, strict=True)]
    assert losses.tolist() == pytest.approx(wanted, rel=1e-5)


# ---------------------------------------------------------------- how many, which ones
@pytest.mark.parametrize(("ratio", "sizes"), [(0.01, [1, 1, 1]), (0.6, [2, 2, 1]), (0.7, [3, 3, 1]), (1.0, [4, 4, 2])])
def test_how_many_stay(ratio, sizes):
    module, _ = fit(BatchFraction(ratio, mixed), loader=train_loader(10), max_epochs=1)
    assert [len(batch) for batch in module.seen[0]] == sizes


def test_the_keep_ratio_follows_the_progress_of_training():
    calls: list[int] = []

    def score(module: pl.LightningModule, batch: Any) -> Tensor:
        calls.append(module.current_epoch)
        return mixed(module, batch)

    schedule = Step([1.0, 0.5, 0.25], [0.25, 0.75])
    module, _ = fit(BatchFraction(schedule, score), loader=train_loader(8))
    assert [len(batch) for epoch in range(4) for batch in module.seen[epoch]] == [4, 4, 2, 2, 2, 2, 1, 1]
    assert calls == [1, 1, 2, 2, 3, 3]  # nothing is scored where all stay
    by_steps, _ = fit(BatchFraction(Linear(1.0, 0.01), mixed), max_epochs=-1, max_steps=8)
    assert [len(batch) for batch in by_steps.seen[0]] == [4, 4, 3, 3, 2, 2, 1, 1]


def test_ratio_1_is_plain_training_to_the_bit():
    assert same_weights(fit(max_epochs=2)[0], fit(BatchFraction(1.0, mixed), max_epochs=2)[0])


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.0, 3.0, 1.0, 2.0], [1, 3]),
        ([torch.nan, 1.0, torch.nan, -torch.inf], [0, 1]),  # no number is as low as the lowest
        ([torch.nan, -5.0, torch.nan, -9.0], [1, 3]),
        ([1.0, 1.0, 1.0, 1.0], [0, 1]),
        ([2.0, torch.inf, 1.0, 3.0], [1, 3]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_highest_stay_in_their_order(scores, kept, dtype):
    values = torch.tensor(scores, dtype=dtype)
    module, _ = fit(BatchFraction(0.5, lambda m, b: values), loader=train_loader(4, shuffle=False), max_epochs=1)
    assert module.seen[0] == [kept]


def test_scores_of_integers_and_booleans():
    loader = train_loader(4, shuffle=False)
    assert fit(BatchFraction(0.5, lambda m, b: -b[2]), loader=loader, max_epochs=1)[0].seen[0] == [[0, 1]]
    assert fit(BatchFraction(0.5, lambda m, b: b[1] == 1), loader=loader, max_epochs=1)[0].seen[0] == [[1, 3]]


# ---------------------------------------------------------------- how the module is scored
class FrozenPart(Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout())

    def on_train_epoch_start(self) -> None:
        self.frozen.eval()


def test_scored_in_eval_mode_without_gradient():
    module, watched = FrozenPart(), []

    def modes() -> list[bool]:
        return [part.training for part in module.modules()]

    def score(scored: pl.LightningModule, batch: Any) -> Tensor:
        watched.append((any(modes()), torch.is_grad_enabled(), scored is module))
        return mixed(module, batch)

    class Modes(pl.Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            watched.append(modes())

    fit(BatchFraction(0.5, score), Modes(), module=module, loader=train_loader(8), max_epochs=1)
    restored = [part is module or not name.startswith("frozen") for name, part in module.named_modules()]
    assert watched == [(False, False, True), restored] * 2
    assert restored.count(False) == 3


def test_scored_at_the_precision_of_the_trainer():
    seen: list[torch.dtype] = []

    def score(module: pl.LightningModule, batch: Any) -> Tensor:
        values = module(batch[0])
        seen.append(values.dtype)
        return values[:, 0]

    fit(BatchFraction(0.5, score), loader=train_loader(4), max_epochs=1, precision="bf16-mixed")
    assert seen == [torch.bfloat16]


def test_scoring_leaves_the_draws_of_training_alone():
    def draws(module: pl.LightningModule, batch: Any) -> Tensor:
        torch.rand(len(batch[2]) + 3)
        return mixed(module, batch)

    runs = [fit(BatchFraction(0.5, score), max_epochs=2)[0] for score in (mixed, draws)]
    assert runs[0].seen == runs[1].seen
    assert same_weights(*runs)  # dropout and order


def test_random_scores_are_random_and_repeatable():
    def run(seed: int) -> list[list[int]]:
        loader = train_loader(shuffle=False, batch_size=8)
        fraction = BatchFraction(0.5, lambda module, batch: torch.rand(len(batch[2])))
        module, _ = fit(fraction, module=Module(dropout=0.0), loader=loader, max_epochs=2, seed=seed)
        return [[i % 8 for i in batch] for epoch in (0, 1) for batch in module.seen[epoch]]

    first = run(1)
    assert len({tuple(batch) for batch in first}) > 5  # of 10 batches, though training draws nothing in between
    assert run(1) == first
    assert run(2) != first


# ---------------------------------------------------------------- what a batch may be


def test_three_colour_images_are_samples_where_there_are_three():
    batch = ([torch.zeros(3, side, side) for side in (8, 9, 7)], [{"n": 0}, {"n": 1}, {"n": 2}])

    class Detector(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen[0].append([image.shape[1] for image in batch[0]] + [target["n"] for target in batch[1]])
            return self(torch.zeros(1, 4)).sum()

    loader = DataLoader(range(3), 3, collate_fn=lambda samples: batch)
    score = BatchFraction(0.6, lambda module, batch: torch.tensor([image.shape[1] for image in batch[0]]))
    assert fit(score, module=Detector(), loader=loader, max_epochs=1)[0].seen[0] == [[8, 9, 0, 1]]


def collated(make: Any) -> DataLoader[Any]:
    return train_loader(8, shuffle=False, collate_fn=lambda samples: make(torch.stack([s[0] for s in samples])))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda x: [x, torch.ones(7)], r"a batch of type list of 2 holds the first dimensions \[4, 7\]"),
        (lambda x: {"x": x, "weights": torch.ones(3)}, r"type dict of 2 holds the first dimensions \[3, 4\]"),
        (lambda x: ["abcd", {"n": 4}], r"type list of 2 holds no tensor or list with a row per sample"),
        (lambda x: [[1, 2, 3], ["a", "b"]], r"the first dimensions \[2, 3\]"),
        (lambda x: [x, [x, x, x, x]], r"4 samples from 4 views of 4 samples each"),
    ],
)
def test_an_ambiguous_batch_is_an_error(make, problem):
    with pytest.raises(ValueError, match=rf"can't tell .*{problem}"):
        fit(BatchFraction(0.5, lambda m, b: torch.zeros(4)), loader=collated(make), max_epochs=1)


def test_a_batch_of_none_is_passed_over():
    def collate(samples: Any) -> Any:
        return None if samples[0][2] == 4 else torch.utils.data.default_collate(samples)

    loader = train_loader(12, shuffle=False, collate_fn=collate)
    module, _ = fit(DynamicSelection("full", keep_ratio=0.5), BatchFraction(0.5, mixed), loader=loader, max_epochs=1)
    assert module.seen[0] == [highest([0, 1, 2, 3], 2), highest([8, 9, 10, 11], 2)]


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(("ratio", "error"), [(0.0, ValueError), (1.5, ValueError), ("half", TypeError)])
def test_the_keep_ratio_is_checked(ratio, error):
    with pytest.raises(error, match="`keep_ratio` must be"):
        BatchFraction(ratio)


def test_the_score_is_checked():
    with pytest.raises(TypeError, match=r"`score` must be a function of \(module, batch\), got 'loss'"):
        BatchFraction(0.5, "loss")


@pytest.mark.parametrize(
    ("scores", "got"),
    [
        (torch.zeros(3), r"shape \(3,\)"),
        (torch.zeros(4, 1), r"shape \(4, 1\)"),
        (torch.tensor(0.0), r"shape \(\)"),
        ([1.0] * 4, "list"),
    ],
)
def test_scores_of_the_wrong_shape_are_an_error(scores, got):
    module = Module()
    with pytest.raises(ValueError, match=rf"one number per sample, a tensor of shape \(4,\), got {got}"):
        fit(BatchFraction(0.5, lambda m, b: scores), module=module, max_epochs=1)
    assert all(part.training for part in module.modules())


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda x: [x, x.argmax(1), x], "type list of 3"),
        (lambda x: [x, x], "type list of 2"),
        (lambda x: [x, ["a"] * 4], "type list of 2"),
        (lambda x: {"x": x, "y": x.argmax(1)}, "type dict of 2"),
        (lambda x: x, "type Tensor"),
    ],
)
def test_the_default_score_of_other_batches_is_an_error(make, got):
    with pytest.raises(TypeError, match=rf"integer targets\), got a batch of {got}; pass `score=`"):
        fit(BatchFraction(0.5), loader=collated(make), max_epochs=1)


def test_a_step_that_takes_the_iterator_is_refused_at_the_start():
    class TakesIterator(Module):
        def training_step(self, dataloader_iter: Any) -> Any:
            raise AssertionError("never reached")

    with pytest.raises(TypeError, match=r"`training_step\(dataloader_iter\)` .* take `batch` and `batch_idx`"):
        fit(BatchFraction(0.5, mixed), module=TakesIterator(), max_epochs=1)


def test_two_of_them_are_refused():
    with pytest.raises(ValueError, match="one Trainer takes one BatchFraction only"):
        fit(BatchFraction(0.5, mixed), BatchFraction(0.5, mixed), max_epochs=1)


def test_a_lightning_without_the_names_is_refused(monkeypatch):
    t = trainer(BatchFraction(0.5, mixed))
    monkeypatch.delattr(pl.strategies.Strategy, "batch_to_device")
    with pytest.raises(RuntimeError, match=r"lightning\.pytorch .* has no strategy\.batch_to_device, which BatchFrac"):
        t.fit(Module(), train_loader())


# ---------------------------------------------------------------- nothing is left behind
def test_undone_after_fit():
    fraction = BatchFraction(0.5, mixed)
    t = trainer(fraction, max_epochs=1)
    for _ in range(2):
        t.fit(Module(), train_loader(8))
        assert "batch_to_device" not in vars(t.strategy)
        t.fit_loop.max_epochs += 1


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["score", "step"])
def test_undone_after_an_exception(error, where):
    class Fails(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise error("out of luck")

    def score(module: pl.LightningModule, batch: Any) -> Tensor:
        raise error("out of luck")

    module = Fails() if where == "step" else Module()
    module.net[2].eval()
    t = trainer(BatchFraction(0.5, score if where == "score" else mixed))
    # Lightning makes an exit of its own of Ctrl-C.
    with pytest.raises((error, SystemExit)):
        t.fit(module, train_loader())
    assert "batch_to_device" not in vars(t.strategy)
    assert [part.training for part in module.net] == [True, True, False, True]


def test_a_strategy_patched_by_the_user_stays_so():
    t = trainer(BatchFraction(0.5, mixed), max_epochs=1)
    own, calls = t.strategy.batch_to_device, []

    def patched(batch: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(batch[0]))
        return own(batch, *args, **kwargs)

    t.strategy.batch_to_device = patched
    module = Module()
    t.fit(module, train_loader(8))
    assert t.strategy.batch_to_device is patched
    assert calls == [4, 4]
    assert [len(batch) for batch in module.seen[0]] == [2, 2]


# ---------------------------------------------------------------- together with DynamicSelection
class Asks(pl.Callback):
    """Notes the indices that the selection tells, in all hooks that have a batch, beside the batch's own."""

    def __init__(self, chosen: DynamicSelection) -> None:
        self.chosen, self.wanted, self.told = chosen, [], []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.wanted.append(batch[2].tolist())
        self.told.append(trainer.selection.indices(batch_idx).tolist())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        # Still known when the books of the epoch are closed.
        seen = pl_module.seen[trainer.current_epoch]
        assert [self.chosen.indices(b).tolist() for b in range(len(seen))] == seen


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("options", "loader_options"),
    [
        ({}, {}),
        ({"accumulate_grad_batches": 2}, {}),
        ({"limit_train_batches": 2}, {"num_workers": 2}),
        ({"reload_dataloaders_every_n_epochs": 1}, {}),
    ],
)
def test_indices_and_usage_are_of_what_stayed(first, options, loader_options):
    chosen, fraction = selection((12, 40, 19, 8)), BatchFraction(0.5, mixed)
    asks = Asks(chosen)
    callbacks = [fraction, chosen] if first else [chosen, fraction]
    module, _ = fit(*callbacks, asks, loader=train_loader(**loader_options), **options)
    assert asks.told == asks.wanted
    seen = [i for epoch in module.seen.values() for batch in epoch for i in batch]
    assert [len(batch) for batch in module.seen[2]][:2] == [2, 2]
    assert chosen.selector.usage.tolist() == [seen.count(i) for i in range(N)]
    assert chosen.history[-1].samples_trained == len(seen)


class TwoLoaders(Module):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert self.trainer.selection.indices(batch_idx).tolist() == batch["a"][2].tolist()
        return super().training_step([torch.cat(pair) for pair in zip(batch["a"], batch["b"], strict=True)], batch_idx)


def test_several_loaders_are_cut_at_the_same_positions():
    loaders = {"a": train_loader(), "b": train_loader(16)}  # the shorter one is cycled
    chosen = selection((12, 20), loader="a")
    fraction = BatchFraction(0.5, lambda module, batch: mixed(module, batch["a"]))
    module, _ = fit(chosen, fraction, module=TwoLoaders(), loader=loaders, max_epochs=2, val=False)
    seen = [i for epoch in module.seen.values() for batch in epoch for i in batch[:2]]
    assert {len(batch) for epoch in module.seen.values() for batch in epoch} == {4}
    # The longer of the two makes an epoch, so that the selected one is cycled in the first.
    assert chosen.selector.usage.tolist() == [seen.count(i) for i in range(N)]


@pytest.mark.filterwarnings("ignore:DynamicSelection. `overfit_batches`")
def test_where_the_selection_is_off_batches_are_cut_all_the_same():
    module, _ = fit(selection(), BatchFraction(0.5, mixed), overfit_batches=2, max_epochs=1)
    assert [len(batch) for batch in module.seen[0]] == [2, 2]


def test_manual_optimization():
    class Manual(Module):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    manual, _ = fit(BatchFraction(0.5, loss_score), module=initial(Manual), max_epochs=2)
    module, _ = fit(BatchFraction(0.5, loss_score), module=initial(Module), max_epochs=2)
    assert manual.seen == module.seen
    assert same_weights(manual, module)


@pytest.mark.parametrize("part", ["network", "module"])
def test_compiled(part):
    plain, _ = fit(BatchFraction(0.5, loss_score), module=initial(Module, dropout=0.0), max_epochs=1, val=False)
    module = initial(Module, dropout=0.0)
    if part == "network":
        module.net = torch.compile(module.net, backend="eager")
        fit(BatchFraction(0.5, loss_score), module=module, max_epochs=1, val=False)
    else:
        fit(BatchFraction(0.5, loss_score), module=torch.compile(module, backend="eager"), max_epochs=1, val=False)
    assert module.seen == plain.seen
    assert all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(module.parameters(), plain.parameters(), strict=True)
    )


def test_batches_stay_whole_until_every_sample_has_given_its_features(tmp_path):
    """Otherwise samples that are always cut away would keep the selector from ever being fitted."""

    def run(*callbacks: Any, ckpt_path: Any = None, seed: int = 1) -> tuple[Module, DynamicSelection]:
        chosen = DynamicSelection(RRD(sae_epochs=1), 0.5, features="model")
        options: dict[str, Any] = {"module": Module(noise=True), "ckpt_path": ckpt_path, "max_epochs": 4, "seed": seed}
        return fit(chosen, BatchFraction(0.5, mixed), *callbacks, **options)[0], chosen

    saver = SaveEvery(tmp_path)
    module, chosen = run(saver)
    assert [sum(map(len, module.seen[epoch])) for epoch in range(4)] == [20, 20, 10, 10]
    assert chosen.selector.ready
    assert [record.samples_scored for record in chosen.history] == [0, 0, 20, 40]
    assert len(saver.paths) >= 20
    assert [path.name for path in saver.paths if not same_weights(module, run(ckpt_path=path, seed=2)[0])] == []


def test_losses_are_heard_of_what_stayed():
    class Notes(Module):
        def __init__(self) -> None:
            super().__init__()
            self.own: dict[int, float] = {}

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            z = self(batch[0])
            with torch.no_grad():
                values = F.cross_entropy(z, batch[1], reduction="none")
            self.own |= dict(zip(batch[2].tolist(), values.tolist(), strict=True))
            return F.cross_entropy(z, batch[1])

    selector, module = Listening(), Notes()
    # Scoring calls a usual loss as well, and it must not be taken for the step's.
    fit(DynamicSelection(selector, Sizes((18,))), BatchFraction(0.5, loss_score), module=module, max_epochs=1)
    [told] = selector.heard
    assert dict(zip(told.indices.tolist(), told.per_sample_loss.tolist(), strict=True)) == module.own
    assert len(module.own) == 9


def test_loss_weights_are_of_what_stayed():
    class ByHand(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            weights = self.trainer.selection.weights(batch_idx)
            assert weights.tolist() == [0.5 + i / 4 for i in batch[2].tolist()]
            return (weights * F.cross_entropy(self(batch[0]), batch[1], reduction="none")).mean()

    def run(module: Module) -> Module:
        chosen = DynamicSelection(Fixed(list(range(18)), weights=[0.5 + i / 4 for i in range(18)]), keep_ratio=0.5)
        return fit(chosen, BatchFraction(0.5, mixed), module=module, max_epochs=2)[0]

    pairs = zip(run(initial(Module)).parameters(), run(initial(ByHand)).parameters(), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)


def test_a_hook_that_changes_the_number_of_samples_is_an_error():
    class Doubles(Module):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [torch.cat([part, part]) for part in batch] if self.trainer.training else batch

    with pytest.raises(ValueError, match=r"batch 0 has 8 samples, but the sampler fed 4: .* in `training_step`"):
        fit(selection(), BatchFraction(0.5, mixed), module=Doubles())
    alone, _ = fit(BatchFraction(0.5, mixed), module=Doubles(), max_epochs=1, loader=train_loader(8))
    assert [len(batch) for batch in alone.seen[0]] == [4, 4]


def test_where_nothing_is_cut_nothing_is_communicated(monkeypatch):
    asked: list[Tensor] = []
    monkeypatch.setattr(EpochFeedback, "_of_replicas", lambda self, rows: asked.append(rows) or [rows])
    fit(selection((12, 20)), max_epochs=2)
    assert asked == []
    fit(selection((12, 20)), BatchFraction(0.5, mixed), max_epochs=2)
    assert [(rows.dtype, len(rows)) for rows in asked] == [(torch.int64, 6), (torch.int64, 10)]


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}])
def test_exact_resume_at_every_step(tmp_path, options):
    def random_loss(module: pl.LightningModule, batch: Any) -> Tensor:
        return loss_score(module, batch) + torch.rand(len(batch[2]))

    def run(*callbacks: Any, **more: Any) -> tuple[Module, DynamicSelection]:
        chosen = DynamicSelection(Listening(), Sizes((20, 13, 40)), count_flops=True)
        fraction = BatchFraction(Linear(0.9, 0.3), random_loss)
        made = {"module": Module(noise=True), "max_epochs": 3, **options, **more}
        return fit(chosen, fraction, *callbacks, **made)[0], chosen

    saver = SaveEvery(tmp_path)
    whole, books = run(saver)
    assert len(saver.paths) == (19 if not options else 10)
    for path in saver.paths:
        resumed, again = run(ckpt_path=path, seed=2)
        assert same_weights(whole, resumed), path.name
        assert again.selector.usage.tolist() == books.selector.usage.tolist(), path.name
        for name in ("samples_trained", "samples_scored", "flops", "selection_flops"):
            assert getattr(again.history[-1], name) == getattr(books.history[-1], name), (path.name, name)


# ---------------------------------------------------------------- what scoring costs
@pytest.mark.parametrize("first", [False, True])
def test_scoring_counts_as_selection(first):
    chosen, fraction = DynamicSelection("random", 0.6, count_flops=True), BatchFraction(0.5, loss_score)
    callbacks = [fraction, chosen] if first else [chosen, fraction]
    fit(*callbacks, max_epochs=2)
    last = chosen.history[-1]
    assert (last.samples_scored, last.samples_trained) == (48, 24)
    # Layers of 4 x 8 and 8 x 2: 96 operations forward; backward both gradients, but not that of the input.
    assert last.selection_flops == 48 * 96
    assert last.flops == 48 * 96 + 24 * (96 + 96 + 32)


def test_the_time_of_scoring_counts_as_selection():
    def slow(module: pl.LightningModule, batch: Any) -> Tensor:
        time.sleep(0.05)
        return mixed(module, batch)

    chosen = DynamicSelection("full", 1.0)
    fit(chosen, BatchFraction(Step([1.0, 0.5], [0.4]), slow), max_epochs=2, val=False)
    all_, half = chosen.history
    assert half.selection_seconds - all_.selection_seconds > 0.9 * 0.05 * math.ceil(N / 8)
    assert (all_.samples_scored, half.samples_scored) == (0, N)


# ---------------------------------------------------------------- without a Trainer
def test_keep_tells_a_plain_loop_as_well():
    chosen = SelectionController("full", keep_ratio=0.5, seed=0)
    loader = chosen.wrap(train_loader(12, shuffle=False))
    trained: list[int] = []
    for b, (_, _, i) in enumerate(loader):
        kept = torch.tensor([0, 3])
        chosen.keep(b, kept, len(i))
        trained += i[kept].tolist()
        assert chosen.indices(b).tolist() == i[kept].tolist()
    chosen.finish_epoch()
    assert trained == [0, 3, 4, 7, 8, 11]
    assert chosen.selector.usage.tolist() == [int(i in trained) for i in range(12)]
    assert chosen.history[0].samples_trained == 6
