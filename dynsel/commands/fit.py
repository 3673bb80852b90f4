"""LightningCLI with the selection as a configuration key of its own."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from dynsel.callbacks import DynamicSelection
from dynsel.commands._arguments import parse_value
from dynsel.selectors import SELECTORS, Selector, selector_class

__all__ = ["SelectionCLI", "find_selector", "parse_selector", "run_trainer"]


class SelectionCLI(LightningCLI):
    """LightningCLI with `selection:`, the arguments of `DynamicSelection`, beside model, data and trainer.

    A further key is `threads`, the number of CPU threads that torch may use.

    Model and data are given by class path. The selector may be given by class path or short name.

    Args:
        args: Command line after the program's name.
        options: Of LightningCLI.
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
        parser.add_lightning_class_args(DynamicSelection, "selection")
        parser.add_argument(
            "--threads",
            type=PositiveInt | None,
            default=None,
            help="CPU threads of torch; small models are fastest with 1, above all on a busy machine",
        )

    def before_instantiate_classes(self) -> None:
        if threads := self._get(self.config, "threads"):
            torch.set_num_threads(threads)
        selection = self._get(self.config, "selection")
        if isinstance(selection.selector, str):
            selection.selector = selector_config(find_selector(selection.selector))


def find_selector(name: str) -> type[Selector]:
    """The selector class of a short name or a class path.

    Raises:
        ValueError: If there is none, with similar names.
    """
    module, _, attribute = name.rpartition(".")
    if not module:
        return selector_class(name)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        paths = {cls.__name__: class_path(cls) for cls in SELECTORS.values()}
        near = [paths[key] for key in get_close_matches(attribute, paths)] or sorted(SELECTORS)
        raise ValueError(f"unknown selector {name!r} ({error}); did you mean {' or '.join(near)}?") from error
    if not (isinstance(found, type) and issubclass(found, Selector)):
        raise ValueError(f"{name!r} is no selector: it is not a subclass of dynsel.selectors.Selector")
    return found


def parse_selector(spec: str) -> tuple[type[Selector], dict[str, Any]]:
    """The class and the arguments of `NAME` or `NAME:argument=value,argument=value`.

    Values are JSON or else strings; an object such as a schedule is given as in a YAML file, by `class_path` and
    `init_args`.

    Raises:
        ValueError: If the selector or an argument is unknown, or a value is out of range.
    """
    name, _, given = spec.partition(":")
    cls = find_selector(name)
    arguments: dict[str, Any] = {}
    for part in _split(given) if given else ():
        key, equals, value = part.partition("=")
        known = inspect.signature(cls).parameters
        if not equals or key not in known:
            near = ", ".join(get_close_matches(key, known) or sorted(known))
            raise ValueError(f"{spec!r}: {part!r} must be argument=value; arguments of {cls.__name__}: {near}")
        arguments[key] = parse_value(value)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "selector", fail_untyped=False)
    try:
        parsed = parser.parse_object({"selector": arguments})
        parser.instantiate_classes(parsed)
    except (ArgumentError, AttributeError, ImportError, TypeError, ValueError) as error:
        raise ValueError(f"{spec!r}: {error}") from error
    return cls, {key: value for key, value in parsed.selector.as_dict().items() if key in arguments}


def _split(text: str) -> list[str]:
    """Parts between the commas that stand in no brackets."""
    parts: list[str] = []
    for piece in text.split(","):
        if parts and sum(map(parts[-1].count, "[{")) > sum(map(parts[-1].count, "]}")):
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    return parts


def class_path(cls: type) -> str:
    """Where a class can be imported from; dynsel's own selectors in their short form."""
    if SELECTORS.get(cls.__name__.lower()) is cls:
        return f"dynsel.selectors.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def selector_config(cls: type[Selector], arguments: dict[str, Any] | None = None) -> Namespace:
    """A selector with these arguments, as the parser would have it from a YAML file."""
    init_args = Namespace(**(arguments or {}))  # type: ignore[no-untyped-call]
    return Namespace(class_path=class_path(cls), init_args=init_args)  # type: ignore[no-untyped-call]


class _Interrupts(pl.Callback):
    """Remembers the Trainer that Ctrl-C stopped: Lightning itself turns the interrupt into an exit code 1."""

    trainer: pl.Trainer | None = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            self.trainer = trainer


def run_trainer(args: list[str]) -> int:
    """Run a Trainer's method from the command line.

    Args:
        args: The method ("fit", "validate", ...) and its options.

    Returns:
        Exit code.
    """
    interrupts = _Interrupts()
    try:
        SelectionCLI(args, trainer_defaults={"callbacks": [interrupts]})
    except SystemExit as stop:
        if interrupts.trainer is None:
            # `--help` and `--print_config` end so.
            return stop.code if isinstance(stop.code, int) else 0
        print(f"\ndynsel: interrupted. {resume_hint(interrupts.trainer, args)}", file=sys.stderr)
        return 130
    return 0


def resume_hint(trainer: pl.Trainer, args: list[str]) -> str:
    """How to go on after an interrupt.

    Args:
        trainer: The interrupted one.
        args: Its command line.
    """
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
