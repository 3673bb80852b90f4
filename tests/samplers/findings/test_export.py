"""Files for other tools, by what their documentation asks for, and by cleanlab itself where it is installed."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from dynsel.samplers.findings import Findings
from dynsel.samplers.findings.export import EXPORTS, cleanlab_csv, fiftyone_csv, label_studio_json


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_cleanlabs_label_issues(found: Findings) -> None:
    """One row for each sample, in order, with its four columns."""
    issues = rows(cleanlab_csv(found))
    assert list(issues[0]) == ["is_label_issue", "label_quality", "given_label", "predicted_label"]
    assert [row["is_label_issue"] for row in issues] == ["True", "False", "True", "False"]
    assert [row["given_label"] for row in issues] == ["0", "0", "1", "1"]
    assert [row["label_quality"] for row in issues] == ["0.2", "0.9", "0.05", ""]


def test_cleanlab_trains_without_them(found: Findings) -> None:
    pd = pytest.importorskip("pandas")
    classification = pytest.importorskip("cleanlab.classification")
    from sklearn.linear_model import LogisticRegression

    many = found.samples | {name: np.tile(column, 20) for name, column in found.samples.items()}
    kinds = {"wrong_label": np.arange(0, 80, 4)}
    issues = pd.read_csv(io.StringIO(cleanlab_csv(Findings(many, kinds))))
    trained = classification.CleanLearning(LogisticRegression())
    x, labels = np.random.default_rng(0).normal(size=(80, 3)), many["given_code"]
    trained.fit(x, labels, label_issues=issues)
    assert trained.get_label_issues()["is_label_issue"].sum() == 20


def test_fiftyones_csv_data_set(found: Findings) -> None:
    """A column `filepath` for each sample, and `tags` with commas between them."""
    samples = rows(fiftyone_csv(found))
    assert [row["filepath"] for row in samples] == ["a/0.png", "a/1.png", "b/2.png", "b/3.png"]
    assert [row["tags"] for row in samples] == ["wrong_label", "duplicate,hard", "wrong_label", "duplicate,never_used"]
    assert samples[2]["ground_truth"] == "dog"
    assert samples[2]["prediction"] == "cat"
    assert not any("." in name for name in samples[0]), "embedded fields aren't for its importer"


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
    samples = {name: column for name, column in found.samples.items() if name != "text"}
    samples["path"] = found.samples["path"].copy()
    samples["path"][0], samples["path"][2] = "https://x.org/0.png", "/data/2.png"
    tasks = json.loads(label_studio_json(Findings(samples, found.kinds)))
    assert [t["data"]["image"] for t in tasks] == ["/data/local-files/?d=data/2.png", "https://x.org/0.png"]


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
