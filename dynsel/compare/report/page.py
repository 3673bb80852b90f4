"""One page that needs nothing else: no script, no style sheet, no picture from anywhere."""

from __future__ import annotations

from collections.abc import Sequence

from dynsel._lib.pages import render
from dynsel.compare.report.picture import Picture
from dynsel.compare.table import Table

__all__ = ["page_html"]

Facts = Sequence[tuple[str, str]]


def page_html(
    title: str,
    *,
    tables: Sequence[Table] = (),
    pictures: Sequence[Picture] = (),
    facts: Facts = (),
    meanings: Facts = (),
    summary: str = "",
    writer: str = "dynsel compare",
) -> str:
    """The page, for screens of any width and for print.

    Args:
        title: Title of the page.
        tables: Tables, laid out as they are; the first column names the rows.
        pictures: Pictures, the most important one first; each carries its PNG file and its numbers, to be saved.
        facts: Conditions of the measurement, as (heading, text); text in backquotes is shown as code.
        meanings: Meanings of the tables' columns, as (heading, text).
        summary: What came out, in a sentence, for the top of the page; empty if there is none.
        writer: Command that the page is from.
    """
    return render(
        "dynsel.compare.report",
        "page.html.jinja",
        title=title,
        tables=tables,
        pictures=pictures,
        facts=facts,
        meanings=meanings,
        summary=summary,
        writer=writer,
    )
