"""What commands print: one console, and the two kinds of table on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.table import Table

__all__ = ["facts_table", "open_console", "plain_rich", "say", "status", "value_table"]


def open_console(*, stderr: bool = False) -> Console:
    """A console that prints text as it stands.

    Names and paths of users are never taken for markup: `runs/[/x]` neither vanishes nor stops the program. Where no
    terminal is, lines are 120 characters wide, for a file or a pipe has no width of its own.

    Args:
        stderr: Print to the standard error instead of the standard output.
    """
    from rich.console import Console

    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 120
    return console


def plain_rich() -> None:
    """Let what Lightning prints by rich, its table of metrics above all, be text as it stands.

    For commands, whose process is theirs: it changes rich's own console.
    """
    import rich

    rich.reconfigure(markup=False, emoji=False, highlight=False)


def say(console: Console, text: str) -> None:
    """Print a line of any length, which only the terminal may wrap: paths stay whole.

    Args:
        console: As `open_console` gives it.
        text: The line, without a newline at its end.
    """
    console.print(text, soft_wrap=True)


def status(console: Console, text: str) -> Status:
    """A line with a turning wheel while the block lasts, where there is a terminal.

    Args:
        console: As `open_console` gives it.
        text: What is being done; a console's own `status` would take `[x]` in it for markup.
    """
    from rich.text import Text

    return console.status(Text(text))


def value_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, title: str = "") -> Table:
    """A table to print, whose cells never break.

    Args:
        headings: What stands above the columns.
        rows: Cells of each row, one per heading.
        left: Number of columns of text, which come first; the columns after them are numbers, aligned at the right.
        title: What stands above the table; empty for no title.
    """
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def facts_table(facts: Iterable[tuple[str, object]]) -> Table:
    """A table to print, of names and what they stand for.

    Args:
        facts: Pairs of a name and a value, which is shown as `str` shows it.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=False)
    for name, value in facts:
        table.add_row(name, str(value))
    return table
