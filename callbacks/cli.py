"""LightningCLI with the selection as a configuration key of its own."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from dynsel.callbacks.dynamic_selection import DynamicSelection
from dynsel.selectors.spec import parse_selector, selector_config

__all__ = ["SelectionCLI"]


class SelectionCLI(LightningCLI):
    """LightningCLI with `selection:`, the arguments of `DynamicSelection`, beside model, data and trainer.

    A further key is `threads`, the number of CPU threads that torch may use.

    Model and data are given by class path. The selector is given by short name or class path, in text with its
    arguments (`rrd:k=8,gamma=0.5`), or as `class_path` with `init_args`.

    Args:
        args: Command line after the program's name.
        **options: Further keyword arguments of `LightningCLI`.
    """

    def __init__(self, args: list[str], **options: Any) -> None:
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
        """Add the keys `selection` and `threads`.

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

    def before_instantiate_classes(self) -> None:
        """Set the threads, and read a selector that is given as text."""
        if threads := self._get(self.config, "threads"):
            torch.set_num_threads(threads)
        selection = self._get(self.config, "selection")
        if isinstance(selection.selector, str):
            selection.selector = selector_config(*parse_selector(selection.selector))
