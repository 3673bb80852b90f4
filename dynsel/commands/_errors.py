"""Errors in one line: those that are about what the user gave, wherever they were raised."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from types import FrameType, TracebackType

from dynsel._lib.messages import with_way_out

__all__ = ["explain"]

_TRAINER = "lightning.pytorch.trainer.trainer"
_CHECKPOINTS = "lightning.pytorch.trainer.connectors.checkpoint_connector"
_KNOWN = (ValueError, TypeError, ImportError, RuntimeError)


def explain(error: Exception) -> str | None:
    """The error in one line if it is about what the user gave, None if it looks like a mistake in a program.

    Errors that dynsel's own code raises are written for its user, as are those of the argument parser and of
    Lightning's configuration checks, and what the operating system refuses explains itself. What Lightning raises
    while it makes a Trainer is about its options, and while it reads or writes a checkpoint about that file.

    Args:
        error: As caught, with its traceback.
    """
    text = _text(error)
    return None if text is None else with_way_out(text)


def _text(error: Exception) -> str | None:
    if isinstance(error, argparse.ArgumentError):
        return _refused(str(error))
    # jsonargparse wraps what a constructor raises.
    cause: BaseException | None = error
    while cause is not None:
        by_statement = isinstance(cause, ImportError) and cause.name is not None  # hence not raised by our code
        if isinstance(cause, _KNOWN) and not by_statement and _raised_in(cause.__traceback__) == "dynsel":
            return _refused(str(cause))
        if type(cause).__name__ == "RepresenterError":  # jsonargparse writes and reads what it is to make a class of
            return (
                f"the configuration has a default that YAML can't tell, {cause.args[-1]!r}; give that argument "
                "yourself, as `interval: step` of Lightning's Timer"
            )
        cause = cause.__cause__
    if not isinstance(error, FileNotFoundError) and (place := _checkpoint(error)) is not None:
        # Not torch's text: it advises to load by pickle.
        why = "" if "weights_only" in str(error) else f": {_one_line(str(error))}"
        return f"{place} ({type(error).__name__}{why})"
    if isinstance(error, OSError):  # a missing file, a full disk, a file system that is only read
        return _one_line(str(error))
    if isinstance(error, UnicodeDecodeError) and (path := _configuration(error)) is not None:
        return f"{path} is no text, so no configuration: {error}"
    # jsonargparse tells of each part of a union why it wasn't it; one that checks its arguments names them.
    if isinstance(error, ValueError) and "Union subtypes" in str(error):
        said = re.findall(r"^\s+- (?!Expected a)(.*)$", str(error), re.MULTILINE)
        if said and all(re.match(r"`\w+` must ", line) for line in said):
            return _one_line("; ".join(said))
    told_by_lightning = isinstance(error, ValueError) and _raised_in(error.__traceback__) == "lightning"
    if told_by_lightning or type(error).__name__ == "MisconfigurationException":
        return _one_line(str(error))
    if isinstance(error, _KNOWN) and any(_is_in(frame, _TRAINER, "__init__") for frame in _frames(error.__traceback__)):
        return f"Lightning's Trainer refuses its options: {_one_line(str(error))}"
    return None


def _checkpoint(error: Exception) -> str | None:
    """Which checkpoint was being read or written, and what may have happened to it; None if none was."""
    for frame in _frames(error.__traceback__):
        if _is_in(frame, _TRAINER, "save_checkpoint"):
            return f"the checkpoint {frame.f_locals.get('filepath')} can't be written"
        if _is_in(frame, "lightning.pytorch.cli", "_parse_ckpt_path"):  # looks for hyper-parameters
            return f"`ckpt_path`: {frame.f_locals.get('ckpt_path')} is damaged, or of another version"
        if _is_in(frame, _CHECKPOINTS, "_load", "_restore", "restore", "resume"):
            path = frame.f_locals["self"].trainer.ckpt_path or frame.f_locals.get("checkpoint_path")
            return f"`ckpt_path`: {path} is damaged, or of another training or version"
    return None


def _configuration(error: Exception) -> str | None:
    """Which configuration was being read, None if none was."""
    for frame in _frames(error.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith("jsonargparse") and frame.f_code.co_name in (
            "get_content",
            "read_text",
        ):
            return str(frame.f_locals.get("self"))
    return None


def _is_in(frame: FrameType, module: str, *names: str) -> bool:
    """Whether a frame is of a function of this module whose name begins so."""
    return frame.f_globals.get("__name__") == module and frame.f_code.co_name.startswith(names)


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _raised_in(traceback: TracebackType | None) -> str:
    """Name of the package whose code raised."""
    names = [str(frame.f_globals.get("__name__", "")) for frame in _frames(traceback)]
    return names[-1].split(".")[0] if names else ""


def _refused(text: str) -> str:
    """What a parser refused, in our words where these say more."""
    from dynsel.commands._refusals import explained

    return explained(text) or _one_line(text)


def _one_line(text: str) -> str:
    """jsonargparse lists types and attempts over many lines; what says something fits in one."""
    noise = ("Does not validate", "Subtypes:", "Errors:", "Given value type:", "Expected a <class 'NoneType'>")
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    said = [line for line in lines if line and not line.startswith(noise)]
    return re.sub(r'^Parser key "([^"]*)"', r"`\1`", "; ".join(said).replace(":; ", ": "))
