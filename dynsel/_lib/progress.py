"""One bar for everything that takes a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from dynsel._lib.console import open_console

__all__ = ["counting", "new_bar", "track"]

T = TypeVar("T")


def track(items: Iterable[T], title: str, total: int | None = None, *, show: bool = True) -> Iterable[T]:
    """The items one after another, with a bar of how many are done.

    Args:
        items: The items, of any kind.
        title: What is being done, in a word or two.
        total: Number of items; None takes their length if they have one.
        show: Whether there is a bar; without one the items come back as they are.
    """
    return _tracked(items, title, total) if show else items


def _tracked(items: Iterable[T], title: str, total: int | None) -> Iterator[T]:
    with new_bar() as bar:
        yield from bar.track(items, total, description=title)


@contextmanager
def counting(title: str, total: int, *, show: bool = True) -> Iterator[Callable[[int], None]]:
    """A bar for work that is done elsewhere: gives a function to call with the number of steps just done.

    Args:
        title: What is being done, in a word or two.
        total: Number of steps in all.
        show: Whether there is a bar; without one the function does nothing.
    """
    if not show:
        yield lambda done: None
        return
    with new_bar() as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.advance(task, done)


def new_bar(unit: str = "") -> Progress:
    """A bar on the standard error, which disappears when it is done.

    Args:
        unit: What is counted; the bar then says how many of it are done per second.
    """
    # A console of its own: a bar that Lightning shows meanwhile occupies the shared one.
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *([_Rate(unit)] if unit else []),
        TimeRemainingColumn(),
        console=open_console(stderr=True),
        transient=True,
    )


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Any) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} {self.unit}/s")
