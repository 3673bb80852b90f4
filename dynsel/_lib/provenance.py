"""How a result came about: command line, versions, hardware, date."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["command_line", "commit", "hardware", "origin", "package_version", "provenance", "today", "versions"]


def provenance(words: Sequence[str], packages: Sequence[str] = ("torch", "lightning")) -> dict[str, Any]:
    """Everything that a file of results says of its origin, as plain values for JSON.

    Args:
        words: Command line after `dynsel`.
        packages: Names of the packages whose versions determine the results, besides dynsel.
    """
    return {
        "command": command_line(words),
        "versions": versions(packages),
        "hardware": hardware(),
        "date": today(),
    }


def origin(command: str) -> dict[str, str]:
    """What a run says of its origin, each in a line of text.

    Args:
        command: Command line that the run is a part of.
    """
    found = ", ".join(f"{name} {number}" for name, number in versions().items())
    return {"command": command, "hardware": hardware(), "versions": found, "date": today(), "commit": commit()}


@cache
def commit() -> str:
    """Commit of the checkout that runs, with a plus sign where tracked files were changed; "unknown" elsewhere.

    A copy without its history takes it from the environment variable DYNSEL_COMMIT.
    """
    if given := os.environ.get("DYNSEL_COMMIT"):
        return given
    # A file that this repository knows: an environment inside somebody else's repository isn't ours.
    known = _git("ls-files", "--error-unmatch", Path(__file__).name)
    found = known and _git("rev-parse", "--short=10", "HEAD")
    # What `recipes/records.py` writes between two comparisons changes no result.
    changed = _git("status", "--porcelain", "--untracked-files=no", ":/", ":!/recipes/records", ":!/recipes/RECORDS.md")
    return found + "+" * bool(changed) if found else "unknown"


def _git(*words: str) -> str:
    """What git says, in the folder of this file; empty where it says nothing or isn't there."""
    try:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def command_line(words: Sequence[str]) -> str:
    """The command as it can be typed again.

    Args:
        words: Words after `dynsel`, without quotes; the result has them where a shell needs them.

    Example:
        >>> command_line(["select", "--out", "my subset.json"])
        "dynsel select --out 'my subset.json'"
    """
    return shlex.join(["dynsel", *words])


def versions(packages: Sequence[str] = ("torch", "lightning")) -> dict[str, str]:
    """Versions of dynsel and of other packages by name.

    Args:
        packages: Names as `pip` knows them; those that aren't installed are left out.
    """
    found = {name: package_version(name) for name in ("dynsel", *packages)}
    return {name: number for name, number in found.items() if number != "unknown"}


def package_version(name: str) -> str:
    """Version of an installed package; "unknown" where it isn't installed.

    Args:
        name: Name of the package as `pip` knows it.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "0.2.0+checkout" if name == "dynsel" else "unknown"  # a checkout on PYTHONPATH


def hardware() -> str:
    """Name of the GPU if there is one, of the CPU, and the number of torch's threads."""
    import torch

    threads = torch.get_num_threads()
    cpu = f"{_cpu_model()}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{torch.cuda.get_device_name()}; {cpu}" if torch.cuda.is_available() else cpu


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def today() -> str:
    """Today's date in UTC, as in 2026-01-31."""
    return datetime.now(UTC).strftime("%Y-%m-%d")
