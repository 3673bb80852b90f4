"""Files that a configuration names: told by what is in them, however large they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynsel.compare.named_files import BLOCK, BLOCKS, named_files


def test_files_are_found_wherever_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.npy", "b.csv", "c.npz", "store/d.npy", "store/d.npy.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(name)
    given = {"features": "a.npy", "terms": [{"file": str(tmp_path / "b.csv")}], "more": ("c.npz:train", "store")}
    found = named_files(given)
    assert set(found) == {"a.npy", str(tmp_path / "b.csv"), "c.npz:train", "store"}
    assert len(set(found.values())) == 4
    nothing = ["model", "", "x" * 5000, "nul\0", "gone.npy", "a.npy:train", None, 3, 0.5, True, [1, 2], {}]
    assert named_files(nothing) == {}
    Path("store/d.npy.json").write_text("another manifest")
    Path("c.npz").write_text("d.npz")
    assert {name for name, checksum in named_files(given).items() if checksum != found[name]} == {
        "store",
        "c.npz:train",
    }


@pytest.mark.parametrize("size", [0, 1, BLOCK + 1, BLOCK * BLOCKS])
def test_a_file_is_read_to_its_last_byte(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(size))
    whole = named_files(str(path))
    for place in {0, size // 3, size // 2, max(0, size - 1)} if size else ():
        changed = bytearray(size)
        changed[place] = 1
        path.write_bytes(changed)
        assert named_files(str(path)) != whole, place
    path.write_bytes(bytes(size + 1))
    assert named_files(str(path)) != whole, "of another length"


def test_of_a_large_file_few_blocks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(2**37)  # a hole: it takes no room, but minutes to read
    whole = named_files(str(path))
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"1")
    assert named_files(str(path)) != whole
