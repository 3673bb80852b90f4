"""CIFAR-10 in miniature: ten classes, a few random images each, as folders and as archives of them."""

import io
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from image_files import write_archive, write_folders
from PIL import Image

from dynsel.data import CIFAR10DataModule, TensorImages, cifar10
from dynsel.data.sources import ArchiveSource, decode_split, image_folder_order

CLASSES = cifar10.CLASSES
SHARED = Path(os.environ.get("DYNSEL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_real_data = pytest.mark.skipif(
    not all((SHARED / name).is_file() for name in (*cifar10.ARCHIVES, "cifar10-resnet56-features.npz")),
    reason="CIFAR-10 archives are not in $DYNSEL_TEST_DATA or ../shared/data",
)


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    return tmp_path / "user-cache" / "dynsel"


def random_files(counts: dict[str, int], seed: int = 0) -> dict[str, bytes]:
    """Lossless images by name, in an order that is not the one they should be read in."""
    rng = np.random.default_rng(seed)
    files = {}
    for split, count in counts.items():
        for label in reversed(CLASSES):
            for number in rng.permutation(count):
                stream = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(stream, "PNG")
                files[f"{split}/{label}/x_{number}.png"] = stream.getvalue()
    return files


def write_archives(root: Path, files: dict[str, bytes]) -> Path:
    train = {name: content for name, content in files.items() if name.startswith("train")}
    parts = dict(list(train.items())[::2]), dict(list(train.items())[1::2])
    test = {name: content for name, content in files.items() if name.startswith("test")}
    for name, part in zip(cifar10.ARCHIVES, (*parts, test), strict=True):
        write_archive(root / name, part, prefix="./")
    return root


FILES = random_files({"train": 12, "test": 2})


@pytest.fixture
def folders(tmp_path) -> Path:
    return write_folders(tmp_path / "folders", FILES)


@pytest.fixture
def archives(tmp_path) -> Path:
    return write_archives(tmp_path / "archives", FILES)


def loaded(root: Path, **options) -> CIFAR10DataModule:
    module = CIFAR10DataModule(root, download=False, **options)
    module.setup("fit")
    return module


def same(a: TensorImages, b: TensorImages) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets) and a.classes == b.classes


def test_both_layouts_give_the_rows_of_image_folder(folders, archives):
    datasets = pytest.importorskip("torchvision.datasets")
    from_folders, from_archives = loaded(folders), loaded(archives)
    for split, data in (("train", from_folders.train_set), ("test", from_folders.val_set)):
        oracle = datasets.ImageFolder(folders / split)
        images = np.stack([np.asarray(image) for image, _ in oracle]).transpose(0, 3, 1, 2)
        assert np.array_equal(data.images.numpy(), images)
        assert data.targets.tolist() == oracle.targets
        assert data.classes == oracle.classes
    assert same(from_folders.train_set, from_archives.train_set)
    assert same(from_folders.val_set, from_archives.val_set)


def test_loaders_give_every_image_once(folders):
    module = loaded(folders, batch_size=50)
    sizes = [len(targets) for _, targets in module.train_dataloader()]
    assert sizes == [50, 50, 20]
    (images, targets), *rest = module.val_dataloader()
    assert not rest
    assert images.dtype == torch.uint8
    assert torch.equal(targets, module.val_set.targets)
    assert (module.num_classes, module.image_shape) == (10, (3, 32, 32))
    assert module.train_set.image_shape == module.image_shape


def stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.exists() else []


def no_decoding(*args, **kwargs):
    raise AssertionError("decoded again")


def test_second_load_reads_the_cache_beside_the_data(folders, user_cache, monkeypatch):
    first = loaded(folders)
    (path,) = stored(folders / ".dynsel-cache")
    assert path.suffix == ".npz"
    assert not stored(user_cache)
    monkeypatch.setattr(cifar10, "decode_split", no_decoding)
    assert same(loaded(folders).train_set, first.train_set)


@pytest.mark.parametrize("kind", ["folders", "archives"])
def test_a_changed_source_is_decoded_again(kind, tmp_path):
    write = {"folders": write_folders, "archives": write_archives}[kind]
    root = tmp_path / "data"
    before = loaded(write(root, FILES))
    after = loaded(write(root, {**FILES, **random_files({"test": 3}, seed=1)}))
    assert (len(before.val_set), len(after.val_set)) == (20, 30)


def test_another_folder_of_the_same_names_and_sizes_is_another_data_set(tmp_path, user_cache):
    """Read-only folders, whose caches lie in one place."""
    roots = []
    for name, value in (("a", 10), ("b", 200)):
        root = tmp_path / name
        for split in ("train", "test"):
            for label in CLASSES:
                (root / split / label).mkdir(parents=True)
                Image.new("RGB", (32, 32), (value, value, value)).save(root / split / label / "0.bmp")
        root.chmod(0o555)
        roots.append(root)
    found = [float(loaded(root).train_set.images.float().mean()) for root in roots]
    assert found == [10.0, 200.0]
    assert len(stored(user_cache)) == 2


def test_a_changed_file_of_the_same_name_and_size_is_decoded_again(folders):
    before = loaded(folders).train_set.images.clone()
    path = next((folders / "train").rglob("*.*"))
    content = path.read_bytes()
    path.write_bytes(content)  # the same bytes at another time
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert torch.equal(loaded(folders).train_set.images, before)
    assert len(stored(folders / ".dynsel-cache")) == 2


def test_a_read_only_source_is_cached_for_the_user(folders, user_cache, monkeypatch):
    folders.chmod(0o555)
    first = loaded(folders)
    assert len(stored(user_cache)) == 1
    assert not (folders / ".dynsel-cache").exists()
    monkeypatch.setattr(cifar10, "decode_split", no_decoding)
    assert same(loaded(folders).train_set, first.train_set)
    folders.chmod(0o755)


def test_without_any_place_to_write_it_warns_and_goes_on(folders, tmp_path):
    folders.chmod(0o555)
    tmp_path.chmod(0o555)
    try:
        with pytest.warns(UserWarning, match="could not write the decoded images.*set XDG_CACHE_HOME"):
            assert len(loaded(folders).train_set) == 120
    finally:
        tmp_path.chmod(0o755)
        folders.chmod(0o755)


def test_a_broken_cache_is_made_anew(folders):
    first = loaded(folders)
    (path,) = stored(folders / ".dynsel-cache")
    for content in (path.read_bytes()[:1000], b"", b"not a zip file"):
        path.write_bytes(content)
        assert same(loaded(folders).train_set, first.train_set)
        assert len(path.read_bytes()) > 120 * 3072


class FakeCIFAR10:
    """What torchvision gives; `present` stands for the downloaded files."""

    present = False

    def __init__(self, root, train, download):
        if not (self.present or download):
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        n = 30 if train else 10
        self.data = np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), np.uint8)
        self.targets, self.classes = [9 - i % 10 for i in range(n)], CLASSES


@pytest.fixture
def torchvision_cifar10(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(CIFAR10=FakeCIFAR10))
    return FakeCIFAR10


def test_torchvisions_download_keeps_torchvisions_order(torchvision_cifar10, tmp_path):
    module = CIFAR10DataModule(tmp_path / "new")
    module.prepare_data()
    module.setup("fit")
    oracle = FakeCIFAR10("", train=True, download=True)
    assert module.train_set.targets.tolist() == oracle.targets
    assert np.array_equal(module.train_set.images.permute(0, 2, 3, 1).numpy(), oracle.data)
    assert len(module.val_set) == 10


def test_an_earlier_download_needs_no_new_one(torchvision_cifar10, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_cifar10, "present", True)
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "test").mkdir()
    assert len(loaded(tmp_path).train_set) == 30


def test_missing_data_says_where_it_was_looked_for(torchvision_cifar10, tmp_path):
    text = r"`root` must be a folder with CIFAR-10, but .*none does not exist. Looked for folders train/ and test/, "
    with pytest.raises(FileNotFoundError, match=text + ".*Set download=True or point `root` to the data"):
        loaded(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"does not hold it.*cifar10-test.tar.gz.*cifar-10-batches-py"):
        loaded(tmp_path)


def test_a_failed_download_says_what_to_do(torchvision_cifar10, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision_cifar10, "__init__", offline)
    with pytest.raises(FileNotFoundError, match=r"download failed \(no route to host\): copy the data there"):
        CIFAR10DataModule(tmp_path).setup("fit")


def test_a_missing_torchvision_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ImportError, match=r"`root` must be a folder with CIFAR-10.*pip install torchvision"):
        loaded(tmp_path)


def test_what_is_missing_of_the_data_is_named(archives, tmp_path):
    (archives / "cifar10-train-1.tar.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"got .*archives without cifar10-train-1.tar.gz: add the rest"):
        loaded(archives)
    (tmp_path / "half" / "train").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"must hold all of train, test, got .*half without test"):
        loaded(tmp_path / "half")


def test_data_that_is_not_cifar10_is_refused(folders, tmp_path):
    (folders / "test" / "cat").rename(folders / "test" / "kitten")
    with pytest.raises(ValueError, match=r"`test` must have the folders airplane, .*, got .*kitten"):
        loaded(folders)
    (tmp_path / "empty" / "train").mkdir(parents=True)
    (tmp_path / "empty" / "test").mkdir()
    with pytest.raises(ValueError, match=r"no image found below `train/<class>/`"):
        loaded(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"cannot decode train/cat/1.png"):
        decode_split({"train/cat/1.png": b"not an image"}, "train", 32)
    with pytest.raises(ValueError, match=r"images must be 8x8, got 32x32 for train/"):
        decode_split(FILES, "train", 8)


def on_trainer(module: CIFAR10DataModule, kind: str) -> CIFAR10DataModule:
    module.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(kind)))
    return module


def test_images_go_to_the_trainers_accelerator(folders, monkeypatch):
    places = []
    monkeypatch.setattr(TensorImages, "to", lambda self, device: places.append(device) or self)
    on_trainer(CIFAR10DataModule(folders), "cuda").setup("fit")
    assert places == [torch.device("cuda")] * 2
    on_trainer(CIFAR10DataModule(folders, on_device=False, num_workers=2), "cuda").setup("fit")
    on_trainer(CIFAR10DataModule(folders, num_workers=2), "cpu").setup("fit")
    assert places[2:] == [torch.device("cpu")] * 4
    with pytest.raises(ValueError, match="`num_workers` must be 0 when the images are kept on cuda, got 2: set"):
        on_trainer(CIFAR10DataModule(folders, num_workers=2), "cuda").setup("fit")


def test_batches_are_pinned_only_where_they_still_have_to_travel(folders):
    host = loaded(folders, on_device=False)
    assert not host.train_dataloader().pin_memory
    assert on_trainer(host, "cuda").train_dataloader().pin_memory


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_come_from_the_gpu(folders):
    module = on_trainer(CIFAR10DataModule(folders, batch_size=50), "cuda")
    module.setup("fit")
    loader = module.train_dataloader()
    assert not loader.pin_memory
    assert {images.device.type for images, _ in loader} == {"cuda"}


@needs_real_data
def test_real_archives_have_the_rows_of_the_stored_features():
    contents = ArchiveSource(tuple(SHARED / name for name in cifar10.ARCHIVES)).contents()
    with np.load(SHARED / "cifar10-resnet56-features.npz") as features:
        for split, count in (("train", 5000), ("test", 1000)):
            rows = image_folder_order(contents, split)
            targets = np.array([CLASSES.index(label) for label, _ in rows])
            assert np.bincount(targets).tolist() == [count] * 10
            assert np.array_equal(targets, features[f"{split}_labels"])


@needs_real_data
def test_real_images_decode_exactly_like_image_folder(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    contents = ArchiveSource((SHARED / "cifar10-test.tar.gz",)).contents()
    some = dict(list(contents.items())[::100])
    oracle = datasets.ImageFolder(write_folders(tmp_path, some) / "test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images, targets, classes = decode_split(some, "test", 32)
    assert np.array_equal(images.transpose(0, 2, 3, 1), np.stack([np.asarray(image) for image, _ in oracle]))
    assert (targets.tolist(), classes) == (oracle.targets, CLASSES)
