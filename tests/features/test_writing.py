"""Writing a store: any order and number of writers, kills anywhere, full disks, blocks that don't fit."""

from __future__ import annotations

import multiprocessing as mp
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import MATRIX, dataset, plan, write_all

from dynsel.features import StoreWriter, fingerprint, load_features, open_store, save_features


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.randoms())
def test_any_order_and_number_of_writers_gives_the_same_bytes(
    tmp_path_factory: Any, n: int, size: int, writers: int, random: Any
) -> None:
    folder, matrix = tmp_path_factory.mktemp("store"), np.arange(3 * n, dtype=np.float32).reshape(n, 3)
    facts = {"N": n, "d": 3, "dtype": "float32", "block_rows": size}
    StoreWriter.begin(folder / "f.npy", facts)
    crew = [StoreWriter(folder / "f.npy", i) for i in range(writers)]
    todo = crew[0].missing()
    assert [row for block in todo for row in range(n)[crew[0].rows(block)]] == list(range(n))
    random.shuffle(todo)
    for block in todo:
        writer = random.choice(crew)
        writer.write(block, matrix[writer.rows(block)])
    path = crew[0].finish()
    np.save(folder / "plain.npy", matrix)
    assert path.read_bytes() == (folder / "plain.npy").read_bytes()
    assert list(open_store(path).damaged_blocks()) == [None] * len(todo)


def test_a_half_written_store_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "f.npy"
    StoreWriter.begin(path, plan())
    writer = StoreWriter(path)
    writer.write(3, MATRIX[15:20])
    text = r"f.npy is not finished: 1 of 5 blocks are there; run the same `dynsel features extract` again"
    for source in (path, tmp_path / "f.npy.part", tmp_path / "f.npy.json"):
        with pytest.raises(FileNotFoundError, match=text):
            load_features(source)
    with pytest.raises(RuntimeError, match=r"f.npy lacks 4 of 5 blocks, first 0"):
        writer.finish()
    assert StoreWriter(path, 1).missing() == [0, 1, 2, 4]


def test_a_journal_cut_anywhere_loses_blocks_but_never_the_store(tmp_path: Path) -> None:
    expected = write_all(tmp_path / "alone.npy").read_bytes()
    path = tmp_path / "f.npy"
    StoreWriter.begin(path, plan())
    for block in (0, 2, 4):
        StoreWriter(path).write(block, MATRIX[StoreWriter(path).rows(block)])
    journal = tmp_path / "f.npy.part" / "journal-0.jsonl"
    whole = journal.read_bytes()
    for length in range(0, len(whole), 7):
        journal.write_bytes(whole[:length])
        writer = StoreWriter(path)
        missing = writer.missing()
        assert {1, 3} <= set(missing) <= {0, 1, 2, 3, 4}
        if length % 3 == 0:  # go on after the cut, as a resumed run does
            writer.write(missing[0], MATRIX[writer.rows(missing[0])])
            assert writer.missing() == missing[1:]
    journal.write_bytes(whole[: len(whole) // 2])
    assert write_all(path).read_bytes() == expected


def test_killed_between_the_last_steps(tmp_path: Path) -> None:
    """The array is in its place, the manifest not yet: the store isn't whole, and is finished the next time."""
    path = tmp_path / "f.npy"
    StoreWriter.begin(path, plan())
    writer = StoreWriter(path)
    for block in writer.missing():
        writer.write(block, MATRIX[writer.rows(block)])
    (tmp_path / "f.npy.part" / "data").rename(path)
    with pytest.raises(FileNotFoundError, match=r"f.npy has no manifest f.npy.json beside it"):
        open_store(path)
    np.testing.assert_array_equal(open_store(write_all(path)).features, MATRIX)
    assert not (tmp_path / "f.npy.part").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"d": 5}, r"d \(4 there, 5 now\)"),
        ({"dtype": "float32"}, r"dtype \(float16 there, float32 now\)"),
        ({"block_rows": 6}, r"block_rows \(5 there, 6 now\)"),
        ({"extractor": {"name": "test", "weights": "x"}}, r"extractor's weights \(abc there, x now\)"),
        ({"fingerprint": fingerprint(dataset(1))}, r"data set: sampled items \(16 of 16 differ\)"),
    ],
)
def test_going_on_with_something_else_is_refused(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    StoreWriter.begin(tmp_path / "f.npy", plan())
    StoreWriter.begin(tmp_path / "f.npy", plan())  # the same is taken up
    with pytest.raises(ValueError, match=rf"f.npy.part holds an interrupted extraction of something else.*{text}"):
        StoreWriter.begin(tmp_path / "f.npy", plan(**changes))


def test_blocks_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    StoreWriter.begin(tmp_path / "f.npy", plan())
    writer = StoreWriter(tmp_path / "f.npy")
    with pytest.raises(TypeError, match="block 0 must be float16 like the store, got float32"):
        writer.write(0, MATRIX[:5].astype(np.float32))
    with pytest.raises(ValueError, match=r"block 4 must be \(3, 4\), got \(5, 4\)"):
        writer.write(4, MATRIX[:5])
    bad = MATRIX[5:10].copy()
    bad[1, 0], bad[3, 2] = np.nan, np.inf
    with pytest.raises(
        ValueError, match=r"NaN or infinite values in rows 6, 8; if they are too large for float16, use"
    ):
        writer.write(1, bad)
    assert writer.missing() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"`path` must end in .npy, got 'f.bin'"):
        StoreWriter.begin(tmp_path / "f.bin", plan())
    with pytest.raises(FileNotFoundError, match=r"g.npy.part isn't there: the store must lie on a disk that every"):
        StoreWriter(tmp_path / "g.npy")


def _little_room(action: str, path: Path, limit: int, results: Any) -> None:
    """In a process of its own: no file may grow beyond `limit` bytes, which the system refuses like a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        if action == "begin":
            StoreWriter.begin(path, plan())
        elif action == "write":
            StoreWriter(path).write(4, MATRIX[20:])
        else:
            save_features(path, MATRIX.repeat(100, 0))
        results.put("written")
    except RuntimeError as error:
        results.put(str(error))


@pytest.mark.parametrize("action", ["begin", "write", "save"])
def test_a_full_disk_is_said_before_anything_is_written(action: str, tmp_path: Path) -> None:
    path = tmp_path / "f.npy"
    if action == "write":
        StoreWriter.begin(path, plan())
        StoreWriter(path).write(0, MATRIX[:5])
    context = mp.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_little_room, args=(action, path, 200, results))
    child.start()
    said = results.get(timeout=60)
    child.join()
    assert "no room to write" in said
    assert "free some or choose another disk; the same command then goes on" in said
    with pytest.raises(FileNotFoundError):
        load_features(path)
    # With room again it is completed.
    assert np.load(write_all(path)).tobytes() == MATRIX.tobytes()
