"""A pool of networks, each kept as it began and as it was when trained, from which feature networks are blended."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynsel._lib.checks import check_flag, check_integer, check_number, check_path, check_seed
from dynsel._lib.files import write_atomically
from dynsel._lib.images import TensorImages
from dynsel._lib.normalize import Normalize, usual_statistics
from dynsel._lib.progress import track
from dynsel._lib.tensor_files import read_header, read_tensors
from dynsel.distill._training import Recipe, accuracy, train_classifier
from dynsel.distill.augment import Augmentation
from dynsel.distill.blending import LoadedPool, copy_weights
from dynsel.distill.convnet import ConvNet
from dynsel.features.fingerprint import describe_difference, fingerprint
from dynsel.features.layout import wrong_fingerprint

__all__ = ["Pool", "normalizer", "one_hot"]

_FORMAT = "dynsel network pool 1"


def normalizer(channels: int) -> Normalize:
    """By CIFAR-10's mean and standard deviation for three channels, else by 0.5, as `ImageClassifier` has it.

    Args:
        channels: Number of channels of the images, C.
    """
    return Normalize(*usual_statistics(channels))


def one_hot(targets: Tensor, num_classes: int) -> Tensor:
    """Classes as shares of the classes.

    Args:
        targets: (N,) int64 in [0, num_classes).
        num_classes: Number of classes, C.

    Returns:
        (N, C) float32, one 1 in each row.
    """
    return torch.nn.functional.one_hot(targets, num_classes).float()


@dataclass(frozen=True)
class Pool:
    """ConvNets in a folder, trained once and used by every distillation of the same data.

    The folder belongs to one data set, architecture and way of training; others are refused. Each network is a file
    that appears when it is finished, and follows from the seed and its number alone: killed at any moment, the same
    command goes on with the missing ones.

    Args:
        folder: Folder that the networks are kept in.
        networks: Number of networks.
        epochs: Number of passes over the data that train a network.
        width: Number of channels of each block.
        depth: Number of blocks; None = as many as suit the images, see `ConvNet`.
        batch_size: Number of images in a step.
        lr: Learning rate of SGD, a fifth of it after 2/3 and again after 5/6 of the epochs.
        augment: Names of operations joined by "_", see `Augmentation`.
        cutmix: Whether half of the batches, drawn at random, are mixed by CutMix.
        seed: Seed for weights, order and augmentation of all networks, in [0, 2^31).

    Reference:
        Wang et al. (2025), arXiv:2502.20653, and the published code: 20 networks, 60 epochs (80 for
        images larger than 64 px).
    """

    folder: str | Path
    networks: int = 20
    epochs: int = 60
    width: int = 128
    depth: int | None = None
    batch_size: int = 128
    lr: float = 0.01
    augment: str = "color_crop_cutout"
    cutmix: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_path("folder", self.folder)
        checked: dict[str, Any] = {
            name: check_integer(name, getattr(self, name), at_least=1)
            for name in ("networks", "epochs", "width", "batch_size")
        }
        if self.depth is not None:
            checked["depth"] = check_integer("depth", self.depth, at_least=1)
        checked["seed"] = check_seed("seed", self.seed, at_most=2**31 - 1)
        checked["lr"] = check_number("lr", self.lr, above=0)
        checked["cutmix"] = check_flag("cutmix", self.cutmix)
        Augmentation(self.augment)
        # As plain numbers, whatever kind was given: the folder's facts are JSON.
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def path(self, number: int) -> Path:
        """File of a network.

        Args:
            number: Number of the network, from 0.
        """
        return Path(self.folder) / f"network-{number:03d}.safetensors"

    def missing(self, data: TensorImages) -> list[int]:
        """Numbers of the networks that are still to be trained.

        Args:
            data: Images that they are trained on.

        Raises:
            ValueError: If the folder's networks are of other data or settings.
        """
        key = _key(self._description(data))
        self._compare(data)
        return [number for number in range(self.networks) if _header(self.path(number)).get("key") != key]

    def prepare(
        self, data: TensorImages, val: TensorImages, device: torch.device, *, bf16: bool = False, progress: bool = False
    ) -> list[float]:
        """Train the missing networks.

        Args:
            data: Images that the networks are trained on.
            val: Images that their accuracy is measured on.
            device: Device that they are trained on.
            bf16: Whether the networks compute in bfloat16.
            progress: Whether a bar shows on the standard error.

        Returns:
            Accuracy of every trained network, in [0, 1].
        """
        missing = self.missing(data)
        if missing:
            description = self._description(data)
            write_atomically(Path(self.folder) / "pool.json", json.dumps(description, indent=1) + "\n")
            data, val = data.to(device), val.to(device)
            for number in track(missing, "training the pool's networks", show=progress):
                self._train(number, data, val, _key(description), bf16)
        return [float(_header(self.path(number))["accuracy"]) for number in range(self.networks)]

    def load(self, data: TensorImages, device: torch.device) -> LoadedPool:
        """All networks, on a device.

        Args:
            data: Images that the networks must have been trained on.
            device: Device that the networks go to.

        Raises:
            FileNotFoundError: If networks are missing.
            ValueError: If the folder's networks are of other data or settings.
        """
        if missing := self.missing(data):
            raise FileNotFoundError(
                f"the pool {self.folder} lacks {len(missing)} of {self.networks} networks; `Pool.prepare` or "
                "`dynsel distill fit` trains them"
            )
        network = self.build(data)
        weights = dict(network.named_parameters())
        shapes = {f"{when}.{name}": value.shape for when in ("init", "trained") for name, value in weights.items()}
        files = [read_tensors(self.path(number), shapes, "this pool") for number in range(self.networks)]
        stacked = {name: torch.stack([file[name] for file in files]).to(device) for name in shapes}
        network = network.to(device).to(memory_format=torch.channels_last)
        return LoadedPool(network, stacked)

    def build(self, data: TensorImages) -> ConvNet:
        """A network of the pool's form, its weights from the global generator.

        Args:
            data: Images that it is for; their shape and number of classes count.
        """
        return ConvNet(len(data.classes), data.image_shape, self.width, self.depth)

    def _description(self, data: TensorImages) -> dict[str, Any]:
        names = ("epochs", "width", "batch_size", "lr", "augment", "cutmix", "seed")
        settings = {name: getattr(self, name) for name in names}
        depth = self.build(data).depth if self.depth is None else self.depth
        return {
            "format": _FORMAT,
            "image_shape": list(data.image_shape),
            "settings": {**settings, "depth": depth},
            "data": fingerprint(data.to("cpu")),
        }

    def _compare(self, data: TensorImages) -> None:
        try:
            stored = json.loads((Path(self.folder) / "pool.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.folder}/pool.json is damaged ({error}); delete the folder") from error
        way_out = "choose another `pool.folder`, or delete this one"
        given = self._description(data)
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise ValueError(f"{self.folder}/pool.json is not of this version, {_FORMAT!r}; {way_out}")
        for name in ("image_shape", "settings", "data"):
            value, kind = stored.get(name), type(given[name])
            if not isinstance(value, kind) or (kind is list and len(value) != len(given[name])):
                raise ValueError(f"{self.folder}/pool.json is damaged (its {name} is {value!r}); delete the folder")
        if wrong := wrong_fingerprint(stored["data"]):
            raise ValueError(f"{self.folder}/pool.json is damaged ({wrong}); delete the folder")
        if stored["image_shape"] != given["image_shape"]:
            shapes = [f"{c}x{h}x{w}" for c, h, w in (stored["image_shape"], given["image_shape"])]
            raise ValueError(
                f"the pool {self.folder} is for images of {shapes[0]}, the data has {shapes[1]}; {way_out}"
            )
        if difference := describe_difference(stored["data"], given["data"]):
            raise ValueError(f"the pool {self.folder} was trained on other data: {difference}; {way_out}")
        pairs = [(n, stored["settings"].get(n), v) for n, v in given["settings"].items()]
        if unlike := [f"{name} is {old} there, {new} now" for name, old, new in pairs if old != new]:
            raise ValueError(f"the pool {self.folder} was made with other settings: {'; '.join(unlike)}; {way_out}")

    def _train(self, number: int, data: TensorImages, val: TensorImages, key: str, bf16: bool) -> None:
        from safetensors.torch import save

        seed = 1000 * self.seed + number
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = self.build(data)
        network = network.to(data.device).to(memory_format=torch.channels_last)
        tensors = copy_weights(network, "init")
        recipe = Recipe(
            self.epochs, self.batch_size, self.lr, "sgd", 5e-4, (2 / 3, 5 / 6), 0.2, self.augment, self.cutmix
        )
        normalize = normalizer(data.image_shape[0]).to(data.device)
        targets = one_hot(data.targets, len(data.classes))
        train_classifier(network, data.images, targets, normalize, recipe, seed, bf16=bf16)
        tensors |= copy_weights(network, "trained")
        header = {"format": _FORMAT, "key": key}
        header["accuracy"] = str(accuracy(network, val.images, val.targets, normalize, bf16))
        write_atomically(self.path(number), save(tensors, header))


def _key(description: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:32]


def _header(path: Path) -> dict[str, str]:
    """What a network's file says of itself; nothing if there is no whole file."""
    try:
        return read_header(path)
    except (FileNotFoundError, ValueError):
        return {}
