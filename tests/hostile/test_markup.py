"""Names of users are text wherever they are shown: no markup of rich, no HTML, no mathematics of matplotlib."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from dynsel._lib.console import facts_table, open_console, say, status, value_table
from dynsel._lib.figures import as_pixels
from dynsel._lib.progress import new_bar, track
from dynsel._lib.tables import markdown_table
from dynsel.compare.report.atlas import map_figure
from dynsel.distill.sheet import draw_sheet

NAMES = ["[/x]", "m[red]b", "[bold", "[link=x]y[/link]", ":smile:", "$x^", "$a$ $^", "<b>x</b>", "a|b", "_x", "\\[x]"]
ROOMS = ("dynsel", "callbacks", "samplers")
ROOT = Path(__file__).parents[2]
Command = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console as commands have it, on a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = open_console()
    console.file, console.width = io.StringIO(), 200
    return console


@pytest.mark.parametrize("name", NAMES)
def test_what_commands_print(name: str, console: Console) -> None:
    say(console, f"runs/{name}: done")
    console.print(facts_table([(name, name)]))
    console.print(value_table([name, "b"], [[name, name]], title=name))
    with status(console, f"{name}: working"):
        pass
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert written.count(name) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_what_bars_say(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(track([1, 2], name, show=True)) == [1, 2]
    bar = new_bar(name)
    bar.console.file = io.StringIO()
    with bar:
        bar.add_task(name, total=2)
        bar.refresh()
    assert name in bar.console.file.getvalue()


def test_no_room_makes_a_console_or_a_status_of_its_own() -> None:
    """They would take text for markup."""
    found = []
    for path in sorted(
        one for room in ROOMS for one in (ROOT / room).rglob("*.py") if "dynsel/callbacks" not in str(one)
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in ("Console", "from_markup", "get_console") or (
                    called == "status" and isinstance(node.func, ast.Attribute)
                ):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {one.split(":")[0] for one in found} == {"dynsel/_lib/console.py"}


@pytest.mark.parametrize("metric", ["m[/x]b", "m[red]b", ":smile:"])
def test_lightning_s_table_of_metrics(metric: str, here: Path, command: Command) -> None:
    code, _, said = command("validate", "-c", "c.yaml", "--model.metric", metric)
    assert code == 0, said
    assert metric in said


@pytest.mark.parametrize("name", ["[/x]", "m[red]b", "$a$ $^", ":smile:"])
def test_paths_of_commands(name: str, here: Path, command: Command) -> None:
    out = here / name
    photos = ("--data", "photos", "--extractor", "pixels")
    commands = {
        f"{name}/x.npy": ("features", "extract", *photos, "--out", f"{name}/x.npy"),
        f"{name}/x.json": ("select", "--features", f"{name}/x.npy", "--keep_ratio", "0.5", "--out", f"{name}/x.json"),
        f"{name}/s.safetensors": (
            *("sae", "fit", "--features", f"{name}/x.npy", "--out", f"{name}/s.safetensors"),
            *("--epochs", "1", "--num_factors", "8", "--k", "2", "--plot", "--codes", f"{name}/c.json"),
        ),
    }
    for file, words in commands.items():
        code, _, said = command(*words)
        assert code == 0, said
        assert file in said
        assert (here / file).is_file()
    for words in (("features", "info", f"{name}/x.npy"), ("sae", "info", f"{name}/s.safetensors")):
        code, _, said = command(*words)
        assert code == 0, said
        assert f"{name}/x.npy" in "".join(said.split("\n"))
    assert command("features", "verify", f"{name}/x.npy")[0] == 0
    assert out.is_dir()


def test_a_comparison(here: Path, command: Command) -> None:
    """Paths, metrics and selectors of any name: on the terminal, in pictures and in the report."""
    metric, out = "m[/x]$^<i>b", "runs/[red]$_<u>"
    words = ("--selectors", "full", "random", "hostile.named.Odd:name=[/x]$^<b>", "--seeds", "2")
    code, _, said = command(
        "compare", "-c", "c.yaml", *words, "--out", out, "--metric", metric, "--model.metric", metric
    )
    assert code == 0, said
    assert metric in said
    assert "[/x]$^<b>" in said
    assert out in said
    table, page = ((here / out / name).read_text() for name in ("table.md", "report.html"))
    assert not re.search("<[ibu]>", re.sub("`[^`]*`", "", table))
    assert "<b>" not in page.replace("<b>&", "")
    assert "&lt;b&gt;" in page


def test_markdown() -> None:
    assert markdown_table(["<i>a", "b"], [["<script>x", "a|b\nc"]]).splitlines() == [
        "| &lt;i>a | b |",
        "| --- | ---: |",
        r"| &lt;script>x | a\|b c |",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_pictures(name: str, tmp_path: Path) -> None:
    places = torch.rand(8, 2).numpy()
    as_pixels(map_figure(places, torch.arange(8).numpy() % 2, [name, "b"], title="t"))
    draw_sheet(torch.rand(1, 2, 1, 4, 4), tmp_path / "x.png", [name], ["a", "b"], "t")
