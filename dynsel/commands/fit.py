"""Train, validate, test or predict from a YAML file, by Lightning's command line."""

from __future__ import annotations

import sys
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from dynsel.callbacks.cli import SelectionCLI

__all__ = ["fit", "predict", "test", "validate"]


class _Interrupts(pl.Callback):
    """Remembers the Trainer that Ctrl-C stopped: Lightning itself turns the interrupt into an exit code 1."""

    trainer: pl.Trainer | None = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # A training inside the training, as an autoencoder's, has already turned the interrupt into a SystemExit.
        if isinstance(exception, KeyboardInterrupt) or isinstance(exception.__context__, KeyboardInterrupt):
            self.trainer = trainer


def fit(args: list[str]) -> int:
    """Train.

    Args:
        args: Command line after the command's name.

    Returns:
        Exit code: 0, or 130 if interrupted.
    """
    return _run(["fit", *args])


def validate(args: list[str]) -> int:
    """Evaluate on the validation set; as `fit`."""
    return _run(["validate", *args])


def test(args: list[str]) -> int:
    """Evaluate on the test set; as `fit`."""
    return _run(["test", *args])


def predict(args: list[str]) -> int:
    """Predict the prediction set; as `fit`."""
    return _run(["predict", *args])


def _run(args: list[str]) -> int:
    interrupts = _Interrupts()
    try:
        SelectionCLI(args, trainer_defaults={"callbacks": [interrupts]})
    except SystemExit:
        if interrupts.trainer is None:
            raise  # `--help` and `--print_config` end so
        print(f"\ndynsel: interrupted. {_resume_hint(interrupts.trainer)}", file=sys.stderr)
        return 130
    return 0


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
