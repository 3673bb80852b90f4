"""Where images are read from: ImageFolder's order, and regular image files only."""

from __future__ import annotations

import tarfile

import pytest
from image_files import write_archive, write_folders

from dynsel.data.sources import ArchiveSource, FolderSource, image_folder_order


def test_order_is_that_of_image_folder_in_nested_folders_too(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    names = ["b/z/1.png", "b/a.png", "b/z-/1.png", "b/z.d/1.PNG", "b/zz.png", "B/10.png", "B/9.png", "a b/1.webp"]
    write_folders(tmp_path, dict.fromkeys([f"train/{name}" for name in names], b""))
    write_folders(tmp_path, {"train/B/notes.txt": b"", "test/a/1.png": b""})
    found = FolderSource(tmp_path, ("train", "test")).contents()
    oracle = [path.removeprefix(f"{tmp_path}/") for path, _ in datasets.ImageFolder(tmp_path / "train").samples]
    assert [name for _, name in image_folder_order(found, "train")] == oracle
    assert image_folder_order(found, "test") == [("a", "test/a/1.png")]


def test_archives_give_regular_image_files_only(tmp_path):
    path = tmp_path / "x.tar.gz"
    write_archive(path, {"train/cat/1.png": b"one", "train/readme.txt": b"no"})
    odd = tmp_path / "odd.tar.gz"
    with tarfile.open(odd, "w:gz") as archive:
        for name, kind in (("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("f", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(f"train/cat/{name}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert ArchiveSource((path, odd)).contents() == {"train/cat/1.png": b"one"}
    with pytest.raises(ValueError, match=r"must not repeat a file of another archive, got train/cat/1.png twice"):
        ArchiveSource((path, path)).contents()
