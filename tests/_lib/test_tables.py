"""CSV and Markdown, read back by readers of others."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from dynsel._lib.tables import csv_table, markdown_table

TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_csv_is_read_back_as_it_was(rows: list[tuple[str, str]]) -> None:
    text = csv_table([dict(zip("ab", row, strict=True)) for row in rows], "ab")
    assert [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))] == [("a", "b"), *rows]


def test_columns_come_from_the_first_row_and_none_is_empty() -> None:
    assert csv_table([{"x": 1, "y": None}]) == "x,y\n1,\n"
    assert csv_table([], ["x", "y"]) == "x,y\n"


def test_markdown_keeps_a_row_on_its_line_and_in_its_columns() -> None:
    text = markdown_table(["a", "b|c"], [["one\ntwo", "1 | 2"]], left=1)
    assert text == "| a | b\\|c |\n| --- | ---: |\n| one two | 1 \\| 2 |"
