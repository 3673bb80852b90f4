"""`dynsel compare` on the digits: two selectors, two seeds, a few steps."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from dynsel._lib.quiet import quiet
from dynsel.commands.main import main
from dynsel.compare import RunRecord, Store, summarise
from dynsel.compare.queue import equal_lengths
from dynsel.compare.record import CurvePoint
from dynsel.compare.results import results_csv, results_markdown
from dynsel.compare.run import Comparison, _Meter
from dynsel.compare.stats import differences, half_width, holm, paired, reached, verdict
from dynsel.compare.store import differences as differences_of
from dynsel.compare.store import file_name
from dynsel.compare.table import Table, labels, tables

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


def half(values: list[float]) -> float:
    """Half the 95 % confidence interval of a mean, by scipy."""
    low, high = oracle.t.interval(0.95, len(values) - 1, loc=mean(values), scale=oracle.sem(values))
    return float(high - low) / 2


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
        assert 0 < run["data_seconds"] < run["seconds"] - run["selection_seconds"]
        assert run["fit_seconds"] == 0, "neither full nor random is fitted"
        assert run["evaluation_seconds"] > 0
        assert run["gpu_joules"] is run["cpu_joules"] is None
        assert run["curve"][-1]["seconds"] <= run["seconds"]


def test_nothing_but_results_is_written(folder: Path, finished: dict[str, dict[str, Any]]) -> None:
    names = {path.name for path in (folder / "out").iterdir()}
    pictures = ("ranking", "accuracy", "accuracy_seconds", "time", "usage", "class_balance", "overlap", "images-random")
    assert names == {
        "runs", "settings.json", "table.md", "results.csv", "report.html",
        *(f"{name}.{kind}" for kind in ("png", "csv") for name in pictures),
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
    pairs = [a - b for a, b in zip(value["full"], value["random"], strict=True)]
    assert float(rows["full"]["vs_random_mean"]) == pytest.approx(mean(pairs))
    assert float(rows["random"]["vs_full_mean"]) == pytest.approx(-mean(pairs))
    table = (folder / "out" / "table.md").read_text()
    assert f"| full | {100 * mean(value['full']):.2f} ± {100 * half(value['full']):.2f} |" in table
    assert f"| {100 * mean(pairs):+.2f} ± {100 * half(pairs):.2f} |" in table
    for said in (
        "dynsel compare --config",
        "3, 4 (n = 2)",
        f"{STEPS} optimiser steps",
        "thread",
        "torch 2",
        "lightning",
        "Holm's method",
    ):
        assert said in table


# -------------------------------------------------------------------- continuing
@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynsel.compare.report.write_report", lambda *args, **options: [])


def test_a_second_call_trains_nothing(
    folder: Path,
    finished: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Comparison, "train", lambda *args, **options: pytest.fail("trained again"))
    picture = folder / "out" / "accuracy.png"
    before = picture.read_bytes()
    picture.write_bytes(b"of other runs")
    assert compare(folder) == 0
    assert picture.read_bytes() == before
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


@pytest.mark.usefixtures("no_pictures")
def test_a_target_needs_no_new_runs(
    folder: Path,
    finished: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Comparison, "train", lambda *args, **options: pytest.fail("trained again"))
    assert compare(folder, "--target", "0.02") == 0
    assert "speed to val_accuracy ≥ 2.00 %: median over seeds" in capsys.readouterr().out
    steps = mean(finished[f"full-seed{seed}"]["curve"][0]["step"] for seed in (3, 4))
    rows = {line.split(" |")[0]: line for line in (folder / "out" / "table.md").read_text().splitlines()[-3:]}
    assert rows["| full"].startswith(f"| full | 2 of 2 | 120 | {steps} |")
    assert compare(folder) == 0
    assert "speed to" not in (folder / "out" / "table.md").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_equal_seconds_gives_a_slow_selector_fewer_steps(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selectors = ("--selectors", "random", "support.Slow", "--seeds", "1")
    assert compare(folder, *selectors, "--equal", "seconds", out="seconds") == 0
    runs = stored(folder / "seconds")
    at_equal_steps = runs["support.Slow-seed3"]
    share = at_equal_steps["selection_seconds"] / at_equal_steps["seconds"]
    steps = round((1 - share) * STEPS)
    assert share > 0.1
    assert runs[f"support.Slow-seed3-{steps}steps"]["steps"] == steps < STEPS
    rows = (folder / "seconds" / "equal-seconds" / "results.csv").read_text().splitlines()
    assert {row["selector"]: int(row["steps"]) for row in csv.DictReader(rows)}["support.Slow"] == steps
    said = (folder / "seconds" / "equal-seconds" / "table.md").read_text()
    assert f"every run: as long as {STEPS} optimiser steps take without selection" in said
    assert "| of time allowed |" in said
    capsys.readouterr()
    assert compare(folder, *selectors, "--equal", "seconds", out="seconds") == 0
    assert "kept from before" not in capsys.readouterr().out, "all runs are there"


@pytest.mark.usefixtures("no_pictures")
def test_wrong_labels_trained_on_are_counted(folder: Path) -> None:
    assert compare(folder, "--data.init_args.label_noise", "0.25", "--seeds", "1", out="noisy") == 0
    runs = stored(folder / "noisy")
    # Every sample equally often: the share of the data set, round(0.25 * 359) / 359.
    assert runs["full-seed3"]["wrong_share"] == pytest.approx(90 / 359)
    assert runs["random-seed3"]["wrong_share"] == pytest.approx(0.25, abs=0.02)
    said = (folder / "noisy" / "table.md").read_text()
    assert "- wrong labels: share of samples labelled wrongly" in said
    assert "| wrong labels % |" in said
    assert re.search(r"^\| full \|.*\| 25\.1 \|$", said, re.MULTILINE)


def test_equal_lengths_by_hand() -> None:
    first = {"samples": 100, "steps": 1000, "seconds": 8.0}
    runs = [
        RunRecord("a", 0, **first),
        RunRecord("b", 0, **{**first, "samples": 80}, selection_seconds=2.0),
        RunRecord("b", 1, **first),  # only the first finished seed decides
        RunRecord("c", 0, error="failed"),
        RunRecord("d", 0, **first, selection_seconds=7.9999),
        RunRecord("e", 0, **first, selection_seconds=0.079),
        RunRecord("f", 0, **first, selection_seconds=0.08),
    ]
    assert equal_lengths(runs, "seconds") == {"a": 1000, "b": 750, "d": 1, "e": 1000, "f": 990}
    assert equal_lengths(runs, "samples") == {"a": 1000, "b": 1250, "d": 1000, "e": 1000, "f": 1000}


def test_two_processes_share_the_runs(folder: Path) -> None:
    command = [sys.executable, "-m", "dynsel", "compare", "--config", str(folder / "digits.yaml")]
    command += ["--out", str(folder / "shared"), "--selectors", "full", "random", "--seeds", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    # Left behind by a process that was killed: nobody holds it.
    (folder / "shared" / "runs").mkdir(parents=True)
    (folder / "shared" / "runs" / "full-seed3.lock").touch()
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    said = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    trained = [re.findall(r"(\w+, seed \d): val_accuracy", text) for text in said]
    assert sorted(trained[0] + trained[1]) == ["full, seed 3", "full, seed 4", "random, seed 3", "random, seed 4"]
    assert all(trained), "one of them did all the work"
    assert {path.suffix for path in (folder / "shared" / "runs").iterdir()} == {".json"}
    tables = [text[text.index("n = 2") :] for text in said]
    assert tables[0] == tables[1]


def test_other_settings_are_refused(
    folder: Path, finished: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(folder, "--keep_ratio", "0.3") == 2
    error = capsys.readouterr().err
    assert "holds runs of other settings (selection.keep_ratio: 0.5 there, 0.3 now); choose another folder" in error
    assert len(error.splitlines()) == 1


@pytest.mark.usefixtures("no_pictures")
def test_runs_of_other_settings_stand_beside(folder: Path) -> None:
    other = ["--selectors", "support.Slow", "--model.init_args.lr", "0.002"]
    assert compare(folder, *other, "--equal", "seconds", out="slower") == 0
    assert compare(folder, "--beside", str(folder / "slower"), out="both") == 0
    with (folder / "both" / "results.csv").open() as file:
        rows = {row["selector"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["full", "random", "slower/support.Slow"]
    theirs = [stored(folder / "slower")[f"support.Slow-seed{seed}"]["value"] for seed in (3, 4)]
    ours = [stored(folder / "both")[f"random-seed{seed}"]["value"] for seed in (3, 4)]
    assert float(rows["slower/support.Slow"]["val_accuracy_mean"]) == pytest.approx(mean(theirs))
    paired_mean = mean(a - b for a, b in zip(theirs, ours, strict=True))
    assert float(rows["slower/support.Slow"]["vs_random_mean"]) == pytest.approx(paired_mean)
    assert "model.init_args.lr: 0.002 there" in (folder / "both" / "table.md").read_text()
    assert compare(folder, "--equal", "seconds", "--beside", str(folder / "slower"), out="both") == 0
    lengths = {run["steps"] for run in stored(folder / "slower").values()}
    with (folder / "both" / "equal-seconds" / "results.csv").open() as file:
        rows = {row["selector"]: row for row in csv.DictReader(file)}
    assert float(rows["slower/support.Slow"]["steps"]) == min(lengths) < STEPS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--beside", "nowhere"], "nowhere holds no comparison: there is no settings.json in it"),
        (["--beside", "out", "--seeds", "3"], "seed5.json is missing; first finish that comparison, with the same"),
        (["--beside", "out", "--trainer.max_epochs", "2"], "its number of optimiser steps is 24, here it is 12"),
        (["--beside", "out", "--metric", "val_loss"], "its metric is val_accuracy, here it is val_loss"),
        (["--beside", "out", "--data.init_args.test_share", "0.81"], "its number of samples is 359, here it is 341"),
        (["--beside", "out", "./out"], "`--beside` must name folders of different names, got out out"),
        (["--beside", "out", "--equal", "samples"], "`--beside` goes with `--equal steps` or `--equal seconds`"),
    ],
)
@pytest.mark.usefixtures("finished")
def test_what_cannot_stand_beside(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    assert compare(folder, *options, out=str(tmp_path)) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*.json")), "nothing was trained before it was said"


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
    # Half of 0.01 away from the mean, in units of which t with one degree of freedom has its quantile at 12.706.
    assert "| full | 53.50 ± 6.35 | +0.00 (n = 1) | – | n = 1 | – | – |" in table
    runs = {path.name for path in (folder / "failing" / "runs").iterdir()}
    assert runs == {"full-seed3.json", "full-seed4.json", "random-seed3.json", "random-seed4.error.txt"}
    assert "Traceback" in (folder / "failing" / "runs" / "random-seed4.error.txt").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "0"], "`--seeds` must be at least 1, got 0"),
        (["--selectors", "full", "randm"], "unknown selector 'randm'; did you mean 'random'"),
        (["--selectors", "full", "full"], "`--selectors` must name each selector once"),
        (["--target", "76"], "`--target` must be in (0, 1] for val_accuracy, got 76; for 76 % give 0.76"),
        (["--target", "0"], "`--target` must be in (0, 1] for val_accuracy, got 0"),
        (["--target", "inf", "--metric", "val_loss"], "`--target` must be a finite number, got inf"),
        (["--target", "high"], "argument --target: invalid float value: 'high'"),
        (["--keep_ratio", "1.5"], "`keep_ratio` must be in (0, 1], got 1.5"),
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
    times = iter([0.0, 3.0, 4.0, 9.0, 10.0, 12.0])
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
    assert meter.evaluation_seconds == 5.0


# -------------------------------------------------------------------- table and store, by hand
def record(name: str, seed: int, value: float, **rest: Any) -> RunRecord:
    curve = [CurvePoint(5, 50, 1.0, value / 2), CurvePoint(10, 100, 2.0, value)]
    times: dict[str, Any] = {"fit_seconds": 0.3, "data_seconds": 0.7, "evaluation_seconds": 0.2}
    return RunRecord(name, seed, value, 0.4, 100, 10, 2.0, 0.5, curve, [1.0, 0.9], [1, 2, 3], **(times | rest))


VALUES = {
    "random": (0.80, 0.84, 0.82),
    "full": (0.79, 0.84, 0.83),
    "rrd": (0.83, 0.85, 0.87),
    "hybrid": (0.86, 0.90, 0.885),
}


def all_records(values: dict[str, tuple[float, ...]]) -> list[RunRecord]:
    return [record(name, seed, v) for name, of_seeds in values.items() for seed, v in enumerate(of_seeds)]


def lines(table: Table) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in table.rows}


def test_time_of_that_allowed_by_hand() -> None:
    # Ten steps in 1.5 s without selection, so 20 of them would take 3 s: 2 s are two thirds of that.
    *_, seconds = tables(summarise([record("rrd", 0, 0.8)]), 1, "val_accuracy", allowed=20)
    assert seconds.headings[-1] == "of time allowed"
    assert lines(seconds)["rrd"][-1] == "0.67"


def test_summary_by_hand() -> None:
    random, _, rrd, _ = summarise(all_records(VALUES))
    assert (random.n, random.mean, random.std) == (3, pytest.approx(0.82), pytest.approx(0.02))
    assert (rrd.mean, rrd.std) == (pytest.approx(0.85), pytest.approx(0.02))
    # Differences 0.03, 0.01, 0.05 of the pairs.
    assert (rrd.versus["random"].mean, rrd.versus["random"].std) == (pytest.approx(0.03), pytest.approx(0.02))
    # The quantile of t with two degrees of freedom is 4.303; 4.303 * 0.02 / sqrt(3).
    assert (rrd.ci95, rrd.versus["random"].ci95) == (pytest.approx(0.04968, abs=1e-5),) * 2
    assert set(rrd.versus) == {"random", "full"}
    assert set(random.versus) == {"full"}


def test_summary_agrees_with_scipy() -> None:
    rows = {row.selector: row for row in summarise(all_records(VALUES))}
    for name, row in rows.items():
        assert row.ci95 == pytest.approx(half(list(VALUES[name])))
        for baseline, difference in row.versus.items():
            test = oracle.ttest_rel(VALUES[name], VALUES[baseline])
            low, high = test.confidence_interval(0.95)
            assert difference.p == pytest.approx(test.pvalue)
            assert (difference.mean - difference.ci95, difference.mean + difference.ci95) == pytest.approx((low, high))
    p = [rows[name].versus["random"].p for name in ("full", "rrd", "hybrid")]
    # hybrid, rrd, full in order of their p-values.
    assert p[2] < p[1] < p[0]
    corrected = [rows[name].versus["random"].p_holm for name in ("hybrid", "rrd", "full")]
    assert corrected == pytest.approx([3 * p[2], 2 * p[1], p[0]])


def test_results_as_text() -> None:
    rows = summarise(all_records(VALUES))
    table, cost, seconds = tables(rows, 3, "val_accuracy")
    assert table.headings == ["selector", "val_accuracy %", "vs random", "p", "verdict", "vs full", "p"]
    assert "95 % confidence interval" in table.title
    by_name = lines(table)
    assert by_name["rrd"][:4] == ["85.00 ± 4.97", "+3.00 ± 4.97", "0.243", "same"]
    assert by_name["hybrid"][3] == "better"
    assert by_name["random"][1:4] == ["–", "–", "–"]
    assert by_name["full"][4:] == ["–", "–"]
    assert lines(cost)["rrd"] == ["100", "0", "10", "not counted"]
    parts = ("selection", "fitting", "data")
    assert seconds.headings[1:] == ["wall-clock s", *(f"of which {part} s" for part in parts), "evaluation s"]
    assert lines(seconds)["rrd"] == ["2.0", "0.50", "0.30", "0.70", "0.2"]
    # As a loss the same numbers mean the opposite, without a unit.
    loss = lines(tables(summarise(all_records(VALUES), metric="val_loss"), 3, "val_loss")[0])
    assert loss["rrd"][0] == "0.8500 ± 0.0497"
    assert loss["hybrid"][3] == "worse"


def test_operations_of_small_and_of_large_networks() -> None:
    def text(**flops: float) -> str:
        run = record("a", 0, 0.5)
        return tables(summarise([replace(run, **flops)]), 1, "val_accuracy")[1].rows[0][4]

    assert text(flops=4.4e8, selection_flops=1.1e8) == "0.00044 / 0.00011"
    assert [text(flops=2.5e16), text(flops=0.0), text()] == ["25,000", "0", "not counted"]


def test_one_seed_has_no_interval() -> None:
    rows = summarise([record("random", 0, 0.5), record("rrd", 0, 0.6)])
    assert rows[1].std is rows[1].ci95 is rows[1].versus["random"].p is None
    table = tables(rows, 1, "val_accuracy")[0]
    assert lines(table)["rrd"] == ["60.00", "+10.00", "–", "n = 1"]
    assert table.title == "n = 1: no interval"


def test_only_seeds_in_both_are_paired() -> None:
    records = [record("random", 0, 0.5), record("rrd", 0, 0.6), record("rrd", 1, 0.9)]
    rows = summarise(records)
    assert (rows[1].versus["random"].n, rows[1].versus["random"].mean) == (1, pytest.approx(0.1))
    assert lines(tables(rows, 2, "val_accuracy")[0])["rrd"][1:] == ["+10.00 (n = 1)", "–", "n = 1"]
    apart = summarise([record("random", 0, 0.5), record("rrd", 1, 0.9)])
    assert apart[1].versus == {}


def test_without_random_there_is_no_verdict() -> None:
    rows = summarise(all_records({name: VALUES[name] for name in ("full", "rrd")}))
    table = tables(rows, 3, "val_accuracy")[0]
    assert table.headings == ["selector", "val_accuracy %", "vs full", "p"]
    alone = tables(summarise(all_records({"rrd": VALUES["rrd"]})), 3, "val_accuracy")[0]
    assert alone.headings == ["selector", "val_accuracy %"]
    assert rows[1].verdict == ""


def test_a_selector_without_any_result() -> None:
    rows = summarise([record("rrd", 0, float("nan"), error="RuntimeError: no")], target=0.5)
    page = results_markdown(tables(rows, 1, "val_accuracy"), [("seeds", "0 (n = 1)")])
    assert "| rrd | failed: seed 0: RuntimeError: no |" in page
    assert page.startswith("- seeds: 0 (n = 1)\n")
    assert results_csv(rows, "val_accuracy").splitlines()[1].startswith("rrd,0,,")


def test_a_failed_selector_leaves_the_others_alone() -> None:
    failed = [record("rrd", seed, float("nan"), error="RuntimeError: a | b") for seed in range(3)]
    records = [*all_records({name: VALUES[name] for name in ("random", "hybrid")}), *failed]
    rows = summarise(records, target=0.8)
    found = tables(rows, 3, "val_accuracy")
    assert all(len(row) == len(table.headings) for table in found for row in table.rows)
    assert [set(lines(table)) for table in found] == [{"random", "hybrid", "rrd"}] + [{"random", "hybrid"}] * 3
    hybrid = rows[1].versus["random"]
    assert hybrid.p_holm == hybrid.p, "the failed one is no comparison"
    assert len(list(csv.DictReader(results_csv(rows, "val_accuracy").splitlines()))) == 3


def test_a_diverged_run_gets_no_verdict() -> None:
    values = {"random": VALUES["random"], "rrd": (0.8, float("nan"), 0.9), "hybrid": VALUES["hybrid"]}
    rows = summarise(all_records(values), target=0.8)
    line = lines(tables(rows, 3, "val_accuracy")[0])["rrd"]
    assert line == ["nan ± nan", "+nan", "–", "–"]
    assert rows[2].versus["random"].p_holm == rows[2].versus["random"].p
    assert rows[1].speed is not None
    assert rows[1].speed.reached == 2


def test_csv_has_all_numbers() -> None:
    rows = summarise(all_records(VALUES), target=0.86)
    found = {line["selector"]: line for line in csv.DictReader(results_csv(rows, "val_accuracy").splitlines())}
    rrd = found["rrd"]
    assert float(rrd["val_accuracy_std"]) == rows[2].std
    assert float(rrd["val_accuracy_ci95"]) == rows[2].ci95
    assert float(rrd["vs_full_p_holm"]) == rows[2].versus["full"].p_holm
    assert (rrd["verdict"], rrd["target"], rrd["target_reached"], rrd["target_samples"]) == ("same", "0.86", "1", "inf")
    assert found["random"]["vs_random_mean"] == ""
    empty = results_csv(summarise(all_records({"rrd": (0.8,)})), "val_accuracy").splitlines()[0]
    assert empty == results_csv(rows, "val_accuracy").splitlines()[0]


def test_long_names_are_numbered() -> None:
    long = [f"hybrid:rarity=1,refresh={i},sae_epochs=6" for i in (2, 3)]
    mine = "my.package.selectors.with_a_long_name.Mine"
    assert list(labels(["random", *long, mine]).values()) == ["random", "hybrid #1", "hybrid #2", "Mine #1"]
    rows = summarise([record(long[0], 0, 0.5)])
    assert tables(rows, 1, "val_accuracy")[0].rows[0][0] == "hybrid #1"
    assert results_csv(rows, "val_accuracy").splitlines()[1].startswith(f'"{long[0]}",1')


@pytest.mark.usefixtures("no_pictures")
def test_long_names_and_intervals_fit_into_120_columns(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        Comparison,
        "train",
        lambda self, name, seed, *rest: record(name, seed, 0.5 + (seed - 3) * (0.2 if name == "full" else 0.1)),
    )
    long = ["hybrid:rarity=1,refresh=2,sae_epochs=6", "random:class_balance=false,seed=12"]
    assert compare(folder, "--selectors", "full", "random", *long, "--target", "0.6", "--energy", out="long") == 0
    printed = capsys.readouterr().out
    table = printed[printed.index("n = 2: mean") :]
    shown = [line for line in table.splitlines() if "/" not in line]
    assert max(map(len, shown)) <= 120
    assert "…" not in "".join(shown)
    assert f"hybrid #1: {long[0]}" in table
    assert f"- random #1: `{long[1]}`" in (folder / "long" / "table.md").read_text()


# -------------------------------------------------------------------- statistics
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.integers(0, 2**32))
def test_paired_is_the_formula_of_the_t_test(base: list[float], seed: int) -> None:
    own = [b + e for b, e in zip(base, np.random.default_rng(seed).normal(0.1, 0.2, len(base)), strict=True)]
    found, n = paired(own, base), len(own)
    pairs = [a - b for a, b in zip(own, base, strict=True)]
    error = stdev(pairs) / n**0.5
    assert found.p == pytest.approx(2 * oracle.t.sf(abs(mean(pairs)) / error, n - 1), abs=1e-12)
    assert found.ci95 == pytest.approx(oracle.t.ppf(0.975, n - 1) * error, rel=1e-12, abs=1e-12)
    assert half_width(own) == pytest.approx(half(own), rel=1e-12, abs=1e-12)


def test_holm_by_hand() -> None:
    # In order: 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04, which may not be below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_rejects_as_its_procedure_does(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    rejected, m = set(), len(p_values)
    for k, i in enumerate(sorted(range(m), key=p_values.__getitem__)):
        if (m - k) * p_values[i] > 0.05:
            break
        rejected.add(i)
    assert {i for i, a in enumerate(adjusted) if a <= 0.05} == rejected


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=5), st.booleans())
def test_no_verdict_unless_the_interval_excludes_zero(values: list[list[float]], lower: bool) -> None:
    by_seed = {str(i) if i else "random": dict(enumerate(of_seeds)) for i, of_seeds in enumerate(values)}
    for difference in differences(by_seed, "random").values():
        said = verdict(difference, lower=lower)
        if said in ("better", "worse"):
            assert difference.ci95 is not None
            assert abs(difference.mean) > difference.ci95
            assert (said == "better") == ((difference.mean < 0) == lower)
        else:
            assert said in ("same", "–")


def test_the_verdict_is_on_corrected_values() -> None:
    alone = {"random": dict.fromkeys(range(3), 0.0), "rrd": {0: 0.030, 1: 0.050, 2: 0.035}}
    assert verdict(differences(alone, "random")["rrd"]) == "better"
    many = alone | {f"s{i}": {0: 0.01, 1: -0.01, 2: 0.005} for i in range(3)}
    rrd = differences(many, "random")["rrd"]
    assert rrd.p is not None
    assert rrd.p < 0.05
    assert verdict(rrd) == "same"


def test_equal_differences_are_no_certainty() -> None:
    # One image of 360 more with both seeds: chance, though the t statistic is infinite. In float32, as metrics come.
    base = [float(np.float32(k / 360)) for k in (300, 311)]
    own = [float(np.float32((k + 1) / 360)) for k in (300, 311)]
    found = differences({"random": dict(enumerate(base)), "rrd": dict(enumerate(own))}, "random")["rrd"]
    assert (found.p, found.ci95, verdict(found)) == (None, None, "–")
    same = differences({"random": dict(enumerate(base)), "rrd": dict(enumerate(base))}, "random")["rrd"]
    assert (same.p, same.ci95, verdict(same)) == (1.0, 0.0, "same")


# -------------------------------------------------------------------- speed to a target
def curve(*values: float) -> list[CurvePoint]:
    return [CurvePoint(10 * i, 100 * i, float(i), value) for i, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ((0.5, 0.7, 0.8, 0.9), 30),
        ((0.8, 0.7, 0.8, 0.9), 30),  # reached, lost, reached again
        ((0.8, 0.9, 0.9, 0.7), None),  # reached, and lost in the end
        ((0.8, 0.8, 0.9, 0.8), 10),  # at the first point
        ((0.1, 0.2, 0.3, 0.9), 40),  # at the last point
        ((0.1, 0.2, 0.3, 0.75), None),
        ((0.1, 0.2, float(np.float32(0.76)), 0.9), 30),  # 0.75999999
        ((0.8, float("nan"), 0.8, 0.8), 30),
        ((), None),
    ],
)
def test_reached_and_held(values: tuple[float, ...], step: int | None) -> None:
    for sign, lower in ((1, False), (-1, True)):
        point = reached(curve(*(sign * value for value in values)), sign * 0.76, lower=lower)
        assert (point and point.step) == step


def runs(name: str, *curves: list[CurvePoint]) -> list[RunRecord]:
    return [
        RunRecord(name, seed, c[-1].value, None, c[-1].samples, c[-1].step, c[-1].seconds, 0.0, c)
        for seed, c in enumerate(curves)
    ]


def test_speed_is_the_median_over_seeds() -> None:
    low, soon, late = curve(0.1, 0.1, 0.1), curve(0.9, 0.9, 0.9), curve(0.1, 0.1, 0.9)
    records = [
        *runs("all", soon, late, late),
        *runs("most", soon, late, low),
        *runs("half", soon, low),
        *runs("few", soon, low, low),
        *runs("none", low, low, low),
    ]
    found = tables(summarise(records, target=0.76), 3, "val_accuracy")[3]
    assert found.title == "speed to val_accuracy ≥ 76.00 %: median over seeds"
    assert lines(found) == {
        "all": ["3 of 3", "300", "30", "3.0"],
        "most": ["2 of 3", "300", "30", "3.0"],
        "half": ["1 of 2", "> 300", "> 30", "> 3.0"],
        "few": ["1 of 3", "> 300", "> 30", "> 3.0"],
        "none": ["0 of 3", "never", "never", "never"],
    }
    loss = tables(summarise(runs("all", soon, low), metric="val_loss", target=0.2), 2, "val_loss")[3]
    assert loss.title == "speed to val_loss ≤ 0.2000: median over seeds"
    assert lines(loss)["all"][0] == "1 of 2"


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


def test_differences_by_hand() -> None:
    there = {"lr": 0.1, "callbacks": [{"a": 1}, {"b": 2}], "sizes": [1, 2], "same": [3]}
    here = {"lr": 0.1, "callbacks": [{"a": 1}], "sizes": None, "same": [3], "new": True}
    said = "callbacks: [{'b': 2}] there, [] now; new: None there, True now; sizes: [1, 2] there, None now"
    assert differences_of(there, here) == said
    assert differences_of(there, here, shown=1) == "callbacks: [{'b': 2}] there, [] now; and 2 more"
    assert differences_of({"size": [32, 28]}, {"size": [28, 32]}) == "size: [32, 28] there, [28, 32] now"
    assert differences_of({"c": [{}, {"a": 1}]}, {"c": [{"a": 1}, {}]}) == "c: [{}, {'a': 1}] there, [{'a': 1}, {}] now"


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
