"""One page that needs nothing else: no script, no style sheet, no picture from anywhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from dynsel.compare.report.pictures import Picture
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
) -> str:
    """The page, for screens of any width and for print.

    Args:
        title: Title of the page.
        tables: Tables, laid out as they are; the first column names the rows.
        pictures: Pictures; each links its PNG file, which lies beside the page, and carries its numbers.
        facts: Conditions of the measurement, as (heading, text); text in backquotes is shown as code.
        meanings: Meanings of the tables' columns, as (heading, text).
        summary: What came out, in a sentence, for the top of the page; empty if there is none.
    """
    environment = Environment(
        loader=PackageLoader("dynsel.compare.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["parts"] = _parts
    template = environment.get_template("page.html.jinja")
    return template.render(
        title=title, tables=tables, pictures=pictures, facts=facts, meanings=meanings, summary=summary
    )


def _parts(text: str) -> list[str]:
    """Text, code, text, and so on."""
    if len(text) > 1 and text.startswith("`") and text.endswith("`"):
        return ["", text[1:-1]]  # a command may have backquotes of its own
    return text.split("`") if text.count("`") % 2 == 0 else [text]


def _data_uri(content: str | bytes, kind: str) -> str:
    raw = content if isinstance(content, bytes) else content.encode()
    return f"data:{kind};base64,{b64encode(raw).decode()}"
