"""`dynsel compare` on the digits: two selectors, two seeds, a few steps."""

from __future__ import annotations

import csv
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import torch

from dynsel.cli import main
from dynsel.compare import RunRecord, Store, summarise
from dynsel.compare.record import CurvePoint
from dynsel.compare.run import Comparison, _Meter, quiet
from dynsel.compare.store import file_name
from dynsel.compare.table import cells, csv_text, headings, markdown
from dynsel.trainer_cli import parse_selector

CONFIG = """
seed_everything: 3
threads: 1
model:
  class_path: dynsel.models.ImageClassifier
  init_args: {architecture: small_cnn, in_channels: 1, width: 4, augment: false}
data:
  class_path: dynsel.data.DigitsDataModule
  init_args: {batch_size: 60, test_share: 0.8}
selection:
  selector: {class_path: dynsel.selectors.Random, init_args: {class_balance: true}}
  keep_ratio: 0.5
trainer:
  max_epochs: 4
  accelerator: cpu
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {dirpath: checkpoints}
    - class_path: lightning.pytorch.callbacks.LearningRateMonitor
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: val_loss, patience: 0}
"""
# 359 images in batches of 60, over four epochs.
STEPS = 4 * 6


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    handler, threads = signal.getsignal(signal.SIGINT), torch.get_num_threads()
    yield
    signal.signal(signal.SIGINT, handler)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare")
    (path / "digits.yaml").write_text(CONFIG)
    return path


def compare(folder: Path, *options: str, out: str = "out") -> int:
    base = ["compare", "--config", str(folder / "digits.yaml"), "--out", str(folder / out)]
    return main([*base, "--selectors", "full", "random", "--seeds", "2", *options])


@pytest.fixture(scope="module")
def finished(folder: Path) -> dict[str, dict[str, Any]]:
    assert compare(folder) == 0
    return stored(folder / "out")


def stored(out: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (out / "runs").glob("*.json")}


# -------------------------------------------------------------------- the runs
def test_every_run_takes_the_steps_of_full_data(finished: dict[str, dict[str, Any]]) -> None:
    assert set(finished) == {f"{name}-seed{seed}" for name in ("full", "random") for seed in (3, 4)}
    assert {run["steps"] for run in finished.values()} == {STEPS}
    assert finished["full-seed3"]["samples"] == 4 * 359
    # Class-balanced halves of 359 are 180, in three batches of 60.
    assert finished["random-seed3"]["samples"] == 8 * 180


def test_the_headline_is_the_last_step(finished: dict[str, dict[str, Any]]) -> None:
    for run in finished.values():
        steps = [point["step"] for point in run["curve"]]
        assert steps == list(range(2, STEPS + 1, 2))
        assert run["value"] == run["curve"][-1]["value"]
        assert 0 < run["loss"] < 5


def test_usage_and_class_balance_are_kept(finished: dict[str, dict[str, Any]]) -> None:
    for run in finished.values():
        assert sum(run["usage"]) == run["samples"] == run["curve"][-1]["samples"]
    assert finished["full-seed3"]["class_balance"] == [1.0] * 4
    assert len(finished["random-seed3"]["class_balance"]) == 8


def test_seconds(finished: dict[str, dict[str, Any]]) -> None:
    for run in finished.values():
        assert 0 < run["selection_seconds"] < run["seconds"]
        assert run["curve"][-1]["seconds"] <= run["seconds"]


def test_nothing_but_results_is_written(folder: Path, finished: dict[str, dict[str, Any]]) -> None:
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {
        "runs", "settings.json", "table.md", "results.csv",
        "accuracy.png", "usage.png", "class_balance.png", "images-random.png",
    }  # fmt: skip
    assert not (folder / "checkpoints").exists()
    assert not list(folder.rglob("*.part"))


def test_table_agrees_with_the_runs(folder: Path, finished: dict[str, dict[str, Any]]) -> None:
    value = {name: [finished[f"{name}-seed{seed}"]["value"] for seed in (3, 4)] for name in ("full", "random")}
    with open(folder / "out" / "results.csv") as file:
        rows = {row["selector"]: row for row in csv.DictReader(file)}
    for name in ("full", "random"):
        assert float(rows[name]["val_accuracy_mean"]) == pytest.approx(mean(value[name]))
        assert float(rows[name]["val_accuracy_std"]) == pytest.approx(stdev(value[name]))
    differences = [a - b for a, b in zip(value["full"], value["random"], strict=True)]
    assert float(rows["full"]["difference"]) == pytest.approx(mean(differences))
    table = (folder / "out" / "table.md").read_text()
    assert f"| full | {100 * mean(value['full']):.2f} ± {100 * stdev(value['full']):.2f} |" in table
    assert f"| {100 * mean(differences):+.2f} ± {100 * stdev(differences):.2f} |" in table
    for said in (
        "dynsel compare --config",
        "3, 4 (n = 2)",
        f"{STEPS} optimiser steps",
        "thread",
        "torch 2",
        "lightning",
    ):
        assert said in table


# -------------------------------------------------------------------- continuing
@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynsel.report.write_report", lambda *args, **options: [])


def test_a_second_call_trains_nothing(
    folder: Path,
    finished: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Comparison, "make", lambda *args, **options: pytest.fail("trained again"))
    assert compare(folder) == 0
    out, err = capfd.readouterr()
    assert f"{100 * mean([finished['full-seed3']['value'], finished['full-seed4']['value']]):.2f}" in out
    assert err == ""


@pytest.mark.usefixtures("no_pictures")
def test_a_killed_comparison_trains_only_the_missing_run(
    folder: Path, finished: dict[str, dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    runs = folder / "out" / "runs"
    missing = runs / "random-seed3.json"
    missing.unlink()
    (runs / ".random-seed3.json.1.part").write_text('{"half')
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*.json")}
    assert compare(folder) == 0
    out, err = capfd.readouterr()
    assert "3 of them kept from before" in out
    assert "[1/1] random, seed 3: val_accuracy" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads(missing.read_text())["value"] == finished["random-seed3"]["value"]
    assert json.loads(missing.read_text())["usage"] == finished["random-seed3"]["usage"]
    assert err == "", "Lightning has been talking"
    (runs / ".random-seed3.json.1.part").unlink()


def test_other_settings_are_refused(
    folder: Path, finished: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(folder, "--keep-ratio", "0.3") == 2
    error = capsys.readouterr().err
    assert "holds runs of other settings (selection.keep_ratio: 0.5 there, 0.3 now); choose another folder" in error
    assert len(error.splitlines()) == 1


def test_an_interrupt_says_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        raise SystemExit(1)  # what Lightning makes of Ctrl-C

    monkeypatch.setattr(Comparison, "train", interrupted)
    assert compare(folder, out="interrupted") == 130
    assert "the same command goes on with the missing runs" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pictures")
def test_a_failing_run_leaves_the_others_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(self: Comparison, name: str, seed: int, steps: int, progress: Any) -> RunRecord:
        if (name, seed) == ("random", 4):
            raise RuntimeError("out of memory | really\nsecond line")
        return record(name, seed, 0.5 + seed / 100)

    monkeypatch.setattr(Comparison, "train", train)
    assert compare(folder, out="failing") == 1
    assert "RuntimeError: out of memory | really" in capsys.readouterr().out
    table = (folder / "failing" / "table.md").read_text()
    assert "| random | 53.00 (n = 1 of 2; failed: seed 4: RuntimeError: out of memory \\| really) |" in table
    assert "| full | 53.50 ± 0.71 |" in table
    runs = {path.name for path in (folder / "failing" / "runs").iterdir()}
    assert runs == {"full-seed3.json", "full-seed4.json", "random-seed3.json", "random-seed4.error.txt"}
    assert "Traceback" in (folder / "failing" / "runs" / "random-seed4.error.txt").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "0"], "`--seeds` must be at least 1, got 0"),
        (["--selectors", "full", "randm"], "unknown selector 'randm'; did you mean 'random'?"),
        (["--selectors", "full", "full"], "`--selectors` must name each selector once"),
        (["--keep-ratio", "1.5"], "`keep_ratio` must be in (0, 1], got 1.5"),
        (["--trainer.max_epochs", "-1"], "`trainer.max_epochs` or `trainer.max_steps` must be set"),
        (["--trainer.epochs", "1"], "unrecognized arguments: --trainer.epochs"),
    ],
)
def test_wrong_input(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str) -> None:
    assert compare(folder, *options, out="wrong") == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (folder / "wrong").exists()


def test_an_unknown_metric_names_those_there_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(folder, "--metric", "f1", "--seeds", "1", "--selectors", "full", out="metric") == 1
    assert "no metric 'f1' in validation; logged: train_loss, val_accuracy, val_loss" in capsys.readouterr().out


# -------------------------------------------------------------------- one comparison's parts
def test_a_selector_may_be_given_arguments(comparison: Comparison) -> None:
    comparison.make("random:class_balance=false,seed=7", 3, [])
    selector = comparison.config_init.selection.controller.selector
    assert (selector.class_balance, selector.seed) == (False, 7)
    comparison.make("random:seed=7", 3, [])  # on top of the configuration's own
    assert comparison.config_init.selection.controller.selector.class_balance
    comparison.make("rrd:gamma=2,factors=split", 3, [])
    rrd = comparison.config_init.selection.controller.selector
    assert (rrd.gamma(0.0), rrd.factors) == (2.0, "split")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("random:clas_balance=true", "'clas_balance=true' must be argument=value; arguments of Random: class_balance"),
        ("random:seed", "'seed' must be argument=value; arguments of Random: seed"),
        ("rrd:gamma=-1", "'rrd:gamma=-1': `gamma` must be at least 0, got -1.0"),
        ("randm:seed=1", "unknown selector 'randm'; did you mean 'random'"),
    ],
)
def test_wrong_arguments_of_a_selector(spec: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_selector(spec)


def test_file_names_of_selectors() -> None:
    assert file_name("k-center") == "k-center"
    names = {file_name(spec) for spec in ("rrd:k=1", "rrd:k=2", "rrd:k_1", "rrd_k=1", "rrd_k_1")}
    assert len(names) == 5
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    with quiet():
        return Comparison(["--config", str(folder / "digits.yaml")], "val_accuracy")


def test_a_seed_gives_all_selectors_the_same_weights(comparison: Comparison) -> None:
    weights = []
    for name, seed in (("full", 0), ("random", 0), ("full", 1)):
        comparison.make(name, seed, [])
        weights.append(torch.cat([p.flatten() for p in comparison.model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


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


def test_validation_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3.0, 10.0, 12.0])
    monkeypatch.setattr("dynsel.compare.run._now", lambda: next(times))
    trainer: Any = type("T", (), {"state": type("S", (), {"fn": "fit"}), "callback_metrics": {"a": torch.tensor(0.5)}})
    trainer.global_step = 7
    seen: list[CurvePoint] = []
    meter = _Meter("a", seen.append)
    meter.controller = type("C", (), {"flush": lambda self: None, "samples_trained": 70})()  # type: ignore[assignment]
    module: Any = None
    meter.setup(trainer, module, "fit")
    meter.on_validation_start(trainer, module)
    meter.on_validation_end(trainer, module)
    meter.on_train_end(trainer, module)
    assert seen == [CurvePoint(7, 70, 3.0, 0.5)]
    assert meter.seconds == 5.0


# -------------------------------------------------------------------- table and store, by hand
def record(name: str, seed: int, value: float, **rest: Any) -> RunRecord:
    curve = [CurvePoint(5, 50, 1.0, value / 2), CurvePoint(10, 100, 2.0, value)]
    return RunRecord(name, seed, value, 0.4, 100, 10, 2.0, 0.5, curve, [1.0, 0.9], [1, 2, 3], **rest)


def test_summary_by_hand() -> None:
    values = {"random": (0.80, 0.84, 0.82), "rrd": (0.83, 0.85, 0.87)}
    records = [record(name, seed, v) for name, all_values in values.items() for seed, v in enumerate(all_values)]
    random, rrd = summarise(records)
    assert (random.n, random.mean, random.std) == (3, pytest.approx(0.82), pytest.approx(0.02))
    assert (rrd.mean, rrd.std) == (pytest.approx(0.85), pytest.approx(0.02))
    # Differences 0.03, 0.01, 0.05 of the pairs.
    assert (rrd.difference, rrd.difference_std) == (pytest.approx(0.03), pytest.approx(0.02))
    assert cells(rrd, 3, "val_accuracy") == ["rrd", "85.00 ± 2.00", "+3.00 ± 2.00", "100", "10", "2.0", "0.50"]
    assert cells(random, 3, "val_accuracy")[2] == "–"
    assert cells(rrd, 3, "val_loss")[1] == "0.8500 ± 0.0200"


def test_one_seed_has_no_spread() -> None:
    (row,) = summarise([record("full", 0, 0.5)])
    assert row.std is None
    assert cells(row, 1, "val_accuracy")[1:3] == ["50.00", "–"]


def test_only_seeds_in_both_are_paired() -> None:
    records = [record("random", 0, 0.5), record("rrd", 0, 0.6), record("rrd", 1, 0.9)]
    assert summarise(records)[1].difference == pytest.approx(0.1)


def test_a_selector_without_any_result() -> None:
    rows = summarise([record("rrd", 0, float("nan"), error="RuntimeError: no")])
    page = markdown(rows, 1, "val_accuracy", [("seeds", "0 (n = 1)")])
    assert "| rrd | failed: seed 0: RuntimeError: no |" in page
    assert page.startswith("- seeds: 0 (n = 1)\n")
    assert len(headings("val_accuracy")) == len(cells(rows[0], 1, "val_accuracy"))
    assert csv_text(rows, "val_accuracy").splitlines()[1].startswith("rrd,0,,")


def test_store_keeps_runs(tmp_path: Path) -> None:
    store = Store(tmp_path, {"model": {"lr": 0.1}})
    assert store.load("rrd", 0) is None
    assert not list(tmp_path.iterdir()), "nothing is written before the first run"
    store.begin(10)
    store.save(record("rrd", 0, 0.5))
    again = Store(tmp_path, {"model": {"lr": 0.1}})
    assert again.steps == 10
    assert again.load("rrd", 0) == record("rrd", 0, 0.5)


def test_store_refuses_other_settings(tmp_path: Path) -> None:
    Store(tmp_path, {"model": {"lr": 0.1, "width": 4}}).begin(10)
    with pytest.raises(ValueError, match=r"model\.lr: 0\.1 there, 0\.2 now; model\.width: 4 there, None now"):
        Store(tmp_path, {"model": {"lr": 0.2}})


def test_a_run_of_other_settings_is_not_taken(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "a", {"lr": 0.1}), Store(tmp_path / "b", {"lr": 0.2})
    one.save(record("rrd", 0, 0.5))
    (tmp_path / "b" / "runs").mkdir(parents=True)
    other.path("rrd", 0).write_bytes(one.path("rrd", 0).read_bytes())
    assert other.load("rrd", 0) is None


def test_numbers_survive_the_file_exactly(tmp_path: Path) -> None:
    store = Store(tmp_path, {})
    value = float(np.nextafter(0.1, 1))
    store.save(record("rrd", 0, value))
    loaded = store.load("rrd", 0)
    assert loaded is not None
    assert loaded.value == value
