"""`dynsel compare` on the digits: two selectors, two seeds, a few steps."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from reports import STEPS, half, record

from dynsel.commands.main import main
from dynsel.compare import RunRecord
from dynsel.compare.run import Comparison

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def compare(folder: Path, *options: str, out: str = "out") -> int:
    base = ["compare", "--config", str(folder / "digits.yaml"), "--out", str(folder / out)]
    return main([*base, "--selectors", "full", "random", "--seeds", "2", *options])


def callback(name: str, **arguments: Any) -> list[str]:
    """Options for a callback of Lightning's."""
    given = [{"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": arguments}]
    return [f"--trainer.callbacks={json.dumps(given)}"]


@pytest.fixture(scope="module")
def finished(folder: Path) -> dict[str, dict[str, Any]]:
    assert compare(folder) == 0
    return stored(folder / "out")


def stored(out: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (out / "runs").glob("*.json")}


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
    assert len(finished["random-seed3"]["class_balance"]) == 4


def test_the_parts_of_a_time_fit_into_it(finished: dict[str, dict[str, Any]]) -> None:
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


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynsel.commands._results.write_report", lambda *args, **options: [])


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


def test_worth_trains_full_data_for_other_lengths(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine choosing may take more than a hundredth of a run of a fifth of a second.
    monkeypatch.setattr("dynsel.compare.queue.NOTICEABLE", 2.0)
    assert compare(folder, "--worth", out="worth") == 0
    runs = stored(folder / "worth")
    # 0.4, 0.55, 0.7, 0.85, 1 and 1.4 times 24.
    lengths = sorted(run["steps"] for run in runs.values() if run["selector"] == "full" and run["seed"] == 3)
    assert lengths == [10, 13, 17, 20, 24, 34]
    assert all(run["curve"][-1]["step"] == run["steps"] for run in runs.values())
    with (folder / "worth" / "results.csv").open() as file:
        rows = {row["selector"]: row for row in csv.DictReader(file)}
    assert rows["full"]["worth"] == ""
    assert float(rows["random"]["worth_low"]) <= float(rows["random"]["worth"]) <= float(rows["random"]["worth_high"])
    table = (folder / "worth" / "table.md").read_text()
    assert " ends best, with a validation accuracy of " in table.splitlines()[0]
    assert " Validation accuracy in optimiser steps of full data: random is worth " in table.splitlines()[0]
    assert "**worth in optimiser steps of full data**" in table
    assert "Validation accuracy in optimiser steps of full data" in (folder / "worth" / "report.html").read_text()
    assert (folder / "worth" / "worth.png").is_file()
    capsys.readouterr()
    # Every run is kept; the time is that of as many steps.
    assert compare(folder, "--worth", "--equal", "seconds", out="worth") == 0
    printed = capsys.readouterr().out
    assert "full, seed" not in printed
    assert "worth in time of full data" in printed


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


@pytest.mark.usefixtures("no_pictures")
def test_selectors_with_budgets_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = "random:budget=0.5,keep_ratio=0.25"
    assert compare(folder, "--selectors", "full", "random", half, out="budgets") == 0
    runs = stored(folder / "budgets")
    # 359 images in batches of 60 are 6 batches an epoch; half of them, over four epochs.
    assert {(run["selector"], run["steps"]) for run in runs.values()} == {("full", 24), ("random", 24), (half, 12)}
    assert max(run["samples"] for run in runs.values() if run["selector"] == half) <= 12 * 60
    table = (folder / "budgets" / "table.md").read_text()
    assert "24 optimiser steps, or its budget's share of them" in table
    assert compare(folder, "--beside", str(folder / "budgets"), out="beside-budgets") == 0
    with (folder / "beside-budgets" / "results.csv").open() as file:
        steps = {row["selector"]: row["steps"] for row in csv.DictReader(file)}
    assert steps[f"budgets/{half}"] == "12"
    capsys.readouterr()
    assert compare(folder, "--selectors", "full", half, "--equal", "samples", out="budgets") == 2
    error = capsys.readouterr().err
    assert f"`budget` gives {half} its number of steps; it goes with `--equal steps`, got `--equal samples`" in error
    assert compare(folder, "--selectors", "random:budget=2", out="budgets") == 2
    assert "`budget` must be in (0, 1], got 2" in capsys.readouterr().err


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
        (["--evaluations", "0"], "`--evaluations` must be at least 1, got 0"),
        (["--selectors", "full", "randm"], "unknown selector 'randm'; did you mean 'random'"),
        (["--selectors", "full", "full"], "`--selectors` must name each selector once"),
        (["--target", "76"], "`--target` must be in (0, 1] for val_accuracy, got 76; for 76 % give 0.76"),
        (["--target", "0"], "`--target` must be in (0, 1] for val_accuracy, got 0"),
        (["--target", "inf", "--metric", "val_loss"], "`--target` must be a finite number, got inf"),
        (["--target", "high"], "argument --target: invalid float value: 'high'"),
        (["--keep_ratio", "1.5"], "`keep_ratio` must be in (0, 1], got 1.5"),
        (["--trainer.max_epochs", "-1"], "`trainer.max_epochs` or `trainer.max_steps` must be set"),
        (["--metric", "f1"], ", train_loss, val_accuracy, val_loss; choose one by --metric"),
        (["--trainer.epochs", "1"], "unrecognized arguments: --trainer.epochs"),
        (["--trainer.max_steps", "0"], "`trainer.max_steps` must not be 0: it must be at least 1"),
        (["--trainer.overfit_batches", "2"], "`trainer.overfit_batches` must not be 2: it switches selection off"),
        (["--trainer.fast_dev_run", "true"], "`trainer.fast_dev_run` must not be True: one step compares nothing"),
        (["--trainer.limit_val_batches", "0"], "`trainer.limit_val_batches` must not be 0"),
        (["--selection.features", "none.npz:key"], "there is no feature file none.npz"),
        (["--selection.features", "."], ". must hold one feature store"),
        (callback("Timer", duration="00:00:10:00"), "give that argument yourself, as `interval: step`"),
        (callback("StochasticWeightAveraging", swa_lrs=0.1), "it averages up to the last epoch"),
        (callback("GradientAccumulationScheduler", scheduling={1: 2}), "set `trainer.accumulate_grad_batches`"),
        (callback("BatchSizeFinder"), "`trainer.callbacks` must be without BatchSizeFinder"),
        (callback("LearningRateFinder"), "`trainer.callbacks` must be without LearningRateFinder"),
    ],
)
def test_wrong_input_is_told_in_one_line_and_nothing_is_trained(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert compare(folder, *options, out="wrong") == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (folder / "wrong").exists()


@pytest.mark.usefixtures("no_pictures")
def test_what_ends_runs_early_is_left_out_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Of a loss that is to rise there is no second best.
    stop = callback("EarlyStopping", monitor="val_loss", mode="max", patience=0)
    options = ["--seeds", "1", *stop, "--trainer.devices=2", "--trainer.max_time=00:00:00:01"]
    assert compare(folder, *options, out="ending") == 0
    said = capsys.readouterr().out
    assert said.count("without EarlyStopping and `trainer.max_time`: every run takes the same number of optimiser") == 1
    assert said.count("on one device: `trainer.devices` is 2, `trainer.num_nodes` 1") == 1
    assert {run["steps"] for run in stored(folder / "ending").values()} == {STEPS}


def test_a_comparison_without_any_result_writes_no_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*args: Any) -> RunRecord:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Comparison, "train", train)
    assert compare(folder, out="empty") == 1
    assert "no run finished: there is nothing to tabulate" in capsys.readouterr().out
    assert {path.name for path in (folder / "empty").iterdir()} == {"runs", "settings.json"}


@pytest.mark.usefixtures("no_pictures")
def test_long_names_and_intervals_fit_into_120_columns(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        Comparison,
        "train",
        lambda self, name, seed, *rest: record(name, seed, 0.5 + (seed - 3) * (0.2 if name == "full" else 0.1)),
    )
    long = ["hybrid:noise=0.1,refresh=2,sae_epochs=6", "random:class_balance=false,seed=123456"]
    assert compare(folder, "--selectors", "full", "random", *long, "--target", "0.6", "--energy", out="long") == 0
    printed = capsys.readouterr().out
    table = printed[printed.index("n = 2: mean") :]
    shown = [line for line in table.splitlines() if "/" not in line]
    assert max(map(len, shown)) <= 120
    assert "…" not in "".join(shown)
    assert f"hybrid #1: {long[0]}" in table
    assert f"- random #1: `{long[1]}`" in (folder / "long" / "table.md").read_text()
