"""The bar of everything that takes a while."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dynsel._lib.progress import counting, new_bar, track


@pytest.mark.parametrize("show", [True, False])
@pytest.mark.parametrize("title", ["counting", "[/x] {y}"])
def test_all_items_come_once_and_in_order(show: bool, title: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track((i for i in range(5)), title, 5, show=show)) == list(range(5))
    assert capsys.readouterr().out == ""


def test_without_a_bar_the_items_are_the_same_object() -> None:
    items = [1, 2]
    assert track(items, "nothing", show=False) is items


def test_a_loop_may_end_early() -> None:
    items = iter(track(range(5), "counting"))
    assert next(items) == 0
    del items
    assert list(track(range(3), "again")) == [0, 1, 2]


def test_the_rate_is_shown_in_its_unit() -> None:
    rate = new_bar("samples").columns[-2]
    assert str(rate.render(SimpleNamespace(speed=1234.4))) == "1,234 samples/s"  # type: ignore[arg-type]
    assert str(rate.render(SimpleNamespace(speed=None))) == ""  # type: ignore[arg-type]
    assert [type(column).__name__ for column in new_bar().columns][-2] == "MofNCompleteColumn"


@pytest.mark.parametrize("show", [True, False])
def test_work_done_elsewhere_is_counted(show: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with counting("steps", 5, show=show) as advance:
        advance(2)
        advance(3)
    assert capsys.readouterr().out == ""
