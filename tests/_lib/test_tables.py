"""CSV and Markdown, read back by readers of others."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsel._lib.tables import csv_table, escape_surrogates, markdown_table, not_utf8

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\r\n\t",'), max_size=8)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_csv_is_read_back_as_it_was(rows: list[tuple[str, str]]) -> None:
    text = csv_table([dict(zip("ab", row, strict=True)) for row in rows], "ab")
    assert [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))] == [("a", "b"), *rows]


@pytest.mark.parametrize("text", ["one\rtwo", "one\r\ntwo", "one\ntwo", "\r", "end\r", "\rstart", 'a, "b"\r'])
def test_line_breaks_of_any_kind_stay_in_their_cell(text: str, tmp_path) -> None:
    (tmp_path / "table.csv").write_bytes(csv_table([{"a": text, "b": "x"}, {"a": "y", "b": text}]).encode())
    with open(tmp_path / "table.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": text, "b": "x"}, {"a": "y", "b": text}]
    pd = pytest.importorskip("pandas")
    frame = pd.read_csv(tmp_path / "table.csv", keep_default_na=False)
    assert frame.values.tolist() == [[text, "x"], ["y", text]]


@pytest.mark.parametrize(
    ("text", "written"), [("gr\udcfc.png", r"gr\udcfc.png"), ("\ud83d?", r"\ud83d?"), ("grü", "grü")]
)
def test_what_no_encoding_has_is_written_out(text: str, written: str) -> None:
    assert escape_surrogates(text) == written
    assert csv_table([{"a": text}]).encode().decode() == f"a\n{written}\n"


def test_what_is_not_utf8_is_named_with_the_way_out() -> None:
    assert not_utf8(Path("a.csv")) == 'a.csv isn\'t UTF-8: save it as UTF-8, in a spreadsheet as "CSV UTF-8"'


def test_columns_come_from_the_first_row_and_none_is_empty() -> None:
    assert csv_table([{"x": 1, "y": None}]) == "x,y\n1,\n"
    assert csv_table([], ["x", "y"]) == "x,y\n"


def test_markdown_keeps_a_row_on_its_line_and_in_its_columns() -> None:
    text = markdown_table(["a", "b|c"], [["one\ntwo", "1 | 2"]], left=1)
    assert text == "| a | b\\|c |\n| --- | ---: |\n| one two | 1 \\| 2 |"
