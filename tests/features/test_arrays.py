"""Loading features: every form they come in, and every way they can be the wrong ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from dynsel.features import load_features, save_features

N, D = 24, 3
MATRIX = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
LABELS = np.arange(N) % 8


def dataset(seed: int = 0, labels: Any = LABELS) -> Dataset[Any]:
    x = torch.rand(len(labels), 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, torch.as_tensor(labels))


# ---------------------------------------------------------------- sources
def test_tensor_is_viewed_not_copied() -> None:
    tensor = torch.from_numpy(MATRIX.copy()).requires_grad_()
    array = load_features(tensor)
    assert array.__array_interface__["data"][0] == tensor.data_ptr()
    np.testing.assert_array_equal(array, MATRIX)


def test_a_bfloat16_tensor_becomes_float32() -> None:
    tensor = torch.from_numpy(MATRIX).bfloat16()
    np.testing.assert_array_equal(load_features(tensor), tensor.float().numpy())


def test_array_is_given_back() -> None:
    for array in (MATRIX, MATRIX.astype(np.float16), MATRIX.astype(np.float64), MATRIX[:, ::2]):
        assert load_features(array) is array


@pytest.mark.parametrize("as_path", [str, Path])
def test_npy_is_mapped(as_path: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", MATRIX)
    array = load_features(as_path(tmp_path / "f.npy"), num_samples=N)
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, MATRIX)


def test_an_npz_key_names_the_array(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    np.savez(path, train_features=MATRIX, test_features=MATRIX[:5], labels=LABELS)
    np.testing.assert_array_equal(load_features(f"{path}:test_features"), MATRIX[:5])
    text = (
        r"f.npz has 2 2-D floating-point arrays, so say which: 'f.npz:KEY'; its keys: 'train_features', 'test_features'"
    )
    with pytest.raises(ValueError, match=text):
        load_features(path)
    with pytest.raises(
        ValueError, match=r"f.npz has no array 'valid'; its keys: 'train_features', 'test_features', 'lab"
    ):
        load_features(f"{path}:valid")


def test_the_only_matrix_of_an_npz_needs_no_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=MATRIX, y=LABELS, z=MATRIX[0], images=np.zeros((3, 3), np.uint8))
    np.testing.assert_array_equal(load_features(tmp_path / "one.npz"), MATRIX)
    np.savez_compressed(tmp_path / "named.npz", other=MATRIX[:4], features=MATRIX)
    np.testing.assert_array_equal(load_features(tmp_path / "named.npz"), MATRIX)
    np.savez(tmp_path / "none.npz", y=LABELS)
    with pytest.raises(ValueError, match=r"none.npz has 0 2-D floating-point arrays.*its keys: 'y'"):
        load_features(tmp_path / "none.npz")


def test_colon_in_a_real_file_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz:b.npz", features=MATRIX)
    np.testing.assert_array_equal(load_features(tmp_path / "a.npz:b.npz"), MATRIX)


class Trap:
    """Says so if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trap = np.array([Trap()], dtype=object)
    np.save("f.npy", trap, allow_pickle=True)
    np.savez("f.npz", allow_pickle=True, features=trap)
    Path("g.npy").write_bytes(b"\x80\x04K\x01.")
    for source in ("f.npy", "f.npz", "g.npy", "f.npz:features"):
        with pytest.raises(ValueError, match=r"can't be read as NumPy arrays \(pickled objects never are\)"):
            load_features(source)
    assert not Path("unpickled").exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for name, content in (("empty.npy", b""), ("text.npz", b"PK\x03\x04 no zip")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="can't be read as NumPy arrays"):
            load_features(tmp_path / name)


# ---------------------------------------------------------------- errors
def with_nan(*rows: int) -> np.ndarray:
    bad = MATRIX.copy()
    bad[list(rows), -1] = np.nan
    return bad


@pytest.mark.parametrize(
    ("source", "options", "error", "text"),
    [
        (MATRIX[0], {}, ValueError, r"`features` must be 2-D, \(N samples, d\), got shape \(3,\)"),
        (np.zeros((2, 3, 4), np.float32), {}, ValueError, r"got shape \(2, 3, 4\); flatten what describes one sample"),
        (LABELS[:, None], {"name": "probe"}, TypeError, "`probe` must be floating point, got int64"),
        (
            MATRIX,
            {"num_samples": 20},
            ValueError,
            "features have 24 rows but the data set has 20 samples; row i must describe sample i",
        ),
        (MATRIX, {"dataset": dataset(labels=[0, 1])}, ValueError, "24 rows but the data set has 2 samples"),
        (with_nan(4), {}, ValueError, "`features` must be finite, got NaN or infinite values in row 4;"),
        (with_nan(4, 11, 20), {}, ValueError, "NaN or infinite values in rows 4, 11, 20;"),
        (MATRIX * np.float32(np.inf), {}, ValueError, r"rows 0, 1, 2, 3, 4, ... \(24 in all\)"),
        ([[1.0]], {}, TypeError, r"`features` must be a tensor, an array or a path \(.npy, .npz\), got list"),
        ("missing.npy", {}, FileNotFoundError, "there is no feature file missing.npy"),
        ("missing.npz:key", {}, FileNotFoundError, "there is no feature file missing.npz"),
    ],
)
def test_what_is_no_matrix_of_features_is_refused(
    source: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with mock.patch("dynsel._lib.matrices._BLOCK_VALUES", 5 * D), pytest.raises(error, match=text):
        load_features(source, **options)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"feature files must end in .npy or .npz, got .*f.pt; write one with"):
        load_features(tmp_path / "f.pt")


def test_a_mapped_file_is_checked_in_blocks(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", MATRIX)
    taken: list[int] = []
    from dynsel._lib import matrices as _matrix

    original = _matrix.take

    def counting(features: Any, rows: slice, *rest: Any) -> Any:
        taken.append(rows.stop - rows.start)
        return original(features, rows, *rest)

    with mock.patch.object(_matrix, "take", counting), mock.patch.object(_matrix, "_BLOCK_VALUES", 10 * D):
        load_features(tmp_path / "f.npy")
    assert taken == [10, 10, 4]


# ---------------------------------------------------------------- labels beside the features
def npz(path: Path, **arrays: Any) -> str:
    np.savez(path / "f.npz", train_features=MATRIX, **arrays)
    return f"{path / 'f.npz'}:train_features"


@pytest.mark.parametrize("key", ["labels", "targets", "train_labels", "train_targets"])
def test_other_labels_are_refused(key: str, tmp_path: Path) -> None:
    source = npz(tmp_path, **{key: LABELS.astype(np.uint8)})
    assert len(load_features(source, labels=torch.from_numpy(LABELS))) == N
    swapped = LABELS.copy()
    swapped[[19, 21]] = swapped[[21, 19]]
    text = "row 19 has label 3 in the file and 5 in the data set: the file is of another data set or in another order"
    with pytest.raises(ValueError, match=text):
        load_features(source, labels=swapped.tolist())


def test_labels_of_the_key_come_first(tmp_path: Path) -> None:
    source = npz(tmp_path, labels=LABELS[::-1], train_labels=LABELS)
    assert len(load_features(source, labels=LABELS)) == N


def test_labels_of_another_length_are_not_these_labels(tmp_path: Path) -> None:
    assert len(load_features(npz(tmp_path, labels=LABELS[:5]), labels=LABELS)) == N


def test_codes_stand_for_labels(tmp_path: Path) -> None:
    assert len(load_features(npz(tmp_path, labels=LABELS * 2 + 1), labels=LABELS)) == N
    # The same classes, sorted the other way: a consistent renaming, but of another order.
    with pytest.raises(ValueError, match="row 0 has label 0 in the file and 7 in the data set"):
        load_features(npz(tmp_path, labels=LABELS), labels=7 - LABELS)


def test_names_against_numbers(tmp_path: Path) -> None:
    names = np.array(["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse"])[LABELS]
    source = npz(tmp_path, labels=names)
    assert len(load_features(source, labels=LABELS)) == N
    assert len(load_features(source, labels=list(names))) == N
    swapped = LABELS.copy()
    swapped[[9, 10]] = swapped[[10, 9]]
    with pytest.raises(ValueError, match=r"row \d+ has label \w+ in the file and \d in the data set"):
        load_features(source, labels=swapped)


# ---------------------------------------------------------------- manifest
def test_save_and_load(tmp_path: Path) -> None:
    path = save_features(tmp_path / "f.npy", torch.from_numpy(MATRIX).half(), dataset())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.npy", "f.npy.json"]
    manifest = json.loads((tmp_path / "f.npy.json").read_text())
    assert (manifest["N"], manifest["d"], manifest["dtype"]) == (N, D, "float16")
    assert manifest["fingerprint"]["length"] == N
    assert set(manifest) == {"format", "fingerprint", "N", "d", "dtype", "block_rows", "checksums", "dynsel", "bytes"}
    np.testing.assert_array_equal(load_features(path, dataset=dataset()), MATRIX.astype(np.float16))


def test_features_of_another_data_set_are_refused(tmp_path: Path) -> None:
    path = save_features(tmp_path / "f.npy", MATRIX, dataset())
    with pytest.raises(ValueError, match=r"f.npy was computed for another data set.*they differ in: sampled items"):
        load_features(path, dataset=dataset(seed=1))
    with pytest.raises(
        ValueError, match=r"differ in: labels .* sampled items .*Compute the features again, or remove f.n"
    ):
        load_features(path, dataset=dataset(labels=LABELS[::-1].copy()))
    assert len(load_features(path)) == N


def test_codes_given_as_labels_do_not_confuse_the_fingerprint(tmp_path: Path) -> None:
    path = save_features(tmp_path / "f.npy", MATRIX, dataset(labels=LABELS + 1))
    assert len(load_features(path, dataset=dataset(labels=LABELS + 1), labels=torch.from_numpy(LABELS))) == N


def test_without_data_set_nothing_is_compared(tmp_path: Path) -> None:
    path = save_features(tmp_path / "f.npy", MATRIX)
    assert json.loads((tmp_path / "f.npy.json").read_text())["fingerprint"] is None
    assert len(load_features(path, dataset=dataset(seed=5))) == N


def test_array_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    path = save_features(tmp_path / "f.npy", MATRIX, dataset())
    np.save(path, MATRIX.astype(np.float64))
    with pytest.raises(ValueError, match=r"\(24, 3\) float64, its manifest says \(24, 3\) float32: one of the two was"):
        load_features(path, dataset=dataset())


def test_save_over_its_own_memory_map(tmp_path: Path) -> None:
    path = save_features(tmp_path / "f.npy", MATRIX)
    save_features(path, load_features(path))
    np.testing.assert_array_equal(load_features(path), MATRIX)


@pytest.mark.parametrize("fails_at", [1, 2])
def test_interrupted_save_is_never_taken_for_a_whole_one(fails_at: int, tmp_path: Path) -> None:
    path = save_features(tmp_path / "f.npy", MATRIX, dataset())
    calls = []

    def replace(*names: Any) -> None:
        calls.append(names)
        if len(calls) == fails_at:
            raise KeyboardInterrupt
        os.rename(*names)

    with mock.patch("dynsel.features.arrays.os.replace", replace), pytest.raises(KeyboardInterrupt):
        save_features(path, MATRIX + 1, dataset(seed=1))
    # The old or the new array, whole, and no manifest of the other one.
    expected = MATRIX if fails_at == 1 else MATRIX + 1
    np.testing.assert_array_equal(load_features(path, dataset=dataset()), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["f.npy"]


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must end in .npy, got 'f.pt'"):
        save_features(tmp_path / "f.pt", MATRIX)
    with pytest.raises(ValueError, match="NaN or infinite values in row 2"):
        save_features(tmp_path / "f.npy", with_nan(2))
    with pytest.raises(ValueError, match="24 rows but the data set has 5 samples"):
        save_features(tmp_path / "f.npy", MATRIX, dataset(labels=LABELS[:5]))
    assert not list(tmp_path.iterdir())
