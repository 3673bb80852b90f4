"""The console of all commands: text stays as it is, lines stay whole."""

from __future__ import annotations

import pytest

from dynsel._lib.console import facts_table, open_console, say, value_table

AWKWARD = ["runs/[/x]", "[bold]a[/bold]", "[red]", ":smile:", "a" * 150]


@pytest.mark.parametrize("text", AWKWARD)
def test_a_line_is_printed_as_it_stands(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(open_console(), text)
    assert capsys.readouterr().out == f"{text}\n"


@pytest.mark.parametrize("text", AWKWARD[:-1])
def test_cells_and_headings_are_printed_as_they_stand(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = open_console()
    console.print(value_table((text, "n"), [(text, "1")], title=f"title {text}"))
    console.print(facts_table([("name", text)]))
    assert capsys.readouterr().out.count(text) == 4


def test_numbers_stand_at_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    open_console().print(value_table(("name", "count"), [("a", "7"), ("b", "1,234")]))
    assert [line.rstrip()[-5:] for line in capsys.readouterr().out.splitlines()[3:5]] == ["    7", "1,234"]


def test_without_a_terminal_a_line_has_120_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert open_console().width == 120


def test_without_a_terminal_there_are_no_colours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    console = open_console()
    console.print("done", style="bold red")
    console.print(value_table(("a",), [("1",)], title="t"))
    assert "\x1b" not in capsys.readouterr().out


def test_errors_go_to_the_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say(open_console(stderr=True), "x")
    assert capsys.readouterr() == ("", "x\n")
