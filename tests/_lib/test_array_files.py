"""Arrays in files: what a header claims is not believed, and whatever is damaged is named."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel._lib import array_files
from dynsel.features import load_features
from dynsel.features.label_files import load_labels

FEATURES = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)


def header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("shape", [(10**12, 8), (10**30, 8), (3, 10**9)])
def test_rows_that_are_not_there_are_not_made_room_for(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = archive(tmp_path / "f.npz", features=header(shape) + bytes(96))
    with pytest.raises(ValueError, match=r"f.npz can't be read as NumPy arrays .*bytes, but 96 are there"):
        load_features(path)
    (tmp_path / "f.npy").write_bytes(header(shape) + bytes(96))
    with pytest.raises(ValueError, match=r"f.npy can't be read as NumPy arrays"):
        load_features(tmp_path / "f.npy")


def test_labels_that_are_not_there_are_not_made_room_for(tmp_path: Path) -> None:
    path = archive(tmp_path / "l.npz", labels=header((10**12,), "<i8") + bytes(8))
    with pytest.raises(ValueError, match=r"l.npz can't be read as NumPy arrays .*bytes, but 8 are there"):
        load_labels(str(path), 10)


def test_an_array_larger_than_the_memory_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kB may stand for gigabytes of zeros."""
    np.savez_compressed(tmp_path / "f.npz", features=np.zeros((100_000, 8), np.float32))
    assert (tmp_path / "f.npz").stat().st_size < 10_000
    monkeypatch.setattr(array_files, "_available_memory", lambda: 2_000_000)
    with pytest.raises(ValueError, match=r"0.0 GB, and 0.0 GB of memory are free; write it as .npy"):
        load_features(tmp_path / "f.npz")


def test_the_free_memory_is_known_or_no_limit() -> None:
    assert array_files._available_memory() > 2**20


@settings(max_examples=150)
@given(st.data())
def test_damaged_files_are_read_or_named(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    suffix = data.draw(st.sampled_from([".npy", ".npz"]))
    path = folder / f"f{suffix}"
    np.save(path, FEATURES) if suffix == ".npy" else np.savez_compressed(path, features=FEATURES, labels=np.arange(20))
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(bytes(whole))
    else:
        path.write_bytes(bytes(whole[:place]))
    try:
        found = load_features(path, num_samples=20)
    except (ValueError, TypeError) as error:
        assert re.search(r"f\.np[yz]|`?features`? (must|have)", str(error))  # noqa: PT017
    else:
        assert found.shape[0] == 20
