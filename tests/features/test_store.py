"""The store: whole or not at all, whatever happens to it while it is written and afterwards."""

from __future__ import annotations

import json
import multiprocessing as mp
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Subset, TensorDataset

from dynsel.features import StoreWriter, fingerprint, load_features, open_store, save_features
from dynsel.features import store as store_module

N, D = 23, 4
MATRIX = np.random.default_rng(0).standard_normal((N, D)).astype(np.float16)


def dataset(seed: int = 0, n: int = N) -> TensorDataset:
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, torch.arange(n) % 2)


def plan(**changes: Any) -> dict[str, Any]:
    facts = {"N": N, "d": D, "dtype": "float16", "block_rows": 5, "extractor": {"name": "test", "weights": "abc"}}
    return {**facts, "fingerprint": fingerprint(dataset()), **changes}


def write_all(path: Path, matrix: Any = MATRIX, **changes: Any) -> Path:
    StoreWriter.begin(path, plan(**changes))
    writer = StoreWriter(path)
    for block in writer.missing():
        writer.write(block, matrix[writer.rows(block)])
    return writer.finish()


# ---------------------------------------------------------------- whole
def test_two_files_and_nothing_else(tmp_path: Path) -> None:
    path = write_all(tmp_path / "new" / "f.npy")
    assert sorted(p.name for p in path.parent.iterdir()) == ["f.npy", "f.npy.json"]
    store = open_store(path, dataset())
    assert isinstance(store.features, np.memmap)
    np.testing.assert_array_equal(store.features, MATRIX)
    # An ordinary .npy file for everybody else.
    np.testing.assert_array_equal(np.load(path), MATRIX)
    assert len(store.manifest["checksums"]) == 5
    assert store.manifest["extractor"] == {"name": "test", "weights": "abc"}
    assert list(store.damaged_blocks()) == [None] * 5
    assert store.mask.all()


@pytest.mark.parametrize("name", ["f.npy", "f.npy.json", "."])
def test_a_store_by_file_manifest_or_folder(name: str, tmp_path: Path) -> None:
    write_all(tmp_path / "f.npy")
    np.testing.assert_array_equal(load_features(tmp_path / name, dataset=dataset()), MATRIX)
    np.testing.assert_array_equal(load_features(str(tmp_path / name)), MATRIX)


def test_a_folder_must_hold_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold one feature store \(a .npy.json beside a .npy\), got none"):
        load_features(tmp_path)
    write_all(tmp_path / "f.npy")
    write_all(tmp_path / "g.npy")
    with pytest.raises(ValueError, match=r"must hold one feature store .* got f.npy, g.npy; name the file"):
        load_features(tmp_path)


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


# ---------------------------------------------------------------- half
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


# ---------------------------------------------------------------- damaged
def test_a_truncated_store_is_refused(tmp_path: Path) -> None:
    path = write_all(tmp_path / "f.npy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"f.npy is truncated: 311 bytes of 312; copy it again, or extract it again"):
        load_features(path)


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = write_all(tmp_path / "f.npy")
    content = bytearray(path.read_bytes())
    content[128 + 2 * D * 11] ^= 1  # in row 11
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"changed or damaged after it was written: rows 10 to 14 don't match their ch"
    ):
        load_features(path)
    store = open_store(path, check_blocks=False)
    assert list(store.damaged_blocks()) == [None, None, (10, 15), None, None]


def test_large_stores_are_opened_on_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_FULL_CHECK", 0)
    monkeypatch.setattr(store_module, "_SAMPLED_BLOCKS", 3)
    path = write_all(tmp_path / "f.npy")
    content = path.read_bytes()
    for row, noticed in ((0, True), (7, False), (11, True), (22, True)):
        changed = bytearray(content)
        changed[128 + 2 * D * row] ^= 1
        path.write_bytes(changed)
        if noticed:
            with pytest.raises(ValueError, match="changed or damaged"):
                open_store(path)
        else:
            assert (5, 10) in open_store(path).damaged_blocks()


@pytest.mark.parametrize("other", [MATRIX.astype(np.float32), MATRIX[:20], MATRIX[:, :3]])
def test_another_array_under_the_manifest(other: Any, tmp_path: Path) -> None:
    path = write_all(tmp_path / "f.npy")
    with open(path, "wb") as file:
        np.save(file, other)
        file.write(b"\0" * 1000)  # whatever its size
    with pytest.raises(ValueError, match=r"its manifest says \(23, 4\) float16: one of the two was replaced"):
        load_features(path)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "is no JSON"), ("[]", "is no manifest of features"), ('{"N": 3}', "says neither N, d nor")]
)
def test_a_damaged_manifest_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = write_all(tmp_path / "f.npy")
    (tmp_path / "f.npy.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        load_features(path)


def test_wrong_data_set_and_wrong_order(tmp_path: Path) -> None:
    path = write_all(tmp_path / "f.npy")
    with pytest.raises(ValueError, match=r"another data set than this one; they differ in: sampled items"):
        open_store(path, dataset(1))
    reordered = Subset(dataset(), [2, 1, 0, *range(3, N)])
    with pytest.raises(ValueError, match=r"they differ in: order of the items"):
        load_features(path, dataset=reordered)


def test_skipped_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "f.npy"
    StoreWriter.begin(path, plan())
    writer = StoreWriter(path)
    for block in writer.missing():
        writer.write(block, MATRIX[writer.rows(block)], [7, 8] if block == 1 else None)
    writer.finish()
    store = open_store(path)
    assert store.skipped == [7, 8]
    assert np.flatnonzero(~store.mask).tolist() == [7, 8]
    with pytest.warns(UserWarning, match=r"rows 7, 8 are zeros, for the items couldn't be read"):
        load_features(path)


# ---------------------------------------------------------------- what can't be written
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


def test_manifest_of_a_plain_save_has_checksums(tmp_path: Path) -> None:
    path = save_features(tmp_path / "f.npy", MATRIX, dataset())
    assert list(open_store(path).damaged_blocks()) == [None]
    assert json.loads((tmp_path / "f.npy.json").read_text())["bytes"] == path.stat().st_size


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skipped": [10**9]}, r"its skipped rows must be in \[0, 23\)"),
        ({"skipped": [-1]}, r"its skipped rows must be in \[0, 23\)"),
        ({"skipped": {"3": 1}}, r"its skipped rows must be in \[0, 23\)"),
        ({"N": -4}, "its N is -4"),
        ({"d": "4"}, "its d is '4'"),
        ({"block_rows": 0}, "its block_rows is 0"),
        ({"bytes": None}, "its bytes is None"),
        ({"dtype": "object"}, "its dtype is 'object'"),
        ({"checksums": ["a"]}, "it has 1 checksums for 23 rows in blocks of 5"),
        ({"checksums": 5}, "its checksums are no list of texts"),
        ({"fingerprint": "abc"}, "its fingerprint is no mapping"),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_all(tmp_path / "f.npy")
    manifest = json.loads((tmp_path / "f.npy.json").read_text())
    (tmp_path / "f.npy.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ValueError, match=f"f.npy.json is damaged: {message}; write the features again"):
        load_features(path)


def test_values_whose_squares_float32_cannot_add_up_are_refused(tmp_path: Path) -> None:
    large = MATRIX.astype(np.float32)
    large[3, 1] = -1e30
    with pytest.raises(ValueError, match=r"`features` must be at most 1e.15 .*got larger values in row 3; scale"):
        load_features(large)
    with pytest.raises(ValueError, match=r"features must be at most 1e.15 in size, got larger values in row 3"):
        write_all(tmp_path / "f.npy", large, dtype="float32")
