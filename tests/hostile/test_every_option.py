"""Every option of every command, given anything: exit code 0, or 2 and one line."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hostile.values import inputs
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from dynsel.callbacks import DynamicSelection
from dynsel.commands._arguments import CommandParser
from dynsel.commands.main import COMMANDS, main

VALUES = [
    *("", "-1", "0", "1", "0.5", "1.5", "-0.5", "nan", "inf", "-inf", "null", "true", "x", "x.y", "X.Y.Z", "[]", "{}"),
    *("[1]", "[x, 1]", "{a: 1}", "a: b", "a=b", "*a", "&a x", "!!python/object/apply:os.getcwd []", "[/x]", "m[red]b"),
    *(
        "/dev/null",
        "/dev/null/x",
        "nowhere",
        "nowhere.npy",
        "f.npy",
        "z.npz:nothing",
        "c.yaml",
        "photos",
        "ä",
        "-",
        "--",
    ),
    *(
        "os.getcwd",
        "torch.nn.Linear",
        "rrd:k=0",
        "loss:",
        ":",
        "%s",
        "$HOME",
        "`id`",
        "a\nb",
        "1e-30",
        "cuda",
        "1,2",
        "'",
    ),
]
# Where nothing is made that is as large or takes as long as it is told.
HUGE = ["1e30", "-1e30", "99999999999", "9" * 40]
TAKE_HUGE = ("seed", "seed_everything", "threads", "keep_ratio", "k", "lr", "target", "split", "precision", "labels")
# What starts processes, waits for other machines, shows help, or is read from elsewhere.
UNTRIED = ("devices", "num_nodes", "num_workers", "help", "h", "print_config", "print_shtab", "config", "c")

BASES: dict[str, list[str]] = {
    "features extract": ["--data", "photos", "--extractor", "pixels", "--accelerator", "cpu", "--out", "new.npy"],
    "features info": ["f.npy"],
    "features verify": ["s.npy"],
    "features atlas": ["--data", "photos", "--features", "f.npy", "--out", "atlas", "--map", "pca", "--rows", "1"],
    "sae fit": [
        *("--features", "f.npy", "--out", "s.safetensors", "--num_factors", "8", "--k", "2", "--epochs", "1"),
        *("--device", "cpu"),
    ],
    "sae info": ["s.safetensors"],
    "select": ["--features", "f.npy", "--keep_ratio", "0.2", "--out", "new.json", "--selector", "random"],
    "distill measure": ["--features", "f.npy", "--selection", "subset.json", "--steps", "2", "--repeats", "2"],
    "distill export": ["--ckpt_path", "c.yaml", "--out", "exported"],
    "recipes copy": ["copied", "--force"],
    "recipes list": [],
    "findings": ["c.yaml", "--data", "photos", "--out", "found"],
}
TRAINED: dict[str, list[str]] = {
    "fit": ["-c", "c.yaml", "--trainer.fast_dev_run", "1"],
    "validate": ["-c", "c.yaml"],
    "test": ["-c", "c.yaml"],
    "predict": ["-c", "c.yaml"],
    "compare": ["-c", "c.yaml", "--out", "compared", "--selectors", "full", "--seeds", "1"],
    "distill fit": ["--data", "dynsel.data.DigitsDataModule", "--out", "o", "--trainer.max_steps", "0"],
    "distill evaluate": ["--data", "dynsel.data.DigitsDataModule", "--out", "o"],
}
COMPARED = ["out", "selectors", "seeds", "equal", "keep_ratio", "metric", "target", "worth", "energy", "beside"]


class _Found(Exception):
    def __init__(self, parser: ArgumentParser) -> None:
        self.parser = parser


def options_of(command: str) -> list[str]:
    """Names of the options that a command's parser knows, as they are typed."""

    def stop(parser: ArgumentParser, *args: Any, **options: Any) -> None:
        raise _Found(parser)

    if command in ("fit", "validate", "test", "predict", "compare"):
        import inspect

        groups = {"trainer": pl.Trainer, "selection": DynamicSelection}
        names = [
            f"--{group}.{name}" for group, cls in groups.items() for name in list(inspect.signature(cls).parameters)
        ]
        own = [f"--{name}" for name in COMPARED] if command == "compare" else ["--ckpt_path"]
        return [*own, *names, "--seed_everything", "--threads", "--model.lr", "--data.batch_size", "--model", "--data"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CommandParser, "parse_args", stop)
        try:
            main([*command.split(), *{**BASES, **TRAINED}[command]])
        except _Found as found:
            return [name for name in found.parser._option_string_actions if name.startswith("--")]
    raise AssertionError(f"{command} makes no parser")


@pytest.fixture(scope="module")
def folder(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A working folder with small data, a store and an autoencoder."""
    place = tmp_path_factory.mktemp("options")
    for path in small.iterdir():
        (place / path.name).symlink_to(path)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("COLUMNS", "200")
        assert run(["features", "extract", *BASES["features extract"][:-1], "s.npy"])[0] == 0
        assert run(["sae", "fit", *BASES["sae fit"]])[0] == 0
        yield place
    torch.set_num_threads(threads)


def run(words: list[str]) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err):
        warnings.simplefilter("ignore")
        return main(words), err.getvalue()


KNOWN: dict[str, list[str]] = {}


def check(command: str, data: st.DataObject) -> None:
    if command not in KNOWN:
        KNOWN[command] = sorted(
            name for name in options_of(command) if name.lstrip("-").split(".")[-1].rstrip("+") not in UNTRIED
        )
    words = [*command.split(), *{**BASES, **TRAINED}[command]]
    if options := KNOWN[command]:
        option = data.draw(st.sampled_from(options), "option")
        last = option.lstrip("-").split(".")[-1]
        drawn = st.sampled_from(VALUES + (HUGE if last in TAKE_HUGE else []))
        words += [
            option,
            data.draw(drawn | st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=4)),
        ]
    else:
        words.append(data.draw(st.sampled_from(VALUES), "argument"))
    code, said = run(words)
    lines = [line for line in said.splitlines() if line.startswith("dynsel: error: ")]
    assert code in (0, 1, 2), words
    assert len(lines) == (code == 2), (words, said)
    assert "Traceback" not in said, (words, said)


def test_every_command_is_tried() -> None:
    assert {*BASES, *TRAINED} == set(COMMANDS)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", BASES)
def test_every_option_of_a_short_command(command: str) -> None:
    @inputs(30)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        check(command, data)

    holds()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", TRAINED)
def test_every_option_of_a_training(command: str) -> None:
    @inputs(8)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        check(command, data)

    holds()
