"""A budget under Lightning: the steps, rates and validations of the training without dynsel, and exact resumes."""

from __future__ import annotations

import logging
import random
import warnings
from collections import Counter
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from programs.ranks import launch
from support import Indexed, Listening, Module, SaveEvery, Sizes, same_weights, train_loader, trainer
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset

from dynsel.callbacks import DynamicSelection
from dynsel.schedules import Linear
from dynsel.selectors import FAST, JEST, SELECTORS, InfoBatch, Proxy, Random, Selector
from dynsel.selectors.fast.points import optimise
from dynsel.selectors.greedy import GreedySelector

N, EPOCHS = 42, 4  # 11 batches of 4, the last one of 2


class Net(Module):
    """Notes the learning rate of each batch, and where it validates."""

    def __init__(self, schedule: str = "none", **options: Any) -> None:
        super().__init__(**options)
        self.schedule = schedule
        self.rates: list[float] = []
        self.points: list[tuple[int, int]] = []
        self.lengths: list[tuple[float, float, bool]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.rates.append(self.optimizers().optimizer.param_groups[0]["lr"])
        loop = self.trainer.fit_loop
        told = self.trainer.num_training_batches, self.trainer.estimated_stepping_batches
        self.lengths.append((*told, loop.epoch_loop.batch_progress.is_last_batch))
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_start(self) -> None:
        self.points.append((self.current_epoch, self.trainer.global_step))

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        by_hand = len(self.trainer.fit_loop._data_source.instance) * EPOCHS if self.schedule == "by hand" else 0
        made = {
            "none": None,
            "by hand": lambda: lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=by_hand),
            "by estimate": lambda: lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=int(self.estimate or 1)),
            "cosine by step": lambda: lr_scheduler.CosineAnnealingLR(optimizer, int(self.estimate or 1)),
            "cosine by epoch": lambda: lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS),
            "warm-up": lambda: lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 15)),
        }[self.schedule]
        if made is None:
            return optimizer
        interval = "epoch" if self.schedule == "cosine by epoch" else "step"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made(), "interval": interval}}


def run(chosen: DynamicSelection | None, schedule: str = "none", **options: Any) -> Any:
    callbacks, noise = options.pop("callbacks", []), options.pop("noise", False)
    pl.seed_everything(options.pop("seed", 3), verbose=False)
    module = options.pop("make", Net)(schedule, noise=noise)
    loader = options.pop("loader", None) or train_loader(N)
    ckpt = options.pop("ckpt_path", None)
    # Of its own: the base seed of its iterator would come from the global generator, which dropout uses, and Lightning
    # skips the validation that follows a checkpoint's batch.
    validation = DataLoader(Indexed(8), 4, generator=torch.Generator())
    t = trainer(*([chosen] if chosen else []), *callbacks, **{"max_epochs": EPOCHS, **options})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
        t.fit(module, loader, validation, ckpt_path=ckpt)
    return module, t


TRAININGS = {
    "OneCycle by hand": ("by hand", {}),
    "OneCycle by estimate": ("by estimate", {}),
    "cosine by epoch": ("cosine by epoch", {}),
    "cosine by step": ("cosine by step", {}),
    "warm-up lambda": ("warm-up", {}),
    "accumulation over edges": ("by estimate", {"accumulate_grad_batches": 3}),
    "validation by a share": ("none", {"val_check_interval": 0.5}),
    "validation by batches": ("none", {"val_check_interval": 5}),
    "validation over the run": ("none", {"val_check_interval": 9, "check_val_every_n_epoch": None}),
    "max_steps": ("cosine by step", {"max_steps": 30, "max_epochs": -1}),
    "limit_train_batches": ("by estimate", {"limit_train_batches": 0.5}),
    "a new loader each epoch": ("by estimate", {"reload_dataloaders_every_n_epochs": 1}),
}


@pytest.mark.parametrize("ratio", [0.5, 0.3])
@pytest.mark.parametrize("name", TRAININGS)
def test_steps_rates_and_validations_are_those_without_dynsel(name, ratio):
    schedule, options = TRAININGS[name]
    plain, before = run(None, schedule, **options)
    ours, after = run(DynamicSelection("random", ratio, budget=1.0), schedule, **options)
    assert (after.global_step, after.current_epoch) == (before.global_step, before.current_epoch)
    assert ours.rates == plain.rates
    assert ours.points == plain.points
    assert ours.lengths == plain.lengths
    assert ours.estimate == plain.estimate


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"drop_last": True}])
def test_at_keep_ratio_1_and_budget_1_it_is_plain_lightning_to_the_bit(options):
    plain, _ = run(None, noise=True, loader=train_loader(N, **options))
    ours, _ = run(DynamicSelection("random", 1.0, budget=1.0), noise=True, loader=train_loader(N, **options))
    assert ours.seen == plain.seen
    assert same_weights(ours, plain)


def test_the_bare_callback_keeps_the_steps_and_half_of_the_data():
    chosen = DynamicSelection(Listening())
    module, t = run(chosen)
    assert t.global_step == 44
    assert [record.rounds for record in chosen.history] == [2] * 4
    # 11 batches are rounds of 6 and 5.
    first, second = (sum(module.seen[0][rows], []) for rows in (slice(0, 6), slice(6, 11)))  # noqa: RUF017
    assert (len(set(first)), len(set(second))) == (24, 20)
    # The least used first: one epoch has all but for what rounds are longer.
    assert len({*first, *second}) == N
    # At each edge everything before was told.
    assert [len(heard.indices) for heard in chosen.selector.heard] == [24, 20] * 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_budget_shortens_every_epoch_alike(workers):
    chosen = DynamicSelection("random", budget=0.7)
    module, t = run(chosen, "by estimate", loader=train_loader(N, num_workers=workers))
    assert module.batches() == [8] * 4
    assert (t.global_step, module.estimate) == (32, 32)
    assert module.rates[-1] < 1e-3


def test_an_interval_of_validation_above_a_shortened_epoch_validates_at_its_end():
    module, t = run(DynamicSelection("random", budget=0.7), val_check_interval=10)
    assert module.points == [(epoch, 8 * (epoch + 1)) for epoch in range(4)]
    assert t.val_check_interval == 10
    with pytest.raises(ValueError, match="val_check_interval"):
        run(DynamicSelection("random", budget=0.7), val_check_interval=12)


def test_an_edge_inside_an_accumulation_window_keeps_the_window():
    _, t = run(DynamicSelection("random", 0.3, budget=1.0), accumulate_grad_batches=4)
    assert t.global_step == EPOCHS * 3


# ---------------------------------------------------------------- records
def test_an_epochs_record_is_the_mean_of_its_rounds():
    chosen = DynamicSelection("random", Linear(1.0, 0.2), budget=1.0)
    run(chosen)
    record = chosen.history[-1]
    assert record.rounds > 2
    assert 0.2 < record.keep_ratio < 0.5
    assert 0.5 < record.class_balance <= 1
    assert record.samples_trained == sum(4 for _ in range(44)) - 2
    # Choosing is inside `next`, but it isn't waiting for data.
    slow = DynamicSelection(_Slow(), 0.5, budget=1.0)
    run(slow, max_epochs=2)
    assert all(r.selection_seconds > 0.2 > r.data_seconds for r in slow.history)


class _Slow(Listening):
    def select(self, progress: float, size: int) -> Any:
        import time

        time.sleep(0.12)
        return super().select(progress, size)


def test_features_are_captured_from_all_samples_and_refreshed_by_the_users_epochs():
    class Fitted(Listening):
        needs_features = keeps_features = True
        rows = 0
        refresh = 2

        @property
        def ready(self) -> bool:
            return self.rows > 0

        def fit(self, features: Any) -> None:
            self.rows += 1
            assert features.shape == (N, 8)

    selector = Fitted()
    chosen = DynamicSelection(selector, 0.5, budget=1.0)
    fitted = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            fitted.append(selector.rows)

    run(chosen, callbacks=[Look()], max_epochs=6)
    # After the first epoch, which has all samples, and then every other epoch of the user's.
    assert [fitted[11 * epoch + 10] for epoch in range(6)] == [0, 1, 1, 2, 2, 3]


# ---------------------------------------------------------------- selectors of all kinds
def losses(module: Any, batch: Any) -> Any:
    return F.cross_entropy(module(batch[0]), batch[1], reduction="none")


def inside(name: str, shrink: bool) -> Selector:
    if name == "jest":
        return JEST(reference=torch.zeros(N), shrink=shrink)
    if name == "proxy":
        return Proxy(model="support.Module", shrink=shrink)
    return SELECTORS[name](shrink=shrink)


@pytest.mark.parametrize("shrink", [False, True])
@pytest.mark.parametrize("name", ["random-in-batch", "gstds", "proxy", "jest", "selective-backprop"])
def test_selectors_inside_the_batch_keep_the_steps(name, shrink):
    features = torch.randn(N, 4, generator=torch.Generator().manual_seed(0)) if name == "gstds" else None
    chosen = DynamicSelection(inside(name, shrink), 0.5, budget=1.0, features=features, per_sample_loss=losses)
    module, t = run(chosen)
    assert t.global_step == 44
    sizes = {len(batch) for epoch in module.seen.values() for batch in epoch}
    assert sizes == ({4} if not shrink else {2} if name in ("random-in-batch", "gstds", "proxy") else {1, 2})
    # A pass over all candidates is half an epoch, or where batches shrink a whole one.
    assert {record.rounds for record in chosen.history} <= ({1} if shrink else {2, 3})
    assert chosen.history[-1].samples_trained == sum(len(b) for epoch in module.seen.values() for b in epoch)


def test_a_selector_that_says_how_many_it_takes_has_rounds_of_its_own_length():
    chosen = DynamicSelection(InfoBatch(anneal=0.25), budget=1.0)
    module, t = run(chosen)
    assert t.global_step == 44
    assert len(set(chosen.history)) == 4
    # Everything first, and at the end; whole batches in between.
    assert [len(batch) for batch in module.seen[0]] == [4] * 10 + [2]
    assert all(len(batch) == 4 for epoch in (1, 2) for batch in module.seen[epoch])


def test_class_shares_are_kept_in_each_round():
    module, _ = run(DynamicSelection(Random(class_balance=True), 0.5, budget=1.0), max_epochs=1)
    for rows in (slice(0, 6), slice(6, 11)):
        classes = Counter(i % 2 for batch in module.seen[0][rows] for i in batch)
        assert classes[0] == classes[1]


# ---------------------------------------------------------------- subsets that stay the same
FIXED = ["static", *(name for name, kind in SELECTORS.items() if kind.same_size)]


def fixed(name: str) -> Any:
    """A selection of 13 samples of 42, three whole batches and one sample more: no round has them all."""
    kind = Random if name == "static" else SELECTORS[name]
    options = {"static": True} if name == "static" else {}
    if issubclass(kind, GreedySelector):
        options = {"max_keep_ratio": 0.3}
    features = torch.randn(N, 4, generator=torch.Generator().manual_seed(0)) if kind.needs_features else None
    return DynamicSelection(kind(**options), 0.3, budget=1.0, features=features)


@pytest.mark.parametrize("name", FIXED)
def test_a_subset_that_stays_the_same_is_asked_for_once_and_used_alike(name, monkeypatch):
    chosen = fixed(name)
    kind, choices = type(chosen.selector), []
    select = kind.select

    def noted(self: Any, progress: float, size: int) -> Any:
        selection = select(self, progress, size)
        choices.append((int(self.usage.sum()), size, set(selection.indices.tolist())))
        return selection

    monkeypatch.setattr(kind, "select", noted)
    module, t = run(chosen, max_epochs=8)
    assert t.global_step == 88
    assert {size for _, size, _ in choices} == {13}
    subset = choices[-1][2]
    # Some are fixed in the course of training.
    begin = next(trained for trained, _, other in choices if other == subset)
    assert begin < 4 * 66
    assert all(other == subset for trained, _, other in choices if trained >= begin)
    batches = [batch for epoch in sorted(module.seen) for batch in module.seen[epoch]]
    assert {len(batch) for batch in batches} == {4}
    rows = sum(batches, [])  # noqa: RUF017
    assert set(rows[begin:]) == subset
    uses = chosen.selector.usage
    assert torch.equal(uses, torch.bincount(torch.tensor(rows), minlength=N).int())
    within = uses[sorted(subset)]
    # One for what rounds leave out, one for the round at hand.
    assert int(within.max() - within.min()) <= 2


@pytest.mark.parametrize(("mode", "again"), [("static", set()), ("rotating", {2})])
def test_fast_begins_with_a_coreset_once(mode, again, monkeypatch):
    steps = []

    def counted(begin: Any, problem: Any, settings: Any, number: int, *rest: Any, **more: Any) -> Any:
        steps.append(number)
        return optimise(begin, problem, settings, number, *rest, **more)

    monkeypatch.setattr("dynsel.selectors.fast.selector.optimise", counted)
    features = torch.randn(150, 4, generator=torch.Generator().manual_seed(0))
    selector = FAST(mode=mode, steps=5, steps_again=2, assign_every=2, num_frequencies=96)
    # 15 of 38 batches of 4 are rounds of 3.75 batches; two classes are two problems.
    run(DynamicSelection(selector, 0.1, budget=1.0, features=features), loader=train_loader(150), max_epochs=2)
    assert steps[:2] == [5, 5]
    assert set(steps[2:]) == again


# ---------------------------------------------------------------- several loaders
class Unsized(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(torch.zeros(60, 1))


class OfTwo(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert self.trainer.selection.indices(batch_idx).tolist() == batch["a"][2].tolist()
        return super().training_step(batch["a"], batch_idx)


# Beside one without a length Lightning fetches a batch ahead: the last one before an edge is told after it.
@pytest.mark.parametrize(("other", "batches"), [(range(80), 20), (range(20), 11), (Unsized(), 15)])
def test_beside_another_loader_rounds_go_on_and_every_loss_is_told(other, batches):
    chosen = DynamicSelection(Listening(), 0.5, budget=1.0, loader="a")
    loaders = {"a": train_loader(N), "b": DataLoader(other, 4)}
    module, _ = run(chosen, loader=loaders, make=OfTwo)
    assert module.batches() == [batches] * EPOCHS
    used = torch.bincount(torch.tensor([i for epoch in module.seen.values() for batch in epoch for i in batch]))
    assert torch.equal(used, chosen.selector.usage.long())
    assert all(torch.isfinite(heard.per_sample_loss).all() for heard in chosen.selector.heard)


# ---------------------------------------------------------------- resume
RESUMED = [
    (0.5, 1.0, {}, {}),
    (0.3, 1.0, {"num_workers": 2}, {}),
    (0.7, 0.6, {}, {"val_check_interval": 3}),
    (1.0, 0.45, {}, {}),
    (0.5, 1.0, {}, {"limit_train_batches": 8}),
]


@pytest.mark.parametrize("name", ["static", "el2n"])
def test_a_subset_that_stays_the_same_is_resumed_to_the_bit(tmp_path, name):
    def train(*callbacks: Any, **more: Any) -> Any:
        chosen = fixed(name)
        module, _ = run(chosen, noise=True, max_epochs=3, callbacks=callbacks, **more)
        return module, chosen.selector.usage

    saver = SaveEvery(tmp_path)
    whole, usage = train(saver)
    for path in saver.paths[::2]:
        again, uses = train(ckpt_path=path, seed=4)
        assert same_weights(whole, again), path.name
        assert torch.equal(usage, uses), path.name


@pytest.mark.parametrize(("ratio", "budget", "loader", "options"), RESUMED)
def test_resumed_after_any_step_it_ends_with_the_same_weights(tmp_path, ratio, budget, loader, options):
    def train(*callbacks: Any, **more: Any) -> Any:
        chosen = DynamicSelection("loss", ratio, budget=budget)
        module, _ = run(
            chosen,
            "by estimate",
            noise=True,
            loader=train_loader(N, **loader),
            max_epochs=2,
            callbacks=callbacks,
            **options,
            **more,
        )
        return module, chosen.selector.usage

    saver = SaveEvery(tmp_path)
    whole, usage = train(saver)
    different = []
    for path in saver.paths[:: 7 if loader else 1]:
        again, uses = train(ckpt_path=path, seed=4)
        if not (same_weights(whole, again) and torch.equal(usage, uses)):
            different.append(path.name)
    assert different == []


@pytest.mark.long
def test_a_hundred_random_kills_change_nothing(tmp_path):
    class Killed(Exception):
        pass

    class Kill(pl.Callback):
        """Stops at a batch, after saving or before it."""

        def __init__(self, at: int, saves: bool) -> None:
            self.at, self.saves, self.count = at, saves, 0

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            self.count += 1
            if self.count == self.at or not self.count % 3:
                trainer.save_checkpoint(tmp_path / "last.ckpt")
            if self.count == self.at:
                raise Killed

        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            if not self.saves and self.count == self.at - 1:
                raise Killed

    draw = random.Random(0)
    kills = 0
    while kills < 100:
        ratio, budget = draw.choice([0.3, 0.5, 0.7, 1.0]), draw.choice([0.45, 0.7, 1.0])
        workers = draw.choice([0, 0, 0, 2])

        def train(
            *callbacks: Any, ratio: float = ratio, budget: float = budget, workers: int = workers, **more: Any
        ) -> Any:
            chosen = DynamicSelection("ucb", ratio, budget=budget)
            loader = train_loader(N, num_workers=workers)
            return run(chosen, noise=True, loader=loader, max_epochs=3, callbacks=callbacks, **more)[0]

        whole, again, path = train(), None, tmp_path / "last.ckpt"
        path.unlink(missing_ok=True)
        while again is None:
            kill = Kill(draw.randint(1, 14), draw.random() < 0.5)
            try:
                again = train(kill, ckpt_path=path if path.exists() else None)
            except Killed:
                kills += 1
        assert same_weights(whole, again), (ratio, budget, workers)


# ---------------------------------------------------------------- several ranks
def test_on_two_ranks_steps_rates_and_resume_hold_whatever_the_workers_of_each(tmp_path):
    ranks = [rank["rounds"] for rank in launch("rounds_checks", tmp_path, 2)[2]]
    for rank in ranks:
        assert rank["steps"] == [15, 15, 15]
        assert (rank["same_rates"], rank["uneven"], rank["plain"]) == (True, True, True)
        assert rank["resumed"] == [True] * 3
    assert ranks[0]["weights"] == ranks[1]["weights"]
    seen = Counter(i for rank in ranks for epoch in rank["seen"] for batch in epoch for i in batch)
    assert ranks[0]["usage"] == ranks[1]["usage"] == [seen[i] for i in range(39)]
    for epoch in range(3):
        assert all(not set(a) & set(b) for a, b in zip(*(rank["seen"][epoch] for rank in ranks), strict=True))
    # A subset of 20 that stays the same, of which a round has two batches of 4 on each rank.
    seen = Counter(i for rank in ranks for epoch in rank["fixed"] for batch in epoch for i in batch)
    assert ranks[0]["fixed_usage"] == ranks[1]["fixed_usage"] == [seen[i] for i in range(39)]
    assert len(seen) == 20
    assert max(seen.values()) - min(seen.values()) <= 2
    for epoch in range(3):
        assert all(not set(a) & set(b) for a, b in zip(*(rank["fixed"][epoch] for rank in ranks), strict=True))


# ---------------------------------------------------------------- what the run says
def said(caplog: Any, chosen: DynamicSelection, schedule: str = "none", **options: Any) -> list[str]:
    caplog.clear()
    # Lightning's own logger may not hand on what it is told.
    names = ["lightning.pytorch", "lightning", "pytorch_lightning", "lightning.pytorch.utilities.rank_zero"]
    for name in names:
        logging.getLogger(name).propagate = True
    with caplog.at_level(logging.INFO):
        run(chosen, schedule, **options)
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("dynsel: ")]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, "2 rounds of 50 % an epoch, 44 steps as without it"),
        ({"keep_ratio": 0.3, "budget": 1.0}, "3.33 rounds of 30 % an epoch, 44 steps as without it"),
        ({"budget": 0.7}, "1.4 rounds of 50 % an epoch, 32 steps instead of 44"),
        (
            {"keep_ratio": 0.5},
            "keep_ratio=0.5 without budget: 24 steps instead of 44; the same steps: budget=1 or max_epochs=7",
        ),
        ({"keep_ratio": 1.0}, "keep_ratio=1, 44 steps as without it"),
        ({"keep_ratio": Sizes((42, 21), N), "budget": 1.0}, "rounds of 50 to 100 %, 44 steps as without it"),
    ],
)
def test_the_run_says_once_what_becomes_of_its_steps(caplog, options, wanted):
    assert said(caplog, DynamicSelection("random", **options)) == [f"dynsel: {wanted}"]


def test_by_max_steps_nothing_is_shorter(caplog):
    (line,) = said(caplog, DynamicSelection("random", 0.5), max_steps=20, max_epochs=-1)
    assert line == "dynsel: keep_ratio=0.5, 20 steps as without it"


def warned(chosen: DynamicSelection, schedule: str, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(chosen, schedule, **options)
    return [str(w.message) for w in caught if "is built for" in str(w.message)]


def test_a_scheduler_built_for_more_steps_is_warned_of():
    (message,) = warned(DynamicSelection("random", 0.5), "by hand")
    assert (
        "OneCycleLR is built for 44 steps, but with dynsel's selection there are 24 of them (44 without it)" in message
    )
    assert len(warned(DynamicSelection("random", budget=0.7), "by hand")) == 1


@pytest.mark.parametrize("options", [{}, {"budget": 0.7}, {"keep_ratio": 0.5}])
@pytest.mark.parametrize("schedule", ["none", "by estimate", "cosine by epoch", "cosine by step", "warm-up"])
def test_schedulers_that_fit_are_not_warned_of(options, schedule):
    assert warned(DynamicSelection("random", **options), schedule, max_epochs=EPOCHS) == []
