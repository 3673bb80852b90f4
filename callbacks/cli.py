"""LightningCLI with the selection as a configuration key of its own."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse.typing import PositiveInt
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from dynsel._lib.checks import check_seed
from dynsel._lib.parsers import integers_first, limit_aliases
from dynsel._lib.threads import set_threads
from dynsel._lib.trainers import check_processes
from dynsel.callbacks.dynamic_selection import DynamicSelection
from dynsel.selectors.spec import parse_selector, selector_config

__all__ = ["SelectionCLI"]


class SelectionCLI(LightningCLI):
    """LightningCLI with `selection:`, the arguments of `DynamicSelection`, beside model, data and trainer.

    Further keys are `threads`, the number of CPU threads that torch may use, and `exclude`, short for
    `selection.exclude`.

    Model and data are given by class path. The selector is given by short name or class path, in text with its
    arguments (`rrd:k=8,gamma=0.5`), or as `class_path` with `init_args`.

    Args:
        args: Command line after the program's name.
        **options: Further keyword arguments of `LightningCLI`.
    """

    def __init__(self, args: list[str], **options: Any) -> None:
        limit_aliases()
        integers_first(pl.Trainer)
        with warnings.catch_warnings():
            # It suspects a mistake where arguments are passed on though the process has some itself.
            warnings.filterwarnings("ignore", ".*args parameter is intended to run from within Python.*")
            super().__init__(
                args=args,
                seed_everything_default=0,
                # A resumed run writes the same file again.
                save_config_kwargs={"overwrite": True},
                parser_kwargs={"exit_on_error": False},
                **options,
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the keys `selection`, `threads` and `exclude`.

        Args:
            parser: Parser of the command line and of YAML files.
        """
        parser.add_lightning_class_args(DynamicSelection, "selection")
        parser.add_argument(
            "--threads",
            type=PositiveInt | None,
            default=None,
            help="CPU threads of torch; small models are fastest with 1, above all on a busy machine",
        )
        parser.add_argument(
            "--exclude",
            type=str | None,
            default=None,
            help="samples to leave out, as the suspects.csv of `dynsel findings`; short for --selection.exclude",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the command line, and check what Lightning itself would stumble over.

        Args:
            parser: Parser of the command line and of YAML files.
            args: Command line after the program's name.

        Raises:
            ValueError: If the seed is out of range, there is no epoch to train, or the checkpoint is none.
        """
        super().parse_arguments(parser, args)
        config = self.config.get(self.config.get("subcommand") or "") or self.config
        seed = config.get("seed_everything")
        if seed is not None and not isinstance(seed, bool):
            check_seed("seed_everything", seed, at_most=2**32 - 1)
        if config.get("trainer.max_epochs") == 0:
            raise ValueError("`trainer.max_epochs` must be at least 1, or -1 for no end, got 0")
        if config.get("trainer.accumulate_grad_batches") == 0:
            raise ValueError("`trainer.accumulate_grad_batches` must be at least 1, got 0")
        path = config.get("ckpt_path")
        if isinstance(path, str) and Path(path).is_file() and not zipfile.is_zipfile(path):
            raise ValueError(f"`ckpt_path` must be a checkpoint of Lightning's, and {path} is none, or damaged")

    def instantiate_trainer(self, **options: Any) -> pl.Trainer:
        """The Trainer.

        Args:
            **options: Options as of `LightningCLI.instantiate_trainer`.

        Raises:
            ValueError: If Lightning refuses an option, a second selection is among the callbacks, or more processes
                are asked for than there are CPU cores.
        """
        if any(isinstance(c, DynamicSelection) for c in as_list(self._get(self.config_init, "trainer")["callbacks"])):
            raise ValueError(
                "`trainer.callbacks` must be without DynamicSelection, which this command adds by itself; put its "
                "arguments under `selection:`"
            )
        try:
            trainer = super().instantiate_trainer(**options)
        except (ImportError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"`trainer`: {error}") from error
        check_processes(trainer, "trainer.devices")
        return trainer

    def before_instantiate_classes(self) -> None:
        """Set the threads, and read a selector that is given as text."""
        if threads := self._get(self.config, "threads"):
            set_threads(threads, "threads")
        selection = self._get(self.config, "selection")
        if (exclude := self._get(self.config, "exclude")) is not None:
            selection.exclude = exclude
        if isinstance(selection.selector, str):
            selection.selector = selector_config(*parse_selector(selection.selector))


def as_list(callbacks: Any) -> list[Any]:
    """The callbacks of a Trainer, which takes a list of them, a single one or None.

    Args:
        callbacks: As a configuration has them.
    """
    return callbacks if isinstance(callbacks, list) else [] if callbacks is None else [callbacks]
