"""Every kind of file that dynsel reads, damaged: it is read, or one line names what is damaged.

`READERS` is the list of kinds. Settings and runs of a comparison are in `test_files.py`, states of a selection inside a
checkpoint in `test_resume.py`.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile.training import Data, Net
from hostile.values import inputs
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import TensorDataset

from dynsel._lib.selection_files import read_indices
from dynsel._lib.tensor_files import load_weights
from dynsel.commands.distill import _from_checkpoint
from dynsel.commands.main import main
from dynsel.commands.sae import _show
from dynsel.compare.report.atlas import load_usage
from dynsel.data import Banking77DataModule, CIFAR10DataModule, TensorImages
from dynsel.data.cache import cached_arrays
from dynsel.distill import Pool
from dynsel.distill.dataset import DistilledDataset, save_distilled
from dynsel.features import StoreWriter, load_features, open_store, save_features
from dynsel.features.label_files import load_labels
from dynsel.sae import TopKSAE, load_codes, load_sae, save_codes, save_sae
from dynsel.selectors import JEST, AlignPrune

CPU = torch.device("cpu")
X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
DATASET = TensorDataset(torch.rand(40, 3, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 2)
IMAGES = TensorImages(torch.arange(20 * 64, dtype=torch.uint8).view(20, 1, 8, 8), torch.arange(20) % 2, ["a", "b"])
PLAN = {"N": 40, "d": 4, "dtype": "float32", "block_rows": 10, "extractor": {"name": "test"}}
CONFIG = """\
model: {class_path: hostile.training.Net, init_args: {lr: 0.5}}
data: {class_path: hostile.training.Data}
trainer: {max_epochs: 1, accelerator: cpu, logger: false, enable_checkpointing: false, enable_progress_bar: false}
"""


def pool(folder: Path) -> Pool:
    return Pool(folder / "pool", networks=1, epochs=1, width=4)


def built() -> dict[str, Any]:
    return {"images": IMAGES.images.numpy()}


def write_tables(folder: Path) -> None:
    """Arrays, indices, and texts."""
    np.savez_compressed(folder / "z.npz", features=X.numpy(), labels=np.arange(40) % 2)
    np.save(folder / "labels.npy", np.arange(40) % 2)
    np.save(folder / "usage.npy", np.arange(40))
    np.save(folder / "reference.npy", X[:, 0].numpy())
    np.save(folder / "trusted.npy", np.arange(5))
    (folder / "subset.json").write_text(json.dumps({"indices": [0, 3, 7], "N": 40, "M": 3}))
    (folder / "run.json").write_text(json.dumps({"selector": "random", "usage": [1] * 40}))
    (folder / "c.yaml").write_text(CONFIG)
    (folder / "banking77").mkdir()
    for name in ("train", "test"):
        lines = ["text,category", *(f'"what is {i}?",class{i % 3}' for i in range(12))]
        (folder / "banking77" / f"{name}.csv").write_text("\n".join(lines) + "\n")


def write_archives(folder: Path) -> None:
    """CIFAR-10 as archives of a few images."""
    from dynsel.data.cifar10 import ARCHIVES, CLASSES

    (folder / "cifar").mkdir()
    png = io.BytesIO()
    Image.new("RGB", (32, 32), (1, 2, 3)).save(png, "png")
    for archive in ARCHIVES:
        split = "test" if "test" in archive else "train"
        with tarfile.open(folder / "cifar" / archive, "w:gz") as tar:
            for name in CLASSES if archive != ARCHIVES[1] else CLASSES[:1]:
                info = tarfile.TarInfo(f"{split}/{name}/{archive[:16]}.png")
                info.size = len(png.getvalue())
                tar.addfile(info, io.BytesIO(png.getvalue()))


def write_checkpoints(folder: Path) -> None:
    """What Lightning writes, with a selection and images in it."""
    import lightning.pytorch as pl

    from dynsel.callbacks import DynamicSelection

    options: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", enable_checkpointing=False, callbacks=[DynamicSelection("random")], **options
    )
    trainer.fit(Net(), Data())
    trainer.save_checkpoint(folder / "fit.ckpt")
    state = {"state_dict": {"images": torch.rand(2, 1, 1, 8, 8)}, "ncfm": {"classes": ["a", "b"], "factor": 1}}
    torch.save({**state, "global_step": 3}, folder / "ncfm.ckpt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind of file."""
    folder = tmp_path_factory.mktemp("whole")
    save_features(folder / "f.npy", X, DATASET)
    StoreWriter.begin(folder / "g.npy", PLAN)
    StoreWriter(folder / "g.npy").write(1, X[10:20].numpy(), [11])
    sae = TopKSAE(4, 8, 2)
    save_sae(sae, folder / "s.safetensors")
    (folder / "s.json").write_text(json.dumps({"format": "dynsel.sae.facts", "dim": 4, "fvu": 0.5}))
    save_codes(folder / "c.json", sae, X)
    save_distilled(
        folder / "d", torch.rand(4, 1, 8, 8), torch.arange(4) % 2, ["a", "b"], 2, torch.rand(16, 2).softmax(1)
    )
    pool(folder).prepare(IMAGES, IMAGES, CPU)
    from safetensors.torch import save_file

    save_file(torch.nn.Linear(4, 2).state_dict(), folder / "weights.safetensors")
    cached_arrays("images", {"root": "r"}, [folder / "cache"], built)
    next((folder / "cache").iterdir()).rename(folder / "cache" / "images.npz")
    (folder / "photos" / "a").mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (8, 8), (i, 2, 3)).save(folder / "photos" / "a" / f"{i}.png")
    write_tables(folder)
    write_archives(folder)
    write_checkpoints(folder)
    return folder


def finish_store(folder: Path) -> Any:
    StoreWriter.begin(folder / "g.npy", PLAN)
    writer = StoreWriter(folder / "g.npy")
    for block in writer.missing():
        writer.write(block, X[writer.rows(block)].numpy())
    return open_store(writer.finish())


def read_cache(folder: Path) -> None:
    """A damaged cache is built anew: the pixels are the right ones whatever lies there."""
    named = cached_arrays("images", {"root": "r"}, [folder / "other"], built)
    file = next((folder / "other").iterdir())
    shutil.copy(folder / "cache" / "images.npz", file)
    found = cached_arrays("images", {"root": "r"}, [folder / "other"], built)
    assert (found["images"] == named["images"]).all()


def select_with(selector: Any) -> None:
    selector.bind(40, torch.arange(40) % 2)
    selector.fit(None)


def run_command(*words: str) -> Callable[[Path], None]:
    """A command as a reader: exit code 0, or 2 and one line, which is raised."""

    def read(folder: Path) -> None:
        from contextlib import redirect_stderr, redirect_stdout

        err = io.StringIO()
        with redirect_stderr(err), redirect_stdout(io.StringIO()):
            code = main([word.replace("{}", str(folder)) for word in words])
        lines = [line for line in err.getvalue().splitlines() if line.startswith("dynsel: error: ")]
        assert code in (0, 2)
        if code:
            assert len(lines) == 1, err.getvalue()
            raise ValueError(lines[0])

    return read


def read_banking(folder: Path) -> None:
    Banking77DataModule(folder / "banking77").setup()


def resume(folder: Path) -> None:
    run_command("fit", "-c", "{}/c.yaml", "--ckpt_path", "{}/fit.ckpt", "--trainer.max_epochs", "2")(folder)


# What is damaged, and who reads it.
READERS: dict[str, Callable[[Path], Any]] = {
    "f.npy": lambda folder: load_features(folder / "f.npy", dataset=DATASET),
    "f.npy.json": lambda folder: load_features(folder / "f.npy", dataset=DATASET),
    "z.npz": lambda folder: load_features(folder / "z.npz", labels=torch.arange(40) % 2),
    "g.npy.part/plan.json": finish_store,
    "g.npy.part/journal-0.jsonl": finish_store,
    "labels.npy": lambda folder: load_labels(str(folder / "labels.npy"), 40),
    "s.safetensors": lambda folder: load_sae(folder / "s.safetensors"),
    "s.json": lambda folder: _show(folder / "s.safetensors"),
    "c.json": lambda folder: load_codes(folder / "c.json"),
    "c.indices.npy": lambda folder: load_codes(folder / "c.json"),
    "c.values.npy": lambda folder: load_codes(folder / "c.json"),
    "d/distilled.json": lambda folder: DistilledDataset(folder / "d"),
    "d/distilled.safetensors": lambda folder: DistilledDataset(folder / "d"),
    "pool/pool.json": lambda folder: pool(folder).load(IMAGES, CPU),
    "pool/network-000.safetensors": lambda folder: pool(folder).load(IMAGES, CPU),
    "weights.safetensors": lambda folder: load_weights(torch.nn.Linear(4, 2), folder / "weights.safetensors"),
    "subset.json": lambda folder: read_indices("--selection", folder / "subset.json", 40),
    "usage.npy": lambda folder: load_usage(folder / "usage.npy", 40),
    "run.json": lambda folder: load_usage(folder / "run.json", 40),
    "reference.npy": lambda folder: select_with(JEST(reference=str(folder / "reference.npy"))),
    "trusted.npy": lambda folder: select_with(AlignPrune(trusted=str(folder / "trusted.npy"))),
    "cache/images.npz": read_cache,
    "banking77/train.csv": read_banking,
    "cifar/cifar10-train-0.tar.gz": lambda folder: CIFAR10DataModule(folder / "cifar", on_device=False).load(),
    "ncfm.ckpt": lambda folder: _from_checkpoint(folder / "ncfm.ckpt"),
}
# Slower ones.
SLOW: dict[str, Callable[[Path], Any]] = {
    "fit.ckpt": resume,
    "c.yaml": run_command("fit", "-c", "{}/c.yaml", "--trainer.fast_dev_run", "1"),
    "photos/a/1.png": run_command(
        *("features", "extract", "--data", "{}/photos", "--extractor", "pixels", "--accelerator", "cpu"),
        *("--out", "{}/new.npy"),
    ),
}
# What a line may say instead of the file's own name.
OTHER_NAMES = {
    "c.yaml": ("c.yaml", "config", "Problems parsing", "`", "'"),
    "photos/a/1.png": ("item 1",),
    "banking77/train.csv": ("train.csv", "test file"),
    "cifar/cifar10-train-0.tar.gz": ("cifar10-train-0", "`train`", "train/"),
    "reference.npy": ("reference",),
    "trusted.npy": ("trusted",),
    "fit.ckpt": ("fit.ckpt", "DynamicSelection", "state"),
}
ODD: list[Any] = [None, -1, 0, 10**9, 1e30, "x", [], {}, [1], True, float("nan"), "../../x"]
FOREIGN = [b"[]", b"null", b"3", b'"x"', b"{}", b"\xff\xfe\x00", b"[" * 100_000, b"PK\x03\x04", b"\x93NUMPY\x01\x00"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def with_other_entry(content: bytes, data: st.DataObject) -> bytes:
    """A JSON file of another version: one entry is another, or gone."""
    value = json.loads(content)
    *outer, last = data.draw(st.sampled_from([place for place in places(value) if place]), "place")
    inner = value
    for key in outer:
        inner = inner[key]
    if data.draw(st.booleans(), "gone"):
        del inner[last]
    else:
        inner[last] = data.draw(st.sampled_from(ODD), "entry")
    return json.dumps(value).encode()


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """Empty, cut, with one bit flipped, of another version, or of another kind."""
    kind = data.draw(st.sampled_from(["empty", "cut", "bit", "bit", "entry", "other"]), "kind")
    place = data.draw(st.integers(0, len(content) - 1), "byte")
    if kind == "entry" and content[:2] in (b'{"', b"{\n"):
        return with_other_entry(content, data)
    if kind == "other":
        return data.draw(st.sampled_from(FOREIGN), "content")
    if kind == "bit":
        flipped = content[place] ^ 1 << data.draw(st.integers(0, 7), "bit")
        return content[:place] + bytes([flipped]) + content[place + 1 :]
    return b"" if kind == "empty" else content[:place]


def check_reads_or_names(whole: Path, folder: Path, name: str, data: st.DataObject) -> None:
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    (folder / name).write_bytes(damaged((whole / name).read_bytes(), data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            {**READERS, **SLOW}[name](folder)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        # Its name, or that of the store or pool that it is of.
        known = {Path(name).name, Path(name).parts[0].removesuffix(".part"), Path(name).name.split(".")[0] + "."}
        known.update(OTHER_NAMES.get(name, ()))
        assert any(part in str(error) for part in known), str(error)  # noqa: PT017
        assert "\n" not in str(error).replace(str(folder), ""), str(error)  # noqa: PT017
    finally:
        shutil.rmtree(folder)


def run(whole: Path, factory: pytest.TempPathFactory, name: str, examples: int) -> None:
    make = partial(factory.mktemp, "damaged")

    @inputs(examples)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        check_reads_or_names(whole, make(), name, data)

    check()


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_named(name: str, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run(whole, tmp_path_factory, name, 20)


@pytest.mark.parametrize("name", SLOW)
def test_a_damaged_file_that_takes_a_training_to_read(
    name: str, whole: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run(whole, tmp_path_factory, name, 8)
