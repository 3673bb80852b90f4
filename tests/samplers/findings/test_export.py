"""Files for other tools, by what their documentation asks for, and by cleanlab itself where it is installed."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from snippets import run_snippets

from dynsel.samplers.findings import Findings
from dynsel.samplers.findings.export import EXPORTS, cleanlab_csv, fiftyone_csv, label_studio_json

PAGE = Path(__file__).parents[3] / "docs/know-your-data.md"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_cleanlabs_label_issues(found: Findings) -> None:
    """One row for each sample, in order, with its four columns."""
    issues = rows(cleanlab_csv(whole(found)))
    assert list(issues[0]) == ["is_label_issue", "label_quality", "given_label", "predicted_label"]
    assert [row["is_label_issue"] for row in issues] == ["True", "False", "True", "False"]
    assert [row["given_label"] for row in issues] == ["0", "0", "1", "1"]
    assert [row["predicted_label"] for row in issues] == ["1", "0", "0", "1"]
    assert [row["label_quality"] for row in issues] == ["0.2", "0.9", "0.05", ""]


def whole(found: Findings, times: int = 1) -> Findings:
    """The findings on a whole data set, or on several copies of it in a row."""
    samples = {name: np.tile(column, times) for name, column in found.samples.items()}
    samples["index"] = np.arange(4 * times)
    suspects = np.concatenate([found.kinds["wrong_label"] + 4 * i for i in range(times)])
    return replace(found, samples=samples, kinds={"wrong_label": suspects}, num_samples=4 * times)


def never_seen(found: Findings) -> Findings:
    """The last sample was never trained on."""
    codes = {name: np.append(found.samples[name][:-1], -1) for name in ("given_code", "predicted_code")}
    return replace(found, samples=found.samples | codes)


def test_of_a_part_of_the_data_set_there_is_a_row_for_each_of_its_samples(found: Findings) -> None:
    issues = rows(cleanlab_csv(replace(found, num_samples=20)))
    assert [i for i, row in enumerate(issues) if row["is_label_issue"] == "True"] == [10, 12]
    assert [row["label_quality"] for row in issues] == [""] * 10 + ["0.2", "0.9", "0.05", ""] + [""] * 6
    assert "given_label" not in issues[0]
    assert len(rows(cleanlab_csv(found))) == 14, "as far as it is known"


def test_labels_that_are_not_all_known_are_left_out(found: Findings) -> None:
    issues = rows(cleanlab_csv(never_seen(whole(found))))
    assert list(issues[0]) == ["is_label_issue", "label_quality", "predicted_label"]
    assert [row["predicted_label"] for row in issues] == ["1", "0", "0", ""]


@pytest.mark.parametrize("kind", ["whole", "never seen", "part"])
def test_cleanlab_trains_without_them(found: Findings, kind: str) -> None:
    pd = pytest.importorskip("pandas")
    classification = pytest.importorskip("cleanlab.classification")
    from sklearn.linear_model import LogisticRegression

    many = whole(found, 20)
    labels = many.samples["given_code"]
    if kind == "never seen":
        many = never_seen(many)
    if kind == "part":
        many, labels = replace(many, num_samples=90), np.append(labels, [0, 1] * 5)
    issues = pd.read_csv(io.StringIO(cleanlab_csv(many)))
    trained = classification.CleanLearning(LogisticRegression())
    trained.fit(np.random.default_rng(0).normal(size=(len(labels), 3)), labels, label_issues=issues)
    assert trained.get_label_issues()["is_label_issue"].sum() == 40


def test_fiftyones_csv_data_set(found: Findings) -> None:
    """A column `filepath` for each sample, and `tags` with commas between them."""
    samples = rows(fiftyone_csv(found))
    assert [row["filepath"] for row in samples] == [os.path.abspath(path) for path in found.samples["path"]]
    assert [row["tags"] for row in samples] == ["wrong_label", "duplicate,hard", "wrong_label", "duplicate,never_used"]
    assert samples[2]["ground_truth"] == "dog"
    assert samples[2]["prediction"] == "cat"
    assert not any("." in name for name in samples[0]), "embedded fields aren't for its importer"


@dataclass
class Classification:
    """As FiftyOne's, with a name."""

    label: str


def test_the_documented_command_reads_every_column(found: Findings, tmp_path, monkeypatch) -> None:
    """FiftyOne's importer reads what `fields` names, each cell that isn't empty by its function."""
    asked: dict = {}
    fiftyone = ModuleType("fiftyone")
    fiftyone.Dataset = SimpleNamespace(from_dir=asked.update)
    fiftyone.types, fiftyone.Classification = SimpleNamespace(CSVDataset="CSVDataset"), Classification
    monkeypatch.setitem(sys.modules, "fiftyone", fiftyone)
    run_snippets(PAGE, tmp_path, monkeypatch, needs="fiftyone")
    assert {"dataset_type", "labels_path", "fields"} == set(asked)
    assert os.path.isabs(asked["labels_path"])
    table = rows(fiftyone_csv(found))
    assert set(asked["fields"]) == set(table[0]) - {"filepath"}
    read = [{key: parse(row[key]) for key, parse in asked["fields"].items() if row[key]} for row in table]
    cat, dog = Classification("cat"), Classification("dog")
    assert read[0] == {
        "tags": ["wrong_label"],
        "ground_truth": cat,
        "prediction": dog,
        "confidence": 0.7,
        "margin": -1.25,
        "uses": 4,
        "index": 10,
    }
    assert read[3] == {
        "tags": ["duplicate", "never_used"],
        "ground_truth": dog,
        "prediction": dog,
        "uses": 0,
        "index": 13,
    }


def test_label_studios_tasks(found: Findings) -> None:
    """`data`, and `predictions` with `model_version`, `score` and results of type `choices`."""
    tasks = json.loads(label_studio_json(found))
    assert [task["data"]["index"] for task in tasks] == [12, 10]
    assert tasks[1]["data"]["text"] == '<b>bold</b> & "quoted"'
    [prediction] = tasks[0]["predictions"]
    assert prediction["model_version"] == "dynsel"
    assert prediction["score"] == 0.95
    [result] = prediction["result"]
    assert (result["from_name"], result["to_name"], result["type"]) == ("label", "item", "choices")
    assert result["value"] == {"choices": ["cat"]}


def test_files_are_addressed_as_local_storage_serves_them(found: Findings) -> None:
    assert addresses(found, "https://x.org/0.png", "/data/2.png") == [
        "/data/local-files/?d=data/2.png",
        "https://x.org/0.png",
    ]


def addresses(found: Findings, *paths: str) -> list[str]:
    """What Label Studio is told of samples 2 and 0, whose paths are given in the order 0, 2."""
    samples = {name: column for name, column in found.samples.items() if name != "text"}
    samples["path"] = found.samples["path"].copy()
    samples["path"][[0, 2]] = paths
    return [task["data"]["image"] for task in json.loads(label_studio_json(replace(found, samples=samples)))]


@pytest.mark.parametrize("path", ["photos/cat/1.jpg", "a&b.jpg", "50%.jpg", "a b#c?d+e.jpg", "/data/ä.jpg", "../x.jpg"])
def test_the_server_finds_the_file_by_its_address(found: Findings, path: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    address = urlsplit(addresses(found, path, path)[0])
    assert address.path == "/data/local-files/"
    assert "/" + parse_qs(address.query)["d"][0] == os.path.abspath(path)
    assert not address.fragment


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("cleanlab", "cleanlab wants to know of labels: training told no logits"),
        ("fiftyone", "FiftyOne wants to know where images are"),
        ("label-studio", "Label Studio wants paths or texts"),
    ],
)
def test_what_is_missing_is_named(tool: str, message: str) -> None:
    bare = Findings({"index": np.arange(2), "uses": np.ones(2)}, {}, {"wrong_label": "training told no logits"})
    with pytest.raises(ValueError, match=message):
        EXPORTS[tool][1](bare)


@pytest.mark.parametrize("tool", ["cleanlab", "label-studio"])
def test_after_too_short_a_training_there_are_no_suspects_to_write(found: Findings, tool: str) -> None:
    kinds = {kind: rows for kind, rows in found.kinds.items() if kind != "wrong_label"}
    short = replace(found, kinds=kinds, unknown={"wrong_label": "the model has not learned enough"})
    with pytest.raises(ValueError, match=r"wants .*labels: the model has not learned enough"):
        EXPORTS[tool][1](short)
