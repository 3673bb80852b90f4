"""The bar of a training that has no epochs."""

from __future__ import annotations

import io
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from rich.console import Console
from support import Module, train_loader

from dynsel.distill.step_bar import StepBar, show_steps


class Own(TQDMProgressBar):
    """A user's."""


def trainer(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return pl.Trainer(max_steps=3, accelerator="cpu", callbacks=list(callbacks), **defaults, **options)


@pytest.mark.parametrize("bar", [None, RichProgressBar(), TQDMProgressBar()])
def test_it_takes_the_place_of_lightnings(bar: pl.Callback | None) -> None:
    one = trainer(*([] if bar is None else [bar]))
    show_steps(one)
    assert [type(callback) for callback in one.callbacks].count(StepBar) == 1  # type: ignore[attr-defined]
    assert one.progress_bar_callback is None


def test_a_bar_of_the_users_or_none_stays() -> None:
    own, none = trainer(Own()), trainer(enable_progress_bar=False)
    for one in (own, none):
        show_steps(one)
        assert not any(isinstance(callback, StepBar) for callback in one.callbacks)  # type: ignore[attr-defined]
    assert isinstance(own.progress_bar_callback, Own)


def test_it_counts_steps_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    for place in ("dynsel.distill.step_bar", "dynsel._lib.progress"):
        monkeypatch.setattr(f"{place}.open_console", lambda **options: screen)
    one = trainer()
    show_steps(one)
    one.fit(Module(), train_loader())
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "3/3" in shown
    assert "Epoch" not in shown
