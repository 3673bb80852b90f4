"""Rows, files and words of findings."""

from __future__ import annotations

import builtins
import csv
from dataclasses import replace

import numpy as np
import pytest

from dynsel.samplers.findings import Findings
from dynsel.samplers.findings.table import plain


def test_rows_by_kind_and_rank(found: Findings) -> None:
    rows = list(found.rows())
    assert [(row["finding"], row["rank"], row["index"]) for row in rows] == [
        ("wrong_label", 1, 12),
        ("wrong_label", 2, 10),
        ("duplicate", 1, 11),
        ("duplicate", 2, 13),
        ("hard", 1, 11),
        ("never_used", 1, 13),
    ]
    assert rows[0]["chance_wrong"] == 1.0
    assert rows[2]["group"] == rows[3]["group"] == 1
    assert rows[0]["group"] is None
    assert rows[5]["margin"] is None
    assert len(found) == 6
    assert found.suspects.tolist() == [12, 10]


def test_of_each_group_of_duplicates_one_stays(found: Findings, tmp_path) -> None:
    assert found.copies.tolist() == [13]  # 11 has a margin, 13 was never told of
    found.to_csv(tmp_path / "copies.csv", kinds=["copy"])
    with open(tmp_path / "copies.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["finding"], row["index"], row["group"]) for row in rows] == [("copy", "13", "1")]
    best = replace(found, samples=found.samples | {"margin": np.array([0.0, 1.0, 0.0, 2.0])})
    assert best.copies.tolist() == [11]
    assert replace(found, kinds={}).copies.tolist() == []


def test_the_csv_file_reads_back_and_is_no_formula(found: Findings, tmp_path) -> None:
    found.to_csv(tmp_path / "findings.csv")
    with open(tmp_path / "findings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == ["12", "10", "11", "13", "11", "13"]
    assert rows[1]["text"] == '<b>bold</b> & "quoted"'
    assert rows[2]["text"] == "'=1+1"
    assert rows[3]["confidence"] == ""
    assert list(rows[0]) == found.columns()


def test_any_text_and_any_file_name_can_be_written(found: Findings, tmp_path) -> None:
    texts, paths = found.samples["text"].copy(), found.samples["path"].copy()
    texts[2], paths[2] = "one\rtwo", "gr\udcfc.png"
    texts[0], paths[0] = "half a pair: \ud83d", "a,\r\n.png"
    replace(found, samples=found.samples | {"text": texts, "path": paths}).to_csv(tmp_path / "findings.csv")
    with open(tmp_path / "findings.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows[:2]] == ["one\rtwo", r"half a pair: \ud83d"]
    assert [row["path"] for row in rows[:2]] == [r"gr\udcfc.png", "a,\r\n.png"]
    assert len(rows) == 6


@pytest.mark.parametrize("name", ["given", "predicted", "text"])
@pytest.mark.parametrize("word", ["=1+1", "+cat", "-cat", "@cat", "\tcat"])
def test_no_name_is_a_formula_and_paths_stay(found: Findings, name: str, word: str, tmp_path) -> None:
    words = np.full(4, word, dtype=object)
    replace(found, samples=found.samples | {name: words, "path": words}).to_csv(tmp_path / "findings.csv")
    with open(tmp_path / "findings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row[name] for row in rows} == {f"'{word}"}
    assert {row["path"] for row in rows} == {word}


def test_labels_that_are_numbers_stay_numbers(found: Findings, tmp_path) -> None:
    replace(found, samples=found.samples | {"given": np.full(4, -1)}).to_csv(tmp_path / "findings.csv")
    with open(tmp_path / "findings.csv", newline="") as file:
        assert {row["given"] for row in csv.DictReader(file)} == {"-1"}


@pytest.mark.parametrize(
    ("kinds", "error", "message"),
    [
        (["wrong_label", "wrong_lable"], ValueError, "`kinds` must be 'wrong_label' or .*, got 'wrong_lable'"),
        ([3], ValueError, "`kinds` must be 'wrong_label' or .*, got 3"),
        (None, TypeError, r"`kinds` must be a list of kinds, such as \['wrong_label'\], got None"),
        ([], ValueError, "`kinds` must name at least one kind"),
        ("wrong_label", TypeError, r"`kinds` must be a list of kinds, such as \['wrong_label'\], got 'wrong_label'"),
    ],
)
def test_what_are_no_kinds_is_refused_and_nothing_is_written(
    found: Findings, kinds, error: type[Exception], message: str, tmp_path
) -> None:
    with pytest.raises(error, match=message):
        found.to_csv(tmp_path / "suspects.csv", kinds=kinds)
    assert not list(tmp_path.iterdir())


def test_what_was_found_in_words(found: Findings) -> None:
    assert str(found).splitlines() == [
        "Findings on 4 samples",
        "suspected wrong labels: 2; about 50 % of them are wrong by a rough estimate",
        "duplicates: 2 samples in 1 group, 1 of them with different labels",
        "rare samples: not known, no features to go by",
        "hard samples: 1",
        "never learned: 0",
        "never used: 1",
    ]


def test_of_many_classes_that_are_not_judged_some_are_named(found: Findings) -> None:
    lines = replace(found, not_judged=tuple("abcdefgh")).summary()
    assert lines[0].endswith("; not judged, for the model hardly ever says them: a, b, c, d, e and 3 more")


def test_a_frame_or_its_rows(found: Findings) -> None:
    frame = found.to_frame()
    assert len(frame) == 6
    assert (frame[0]["index"] if isinstance(frame, list) else frame["index"][0]) == 12


def test_parquet(found: Findings, tmp_path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    found.to_parquet(tmp_path / "findings.parquet")
    frame = pd.read_parquet(tmp_path / "findings.parquet")
    assert frame["index"].tolist() == [12, 10, 11, 13, 11, 13]
    assert frame["given"].tolist()[:2] == ["dog", "cat"]


def test_without_pandas_parquet_says_what_to_install(found: Findings, tmp_path, monkeypatch) -> None:
    real = builtins.__import__

    def refusing(name: str, *args: object, **kwargs: object) -> object:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(ImportError, match="Parquet needs two packages: pip install pandas pyarrow"):
        found.to_parquet(tmp_path / "findings.parquet")


def test_numbers_are_plain() -> None:
    assert plain(float("nan")) is None
    assert plain(1 / 3) == 0.3333
    assert plain("x") == "x"
