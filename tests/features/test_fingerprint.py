"""Fingerprints: the same data set gives the same, another one or another order does not."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from dynsel.features import describe_difference, fingerprint


class Listed(Dataset[Any]):
    """Items from a list, with whatever attributes a test wants."""

    def __init__(self, items: list[Any], **attributes: Any) -> None:
        self.items = items
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Flipped(Listed):
    """Every item is flipped at random, by a global generator."""

    def __getitem__(self, i: int) -> Any:
        item = self.items[i]
        turn = (random.random() < 0.5) ^ bool(np.random.rand() < 0.5) ^ bool(torch.rand(()) < 0.5)  # noqa: NPY002
        return item.flip(0) if turn else item


def images(n: int = 40, seed: int = 0) -> list[torch.Tensor]:
    return list(torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed)))


def folder(root: Path, classes: tuple[str, ...] = ("cat", "dog"), n: int = 3) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 255, (5, 5, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


def test_the_parts_survive_json() -> None:
    dataset = Listed(images(), targets=[i % 2 for i in range(40)], classes=["cat", "dog"])
    found = fingerprint(dataset)
    assert set(found) == {"length", "classes", "labels", "items"}
    assert (found["length"], found["classes"], len(found["items"])) == (40, ["cat", "dog"], 16)
    assert json.loads(json.dumps(found)) == found
    assert describe_difference(found, fingerprint(dataset)) is None


def test_other_data_sets_are_told_apart() -> None:
    labels = [i % 2 for i in range(40)]
    base = fingerprint(Listed(images(), targets=labels, classes=["cat", "dog"]))

    def difference(items: list[Any], targets: list[int], classes: list[str]) -> str | None:
        return describe_difference(base, fingerprint(Listed(items, targets=targets, classes=classes)))

    names = ["cat", "dog"]
    assert difference(images(), labels, names) is None
    assert difference(images(41), [*labels, 0], names) == "length (40 and 41 items)"
    assert difference(images(), labels, ["cat", "cow"]) == "class names (cat, dog and cat, cow)"
    assert difference(images(), labels[::-1], names) == "labels (other ones, or in another order)"
    assert difference(images(seed=1), labels, names) == "sampled items (16 of 16 differ)"
    assert difference(images()[::-1], labels[::-1], list("abcd")) == (
        "class names (cat, dog and a, b, c, ... (4)); labels (other ones, or in another order); "
        "sampled items (16 of 16 differ)"
    )


def test_only_what_both_have_is_compared() -> None:
    with_labels = fingerprint(Listed(images(), targets=[0] * 40))
    assert describe_difference(with_labels, fingerprint(Listed(images()))) is None


def test_labels_are_compared_as_codes() -> None:
    dataset = Listed(images(6))
    prints = [
        fingerprint(dataset, labels)["labels"]
        for labels in (
            [0, 1, 2, 0, 1, 2],
            torch.tensor([1, 2, 3, 1, 2, 3]),
            list("abcabc"),
            np.uint8([5, 7, 9, 5, 7, 9]),
        )
    ]
    assert len(set(prints)) == 1
    assert fingerprint(dataset, [1, 0, 2, 0, 1, 2])["labels"] != prints[0]
    assert "labels" not in fingerprint(dataset, torch.rand(6, generator=torch.Generator().manual_seed(0)))
    assert "labels" not in fingerprint(dataset, [[0], [1], [0], [1], [0], [1]])


@pytest.mark.parametrize("n", [1, 2, 5, 15, 16, 17, 1000])
def test_sampled_items_span_the_data_set(n: int) -> None:
    asked: list[int] = []

    class Asked(Listed):
        def __getitem__(self, i: int) -> Any:
            asked.append(i)
            return i

    found = fingerprint(Asked([0] * n))
    assert len(found["items"]) == min(n, 16)
    assert (min(asked), max(asked)) == (0, n - 1)
    assert len(asked) == 2 * min(n, 16)


def test_random_augmentation_leaves_items_out_and_generators_alone() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    found = fingerprint(Flipped(images()))
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert "items" not in found
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert describe_difference(found, fingerprint(Listed(images()))) is None


def test_raw_storage_is_hashed_whatever_the_transform() -> None:
    raw = np.random.default_rng(0).integers(0, 255, (20, 4, 4, 3), dtype=np.uint8)
    plain, random_ = Listed(images(20), data=raw), Flipped(images(20, seed=3), data=raw)
    assert describe_difference(fingerprint(plain), fingerprint(random_)) is None
    other = raw.copy()
    other[19, 0, 0, 0] += 1
    assert describe_difference(fingerprint(plain), fingerprint(Listed(images(20), data=other))) == (
        "sampled items (1 of 16 differ)"
    )


@pytest.mark.parametrize(
    "item",
    [
        torch.ones(2, 2, dtype=torch.bfloat16),
        torch.tensor(3),
        np.float32([1.5, 2]),
        np.array(["a", None], dtype=object),
        Image.new("L", (3, 2), 7),
        (Image.new("RGB", (3, 2)), 4),
        {"image": torch.zeros(2), "label": 1},
        "text",
        b"bytes",
        3,
        2.5,
        np.int64(4),
        None,
        [],
    ],
    ids=lambda item: re.sub(r" at 0x\w+", "", repr(item)),
)
def test_any_kind_of_item(item: Any) -> None:
    found = fingerprint(Listed([item]))
    assert found == fingerprint(Listed([item]))
    assert found["items"] != fingerprint(Listed([(item, 0)]))["items"]


def test_items_that_look_alike_differ() -> None:
    alike = [1, 1.0, "1", True, torch.tensor(1), np.ones(1), [1], (1, ()), torch.ones(1, 1), Image.new("L", (1, 1), 1)]
    prints = [fingerprint(Listed([item]))["items"][0] for item in alike]
    assert len(set(prints)) == len(alike)


def test_unknown_objects_count_by_type_not_address() -> None:
    class Thing:
        pass

    assert fingerprint(Listed([Thing()])) == fingerprint(Listed([Thing()]))


def test_image_folder_by_its_files(tmp_path: Path) -> None:
    here, there = folder(tmp_path / "a"), folder(tmp_path / "elsewhere" / "b")
    plain = fingerprint(ImageFolder(str(here)))
    assert set(plain) == {"length", "classes", "labels", "files", "items"}
    assert describe_difference(plain, fingerprint(ImageFolder(f"{there}/", transform=lambda image: image))) is None
    (there / "dog" / "1.png").rename(there / "dog" / "9.png")
    assert describe_difference(plain, fingerprint(ImageFolder(str(there)))) == (
        "file names or sizes; sampled items (2 of 6 differ)"
    )
    (there / "dog" / "9.png").rename(there / "dog" / "1.png")
    with open(there / "dog" / "1.png", "ab") as file:
        file.write(b"x")
    assert describe_difference(plain, fingerprint(ImageFolder(str(there)))) == (
        "file names or sizes; sampled items (1 of 6 differ)"
    )


def test_a_file_of_the_same_name_and_size_is_read(tmp_path: Path) -> None:
    here, there = folder(tmp_path / "a"), folder(tmp_path / "b")
    content = bytearray((there / "cat" / "2.png").read_bytes())
    content[-1] ^= 1
    (there / "cat" / "2.png").write_bytes(content)
    found = [fingerprint(ImageFolder(str(root))) for root in (here, there)]
    assert describe_difference(*found) == "sampled items (1 of 6 differ)"
    # What can't be opened has no content to compare.
    lost = ImageFolder(str(there))
    (there / "cat" / "2.png").unlink()
    assert "items" not in fingerprint(lost)


def test_orders_are_told_apart(tmp_path: Path) -> None:
    """ImageFolder, torchvision's CIFAR10 (raw arrays in `data`) and shuffled subsets of either."""
    whole = ImageFolder(str(folder(tmp_path / "a", n=20)))
    raw = np.random.default_rng(0).integers(0, 255, (40, 4, 4, 3), dtype=np.uint8)
    cifar = Listed(list(raw), data=raw, targets=[i % 2 for i in range(40)], classes=["cat", "dog"])
    order = np.random.default_rng(1).permutation(40).tolist()
    swapped = list(range(40))
    swapped[4], swapped[6] = 6, 4  # of one class in both
    for dataset in (whole, cifar):
        plain = fingerprint(dataset)
        assert describe_difference(plain, fingerprint(Subset(dataset, range(40)))) is None
        for other in (order, swapped):
            said = describe_difference(plain, fingerprint(Subset(dataset, other)))
            assert said is not None
            assert "order of the items" in said
            assert describe_difference(fingerprint(Subset(dataset, other)), plain) is not None
            assert describe_difference(*[fingerprint(Subset(dataset, other)) for _ in range(2)]) is None
    # The same images, by class in a folder and mixed in CIFAR10's own order.
    assert describe_difference(fingerprint(whole), fingerprint(cifar)) is not None


def test_list_of_paths_without_root(tmp_path: Path) -> None:
    def listed(root: Path) -> Listed:
        paths = sorted(root.rglob("*.png"))
        return Listed(paths, samples=[str(path) for path in paths])

    here, there = listed(folder(tmp_path / "a")), listed(folder(tmp_path / "b"))
    assert fingerprint(here) == fingerprint(there)
    assert "files" in fingerprint(here)


def test_subset_is_followed(tmp_path: Path) -> None:
    whole = ImageFolder(str(folder(tmp_path / "a", n=4)))
    order = [5, 0, 7, 3]
    nested = Subset(Subset(whole, [7, 5, 3, 1, 0]), [1, 4, 0, 2])
    assert fingerprint(Subset(whole, order)) == fingerprint(nested)
    assert describe_difference(fingerprint(Subset(whole, order)), fingerprint(Subset(whole, order[::-1]))) == (
        "labels (other ones, or in another order); order of the items; file names or sizes; "
        "sampled items (4 of 4 differ)"
    )
    raw = Listed(images(9), data=np.arange(9), targets=list(range(9)))
    assert fingerprint(Subset(raw, [4, 2]))["items"] == fingerprint(Listed([0, 0], data=np.array([4, 2])))["items"]


def test_a_tensor_data_set_tells_its_labels() -> None:
    x = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    y = torch.arange(10) % 3
    found = fingerprint(TensorDataset(x, y))
    assert describe_difference(found, fingerprint(TensorDataset(x.clone(), y.clone()))) is None
    assert "labels" in str(describe_difference(found, fingerprint(TensorDataset(x, y.flip(0)))))


def test_same_in_another_process() -> None:
    program = (
        "import json, numpy as np, torch; from torch.utils.data import TensorDataset; "
        "from dynsel.features import fingerprint; "
        "print(json.dumps(fingerprint(TensorDataset(torch.arange(12.).reshape(6, 2), torch.tensor([0, 1] * 3)), "
        "['b', 'a', 'c'] * 2)))"
    )
    there = json.loads(subprocess.check_output([sys.executable, "-c", program], text=True))
    dataset = TensorDataset(torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1] * 3))
    assert there == fingerprint(dataset, ["b", "a", "c"] * 2)


def test_what_is_no_data_set_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(())

    with pytest.raises(TypeError, match=r"`dataset` must be map-style, .* got Stream; an iterable one has no sample"):
        fingerprint(Stream())
    with pytest.raises(TypeError, match="got int"):
        fingerprint(3)
    with pytest.raises(ValueError, match="`dataset` must have at least one item, got none"):
        fingerprint(Listed([]))
