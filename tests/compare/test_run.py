"""One run of a comparison: its selector, weights, steps and clock."""

from __future__ import annotations

import gc
import json
import os
import signal
import weakref
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from dynsel._lib.quiet import quiet
from dynsel.compare.meter import Counted, StepCounter
from dynsel.compare.run import Comparison

pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    with quiet():
        return Comparison(["--config", str(folder / "digits.yaml")], "val_accuracy")


def test_a_selector_may_be_given_arguments(comparison: Comparison) -> None:
    comparison.make("random:class_balance=false,seed=7", 3, [])
    selector = comparison.config_init.selection.controller.selector
    assert (selector.class_balance, selector.seed) == (False, 7)
    comparison.make("random:seed=7", 3, [])  # on top of the configuration's own
    assert comparison.config_init.selection.controller.selector.class_balance
    comparison.make("rrd:gamma=2,factors=split", 3, [])
    rrd = comparison.config_init.selection.controller.selector
    assert (rrd.gamma(0.0), rrd.factors) == (2.0, "split")


def test_a_seed_gives_all_selectors_the_same_weights(comparison: Comparison) -> None:
    weights = []
    for name, seed in (("full", 0), ("random", 0), ("full", 1)):
        comparison.make(name, seed, [])
        weights.append(torch.cat([p.flatten() for p in comparison.model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_there_may_be_fewer_evaluations(comparison: Comparison, folder: Path) -> None:
    with quiet():
        seldom = Comparison(["--config", str(folder / "digits.yaml")], "val_accuracy", evaluations=2)
    few, many = (made.train("random", 0, 30) for made in (seldom, comparison))
    assert ([point.step for point in few.curve], [point.step for point in many.curve]) == ([15, 30], [*range(3, 31, 3)])
    assert few.value == few.curve[-1].value
    assert few.samples == many.samples
    assert seldom.settings() != comparison.settings()


def test_a_run_leaves_no_data_behind(comparison: Comparison) -> None:
    gc.disable()  # by itself it would come some runs later
    try:
        comparison.train("random", 0, 2)
        left = [weakref.ref(comparison.datamodule), weakref.ref(comparison.model), weakref.ref(comparison.trainer)]
        comparison.make("full", 0, [])
    finally:
        gc.enable()
    assert [ref() for ref in left] == [None] * 3


def test_an_interrupt_while_garbage_is_collected_is_heeded(comparison: Comparison) -> None:
    class Interrupted:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
    gc.disable()  # it would come before
    try:
        Interrupted()
        with pytest.raises(KeyboardInterrupt):
            comparison.make("full", 0, [])
    finally:
        gc.enable()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_training_without_validation_is_refused(folder: Path) -> None:
    one = made(folder)

    def make(*args: Any, **options: Any) -> None:
        Comparison.make(one, *args, **options)
        one.datamodule.val_dataloader = lambda: []  # noqa: PIE807

    one.make = make
    with quiet(), pytest.raises(ValueError, match="has no validation, whose metric is compared; give it a validation"):
        one.check_metric(24)


def test_callbacks_of_the_model_itself_are_refused_as_well(folder: Path) -> None:
    one = made(folder)

    def make(*args: Any, **options: Any) -> None:
        Comparison.make(one, *args, **options)
        one.model.configure_callbacks = lambda: [pl.callbacks.GradientAccumulationScheduler({0: 2, 1: 4})]

    one.make = make
    with (
        quiet(),
        pytest.raises(ValueError, match=r"the model's callbacks must be without GradientAccumulationSched.*set"),
    ):
        one.count_steps()


@pytest.mark.parametrize("batches", [1, 2])
def test_a_training_of_few_batches_has_its_validation(folder: Path, batches: int) -> None:
    with quiet():
        made(folder, f"--trainer.limit_train_batches={batches}").check_metric(4 * batches)


@pytest.mark.parametrize("devices", ["auto", "1", "[0]", "0,", "2"])
def test_a_run_has_one_device(folder: Path, devices: str) -> None:
    with quiet():
        one = made(folder, f"--trainer.devices={devices}")
        said = one.check_options()
    assert one.trainer.num_devices == 1
    assert [text for text in said if "on one device" in text] == (
        ["on one device: `trainer.devices` is 2, `trainer.num_nodes` 1"] if devices == "2" else []
    )


def test_the_configured_selector_keeps_its_arguments(comparison: Comparison) -> None:
    from dynsel.selectors import RRD, Random

    for name in ("random", "dynsel.selectors.Random"):
        comparison.make(name, 0, [])
        selector = comparison.config_init.selection.selector
        assert isinstance(selector, Random)
        assert selector.class_balance is True
    comparison.make("rrd", 0, [])
    assert isinstance(comparison.config_init.selection.selector, RRD)


@pytest.mark.parametrize(("accumulate", "max_steps", "steps"), [(1, -1, 24), (4, -1, 8), (1, 10, 10)])
def test_steps_of_full_data(folder: Path, accumulate: int, max_steps: int, steps: int) -> None:
    options = [f"--trainer.accumulate_grad_batches={accumulate}", f"--trainer.max_steps={max_steps}"]
    with quiet():
        one = Comparison(["--config", str(folder / "digits.yaml"), *options], "val_accuracy")
        assert one.count_steps() == steps
        run = one.train("random", 0, steps)
    assert run.steps == steps == run.curve[-1].step


@pytest.mark.parametrize("told", [-1, float("inf")])  # Lightning's words for an endless loader, and for training
def test_a_training_without_end_has_no_steps_to_compare_at(
    folder: Path, told: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless(StepCounter):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.steps = told
            raise Counted

    monkeypatch.setattr("dynsel.compare.run.StepCounter", Endless)
    with quiet(), pytest.raises(ValueError, match=r"`trainer.max_steps` must be set where the length of an epoch is"):
        made(folder).count_steps()


def test_a_run_that_something_ends_is_no_result(folder: Path) -> None:
    one = made(folder)
    stop = pl.callbacks.EarlyStopping(
        "val_loss", mode="max", patience=0
    )  # as the model's own: it isn't in the configuration

    def make(*args: Any, **options: Any) -> None:
        Comparison.make(one, *args, **options)
        one.model.configure_callbacks = lambda: [stop]

    one.make = make
    with quiet(), pytest.raises(ValueError, match=r"ended after \d+ of 30 optimiser steps; .*`trainer.should_stop`"):
        one.train("random", 0, 30)


def test_a_run_tells_its_operations_its_origin_and_what_was_logged(comparison: Comparison) -> None:
    comparison.command = "dynsel compare --out runs/x"
    record = comparison.train("full", 0, 2)
    assert record.flops
    assert record.selection_flops == 0
    assert record.origin["command"] == "dynsel compare --out runs/x"
    assert record.logged["val_accuracy"] == record.value
    assert "train_loss" not in record.logged
    assert record.made_by == comparison.made_by("full")


def made(folder: Path, *options: str) -> Comparison:
    with quiet():
        return Comparison(["--config", str(folder / "digits.yaml"), *options], "val_accuracy")


@pytest.mark.parametrize("limits", [["--trainer.max_steps=14"], []])
def test_a_larger_budget_never_takes_fewer_steps(folder: Path, limits: list[str]) -> None:
    one = made(folder, *limits)
    names = [f"random:budget={budget}" for budget in (0.34, 0.5, 0.51, 0.7, 0.9, 0.95)]
    with quiet():
        steps = one.count_steps()
        found = list(one.budget_steps([*names, "full"], steps).values())
    assert found == sorted(found)
    # Four epochs of 6 batches; or what `max_steps` leaves of them, of which each budget is a share.
    assert found == ([5, 7, 7, 10, 13, 13] if limits else [8, 12, 12, 16, 20, 24])


def test_arguments_are_told_with_their_defaults(comparison: Comparison) -> None:
    assert comparison.made_by("random:static=true") == {
        "static": True,
        "class_balance": True,
    }  # one the configuration's
    told = comparison.made_by(
        'hybrid:terms={"loss":{"class_path":"dynsel.schedules.Linear","init_args":{"start":1,"end":0}}}'
    )
    assert told["terms"]["loss"]["start"] == 1.0
    assert told["noise"] == 0.0
    assert json.loads(json.dumps(told)) == told
    comparison.make("hybrid", 0, [])
    selector = comparison.config_init.selection.controller.selector
    assert comparison.made_by("hybrid") == selector._arguments


def test_another_file_at_the_same_path_is_another_training(folder: Path, tmp_path: Path) -> None:
    features, suspects, trusted = (tmp_path / name for name in ("features.npy", "suspects.csv", "trusted.npy"))
    reference = tmp_path / "reference.npy"

    def write(of: int) -> None:
        np.save(features, np.full((359, 2), of, dtype=np.float32))
        np.save(trusted, np.array([of]))
        np.save(reference, np.full(359, float(of)))
        suspects.write_text(f"index\n{of}\n")

    given = {
        "features": f"--selection.features={features}",
        "exclude": f"--exclude={suspects}",
        "selector": f"--selection.selector=alignprune:trusted={trusted}",
    }
    entries = [f"alignprune:trusted={trusted}", f"jest:reference={reference}"]

    def told() -> tuple[dict[str, Any], list[Any]]:
        plain = made(folder)
        return {name: made(folder, option).settings() for name, option in given.items()}, list(
            map(plain.made_by, entries)
        )

    write(1)
    settings, made_by = told()
    assert told() == (settings, made_by)
    write(2)
    others, made_by_others = told()
    for name in given:
        assert {key for key in others[name] if others[name][key] != settings[name][key]} == {"files"}, name
    for there, now in zip(made_by, made_by_others, strict=True):
        assert sum(there[key] != now[key] for key in there) == 1
    assert "files" not in made(folder).settings(), "finished comparisons without files keep their hash"


def test_wrong_labels_are_known_where_samples_are_left_out(folder: Path, tmp_path: Path) -> None:
    one = made(folder, "--data.init_args.label_noise=0.25")
    wrong = one.train_dataset().wrong
    (tmp_path / "suspects.csv").write_text("index\n" + "\n".join(map(str, wrong.nonzero().flatten().tolist()[:60])))
    assert int(wrong.sum()) == 90
    without = made(folder, "--data.init_args.label_noise=0.25", f"--exclude={tmp_path / 'suspects.csv'}")
    # Whole epochs of full data: 5 batches of the 299 samples that are left.
    assert without.train("full", 0, 10).wrong_share == pytest.approx(30 / 299)


def test_a_validation_after_the_last_step_takes_nothing_from_a_run(folder: Path) -> None:
    options = ["--config", str(folder / "digits.yaml"), "--data.init_args.label_noise=0.25"]
    with quiet():
        one = Comparison(options, "val_accuracy", evaluations=4)
        record = one.train("full", 0, 18)  # three epochs, validated every 5 steps
    assert [point.step for point in record.curve] == [5, 10, 15, 18]
    assert one.trainer.train_dataloader is None, "the Trainer has let go of it"
    assert record.wrong_share == pytest.approx(90 / 359)
    assert record.logged["val_accuracy"] == record.value
    assert record.loss == record.logged["val_loss"]
    assert one.datamodule is not None
    dataset = one.datamodule.train_set
    assert one.train_dataset() is dataset, "of the run itself, so that a model may bring its own data"
