"""Parts of messages to users."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "first_line", "suggest", "suggest_all", "with_way_out"]


def suggest(name: str, known: Iterable[str], *, others: bool = True) -> str:
    """The end of a message about an unknown name: what may have been meant.

    Args:
        name: The name that was given.
        known: The names that there are.
        others: Whether to name some if none is near.

    Returns:
        "; did you mean ...?" with up to three near names, or "; there are ..." with the first five if none is near.
        Nothing without `others`, or if there are none.

    Example:
        >>> suggest("resnet", ["resnet18", "vgg16"])
        "; did you mean 'resnet18'?"
    """
    choices = list(known)
    near = get_close_matches(name, choices, n=3, cutoff=0.5)
    if near:
        return did_you_mean(near)
    if not (choices and others):
        return ""
    return f"; there are {', '.join(choices[:5])}{', ...' if len(choices) > 5 else ''}"


def did_you_mean(names: Iterable[str]) -> str:
    """The end of a message about an unknown name: what was meant, one of these.

    Args:
        names: At least one.

    Example:
        >>> did_you_mean(["a", "b"])
        "; did you mean 'a' or 'b'?"
    """
    return f"; did you mean {' or '.join(map(repr, names))}?"


def suggest_all(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown argument: what may have been meant, and all that there are.

    Args:
        name: The name that was given.
        known: The names that there are.

    Example:
        >>> suggest_all("kk", ["gamma", "k"])
        "; did you mean 'k'? It takes gamma, k"
    """
    names = list(known)
    near = suggest(name, names, others=False)
    return f"{near} It takes {', '.join(names)}" if near else f"; it takes {', '.join(names) or 'none'}"


def first_line(error: Exception) -> str:
    """Kind and first line of an error of another library, for a message of ours.

    Args:
        error: Any exception.
    """
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def with_way_out(text: str) -> str:
    """An error's text, and where it is torchvision's about a folder of images, how they must lie.

    Args:
        text: What an error says.

    Example:
        >>> with_way_out("Couldn't find any class folder in photos.")
        "Couldn't find any class folder in photos: images must lie in a folder for each class, photos/<class>/<image>; \
where there are no classes, in a single one, such as photos/all/"
    """
    found = re.search(r"Couldn't find any class folder in (.+?)/*\.?$", text)
    if found is None:
        return text
    folder = found[1]
    way_out = f"images must lie in a folder for each class, {folder}/<class>/<image>; where there are no classes, in a "
    return f"{text[: found.start(1)]}{folder}: {way_out}single one, such as {folder}/all/"
