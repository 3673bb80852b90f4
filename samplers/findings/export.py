"""Findings as files that other tools read: cleanlab, FiftyOne and Label Studio."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np

from dynsel._lib.tables import csv_table, escape_surrogates
from dynsel.samplers.findings.table import Findings, absolute, plain

__all__ = ["EXPORTS", "cleanlab_csv", "fiftyone_csv", "label_studio_json"]

_LOCAL_FILES = "/data/local-files/?d="
_GIVE_PATHS = "give `paths=`, on the command line --table FILE.csv"


def cleanlab_csv(findings: Findings) -> str:
    """What cleanlab calls label issues, a row for each sample of the data set in its order.

    `CleanLearning(model).fit(X, labels, label_issues=pandas.read_csv("cleanlab.csv"))` trains without them. Classes are
    numbers; `label_quality` is the label's mean probability. Samples that weren't trained on, as those outside a fold,
    are no issue. The column `given_label`, which cleanlab compares with the labels, is there if all are known.

    Args:
        findings: What was found.

    Raises:
        ValueError: If it isn't known which labels look wrong.

    Reference:
        cleanlab's documentation of `CleanLearning.get_label_issues` and `CleanLearning.fit`.
    """
    if "wrong_label" not in findings.kinds:
        raise ValueError(f"cleanlab wants to know of labels: {findings.unknown['wrong_label']}")
    count = int(findings.samples["index"].max()) + 1 if findings.num_samples is None else findings.num_samples
    issue = np.zeros(count, dtype=bool)
    issue[findings.suspects] = True
    columns: dict[str, Any] = {"is_label_issue": issue}
    known = findings.samples["given_code"] >= 0
    names = {"own": "label_quality", "given_code": "given_label", "predicted_code": "predicted_label"}
    for ours, theirs in names.items():
        columns[theirs] = np.full(count, None, dtype=object)
        columns[theirs][findings.samples["index"][known]] = findings.samples[ours][known]
    if known.sum() < count:
        del columns["given_label"]
    return csv_table([dict(zip(columns, map(plain, row), strict=True)) for row in zip(*columns.values(), strict=True)])


def fiftyone_csv(findings: Findings) -> str:
    """A data set as FiftyOne's `CSVDataset` reads it: a row for each sample, tagged with the kinds of its findings.

    It takes all columns for texts unless `fields=` says how to read them: `tags` is a list with commas between its
    entries, `ground_truth` and `prediction` are names of classes, `confidence` and `margin` numbers, `uses` and `index`
    whole ones. Paths are absolute, so that it needs no `data_path`.

    Args:
        findings: What was found, on samples that have paths.

    Raises:
        ValueError: If there are no paths.

    Reference:
        FiftyOne's documentation of `fiftyone.utils.csv.CSVDatasetImporter`.
    """
    samples = findings.samples
    if "path" not in samples:
        raise ValueError(f"FiftyOne wants to know where images are, and the data set doesn't tell: {_GIVE_PATHS}")
    tags: list[list[str]] = [[] for _ in samples["index"]]
    for kind, positions in findings.kinds.items():
        for position in positions:
            tags[position].append(kind)
    names = {"given": "ground_truth", "predicted": "prediction", "confidence": "confidence", "margin": "margin"}
    rows = []
    for position, path in enumerate(samples["path"]):
        row = {"filepath": absolute(str(path)), "tags": ",".join(tags[position])}
        row |= {theirs: plain(samples[ours][position]) for ours, theirs in names.items() if ours in samples}
        rows.append({**row, "uses": int(samples["uses"][position]), "index": int(samples["index"][position])})
    return csv_table(rows)


def label_studio_json(findings: Findings) -> str:
    """Tasks for Label Studio, one for each suspected label, with what the model says as a prediction.

    They fit a labeling configuration with `<Image name="item" value="$image"/>` or `<Text name="item" value="$text"/>`
    and `<Choices name="label" toName="item">`. Files are addressed as its local storage serves them, with
    `LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true` and `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/`.

    Args:
        findings: What was found, on samples that have paths or texts.

    Raises:
        ValueError: If there are neither, or it isn't known which labels look wrong.

    Reference:
        Label Studio's documentation of its JSON format for pre-annotations (data and predictions with results).
    """
    samples = findings.samples
    if "path" not in samples and "text" not in samples:
        raise ValueError(f"Label Studio wants paths or texts, and the data set tells neither: {_GIVE_PATHS}")
    if "wrong_label" not in findings.kinds:
        raise ValueError(f"Label Studio wants suspected labels: {findings.unknown['wrong_label']}")
    return json.dumps([_task(samples, position) for position in findings.kinds["wrong_label"]], indent=1)


def _task(samples: dict[str, Any], position: int) -> dict[str, Any]:
    known = {name: plain(column[position]) for name, column in samples.items()}
    item = {"text": known["text"]} if "text" in known else {"image": _address(str(known["path"]))}
    choice = {
        "from_name": "label",
        "to_name": "item",
        "type": "choices",
        "value": {"choices": [str(known["predicted"])]},
    }
    return {
        "data": {**item, "given": str(known["given"]), "index": known["index"]},
        "predictions": [{"model_version": "dynsel", "score": known["confidence"], "result": [choice]}],
    }


def _address(path: str) -> str:
    return path if "://" in path else _LOCAL_FILES + quote(escape_surrogates(absolute(path)).lstrip("/"))


# Name of the file for each tool, and what writes it.
EXPORTS: dict[str, tuple[str, Callable[[Findings], str]]] = {
    "cleanlab": ("cleanlab.csv", cleanlab_csv),
    "fiftyone": ("fiftyone.csv", fiftyone_csv),
    "label-studio": ("label_studio.json", label_studio_json),
}
