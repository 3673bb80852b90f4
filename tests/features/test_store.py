"""The store: whole or not at all, whatever happens to it while it is written and afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import MATRIX, D, N, dataset, plan, write_all
from torch.utils.data import Subset

from dynsel.features import StoreWriter, load_features, open_store, save_features
from dynsel.features import store as store_module


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
