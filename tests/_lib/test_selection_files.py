"""A selection in a file: its indices, or one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dynsel._lib.selection_files import read_indices


@pytest.mark.parametrize("content", [[3, 0], {"indices": [3, 0]}, {"indices": [3, 0], "N": 5, "other": 1}])
def test_indices(content: Any, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(content))
    assert read_indices("init", tmp_path / "s.json", 5).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "`init` must be JSON with a list of `indices`"),
        ("{}", "`init` must be JSON with a list of `indices`"),
        ('"x"', "`init` must be JSON with a list of `indices`"),
        ("[1.5]", "they are no list of whole numbers"),
        ("[true]", "they are no list of whole numbers"),
        ("[[1]]", "they are no list of whole numbers"),
        ("[" * 100_000, "`init` must be JSON"),
        ("[99999999999999999999]", "`init` must be JSON"),
        ("[]", r"`init` must hold indices in \[0, 5\)"),
        ("[5]", r"`init` must hold indices in \[0, 5\)"),
        ("[-1]", r"`init` must hold indices in \[0, 5\)"),
        ('{"indices": [1], "N": 6}', "`init` must be a selection of these 5 samples, .* is one of 6"),
    ],
)
def test_what_is_none(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_indices("init", tmp_path / "s.json", 5)
    assert "s.json" in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`init`: there is no selection"):
        read_indices("init", tmp_path / "s.json", 5)
