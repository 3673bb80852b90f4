"""Train, validate, test or predict from a YAML file, by Lightning's command line."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import ArgumentError
from lightning.pytorch.callbacks import ModelCheckpoint

from dynsel._lib.console import plain_rich
from dynsel._lib.outputs import check_output_folder
from dynsel.callbacks.cli import SelectionCLI
from dynsel.commands._arguments import suggest_option, training_options

__all__ = ["fit", "predict", "test", "validate"]

_NO_LAST = "there is no last checkpoint available"  # so says Lightning


class _Interrupts(pl.Callback):
    """Remembers the Trainer that Ctrl-C stopped: Lightning itself turns the interrupt into an exit code 1."""

    trainer: pl.Trainer | None = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # A training inside the training, as an autoencoder's, has already turned the interrupt into a SystemExit.
        if isinstance(exception, KeyboardInterrupt) or isinstance(exception.__context__, KeyboardInterrupt):
            self.trainer = trainer


class _Command(SelectionCLI):
    """Finds out before the work whether what it leaves can be written."""

    def instantiate_trainer(self, **options: Any) -> pl.Trainer:
        trainer = super().instantiate_trainer(**options)
        folders: list[tuple[str, Any]] = [("trainer.logger", logger.save_dir) for logger in trainer.loggers]
        if not getattr(trainer, "fast_dev_run", False):  # the configuration is kept beside what is logged
            folders.append(("trainer.default_root_dir", trainer.log_dir or trainer.default_root_dir))
        if self.config.get("subcommand") == "fit":
            saved = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
            folders += [("ModelCheckpoint.dirpath", c.dirpath) for c in saved if c.dirpath is not None]
            folders += [("trainer.default_root_dir", trainer.default_root_dir) for c in saved if c.dirpath is None]
        for name, folder in folders:
            if folder is not None and "://" not in str(folder):
                check_output_folder(name, folder)
        return trainer


def fit(args: list[str]) -> int:
    """Train.

    Args:
        args: Command line after the command's name.

    Returns:
        Exit code: 0, or 130 if interrupted.
    """
    return _run(["fit", *args])


def validate(args: list[str]) -> int:
    """Run `dynsel validate`: evaluate on the validation set.

    Args:
        args: Command line after the command's name; options are those of `fit`.
    """
    return _run(["validate", *args])


def test(args: list[str]) -> int:
    """Run `dynsel test`: evaluate on the test set.

    Args:
        args: Command line after the command's name; options are those of `fit`.
    """
    return _run(["test", *args])


def predict(args: list[str]) -> int:
    """Run `dynsel predict`: predict the prediction set.

    Args:
        args: Command line after the command's name; options are those of `fit`.
    """
    return _run(["predict", *args])


def _run(args: list[str]) -> int:
    interrupts = _Interrupts()
    try:
        with warnings.catch_warnings():
            # Lightning would train from the start, hours that nobody asked for.
            warnings.filterwarnings("error", f".*{_NO_LAST}")
            plain_rich()
            _Command(args, trainer_defaults={"callbacks": [interrupts]})
    except ArgumentError as error:
        raise ValueError(_explained(args, str(error))) from error
    except UserWarning as error:
        if _NO_LAST not in str(error):
            raise
        raise ValueError(
            "`ckpt_path`: there is no last checkpoint to go on from; without the option training starts anew"
        ) from error
    except SystemExit:
        if interrupts.trainer is None:
            raise  # `--help` and `--print_config` end so
        print(f"\ndynsel: interrupted. {_resume_hint(interrupts.trainer)}", file=sys.stderr)
        return 130
    return 0


def _explained(args: list[str], message: str) -> str:
    """What the parser refused, with the way out."""
    if "arguments are required" in message and not any(word.split("=")[0] in ("-c", "--config") for word in args):
        return f"`dynsel {args[0]}` needs a model, at least: give --config FILE"
    _, unknown, words = message.partition("unrecognized arguments: ")
    if not unknown:
        return message
    word = words.split()[0].split("=")[0]
    return message + suggest_option(word, training_options(), others=False)


def _resume_hint(trainer: pl.Trainer) -> str:
    """How to go on after an interrupt."""
    found = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    last = [c.last_model_path for c in found if c.last_model_path]
    path = last + [c.best_model_path for c in found if c.best_model_path]
    if not path:
        return "No checkpoint was written yet: the same command starts again."
    # Lightning looks for the last one in the new run's folder, which isn't this run's if a logger numbers them.
    numbered = [Path(logger.log_dir) for logger in trainer.loggers if logger.log_dir is not None]
    found_again = bool(last) and not any(Path(last[0]).is_relative_to(folder) for folder in numbered)
    where = "last" if found_again else path[0]
    return f"Resume with the same command and `--ckpt_path {where}`."
