"""Parsers made from signatures: options with defaults, errors as exceptions, and the option that was meant."""

from __future__ import annotations

import argparse

import pytest

from dynsel.commands._arguments import CommandParser, Parser, suggest_option, training_options, with_suggestion


def work(out: str, keep_ratio: float = 0.5, verbose: bool = False, seed: int = 0) -> None:
    """Do it.

    Args:
        out: Folder of the results.
        keep_ratio: Share that stays.
        verbose: Whether to talk.
        seed: Seed of the draws.
    """


def parser() -> CommandParser:
    made = CommandParser("dynsel work")
    assert made.add_signature(work, "seed") == ["out", "keep_ratio", "verbose"]
    return made


def test_parameters_become_options():
    options = parser().parse_args(["--out", "x", "--verbose", "--keep_ratio=0.25"])
    assert (options.out, options.keep_ratio, options.verbose) == ("x", 0.25, True)
    assert "Share that stays" in parser().format_help()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --out"),
        (
            ["--out", "x", "--keep_ration", "1"],
            r"--keep_ration 1; did you mean '--keep_ratio'\?",
        ),
        (["--out", "x", "--keep", "1"], "unrecognized arguments: --keep 1"),
        (["--out", "x", "--keep_ratio", "half"], "keep_ratio"),
    ],
)
def test_errors_are_exceptions(words, message):
    with pytest.raises(argparse.ArgumentError, match=message):
        parser().parse_args(words)


def test_a_plain_parser_raises_as_well():
    made = Parser("dynsel work", "Does it.")
    made.add_argument("--selectors")
    with pytest.raises(ValueError, match="expected one argument"):
        made.parse_args(["--selectors"])
    assert made.parse_known_args(["--sel", "x"])[1] == ["--sel", "x"]  # nothing is completed


def test_a_suggestion_is_made_once_and_of_this_parser_only():
    made = Parser("dynsel work", "Does it.")
    made.add_argument("--selectors")
    said = with_suggestion("unrecognized arguments: --selector rrd", made)
    assert said.endswith("; did you mean '--selectors'?")
    assert with_suggestion(said, made) == said
    said = with_suggestion("unrecognized arguments: --max_epochs 2", made, training_options())
    assert said.endswith("; did you mean '--trainer.max_epochs'?")
    for other in ("something else", "unrecognized arguments: --model.init_args.x 1"):
        assert with_suggestion(other, made) == other


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("--max-epochs", "; did you mean '--trainer.max_epochs'?"),
        ("--lr", "; did you mean '--model.lr' or '--pool.lr'?"),
        ("--metrics", "; did you mean '--metric' or '--model.lr'?"),
        ("--keep-ratio", "; did you mean '--keep_ratio' or '--metric'?"),
        ("--zzz", "; there are --metric, --keep_ratio, --trainer.max_epochs, --model.lr, --pool.lr"),
    ],
)
def test_an_option_without_its_group(name, said):
    known = ["--metric", "--keep_ratio", "--trainer.max_epochs", "--model.lr", "--pool.lr"]
    assert suggest_option(name, known) == said
