"""Whether an output can be written is known before the work, and nothing stays of the attempt."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dynsel._lib import outputs
from dynsel._lib.outputs import check_output, check_output_folder


def test_a_place_that_can_be_written_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    check_output("--out", tmp_path / "there")
    check_output("--out", tmp_path / "new" / "deeper" / "x.json")
    check_output_folder("--out", tmp_path)
    check_output_folder("--out", tmp_path / "new" / "deeper")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "old"


@pytest.mark.parametrize("check", [check_output, check_output_folder])
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file/x", "Not a directory"),
        ("file/deep/x", "Not a directory"),
        ("x" * 250, "File name too long"),
        ("y" * 250 + "/x", "File name too long"),
        ("loop/x", "leads nowhere"),
        ("link/x", "leads nowhere"),
    ],
)
def test_why_it_cannot_be_written(check: Any, place: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("nowhere")
    if check is check_output_folder and place == "x" * 250:
        place += "/x"
    with pytest.raises(ValueError, match=rf"`--out`: .*can't be written \(.*{why}.*\); choose another place"):
        check("--out", tmp_path / place)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")
def test_a_folder_that_the_system_keeps_for_itself() -> None:
    with pytest.raises(ValueError, match="`--out`: /proc/x can't be written"):
        check_output("--out", "/proc/x")


def test_a_file_system_that_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(outputs, "_try", refuse)
    with pytest.raises(ValueError, match="Read-only file system"):
        check_output("--out", tmp_path / "x")


def test_a_folder_for_a_file_and_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"`--out` must be a file, and .* is a folder; choose another name"):
        check_output("--out", tmp_path)
    with pytest.raises(ValueError, match=r"`--out` must be a folder, and .* is a file; choose another name"):
        check_output_folder("--out", tmp_path / "file")


def test_what_is_no_path() -> None:
    with pytest.raises(ValueError, match=r"`--out` must be a path"):
        check_output("--out", "a\0b")


def test_where_a_link_leads_counts(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/none")
    (tmp_path / "far").mkdir()
    (tmp_path / "good").symlink_to("far/x")
    check_output("--out", tmp_path / "good")
    with pytest.raises(ValueError, match="can't be written"):
        check_output("--out", tmp_path / "link")
