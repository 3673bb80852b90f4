"""Files that appear whole or not at all: beside other writers, kills, links and full disks."""

from __future__ import annotations

import multiprocessing as mp
import os
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from dynsel._lib import files
from dynsel._lib.files import allocate, new_file, only_writer, start_array, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process, which says so when it has come as far as it should."""
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


WRITER = """
import sys, time
from pathlib import Path
from dynsel._lib.files import new_file
with new_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    time.sleep(600)
"""
OWNER = """
import sys, time
from pathlib import Path
from dynsel._lib.files import only_writer
with only_writer(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("content", ["text ä", b"bytes", lambda file: file.write(b"written")])
def test_a_file_appears_whole_and_alone(tmp_path, content):
    write_atomically(tmp_path / "new" / "x", content)
    assert names(tmp_path / "new") == ["x"]
    assert (tmp_path / "new" / "x").read_bytes() in ("text ä".encode(), b"bytes", b"written")


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(TypeError, match="bytes-like"):
        write_atomically(tmp_path / "x", lambda file: (file.write(b"new"), file.write(5)))
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_the_mode_is_that_of_ordinary_files(tmp_path):
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "x", "")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_that_lies_in_wait_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".x.taken.tmp").symlink_to(victim)
    tokens = cycle(["taken", "free"])
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: next(tokens))
    write_atomically(tmp_path / "x", "new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "x").read_text() == "new"


def test_a_target_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "x").symlink_to("far/y")
    write_atomically(tmp_path / "x", "new")
    assert (tmp_path / "x").is_symlink()
    assert (tmp_path / "far" / "y").read_text() == "new"


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "x[1]*.npy"  # a name that looks like a pattern
    killed, living = start(WRITER, path), start(WRITER, path)
    assert len(names(tmp_path)) == 2
    killed.kill()
    killed.wait()
    write_atomically(path, "whole")
    assert len(names(tmp_path)) == 2
    assert path.read_text() == "whole"
    living.kill()
    living.wait()
    write_atomically(path, "again")
    assert names(tmp_path) == [path.name]


def write_often(path: Path, content: bytes, times: int) -> None:
    for _ in range(times):
        write_atomically(path, content)


def test_several_writers_of_one_file_never_meet(tmp_path):
    path, contents = tmp_path / "x", [bytes([65 + i]) * 50_000 for i in range(3)]
    write_atomically(path, contents[0])
    crew = [mp.get_context("fork").Process(target=write_often, args=(path, content, 60)) for content in contents]
    for process in crew:
        process.start()
    while any(process.is_alive() for process in crew):
        assert path.read_bytes() in contents
    for process in crew:
        process.join()
        assert process.exitcode == 0
    assert names(tmp_path) == ["x"]


def test_one_writer_at_a_time(tmp_path):
    owner = start(OWNER, tmp_path / "x")
    with pytest.raises(RuntimeError, match=r"another process is writing .*x; wait until it is done"):
        only_writer(tmp_path / "x", wait=False).__enter__()
    owner.kill()  # the lock goes with its process
    owner.wait()
    with only_writer(tmp_path / "x", wait=False):
        pass
    assert names(tmp_path) == []


def test_a_writer_waits_for_another(tmp_path):
    owner = start(OWNER.replace("600", "0.5"), tmp_path / "x")
    with only_writer(tmp_path / "x"):
        assert owner.wait(60) == 0


def test_room_is_taken_at_once(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        allocate(file, 3_000_000)
        assert os.fstat(file.fileno()).st_blocks * 512 >= 3_000_000


def test_room_is_taken_by_zeros_where_the_disk_knows_no_other_way(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with open(tmp_path / "x", "wb") as file:
        allocate(file, 2**24 + 5)
        file.write(b"first")
    assert (tmp_path / "x").stat().st_size == 2**24 + 5
    assert (tmp_path / "x").read_bytes()[:6] == b"first\0"


def test_an_array_can_be_written_row_by_row(tmp_path):
    rows = np.arange(12, dtype=np.int16).reshape(4, 3)
    with new_file(tmp_path / "x.npy") as file:
        start_array(file, rows.dtype, rows.shape)
        for row in rows:
            file.write(row.tobytes())
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), rows)


def test_a_full_disk_is_said_and_nothing_stays(tmp_path):
    """In a process of its own, whose files may not be larger than 100 kB."""
    program = """
import resource, signal, sys
from pathlib import Path
from dynsel._lib.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_atomically(Path(sys.argv[1]), bytes(200_000))
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "x"], capture_output=True, text=True, check=False)
    assert "RuntimeError: no room to write" in done.stderr
    assert names(tmp_path) == []
