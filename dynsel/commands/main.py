"""The command `dynsel`: train from a YAML file, compare selectors, choose a coreset, extract features.

Nothing heavy is imported before it is needed, so that `dynsel --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from types import TracebackType

__all__ = ["main"]

HELP = """\
usage: dynsel <command> [options]

Dynamic per-epoch data selection for PyTorch Lightning.

commands:
  fit        train:  dynsel fit --config recipes/digits.yaml --selection.keep_ratio 0.3
  validate   evaluate a checkpoint on the validation set
  test       evaluate a checkpoint on the test set
  predict    run a checkpoint on the prediction set
  compare    train with several selectors and seeds at equal optimiser steps, and tabulate:
             dynsel compare --config recipes/digits.yaml --selectors full random rrd --seeds 3 --out runs/digits
  select     choose a subset once, from features alone:
             dynsel select --method fast --keep 0.1 --features x.npz:KEY --labels x.npz:KEY --out subset.json
  distill    synthesise a few images per class that train as the whole set does, and evaluate them:
             dynsel distill fit --config recipes/digits_ncfm.yaml
  features   extract the features of a data set once, for all later runs; check and picture them:
             dynsel features extract --data photos/ --extractor open-clip --out clip.npy
  sae        what the features are made of: fit a sparse autoencoder to them, and look at it:
             dynsel sae fit --features clip.npy --out sae.safetensors --plot

options:
  -h, --help   this text; `dynsel fit --help` and `dynsel compare --help` list a command's options
  --version    version number

A YAML file has the keys model, data, trainer and selection; any of it can be overridden on the command line, as in
`--selection.selector dynsel.selectors.Random --trainer.max_epochs 5`. DYNSEL_DEBUG=1 shows errors with traceback.
"""

TRAINER_COMMANDS = ("fit", "validate", "test", "predict")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        args: Command line without the program's name; None takes the process's own.

    Returns:
        Exit code: 0 = done, 1 = a compared run failed, 2 = the input is wrong, 130 = interrupted.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from dynsel import __version__

        print(f"dynsel {__version__}")
        return 0
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        print("\ndynsel: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        text = explain(error)
        if text is None or os.environ.get("DYNSEL_DEBUG"):
            raise
        print(f"dynsel: error: {text}", file=sys.stderr)
        return 2


def _dispatch(arguments: list[str]) -> int:
    command, rest = arguments[0], arguments[1:]
    if command == "compare":
        from dynsel.commands.compare import compare

        return compare(rest)
    if command == "select":
        from dynsel.coreset import select

        return select(rest)
    if command == "distill":
        from dynsel.commands.distill import distill

        return distill(rest)
    if command == "features":
        from dynsel.commands.features import run_features

        return run_features(rest)
    if command == "sae":
        from dynsel.commands.sae import run_sae

        return run_sae(rest)
    if command in TRAINER_COMMANDS:
        from dynsel.commands.fit import run_trainer

        return run_trainer(arguments)
    from difflib import get_close_matches

    commands = (*TRAINER_COMMANDS, "compare", "select", "distill", "features", "sae")
    near = get_close_matches(command, commands, n=1) or [", ".join(commands)]
    raise ValueError(f"unknown command {command!r}; did you mean {near[0]}?")


def explain(error: Exception) -> str | None:
    """The error in one line if it is about what the user gave, None if it looks like a mistake in a program.

    Errors that dynsel's own code raises are written for its user, as are those of the argument parser and of
    Lightning's configuration checks, and a missing file explains itself.

    Args:
        error: As caught, with its traceback.
    """
    if isinstance(error, argparse.ArgumentError):
        return _one_line(str(error))
    known = (ValueError, TypeError, ImportError, RuntimeError)
    # jsonargparse wraps what a constructor raises.
    cause: BaseException | None = error
    while cause is not None:
        by_statement = isinstance(cause, ImportError) and cause.name is not None  # hence not raised by our code
        if isinstance(cause, known) and not by_statement and _raised_in(cause.__traceback__) == "dynsel":
            return _one_line(str(cause))
        cause = cause.__cause__
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return _one_line(str(error))
    if type(error).__name__ == "MisconfigurationException":
        return _one_line(str(error))
    return None


def _raised_in(traceback: TracebackType | None) -> str:
    """Name of the package whose code raised."""
    name = ""
    while traceback is not None:
        name, traceback = str(traceback.tb_frame.f_globals.get("__name__", "")), traceback.tb_next
    return name.split(".")[0]


def _one_line(text: str) -> str:
    """jsonargparse lists types and attempts over many lines; what says something fits in one."""
    noise = ("Does not validate", "Subtypes:", "Errors:", "Given value type:", "Expected a <class 'NoneType'>")
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    said = [line for line in lines if line and not line.startswith(noise)]
    return re.sub(r'^Parser key "([^"]*)"', r"`\1`", "; ".join(said).replace(":; ", ": "))
