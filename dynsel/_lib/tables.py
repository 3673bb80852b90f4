"""Tables as files: CSV and Markdown."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["csv_table", "escape_surrogates", "escape_tags", "markdown_table", "not_utf8"]


def csv_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    r"""Comma-separated values under a line of headings, lines ending in \n.

    Cells read back as they were, line breaks of any kind included. What no encoding has is escaped (see
    `escape_surrogates`), so that the table can be written whatever is in it.

    Args:
        rows: Values by column; None leaves a cell empty.
        columns: Headings in their order; those of the first row if there are none.

    Example:
        >>> csv_table([{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}])
        'step,loss\n1,0.5\n2,\n'
    """
    lines = _Lines()
    # Before Python 3.13 only the line breaks that end lines are quoted in cells.
    writer = csv.DictWriter(lines, list(columns or (rows[0] if rows else ())), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return escape_surrogates("".join(lines))


class _Lines(list[str]):
    r"""What a CSV writer writes, with \n instead of \r\n at the end of each line."""

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


def escape_surrogates(text: str) -> str:
    r"""Text that can be encoded: lone surrogates, as in names of files that aren't UTF-8, are written out.

    Args:
        text: Any text.

    Example:
        >>> print(escape_surrogates("gr\udcfc.png"))
        gr\udcfc.png
    """
    return text.encode(errors="backslashreplace").decode()


def not_utf8(path: Path) -> str:
    """What is wrong with a table whose letters can't be told, and the way out.

    Args:
        path: The file.
    """
    return f'{path} isn\'t UTF-8: save it as UTF-8, in a spreadsheet as "CSV UTF-8"'


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
