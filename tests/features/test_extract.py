"""Extraction: the same bytes whatever happens, and every way in which items or options can be wrong."""

from __future__ import annotations

import io
import multiprocessing as mp
import os
import random
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from programs.extract_checks import Slow, network, write
from programs.ranks import launch
from sklearn.decomposition import PCA
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from dynsel._lib.files import only_writer
from dynsel.features import fingerprint, load_features, open_store, save_features
from dynsel.features.extract import extract
from dynsel.features.extractors import Extractor, ModuleInput, PixelPCA


class Identity(Extractor):
    """The item itself."""

    def prepare(self, value: Any) -> Any:
        return torch.as_tensor(value, dtype=torch.float32)

    def forward(self, batch: Any) -> Any:
        return batch

    def describe(self) -> dict[str, Any]:
        return {"name": "identity"}


def rows(n: int = 20, d: int = 3) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- what comes out
@pytest.mark.parametrize(
    "options", [{}, {"num_workers": 2}, {"batch_size": 3}, {"batch_size": 50}, {"block_rows": 100}]
)
def test_rows_are_what_the_layer_takes_in(options: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "f.npy", **options)
    with torch.no_grad():
        expected = network()[:2](Slow().x).numpy()
    np.testing.assert_allclose(load_features(path, dataset=Slow()), expected, rtol=1e-3, atol=1e-4)
    manifest = open_store(path).manifest
    assert (manifest["N"], manifest["d"], manifest["dtype"]) == (100, 16, "float16")
    assert manifest["fingerprint"] == fingerprint(Slow())
    assert manifest["versions"]["torch"]
    assert manifest["precision"] == "32-true"


def test_features_may_be_float32(tmp_path: Path) -> None:
    store = extract(TensorDataset(rows()), Identity(), tmp_path / "f.npy", dtype="float32", accelerator="cpu")
    np.testing.assert_array_equal(store.features, rows().numpy())


def test_mixed_precision_is_noted_and_stored_as_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "f.npy", precision="bf16-mixed")
    assert open_store(path).manifest["precision"] == "bf16-mixed"
    with torch.no_grad():
        np.testing.assert_allclose(load_features(path), network()[:2](Slow().x).numpy(), atol=0.05)


def test_weights_generators_and_mode_stay_as_they_are(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 2))
    before, states = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    extract(Slow(), ModuleInput(net), tmp_path / "f.npy", accelerator="cpu")
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert torch.equal(states, torch.get_rng_state())


def test_a_finished_store_is_opened_and_another_one_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.npy")
    stamp = path.stat().st_mtime_ns
    write(path)
    assert path.stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match=r"holds other features; they differ in: batch_size \(4 there, 5 now\)"):
        write(path, batch_size=5)
    net = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3))
    with pytest.raises(ValueError, match=r"they differ in: extractor's weights .* Choose another file, or delete it"):
        extract(Slow(), ModuleInput(net), path, batch_size=4, block_rows=9)
    np.save(tmp_path / "g.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"g.npy is there and is no feature store; choose another file, or delete it"):
        write(tmp_path / "g.npy")


# ---------------------------------------------------------------- interrupted
def _write_slowly(path: Path) -> None:
    write(path, 0.002)
    os._exit(0)


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_and_resumed(seed: int, tmp_path: Path) -> None:
    expected = write(tmp_path / "alone.npy").read_bytes()
    manifest = (tmp_path / "alone.npy.json").read_bytes()
    path, moments = tmp_path / "f.npy", random.Random(seed)
    context, kills = mp.get_context("fork"), 0
    while not path.exists():
        child = context.Process(target=_write_slowly, args=(path,))
        child.start()
        child.join(moments.uniform(0.02, 0.15) if kills < 6 else 60)
        if child.is_alive():
            child.kill()
            child.join()
            kills += 1
            if not path.exists():
                with pytest.raises(FileNotFoundError):
                    load_features(path)
    assert kills >= 3
    write(path)
    assert path.read_bytes() == expected
    assert (tmp_path / "f.npy.json").read_bytes() == manifest


def test_interrupted_by_the_user(tmp_path: Path) -> None:
    class Impatient(Slow):
        def __getitem__(self, i: int) -> Any:
            if i == 60:
                raise KeyboardInterrupt
            return super().__getitem__(i)

    expected = write(tmp_path / "alone.npy").read_bytes()
    extractor = ModuleInput(network())
    options: dict[str, Any] = {"batch_size": 4, "block_rows": 9, "accelerator": "cpu"}
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        extract(Impatient(), extractor, tmp_path / "f.npy", **options)
    with pytest.raises(FileNotFoundError, match="is not finished: 6 of 12 blocks are there"):
        load_features(tmp_path / "f.npy")
    assert extract(Slow(), extractor, tmp_path / "f.npy", **options).path.read_bytes() == expected


# ---------------------------------------------------------------- ranks
def test_two_ranks_give_the_same_bytes(tmp_path: Path) -> None:
    expected = write(tmp_path / "one.npy").read_bytes()
    results = launch("extract_checks", tmp_path, 2)
    assert [rank["by_two"] for rank in results[2]] == [[100, 16]] * 2
    assert [rank["fewer_blocks_than_ranks"] for rank in results[2]] == [[5, 16]] * 2
    assert (tmp_path / "two.npy").read_bytes() == expected
    assert (tmp_path / "two.npy.json").read_bytes() == (tmp_path / "one.npy.json").read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_second_process_at_the_same_store_says_so(tmp_path: Path) -> None:
    with (
        only_writer(tmp_path / "f.npy"),
        pytest.raises(RuntimeError, match=r"another process is writing .*f.npy; wait until it is done"),
    ):
        write(tmp_path / "f.npy")
    assert open_store(write(tmp_path / "f.npy")).features.shape == (100, 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npy", "f.npy.json"]


def test_a_store_that_another_process_finished_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write(tmp_path / "f.npy").stat().st_mtime_ns
    answers = iter([False, False, True])  # not there at the start, but when the lock is had
    monkeypatch.setattr("dynsel.features.extract.is_finished", lambda _: next(answers))
    with pytest.raises(RuntimeError, match=r"another process finished .*f.npy meanwhile; the same command opens it"):
        write(tmp_path / "f.npy")
    assert (tmp_path / "f.npy").stat().st_mtime_ns == before


# ---------------------------------------------------------------- items that are no good
def images(root: Path, n: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_that_cant_be_decoded(num_workers: int, tmp_path: Path) -> None:
    root = images(tmp_path / "images")
    (root / "cat" / "2.png").write_bytes(b"no image")
    (root / "dog" / "1.png").write_bytes((root / "dog" / "1.png").read_bytes()[:60])
    dataset = ImageFolder(str(root))
    extractor = ModuleInput(nn.Sequential(nn.Flatten(), nn.Linear(108, 2)), mean=[0.0] * 3, std=[1.0] * 3)
    options: dict[str, Any] = {"batch_size": 3, "block_rows": 3, "num_workers": num_workers, "accelerator": "cpu"}
    text = r"item 2 \(.*cat/2.png\) can't be read \(UnidentifiedImageError: .*mend or remove it, or skip such items"
    with pytest.raises(ValueError, match=text):
        extract(dataset, extractor, tmp_path / "f.npy", **options)
    store = extract(dataset, extractor, tmp_path / "f.npy", skip_unreadable=True, **options)
    assert store.skipped == [2, 5]
    whole = [0, 1, 3, 4, 6, 7]
    assert np.abs(store.features[[2, 5]]).max() == 0
    expected = np.stack([np.asarray(dataset[i][0]).transpose(2, 0, 1).reshape(-1) / 255 for i in whole])
    np.testing.assert_allclose(store.features[whole], expected, atol=1e-3)
    with pytest.warns(UserWarning, match=r"rows 2, 5 are zeros"):
        load_features(store.path, dataset=dataset)


def test_images_that_cant_be_decoded_while_components_are_fitted(tmp_path: Path) -> None:
    root = images(tmp_path / "images")
    (root / "dog" / "0.png").write_bytes(b"no image")
    dataset = ImageFolder(str(root))
    text = r"item 4 \(.*dog/0.png\) can't be read \(UnidentifiedImageError: .*mend or remove it, or skip such items"
    with pytest.raises(ValueError, match=text):
        extract(dataset, PixelPCA(2), tmp_path / "f.npy", accelerator="cpu")
    store = extract(dataset, PixelPCA(2), tmp_path / "f.npy", skip_unreadable=True, accelerator="cpu")
    assert store.skipped == [4]
    whole = [0, 1, 2, 3, 5, 6, 7]
    pixels = np.stack([np.asarray(dataset[i][0]).reshape(-1) / 255 for i in whole])
    expected = PCA(2).fit_transform(pixels)
    np.testing.assert_allclose(np.abs(store.features[whole]), np.abs(expected), atol=5e-3)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"none of the 8 items can be read; item 0: UnidentifiedImageError"):
        extract(dataset, PixelPCA(2), tmp_path / "g.npy", skip_unreadable=True, accelerator="cpu")


def test_nothing_but_unreadable_images(tmp_path: Path) -> None:
    root = images(tmp_path / "images", 1)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"none of the 2 items can be read; item 0: UnidentifiedImageError"):
        extract(ImageFolder(str(root)), Identity(), tmp_path / "f.npy", skip_unreadable=True, accelerator="cpu")


def test_a_whole_batch_may_be_unreadable(tmp_path: Path) -> None:
    class Holes(Slow):
        def __getitem__(self, i: int) -> Any:
            if 4 <= i < 8:
                raise OSError("no such sector")
            return super().__getitem__(i)

    store = extract(
        Holes(), ModuleInput(network()), tmp_path / "f.npy", batch_size=4, skip_unreadable=True, accelerator="cpu"
    )
    assert store.skipped == [4, 5, 6, 7]
    assert (np.abs(store.features).sum(1) == 0).nonzero()[0].tolist() == [4, 5, 6, 7]


def test_rows_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    bad = rows()
    bad[[7, 9], 1] = float("nan")
    with pytest.raises(ValueError, match=r"features must be finite, got NaN or infinite values in rows 7, 9"):
        extract(TensorDataset(bad), Identity(), tmp_path / "f.npy", block_rows=5, batch_size=5, accelerator="cpu")
    large = rows() * 1e5
    with pytest.raises(ValueError, match=r"if they are too large for float16, use dtype='float32'"):
        extract(TensorDataset(large), Identity(), tmp_path / "g.npy", accelerator="cpu")
    assert len(extract(TensorDataset(large), Identity(), tmp_path / "h.npy", dtype="float32").features) == 20


class Noisy(Slow):
    def __getitem__(self, i: int) -> Any:
        return self.x[i] + torch.rand(()), 0


class Ragged(Dataset[Any]):
    """From item 5 on wider than before, or of another kind."""

    def __init__(self, later: Any) -> None:
        self.later = later

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        return torch.ones(3) * i if i < 5 else self.later


class Returns(Identity):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, batch: Any) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("dataset", "extractor", "options", "error", "text"),
    [
        (Slow(), Identity(), {"batch_size": 0}, ValueError, "`batch_size` and `block_rows` must be at least 1, got 0"),
        (Slow(), Identity(), {"dtype": "int8"}, ValueError, "`dtype` must be one of float16, float32, got 'int8'"),
        (iter(()), Identity(), {}, TypeError, "`dataset` must be map-style"),
        (
            Noisy(),
            Identity(),
            {},
            ValueError,
            "item 0 is another one each time .* data set without random augmentation",
        ),
        (
            Ragged(torch.ones(4)),
            Identity(),
            {"batch_size": 5},
            ValueError,
            "features must have one width, got 4 after 3",
        ),
        (
            Slow(),
            Returns(None),
            {},
            ValueError,
            r"must return \(1, d\) floating-point features for 1 items, got NoneType",
        ),
        (Slow(), Returns(torch.ones(1, 2).long()), {}, ValueError, r"features for 1 items, got \(1, 2\) torch.int64"),
        (Slow(), Returns(torch.ones(1)), {}, ValueError, r"features for 1 items, got \(1,\) torch.float32"),
        (Slow(), Returns(torch.ones(1, 2)), {}, ValueError, r"features for 100 items, got \(1, 2\) torch.float32"),
    ],
)
def test_wrong_options_are_named(
    dataset: Any, extractor: Extractor, options: Any, error: Any, text: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=text):
        extract(dataset, extractor, tmp_path / "f.npy", accelerator="cpu", **options)
    assert not (tmp_path / "f.npy").exists()


def test_path_must_be_npy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must end in .npy, got 'f.pt'"):
        extract(Slow(), Identity(), tmp_path / "f.pt")


# ---------------------------------------------------------------- forms of data
def test_subset_rows_follow_the_subset(tmp_path: Path) -> None:
    order = [5, 0, 99, 7]
    store = extract(Subset(Slow(), order), Identity(), tmp_path / "f.npy", dtype="float32", accelerator="cpu")
    np.testing.assert_array_equal(store.features, Slow().x[order].numpy())


def test_pixels_are_those_of_pixel_features(tmp_path: Path) -> None:
    from dynsel.data import DigitsDataModule
    from dynsel.features import pixel_features

    data = DigitsDataModule()
    data.setup("fit")
    store = extract(data.train_set, PixelPCA(8), tmp_path / "f.npy", dtype="float32", accelerator="cpu")
    np.testing.assert_allclose(store.features, pixel_features(data.train_set, 8), atol=1e-4)


def test_features_reach_a_training(tmp_path: Path) -> None:
    """A store as `features` of DynamicSelection; a store of another data set is refused at the start."""
    from support import Module, trainer

    from dynsel.callbacks import DynamicSelection

    class Three(Dataset[Any]):
        def __init__(self, seed: int) -> None:
            self.x, self.targets = torch.randn(40, 4, generator=torch.Generator().manual_seed(seed)), [0, 1] * 20

        def __len__(self) -> int:
            return 40

        def __getitem__(self, i: int) -> Any:
            return self.x[i], self.targets[i], i

    extract(Three(0), Identity(), tmp_path / "f.npy", accelerator="cpu")
    for seed in (0, 1):
        selection = DynamicSelection("k-center", keep_ratio=0.1, features=str(tmp_path))
        run = trainer(selection, max_epochs=1)
        if seed == 0:
            run.fit(Module(), DataLoader(Three(seed), 4))
            assert selection.history[-1].samples_trained == 4
        else:
            with pytest.raises(
                ValueError, match="computed for another data set than this one; they differ in: sampled"
            ):
                run.fit(Module(), DataLoader(Three(seed), 4))


def test_progress_is_in_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    screen = io.StringIO()
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr(sys, "stderr", screen)
    extract(Slow(0.002), ModuleInput(network()), tmp_path / "f.npy", batch_size=4, progress_bar=True, accelerator="cpu")
    assert "/100" in screen.getvalue()
    assert "samples/s" in screen.getvalue()


def test_a_lightning_module_can_be_the_model(tmp_path: Path) -> None:
    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(8, 5), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x))

    module = Classifier()
    store = extract(Slow(), ModuleInput(module, layer="head"), tmp_path / "f.npy", accelerator="cpu")
    with torch.no_grad():
        np.testing.assert_allclose(store.features, module.body(Slow().x).numpy(), rtol=1e-3, atol=1e-3)


def test_saved_arrays_and_extracted_ones_are_told_apart_by_nothing(tmp_path: Path) -> None:
    store = extract(Slow(), Identity(), tmp_path / "f.npy", accelerator="cpu")
    saved = save_features(tmp_path / "g.npy", store.features, Slow())
    np.testing.assert_array_equal(load_features(saved, dataset=Slow()), load_features(store.path, dataset=Slow()))
