"""Rows, files and words of findings."""

from __future__ import annotations

import builtins
import csv

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


def test_the_csv_file_reads_back_and_is_no_formula(found: Findings, tmp_path) -> None:
    found.to_csv(tmp_path / "findings.csv")
    with open(tmp_path / "findings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == ["12", "10", "11", "13", "11", "13"]
    assert rows[1]["text"] == '<b>bold</b> & "quoted"'
    assert rows[2]["text"] == "'=1+1"
    assert rows[3]["confidence"] == ""
    assert list(rows[0]) == found.columns()


def test_what_was_found_in_words(found: Findings) -> None:
    assert str(found).splitlines() == [
        "Findings on 4 samples",
        "suspected wrong labels: 2; about 50 % of them are wrong by estimate",
        "duplicates: 2 samples in 1 groups",
        "rare samples: not known, no features to go by",
        "hard samples: 1",
        "never learned: 0",
        "never used: 1",
    ]


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
