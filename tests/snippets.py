"""The Python of a Markdown page, run from the top as a reader would."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

MODULE = "my_package"


def python_blocks(page: Path, needs: str = "") -> list[str]:
    """The fenced Python blocks of a page, each led by as many empty lines as stand above it: errors name its line.

    Args:
        page: A Markdown file.
        needs: What stands after "python" where a block begins: a library without which it doesn't run.
    """
    text, kind = page.read_text(), f"python {needs}".strip()
    found = re.finditer(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text[: block.start(1)].count("\n") + block[1] for block in found]


def run_snippets(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *, needs: str = "", **names: Any
) -> dict[str, Any]:
    """Run all blocks in turn in one namespace, as if they were one file `my_package.py`.

    Args:
        page: A Markdown file.
        folder: Working folder, where files go.
        monkeypatch: Of the test.
        needs: See `python_blocks`.
        **names: What the page takes for given.

    Returns:
        The namespace after the last block.
    """
    monkeypatch.chdir(folder)
    module = ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    vars(module).update(names)
    for block in python_blocks(page, needs):
        exec(compile(block, str(page), "exec"), vars(module))
    return vars(module)
