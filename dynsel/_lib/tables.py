"""Tables as files: CSV and Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["csv_table", "escape_tags", "markdown_table"]


def csv_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    r"""Comma-separated values under a line of headings, lines ending in \n.

    Args:
        rows: Values by column; None leaves a cell empty.
        columns: Headings in their order; those of the first row if there are none.

    Example:
        >>> csv_table([{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}])
        'step,loss\n1,0.5\n2,\n'
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(columns or (rows[0] if rows else ())), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    r"""A Markdown table without a newline at its end.

    Args:
        headings: What stands above the columns.
        rows: Cells, one per heading; a | in them is escaped, as is the < of a tag, and a line break becomes a space.
        left: Number of columns of text, which come first; the columns after them are numbers, aligned at the right.

    Example:
        >>> print(markdown_table(["selector", "accuracy"], [["random", "90.1"]]))
        | selector | accuracy |
        | --- | ---: |
        | random | 90.1 |
    """
    rule = ["---" if i < left else "---:" for i in range(len(headings))]
    lines = [_cells(headings), rule, *map(_cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Sequence[str]) -> list[str]:
    return [" ".join(escape_tags(cell).splitlines()).replace("|", "\\|") for cell in row]


def escape_tags(text: str) -> str:
    """Text for Markdown in which no name becomes a tag of HTML; what stands in backquotes is code and stays.

    Args:
        text: Text with names of users in it.

    Example:
        >>> escape_tags("<b>: `<b>`, 1 < 2")
        '&lt;b>: `<b>`, 1 < 2'
    """
    parts = text.split("`")
    # Of an odd number of backquotes the last one opens nothing.
    code = range(1, len(parts) - 1, 2)
    return "`".join(one if i in code else re.sub(r"<(?=[A-Za-z/!?])", "&lt;", one) for i, one in enumerate(parts))
