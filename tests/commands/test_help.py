"""The help of every command: one screen that costs nothing, and true to what the parsers know."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dynsel.commands._help import HELP
from dynsel.commands.main import COMMANDS, main

ROOT = Path(__file__).parents[2]
CONFIG = ["--config", str(ROOT / "recipes" / "digits.yaml"), "--out", "out"]
HEAVY = {"torch", "lightning", "numpy", "matplotlib", "jsonargparse", "rich"}


def modules_after(*commands: list[str]) -> set[str]:
    """Top-level packages that a process has imported when these commands are done."""
    program = (
        "import json, sys\n"
        "from dynsel.commands.main import main\n"
        f"assert [main(words) for words in {list(commands)}] == [0] * {len(commands)}\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(output.stdout.splitlines()[-1]))


def test_no_help_imports_a_package() -> None:
    assert modules_after(*([*name.split(), "--help"] for name in HELP)) & HEAVY == set()


def test_every_command_has_a_help() -> None:
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    assert set(HELP) == {"", *groups, *COMMANDS}


@pytest.mark.parametrize("name", HELP)
def test_a_help_fits_on_a_screen(name: str) -> None:
    lines = HELP[name].splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= (100 if name == "compare" else 120)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["--help_all"]])
def test_ways_to_ask_for_the_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == HELP[""]


@pytest.mark.parametrize("words", [["sae", "fit", "--help"], ["help", "sae", "fit"], ["sae", "fit", "--k", "3", "-h"]])
def test_ways_to_ask_for_a_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == HELP["sae fit"]


@pytest.mark.parametrize("group", ["distill", "features", "sae"])
def test_a_group_alone_shows_its_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 2
    assert capsys.readouterr().out == HELP[group]
    assert main([group, "--help"]) == 0
    assert capsys.readouterr().out == HELP[group]


# `validate`, `test` and `predict` have the text and the parser of `fit`.
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("validate", "test", "predict")])
def test_the_parser_knows_every_option_of_the_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help_all"]) == 0
    known = set(re.findall(r"--[\w.]*\w", capsys.readouterr().out))
    named = set(re.findall(r"--[\w.]*\w", HELP[name]))
    # Arguments of a class that the user names are known once it is named.
    depends = {option for option in named if re.match(r"--(model|data|extractor)\.(?!help)", option)}
    assert named - depends - known == {"--help_all"} & named


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sae", "fit", "--sed", "1"], "unrecognized arguments: --sed 1; did you mean '--seed'"),
        (["select", "--keep-ratio", "0.1"], "--keep-ratio 0.1; did you mean '--keep_ratio' or '--selector'?\n"),
        (["compare", *CONFIG, "--keep-ratio", "0.3"], "--keep-ratio 0.3; did you mean '--keep_ratio'"),
        (["features", "info"], "the following arguments are required: store"),
        (["featres", "extract"], "unknown command 'featres'; did you mean 'features'"),
        (["featres", "--help"], "unknown command 'featres'; did you mean 'features'"),
        (["sae", "train", "--help"], "unknown command 'sae train'; there are fit, info"),
    ],
)
def test_what_was_probably_meant(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("dynsel: error: ")
    assert said in error
    assert len(error.splitlines()) == 1
