"""Files of features, codes, distilled sets and pools, damaged: they are read, or one line names what is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from dynsel.data import TensorImages
from dynsel.distill import Pool
from dynsel.distill.dataset import DistilledDataset, save_distilled
from dynsel.features import StoreWriter, load_features, open_store, save_features
from dynsel.sae import TopKSAE, load_codes, load_sae, save_codes, save_sae

CPU = torch.device("cpu")
X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
DATASET = TensorDataset(torch.rand(40, 3, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 2)
IMAGES = TensorImages(torch.arange(20 * 64, dtype=torch.uint8).view(20, 1, 8, 8), torch.arange(20) % 2, ["a", "b"])
PLAN = {"N": 40, "d": 4, "dtype": "float32", "block_rows": 10, "extractor": {"name": "test"}}


def pool(folder: Path) -> Pool:
    return Pool(folder / "pool", networks=1, epochs=1, width=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind of file."""
    folder = tmp_path_factory.mktemp("whole")
    save_features(folder / "f.npy", X, DATASET)
    np.savez_compressed(folder / "z.npz", features=X.numpy(), labels=np.arange(40) % 2)
    StoreWriter.begin(folder / "g.npy", PLAN)
    StoreWriter(folder / "g.npy").write(1, X[10:20].numpy(), [11])
    sae = TopKSAE(4, 8, 2)
    save_sae(sae, folder / "s.safetensors")
    save_codes(folder / "c.json", sae, X)
    save_distilled(
        folder / "d", torch.rand(4, 1, 8, 8), torch.arange(4) % 2, ["a", "b"], 2, torch.rand(16, 2).softmax(1)
    )
    pool(folder).prepare(IMAGES, IMAGES, CPU)
    return folder


def finish_store(folder: Path) -> Any:
    StoreWriter.begin(folder / "g.npy", PLAN)
    writer = StoreWriter(folder / "g.npy")
    for block in writer.missing():
        writer.write(block, X[writer.rows(block)].numpy())
    return open_store(writer.finish())


# What is damaged, and who reads it.
READERS: dict[str, Callable[[Path], Any]] = {
    "f.npy": lambda folder: load_features(folder / "f.npy", dataset=DATASET),
    "f.npy.json": lambda folder: load_features(folder / "f.npy", dataset=DATASET),
    "z.npz": lambda folder: load_features(folder / "z.npz", labels=torch.arange(40) % 2),
    "g.npy.part/plan.json": finish_store,
    "g.npy.part/journal-0.jsonl": finish_store,
    "s.safetensors": lambda folder: load_sae(folder / "s.safetensors"),
    "c.json": lambda folder: load_codes(folder / "c.json"),
    "c.indices.npy": lambda folder: load_codes(folder / "c.json"),
    "c.values.npy": lambda folder: load_codes(folder / "c.json"),
    "d/distilled.json": lambda folder: DistilledDataset(folder / "d"),
    "d/distilled.safetensors": lambda folder: DistilledDataset(folder / "d"),
    "pool/pool.json": lambda folder: pool(folder).load(IMAGES, CPU),
    "pool/network-000.safetensors": lambda folder: pool(folder).load(IMAGES, CPU),
}
ODD: list[Any] = [None, -1, 0, 10**9, 1e30, "x", [], {}, [1], True, float("nan"), "../../x"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def with_other_entry(content: bytes, data: st.DataObject) -> bytes:
    """A JSON file in which one entry is another, or gone."""
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
    kind = data.draw(st.sampled_from(["empty", "cut", "bit", "entry"]), "kind")
    place = data.draw(st.integers(0, len(content) - 1), "byte")
    if kind == "entry" and content.lstrip()[:1] == b"{":
        return with_other_entry(content, data)
    if kind == "bit":
        flipped = content[place] ^ 1 << data.draw(st.integers(0, 7), "bit")
        return content[:place] + bytes([flipped]) + content[place + 1 :]
    return b"" if kind == "empty" else content[:place]


def check_reads_or_names(whole: Path, folder: Path, name: str, data: st.DataObject) -> None:
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    (folder / name).write_bytes(damaged((whole / name).read_bytes(), data))
    try:
        READERS[name](folder)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        # Its name, or that of the store or pool that it is of.
        known = {Path(name).name, Path(name).parts[0].removesuffix(".part"), Path(name).name.split(".")[0] + "."}
        assert any(part in str(error) for part in known), str(error)  # noqa: PT017


def run(whole: Path, factory: pytest.TempPathFactory, name: str, examples: int) -> None:
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        check_reads_or_names(whole, factory.mktemp("damaged"), name, data)

    check()


@pytest.mark.filterwarnings("ignore:.*are zeros, for the items:UserWarning")
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_named(name: str, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run(whole, tmp_path_factory, name, 30)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*are zeros, for the items:UserWarning")
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_named_a_thousand_times(
    name: str, whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run(whole, tmp_path_factory, name, 1000)
