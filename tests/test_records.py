"""The table of records: made from run files alone, by its rule."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import record_files
import records
from scipy.stats import ttest_rel

from dynsel.compare.record import RunRecord
from dynsel.compare.store import Store

RECIPES = Path(__file__).parents[1] / "recipes"
ORIGIN = {
    "command": "dynsel compare --out runs/x",
    "hardware": "CPU of a test, 1 thread",
    "versions": "dynsel 0.1.0",
    "date": "2026-11-29",
    "commit": "abc",
}
# By how much three seeds of a method are above full data, in points.
ABOVE = {"full": (0, 0, 0), "random": (0.1, -0.2, 0.3), "hybrid": (1.0, 1.1, 1.05), "odd": (1.2, 4.0, -1.0)}


def folder_of(
    path: Path, above: dict[str, tuple[float, ...]] = ABOVE, settings: dict[str, object] | None = None, **fields: object
) -> Path:
    store = Store(path, {"metric": "val_accuracy", **(settings or {})})
    store.begin(100)
    for name, points in above.items():
        for seed, point in enumerate(points):
            value = 0.9 + 0.001 * seed + point / 100
            store.save(
                RunRecord(name, seed, value, steps=100, samples=1000, **{"seconds": 50.0, "origin": ORIGIN, **fields})
            )
    return path


def keep(folders: list[Path], name: str, setting: str, records_folder: Path) -> Path:
    """As the command does."""
    path, kept = record_files.content(folders, name, setting, records_folder)
    record_files.as_comparison(name, kept)
    record_files.write(path, kept)
    return path


def made(tmp_path: Path, *folders: Path, setting: str = "a setting") -> str:
    for i, folder in enumerate(folders):
        keep([folder], f"file{i}", setting, tmp_path / "records")
    records.main(["--records", str(tmp_path / "records"), "--page", str(tmp_path / "page.md")])
    return (tmp_path / "page.md").read_text()


def holders(text: str) -> list[str]:
    held = text.partition("## Hybrid, setting by setting")[0]
    return [line.split("|")[2].strip(" `") for line in held.splitlines() if line.startswith("| a setting")]


def row(text: str, *starts: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith("| " + " | ".join(starts))]
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


def test_a_record_is_taken_where_p_is_small_in_one_run(tmp_path: Path) -> None:
    text = made(tmp_path, folder_of(tmp_path / "a"))
    assert row(text, "a setting", "`full`")[2] == "90.10 ± 0.25"
    taken = row(text, "a setting", "`hybrid`")
    assert taken[:7] == ["a setting", "`hybrid`", "91.15 ± 0.33", "100", "50", "3", "`full`, 90.10 ± 0.25"]
    assert taken[7].startswith("+1.05 ± 0.12")
    assert float(taken[8].removeprefix("< ")) < 0.01
    assert taken[9:] == ["2026-11-29", "abc"]
    # The higher mean without certainty takes nothing, and stands in the table.
    assert "| a setting | `odd`" not in text
    assert row(text, "`odd`")[5] == "same"
    assert "command: `dynsel compare --out runs/x`" in text


def test_a_holder_is_beaten_only_by_who_was_beside_it(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a")
    later = {**ORIGIN, "date": "2026-11-30"}
    apart = folder_of(tmp_path / "b", {"full": (0, 0, 0), "new": (3.0, 3.1, 3.05)}, origin=later)
    beside = folder_of(tmp_path / "c", {"hybrid": (1, 1, 1.1), "newer": (3.0, 3.1, 3.05)}, origin=later)
    assert holders(made(tmp_path, first, apart, beside)) == ["full", "hybrid", "newer"]


# What of a comparison's entries is the first holder; the others are far better, and come first by their names.
FIRST = {
    "full": "full",
    "full:budget=1.0": "full:budget=1.0",
    "random": "random",
    "random:static=true,class_balance=true": "random:static=true,class_balance=true",
    "random-in-batch": "random-in-batch",
    "zoo.Random": "",
    "rrd": "",
    "full:budget=0.5": "",
}


@pytest.mark.parametrize(("entry", "first"), FIRST.items())
def test_only_full_data_and_random_subsets_hold_what_nobody_won(tmp_path: Path, entry: str, first: str) -> None:
    above = {"a.better.Selector": (3.0, 3.1, 3.05), "fast": (2.0, 4.0, -1.0), entry: (0.0, 0.1, -0.1)}
    text = made(tmp_path, folder_of(tmp_path / "a", above))
    assert holders(text) == ([first, "a.better.Selector"] if first else [])
    assert row(text, f"`{entry}`")[2] == "3", "in the table below it stands all the same"


def test_full_data_of_a_later_comparison_go_before_random_subsets(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a", {"random": (5.0, 5.1, 5.0), "zzz": (5.1, 5.0, 5.1)})
    later = {**ORIGIN, "date": "2026-11-30"}
    second = folder_of(tmp_path / "b", {"random": (0.0, 0.1, 0.0), "full": (0.2, 0.1, 0.2)}, origin=later)
    assert holders(made(tmp_path, first, second)) == ["full"]


def test_runs_of_a_seed_are_of_one_kind_of_machine(tmp_path: Path) -> None:
    here = folder_of(tmp_path / "a", {"full": (0, 0.1, 0.2)})
    other = {**ORIGIN, "hardware": "another CPU, 1 thread"}
    there = folder_of(tmp_path / "b", {"hybrid": (1.1, 1.2, 1.31)}, origin=other)
    keep([here], "x", "a setting", tmp_path / "records")
    said = "runs of seed 0 are of several kinds of machine, .* keep them apart by --name"
    with pytest.raises(ValueError, match=said):
        keep([there], "x", "a setting", tmp_path / "records")
    # Other seeds are never compared with these.
    store = Store(tmp_path / "c", {"metric": "val_accuracy"})
    store.begin(100)
    for seed in (3, 4):
        store.save(RunRecord("full", seed, 0.9, steps=100, seconds=50.0, origin=other))
    keep([store.folder], "x", "a setting", tmp_path / "records")
    assert row(made(tmp_path), "`full`")[2] == "5"


def test_full_data_go_before_random_subsets(tmp_path: Path) -> None:
    above = {"random": (0.0, 0.1, 0.0), "zzz": (0.1, 0.0, 0.1), "full": (0.2, 0.1, 0.2)}
    assert holders(made(tmp_path, folder_of(tmp_path / "a", above))) == ["full"]


def test_one_seed_holds_nothing_and_takes_nothing(tmp_path: Path) -> None:
    one = folder_of(tmp_path / "a", {"full": (0.0,), "hybrid": (9.0,)})
    assert holders(made(tmp_path, one)) == []
    later = {**ORIGIN, "date": "2026-11-30"}
    two = folder_of(tmp_path / "b", {"full": (0.0, 0.1), "hybrid": (9.0, 9.1001)}, origin=later)
    assert holders(made(tmp_path, one, two)) == ["full", "hybrid"]


def test_a_holder_is_met_under_another_name(tmp_path: Path) -> None:
    settings = {"selection": {"budget": 1.0, "keep_ratio": 0.5}}
    first = {"full": (0, 0, 0), "hybrid:budget=1.0,keep_ratio=0.50": (1.0, 1.1, 1.05)}
    newer = {"hybrid": (1.0, 1.1, 1.05), "newer": (3.0, 3.2, 3.1)}
    text = made(tmp_path, folder_of(tmp_path / "a", first), folder_of(tmp_path / "b", newer, settings))
    assert holders(text) == ["full", "hybrid:budget=1.0,keep_ratio=0.50", "newer"]
    assert row(text, "a setting", "`newer`")[6].startswith("`hybrid`, 91.")
    settings["selection"]["keep_ratio"] = 0.3
    other = tmp_path / "other"
    other.mkdir()
    text = made(other, folder_of(other / "c", first), folder_of(other / "d", newer, settings))
    assert holders(text) == ["full", "hybrid:budget=1.0,keep_ratio=0.50"], "that is another Hybrid"


def test_the_table_finds_its_random_subsets_as_a_comparison_does(tmp_path: Path) -> None:
    above = {"fast": (1.0, 1.1, 1.05), "random:static=true": (0, 0, 0.01)}
    assert row(made(tmp_path, folder_of(tmp_path / "a", above)), "`fast`")[3].startswith("+1.05")


def test_the_oldest_comparison_comes_first(tmp_path: Path) -> None:
    # A later part of it was made after the other one; by the order of its files that is its first date.
    first = folder_of(tmp_path / "a", {"zzz": (1.0, 1.1, 1.05)})
    store = Store.stored(first)
    for seed in range(3):
        new = {**ORIGIN, "date": "2026-12-31"}
        store.save(RunRecord("full", seed, 0.9 + 0.001 * seed, steps=100, seconds=1.0, origin=new))
    second = folder_of(tmp_path / "b", {"full": (0.0, 0.1, 0.0)}, origin={**ORIGIN, "date": "2026-11-30"})
    text = made(tmp_path, second, first)
    assert holders(text) == ["full", "zzz"]
    assert row(text, "a setting", "`full`")[-2] == "2026-11-29, 2026-12-31"


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy_loss", "val_perplexity"])
def test_what_is_no_accuracy_is_refused(tmp_path: Path, metric: str) -> None:
    folder = folder_of(tmp_path / "a", settings={"metric": metric})
    with pytest.raises(ValueError, match=f"`metric` must be an accuracy, .* got '{metric}'"):
        keep([folder], "x", "a setting", tmp_path / "records")


def test_what_a_run_does_not_tell_comes_from_the_table_beside_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", origin={})
    (folder / "table.md").write_text(
        "- command: `dynsel compare old`\n- hardware: an old machine\n- date: 2026-01-01\n"
    )
    text = made(tmp_path, folder)
    assert "command: `dynsel compare old`" in text
    assert "hardware: an old machine" in text
    assert row(text, "a setting", "`full`")[-2:] == ["2026-01-01", "unknown"]


def test_flips_and_worth_have_columns_of_their_own(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", logged={"val_accuracy_flips": 0.95})
    store = Store.stored(folder)
    for seed in range(3):
        for steps, value in ((50, 0.88), (150, 0.93)):
            store.save(
                RunRecord("full", seed, value + 0.001 * seed, steps=steps, samples=steps * 10, seconds=1.0), steps
            )
    text = made(tmp_path, folder)
    assert "| with test-time flips % | worth |" in text
    cells = row(text, "`hybrid`")
    assert cells[-2] == "95.00 ± 0.00"
    assert cells[-1].startswith("1.")
    assert row(text, "`full`")[1] == "90.10 ± 0.25"  # of the configured length alone


def test_an_evaluation_of_a_distilled_set_is_told_too(tmp_path: Path) -> None:
    folder = tmp_path / "ncfm"
    folder.mkdir()
    results = [
        {"set": name, "network": "convnet", "images": 100, "last": [value, value + 0.01], "best": [1, 1]}
        for name, value in (("random real", 0.26), ("distilled", 0.5))
    ]
    facts = {**ORIGIN, "versions": {"dynsel": "0.1.0"}, "results": results}
    (folder / "evaluation.json").write_text(json.dumps(facts))
    text = made(tmp_path, folder)
    assert row(text, "`distilled, convnet`")[1].startswith("50.50")
    facts["results"][1]["last"] = [0.6, 0.61]
    (folder / "evaluation.json").write_text(json.dumps(facts))
    assert row(made(tmp_path, folder), "`distilled, convnet`")[1].startswith("60.50")
    keep([folder_of(tmp_path / "a")], "compared", "a setting", tmp_path / "records")
    for folders, name, setting in (
        ([folder], "file0", "another setting"),
        ([folder, tmp_path / "a"], "file0", "a setting"),
        ([folder], "compared", "a setting"),
    ):
        with pytest.raises(ValueError, match="an evaluation of a distilled set has a file of its own"):
            keep(folders, name, setting, tmp_path / "records")


def test_folders_of_other_seeds_are_one_comparison(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a")
    store = Store(tmp_path / "b", {"metric": "val_accuracy"})
    store.begin(100)
    for run, _ in Store.stored(first).finished():
        store.save(replace(run, seed=run.seed + 3))
    keep([first, store.folder], "both", "a setting", tmp_path / "records")
    assert row(made(tmp_path), "a setting", "`hybrid`")[5] == "6"
    with pytest.raises(ValueError, match="full, seed 0 is in two folders; give each run once"):
        keep([first, first], "twice", "a setting", tmp_path / "records")
    Store(tmp_path / "c", {"metric": "val_accuracy", "lr": 1}).begin(100)
    with pytest.raises(ValueError, match="must have the same settings, got lr: None there, 1 now"):
        keep([first, tmp_path / "c"], "both", "a setting", tmp_path / "records")


def test_a_comparison_grows_from_machine_to_machine(tmp_path: Path) -> None:
    records = tmp_path / "records"

    def add(folder: Path) -> None:
        keep([folder], "grows", "a setting", records)

    def settings(root: str, lr: float = 0.1) -> dict[str, object]:
        data = {"class_path": "dynsel.data.CIFAR10DataModule", "init_args": {"root": root}}
        return {"data": data, "lr": lr}

    add(folder_of(tmp_path / "a", settings=settings("/here")))
    # Elsewhere, and a day later: another seed of `full`, and a method of its own.
    there = folder_of(tmp_path / "b", {"new": (3.0,)}, settings("/there"), origin={**ORIGIN, "date": "2026-11-30"})
    run = RunRecord("full", 3, 0.9, steps=100, samples=1000, seconds=1.0, origin={**ORIGIN, "date": "2026-11-30"})
    Store.stored(there).save(run)
    add(there)
    text = made(tmp_path)
    assert [row(text, f"`{name}`")[2] for name in ("full", "hybrid", "new")] == ["4", "3", "1"]
    assert "date: 2026-11-29; 2026-11-30" in text
    before = (records / "grows.json").read_bytes()
    add(there)
    assert (records / "grows.json").read_bytes() == before, "the same folder again changes nothing"
    # What was trained again goes before what was there.
    add(folder_of(tmp_path / "c", {"new": (5.0,)}, settings("/third")))
    assert row(made(tmp_path), "`new`")[1] == "95.00"
    # Neither other settings, all of whose runs are new, nor another name of the setting.
    with pytest.raises(ValueError, match=r"grows.json holds runs of other settings; choose another --name, or delete"):
        add(folder_of(tmp_path / "d", settings=settings("/here", lr=0.2)))
    with pytest.raises(ValueError, match=r"grows.json is of the setting 'a setting', got --setting 'another'"):
        keep([there], "grows", "another", records)
    path = records / "grows.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(before).items() if key != "settings"}))
    with pytest.raises(ValueError, match="holds runs of settings that it doesn't tell"):
        add(there)


@pytest.mark.parametrize("spelt", ["data", "./data/", "/abs/data/cifar10", "~/x"])
def test_where_the_data_lie_is_no_other_setting(tmp_path: Path, spelt: str) -> None:
    def digest(name: str, root: str, **other: Any) -> str:
        data = {"class_path": f"dynsel.data.{name}", "init_args": {"root": root}}
        store = Store(tmp_path, {"metric": "val_accuracy", "data": data, **other})
        store.begin(100)
        (tmp_path / "settings.json").unlink()
        return str(record_files._digest(store))

    machine = {"trainer": {"accelerator": spelt}, "threads": len(spelt)}
    assert digest("CIFAR10DataModule", spelt, **machine) == digest("CIFAR10DataModule", "/other")
    # Of other data modules the folder may say which data it is.
    assert digest("ImageFolderDataModule", spelt) != digest("ImageFolderDataModule", "/other")
    # A file counts by its content, if that is known.
    given = {"selection": {"features": spelt}}
    files = [{**given, "files": {spelt: "sum"}}, {"selection": {"features": "b"}, "files": {"b": "sum"}}]
    assert digest("X", "", **files[0]) == digest("X", "", **files[1])
    assert digest("X", "", **given) != digest("X", "", **files[1])


def test_runs_of_other_arguments_are_kept_apart(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a", made_by={"epsilon": 0.1, "old": 1})
    keep([first], "x", "a setting", tmp_path / "records")
    store = Store(tmp_path / "b", {"metric": "val_accuracy"})
    store.begin(100)
    run = RunRecord("hybrid", 3, 0.9, steps=100, origin=ORIGIN, made_by={"epsilon": 0.9})
    store.save(run)
    with pytest.raises(ValueError, match=r"runs of hybrid have other arguments \(epsilon: 0.1 there, 0.9 now\)"):
        keep([store.folder], "x", "a setting", tmp_path / "records")
    # What only one of them tells came or went with another version.
    store.save(replace(run, made_by={"epsilon": 0.1, "new": 2}))
    keep([store.folder], "x", "a setting", tmp_path / "records")
    assert row(made(tmp_path), "`hybrid`")[2] == "4"


def test_full_data_of_other_lengths_alone_are_no_result(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", {"hybrid": (0, 0.1, 0)})
    store = Store.stored(folder)
    for seed in range(3):
        for steps in (40, 55):
            store.save(RunRecord("full", seed, 0.5, steps=steps, samples=1, seconds=1.0, origin=ORIGIN), steps)
    text = made(tmp_path, folder)
    assert holders(text) == []
    assert "`full`" not in text


def test_rows_are_in_the_order_of_what_is_above_random_subsets_of_the_same_seeds(tmp_path: Path) -> None:
    # "lucky" has the higher mean, for it had the easier seed.
    folder = folder_of(tmp_path / "a", {"random": (0.0, 4.0), "steady": (1.0, 5.0)})
    Store.stored(folder).save(RunRecord("lucky", 1, 0.9 + 0.001 + 0.042, steps=100, seconds=1.0, origin=ORIGIN))
    text = made(tmp_path, folder).partition("## a setting")[2]
    assert float(row(text, "`lucky`")[1]) > float(row(text, "`steady`")[1].split()[0])
    assert text.index("| `steady`") < text.index("| `lucky`") < text.index("| `random`")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": None}, "damaged"),
        ({"value": "0.9"}, "damaged"),
        ({"seed": None}, "damaged"),
        ("[1, 2]", "damaged"),
        ('{"value', "damaged"),
        ({"value": float("nan")}, r"must be in \[0, 1\], got nan of hybrid, seed 1"),
        ({"value": 97.0}, r"must be in \[0, 1\], got 97.0 of hybrid, seed 1"),
    ],
)
def test_a_damaged_run_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str) -> None:
    folder = folder_of(tmp_path / "a")
    path = Store.stored(folder).path("hybrid", 1)
    path.write_text(change if isinstance(change, str) else json.dumps({**json.loads(path.read_text()), **change}))
    if said == "damaged":
        assert row(made(tmp_path, folder), "`hybrid`")[2] == "2"
        assert f"{path} is damaged" in capsys.readouterr().err
    else:
        with pytest.raises(ValueError, match=said):
            made(tmp_path, folder)


def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path / "a")
    (tmp_path / "r").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "x.json").write_text('{"setting')
    folder_of_files, page, add = (
        f"{tmp_path}/r",
        f"{tmp_path}/p.md",
        ["add", str(folder), "--name", "x", "--setting", "s"],
    )
    for name, text in (("list", "[]"), ("empty", "{}"), ("half", '{"setting": "s", "origins": [], "runs": [{}]}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").write_text(text)
    for words, said in (
        (["--records", f"{tmp_path}/list"], "x.json is damaged (it holds list where an object should be)"),
        (["--records", f"{tmp_path}/empty"], "x.json is damaged"),
        (["--records", f"{tmp_path}/half"], "x.json is damaged"),
        (["--page", str(tmp_path)], "--page must be a file"),
        (["--records", f"{tmp_path}/damaged/x.json", *add], "x.json"),
        (["add", f"{tmp_path}/nothing", "--name", "x", "--setting", "s"], "holds no comparison"),
        ([*add, "--name", "../evil"], "--name must be letters"),
        ([*add, "--name", "x.json"], "without the ending .json"),
        ([*add, "--setting", "two\nlines"], "--setting must be words in one line"),
        (["--page", f"{tmp_path}/none/p.md", *add], "--page must be a file in a folder that is there"),
        (["--records", f"{tmp_path}/nowhere"], "--records must be a folder"),
        (["--records", f"{tmp_path}/damaged"], "x.json is damaged"),
        (["--records", f"{tmp_path}/damaged", *add], "x.json is damaged"),
    ):
        with pytest.raises(SystemExit) as stopped:
            records.main(["--records", folder_of_files, "--page", page, *words])
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "p.md").exists()


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", {})
    with pytest.raises(FileNotFoundError, match="holds no finished run; first finish that comparison"):
        keep([folder], "x", "a setting", tmp_path)


def test_a_command_is_kept_without_the_folders_of_its_machine(tmp_path: Path) -> None:
    words = """--config recipes/x.yaml --data.init_args.root /my/data --out '/my runs/x' --up ../shared/data"""
    more = """'alignprune:trusted=/a/b/t.npy' --logger '{"dir":"/a/b/logs"}' --url https://host/page"""
    origin = {**ORIGIN, "command": f"dynsel compare {words} {more}"}
    path = keep([folder_of(tmp_path / "a", origin=origin)], "x", "a setting", tmp_path)
    assert [one["command"] for one in json.loads(path.read_text())["origins"]] == [
        "dynsel compare --config recipes/x.yaml --data.init_args.root data --out x --up ../shared/data "
        """alignprune:trusted=t.npy --logger '{"dir":"logs"}' --url https://host/page"""
    ]


def test_no_record_names_a_folder_of_a_machine(tmp_path: Path) -> None:
    name = "alignprune:trusted=/home/me/t.npy"
    made_by = {"trusted": "/home/me/t.npy", "/home/me/t.npy": "sum"}
    new = keep([folder_of(tmp_path / "a", {name: (0, 0)}, made_by=made_by)], "x", "a setting", tmp_path)
    assert json.loads(new.read_text())["made_by"] == {"alignprune:trusted=t.npy": {"trusted": "t.npy", "t.npy": "sum"}}
    for path in (new, *(RECIPES / "records").glob("*.json")):
        kept = json.loads(path.read_text())
        for text in (*(run["selector"] for run in kept["runs"]), json.dumps(kept.get("made_by"))):
            assert record_files._for_others(text) == text, path
        for origin in kept["origins"]:
            assert record_files._command(origin["command"]) == origin["command"], path


def test_a_run_that_overshoots_is_of_the_length_it_was_given(tmp_path: Path) -> None:
    # Three optimisers in each batch: ten steps are twelve, and so are eleven.
    store = Store(tmp_path / "a", {"metric": "val_accuracy"})
    store.begin(10)
    for name, above in (("full", 0.0), ("hybrid", 0.01)):
        for seed in range(2):
            store.save(RunRecord(name, seed, 0.9 + above + 0.001 * seed, steps=12, seconds=1.0, origin=ORIGIN), 10)
    for steps in (5, 6):
        store.save(RunRecord("full", 0, 0.5, steps=6, seconds=1.0, origin=ORIGIN), steps)
    text = made(tmp_path, store.folder)
    assert holders(text) == ["full"]
    assert [row(text, f"`{name}`")[2] for name in ("full", "hybrid")] == ["2", "2"]


def standing_row(text: str, setting: str = "a setting") -> list[str]:
    return row(text.partition("## Hybrid, setting by setting")[2], setting)


def test_hybrid_stands_by_the_seeds_of_all_comparisons_of_a_setting(tmp_path: Path) -> None:
    above = {"full": (0, 0, 0), "random:budget=1": (0, 1, 0.5), "hybrid:keep_ratio=0.5": (1, 3, 2), "rrd": (9, 9, 9)}
    many = folder_of(tmp_path / "b", above, seconds=100.0)
    few = folder_of(tmp_path / "a", {"full": (0, 0), "random": (0, 0), "hybrid": (9, 9)})
    apart = Store(tmp_path / "c", {"metric": "val_accuracy"})
    apart.begin(100)
    for name, points in (("full", 0.0), ("random", 0.5), ("hybrid", 2.0)):
        seconds = 150.0 if name == "hybrid" else 50.0
        apart.save(RunRecord(name, 7, 0.9 + points / 100, steps=100, seconds=seconds, origin=ORIGIN))
        if name != "random":  # not a seed that all three have
            apart.save(RunRecord(name, 8, 0.1, steps=100, seconds=1.0, origin=ORIGIN))
    found = standing_row(made(tmp_path, many, few, apart.folder))
    # Seeds 0 to 2 of the largest comparison, and seed 7, which took three times as long.
    assert found[:6] == ["a setting", "100", "4", "90.08", "90.58", "92.08"]
    assert found[6].startswith("+1.50 ± 0.65")
    assert found[8].startswith("+2.00 ± 1.30")
    assert found[10] == "1.00"


def test_two_names_of_one_method_are_one(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", {"full": (0, 0, 0), "random": (0, 0, 0), "hybrid": (1, 2)})
    Store.stored(folder).save(RunRecord("hybrid:budget=1", 2, 0.95, steps=100, seconds=1.0, origin=ORIGIN))
    assert standing_row(made(tmp_path, folder))[2] == "3"


@pytest.mark.parametrize(
    "above",
    [
        {"full": (0, 0), "random": (0, 0), "hybrid:terms={}": (1, 2), "hybrid:keep_ratio=0.3": (1, 2)},
        {"full": (0, 0), "hybrid": (1, 2)},
        {"full": (0, 0), "random-in-batch": (0, 0), "hybrid": (1, 2)},
        {"full:budget=0.5": (0, 0), "random": (0, 0), "hybrid": (1, 2)},
    ],
)
def test_another_hybrid_or_one_without_its_baselines_does_not_stand(
    tmp_path: Path, above: dict[str, tuple[float, ...]]
) -> None:
    assert "## Hybrid, setting by setting" not in made(tmp_path, folder_of(tmp_path / "a", above))


def test_comparisons_that_are_not_of_one_setting_are_refused(tmp_path: Path) -> None:
    one, longer = folder_of(tmp_path / "a"), Store(tmp_path / "b", {"metric": "val_accuracy"})
    longer.begin(200)
    longer.save(RunRecord("hybrid", 0, 0.9, steps=200, origin=ORIGIN))
    with pytest.raises(ValueError, match=r"'a setting' has comparisons of \[100, 200\] steps \(a.json, b.json\)"):
        records.standing([records.read(keep([f], f.name, "a setting", tmp_path)) for f in (one, longer.folder)])
    others = [folder_of(tmp_path / f"of {e}", {"hybrid": (1, 2)}, made_by={"epsilon": e}) for e in (0.1, 0.2)]
    with pytest.raises(ValueError, match=r"runs of hybrid have other arguments \(epsilon: 0.1 there, 0.2 now\)"):
        records.standing([records.read(keep([f], f.name[3:] + "x", "s", tmp_path)) for f in others])
    faster = [folder_of(tmp_path / f"lr {lr}", settings={"model": {"lr": lr}}) for lr in (0.1, 0.4)]
    with pytest.raises(ValueError, match=r"of several models, data or Trainers \(0.1lr.json, 0.4lr.json\)"):
        records.standing([records.read(keep([f], f.name[3:] + "lr", "t", tmp_path)) for f in faster])
    kept = [folder_of(tmp_path / f"keep {k}", settings={"selection": {"keep_ratio": k}}) for k in (0.3, 0.4)]
    records.standing([records.read(keep([f], f.name[5:] + "keep", "u", tmp_path)) for f in kept])


def test_what_can_not_stand_beside_the_others_is_not_left_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, folder_of(tmp_path / "a"))
    longer = Store(tmp_path / "b", {"metric": "val_accuracy"})
    longer.begin(200)
    longer.save(RunRecord("hybrid", 0, 0.9, steps=200, seconds=1.0, origin=ORIGIN))
    words = [
        "--records",
        str(tmp_path / "records"),
        "add",
        str(longer.folder),
        "--name",
        "new",
        "--setting",
        "a setting",
    ]
    with pytest.raises(SystemExit):
        records.main(words)
    assert "(file0.json, new.json); give each a --setting" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["file0.json"]
    records.main([*words[:-1], "another setting"])


def test_hybrid_with_other_arguments_does_not_stand_for_its_defaults(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", made_by={"epsilon": 1.0})
    assert "## Hybrid, setting by setting" not in made(tmp_path, folder)
    (tmp_path / "usual").mkdir()
    usual = folder_of(tmp_path / "b", made_by={"epsilon": 0.1})
    assert "## Hybrid, setting by setting" in made(tmp_path / "usual", usual)


def test_the_page_lies_beside_the_records_and_links_to_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    keep([folder_of(tmp_path / "a")], "x", "a setting", tmp_path / "mine")
    records.main(["--records", str(tmp_path / "mine")])
    assert "[x](mine/x.json)" in (tmp_path / "RECORDS.md").read_text()
    with pytest.raises(SystemExit):
        records.main(["--records", str(tmp_path / "typo"), "add", str(tmp_path / "a"), "--name", "x", "--setting", "y"])
    assert "--records must be a folder that is there" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
    (tmp_path / "RECORDS.md").write_text("my own notes")
    with pytest.raises(SystemExit):
        records.main(["--records", str(tmp_path / "mine")])
    assert "is no page that this command made; name another one by --page" in capsys.readouterr().err
    assert (tmp_path / "RECORDS.md").read_text() == "my own notes"


@pytest.mark.parametrize(
    "change",
    [
        *({key: value} for key, value in (("seconds", "fast"), ("seed", "0"), ("steps", "60"), ("origin", -1))),
        *({key: value} for key, value in (("origin", 5), ("steps", None), ("selector", 3), ("logged", 3))),
    ],
)
def test_a_record_that_was_changed_by_hand_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object]
) -> None:
    path = keep([folder_of(tmp_path / "a")], "x", "a setting", tmp_path)
    good = json.loads(path.read_text())
    changed = {key: value for key, value in {**good["runs"][0], **change}.items() if value is not None}
    for found in (
        {**good, "runs": [changed, *good["runs"][1:]]},
        {**good, "runs": [*good["runs"], good["runs"][0]]},
        {**good, "made_by": 3},
        {**good, "setting": 5},
        {**good, "origins": [{**good["origins"][0], "date": 3}]},
    ):
        path.write_text(json.dumps(found))
        with pytest.raises(ValueError, match=r"x\.json is damaged"):
            records.read(path)


def test_p_is_corrected_for_the_settings(tmp_path: Path) -> None:
    above = {"sure": (1, 1.2, 1.1, 0.9), "less": (1, 2, 1.5, 0.9), "hardly": (1, 3, -1, 2), "once": (1,)}
    for name, points in above.items():
        folder = folder_of(tmp_path / name, {"full": (0,) * 4, "random": (0.1, 0, 0.1, 0), "hybrid": points})
        keep([folder], name, f"setting {name}", tmp_path / "records")
    text = made(tmp_path)
    for column, base in ((7, (0.1, 0, 0.1, 0)), (9, (0,) * 4)):
        sure, less, hardly = (ttest_rel(points, base).pvalue for name, points in above.items() if name != "once")
        for name, p in (("sure", 3 * sure), ("less", 2 * less), ("hardly", hardly)):  # Holm's
            cell = standing_row(text, f"setting {name}")[column]
            assert cell == ("< 0.001" if p < 0.001 else f"{p:.3f}"), name
        assert standing_row(text, "setting once")[column] == ""


# The README's rows, and the settings that they are of.
TOLD = {
    "as it is": "CIFAR-10, small.yaml, 6 epochs",
    "a stronger network, as fast ones are trained": "CIFAR-10, fast.yaml, 4 epochs",
    "20 % of the labels wrong": "CIFAR-10, small.yaml, label_noise_20",
    "the same, longer": "CIFAR-10, small.yaml, 20 epochs, label_noise_20",
    "20 % wrong, each as the class most like it": "CIFAR-10, small.yaml, label_noise_confusion_20",
    "40 % of the labels wrong": "CIFAR-10, small.yaml, label_noise_40",
    "a long tail of 100 : 1": "CIFAR-10, small.yaml, long_tail_100",
    "30 % copies of 5 % of the images": "CIFAR-10, small.yaml, duplicates_30",
    "a long tail of 10 : 1, 20 % copies and 20 % wrong labels together": "CIFAR-10, small.yaml, real_life",
}


def test_the_readme_tells_what_the_records_say() -> None:
    """Every setting in which Hybrid stands with more than one seed, with its figures to a tenth."""
    readme, page = ((RECIPES / path).read_text() for path in ("../README.md", "RECORDS.md"))
    stands = page.partition("## Hybrid, setting by setting")[2].partition("\n## ")[0]
    settings = re.findall(r"^\| (.*?) \| [\d,]+ \| (\d+) \|", stands, re.MULTILINE)
    assert {setting for setting, n in settings if int(n) > 1} == set(TOLD.values())
    told_of = readme.partition("| random subsets | Hybrid |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (.*?) \| [\d,]+ \|", told_of, re.MULTILINE) == [*TOLD]
    for told, setting in TOLD.items():
        cells, wanted = row(told_of, told), standing_row(page, setting)
        assert cells[1:3] == wanted[1:3], told
        for cell, value in zip(cells[3:6], wanted[3:6], strict=True):
            assert abs(float(cell) - float(value)) <= 0.0501, (told, value)
        for cell, value, p in ((cells[6], *wanted[6:8]), (cells[7], *wanted[8:10])):
            assert cell.endswith("*") == (p != "" and float(p.removeprefix("< ")) < 0.05), (told, p)
            ours, theirs = (re.findall(r"[-\d.]+", text) for text in (cell, value))
            assert all(abs(float(a) - float(b)) <= 0.0501 for a, b in zip(ours, theirs, strict=True)), (told, value)


def test_the_page_is_what_the_files_say(tmp_path: Path) -> None:
    shutil.copytree(RECIPES / "records", tmp_path / "records")
    records.main(["--records", str(tmp_path / "records")])
    assert (RECIPES / "RECORDS.md").read_text() == (tmp_path / "RECORDS.md").read_text(), "python recipes/records.py"
