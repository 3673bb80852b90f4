"""Every command that writes finds out before its work whether it can."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynsel._lib import outputs

FIT = ("fit", "-c", "c.yaml")
# The command, and the option that says where it writes; {} stands for the folder.
WRITERS: dict[str, tuple[tuple[str, ...], str]] = {
    "features extract": (
        ("features", "extract", "--data", "photos", "--extractor", "pixels", "--out", "{}/x.npy"),
        "--out",
    ),
    "features atlas": (("features", "atlas", "--data", "photos", "--features", "f.npy", "--out", "{}"), "--out"),
    "sae fit": (("sae", "fit", "--features", "f.npy", "--out", "{}/x.safetensors"), "--out"),
    "sae fit, codes": (
        ("sae", "fit", "--features", "f.npy", "--out", "x.safetensors", "--codes", "{}/x.json"),
        "--codes",
    ),
    "findings": (("findings", "c.yaml", "--data", "photos", "--out", "{}"), "--out"),
    "select": (("select", "--features", "f.npy", "--keep_ratio", "0.5", "--out", "{}/x.json"), "--out"),
    "distill measure": (
        ("distill", "measure", "--features", "f.npy", "--selection", "subset.json", "--out", "{}/x.json"),
        "--out",
    ),
    "distill export": (("distill", "export", "--ckpt_path", "c.yaml", "--out", "{}"), "--out"),
    "distill fit": (
        ("distill", "fit", "--data", "dynsel.data.DigitsDataModule", "--pool.folder", "p", "--out", "{}"),
        "--out",
    ),
    "distill fit, pool": (
        (
            *("distill", "fit", "--data", "dynsel.data.DigitsDataModule", "--pool.folder", "{}", "--out", "o"),
            *("--distill.images_per_class", "1", "--trainer.max_steps", "1", "--trainer.accelerator", "cpu"),
        ),
        "--pool.folder",
    ),
    "distill evaluate": (
        ("distill", "evaluate", "--data", "dynsel.data.DigitsDataModule", "--pool.folder", "p", "--out", "{}"),
        "--out",
    ),
    "compare": (("compare", "-c", "c.yaml", "--out", "{}/c"), "--out"),
    "fit": ((*FIT, "--trainer.default_root_dir", "{}"), "trainer.default_root_dir"),
    "fit, checkpoints": (
        (*FIT, "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint", "--trainer.callbacks.dirpath", "{}"),
        "ModelCheckpoint.dirpath",
    ),
    "fit, logger": (
        (*FIT, "--trainer.logger=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir", "{}"),
        "trainer.logger",
    ),
}
Command = Callable[..., tuple[int, list[str], str]]


def refuse(path: Path) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


def given(words: tuple[str, ...], folder: str) -> list[str]:
    # Arguments of a callback need the checkpoints that the configuration turns off.
    extra = ["--trainer.enable_checkpointing", "true"] if "callbacks.ModelCheckpoint" in " ".join(words) else []
    return [word.replace("{}", folder) for word in words] + extra


def check_refused(command: Command, name: str, folder: str, why: str, here: Path) -> None:
    words, option = WRITERS[name]
    before = sorted(here.rglob("*"))
    code, errors, said = command(*given(words, folder))
    assert code == 2, said
    assert len(errors) == 1, said
    assert f"`{option}`: " in errors[0]
    assert why in errors[0]
    assert "choose another place" in errors[0]
    assert sorted(here.rglob("*")) == before  # and so no work was begun


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_where_a_folder_should_be(name: str, here: Path, command: Command) -> None:
    (here / "file").touch()
    check_refused(command, name, "file/x", "Not a directory", here)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_system_that_is_only_read(
    name: str, here: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "read-only").mkdir()
    monkeypatch.setattr(outputs, "_try", lambda path: refuse(path) if "read-only" in str(path) else None)
    check_refused(command, name, "read-only", "Read-only file system", here)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="there is no /dev/null")
@pytest.mark.parametrize("name", WRITERS)
def test_below_a_device(name: str, here: Path, command: Command) -> None:
    check_refused(command, name, "/dev/null/x", "Not a directory", here)


def test_a_whole_store_is_opened_where_nothing_can_be_written(
    here: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("features", "extract", "--data", "photos", "--extractor", "pixels", "--out", "x.npy")
    assert command(*words)[0] == 0

    monkeypatch.setattr(outputs, "_try", refuse)
    assert command(*words)[0] == 0


def test_a_link_is_no_place_for_a_store(here: Path, command: Command) -> None:
    (here / "x.npy").symlink_to("far/y.npy")
    code, errors, said = command("features", "extract", "--data", "photos", "--extractor", "pixels", "--out", "x.npy")
    assert code == 2, said
    assert f"`--out` must not be a link, and x.npy leads to {here / 'far/y.npy'}; name that itself" in errors[0]
    assert (here / "x.npy").is_symlink()


def test_a_manifest_goes_where_a_link_leads(here: Path, command: Command) -> None:
    (here / "far").mkdir()
    (here / "x.json").symlink_to("far/y.json")
    assert command("select", "--features", "f.npy", "--keep_ratio", "0.5", "--out", "x.json")[0] == 0
    assert (here / "x.json").is_symlink()
    assert (here / "far" / "y.json").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_checkpoint_on_a_full_disk_is_named(here: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.fabric.plugins.io import torch_io

    def full(checkpoint: Any, path: Any) -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(bytes(10))

    monkeypatch.setattr(torch_io, "_atomic_save", full)
    code, errors, said = command(*FIT, "--trainer.enable_checkpointing", "true", "--trainer.default_root_dir", "runs")
    assert code == 2, said
    assert len(errors) == 1
    assert "the checkpoint runs/checkpoints/" in errors[0].replace(f"{here}/", "")
    assert "can't be written (OSError: [Errno 28] No space left on device" in errors[0]
