"""What a distilled set is worth: fresh networks trained on it, beside real images of the same number."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynsel._lib.checks import check_flag, check_integer, check_number, import_by_path
from dynsel._lib.images import TensorImages
from dynsel.distill._training import Recipe, accuracy, predict, train_classifier
from dynsel.distill.augment import Augmentation
from dynsel.distill.convnet import ConvNet
from dynsel.distill.pool import Pool, normalizer, one_hot
from dynsel.selectors.herding import herding_order

__all__ = ["Evaluation", "Result", "TrainingSet", "herding_images", "random_images"]

# Images and (N, classes) shares of classes for the repetition of a number.
TrainingSet = Callable[[int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Result:
    """Accuracies of one network trained several times on one set.

    Args:
        set: Name of the set that was trained on.
        network: Name of the kind of network.
        images: Number of images trained on.
        last: Accuracy after the last epoch in each repetition, in [0, 1].
        best: Highest accuracy measured in each repetition, in [0, 1]; it is chosen by the test set.
    """

    set: str
    network: str
    images: int
    last: tuple[float, ...]
    best: tuple[float, ...]

    def mean(self) -> float:
        """Mean of `last`."""
        return statistics.fmean(self.last)

    def row(self) -> tuple[str, ...]:
        """Set, network, images, and last and best in % ± standard deviation."""
        parts = [f"{100 * statistics.fmean(v):.2f} ± {100 * _deviation(v):.2f}" for v in (self.last, self.best)]
        return self.set, self.network, str(self.images), *parts


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else float("nan")


@dataclass(frozen=True)
class Evaluation:
    """How a set is evaluated: AdamW, the learning rate halved after every fifth of the epochs, tested now and then.

    Args:
        networks: What is trained: "convnet" for the form of the pool's networks, or the path of a class or function
            that is called with the number of classes and `in_channels=`, as in "dynsel.models.resnet18".
        repeats: Number of networks trained on each set, from different weights, at least 1; three or more say
            something.
        epochs: Number of passes over the set.
        batch_size: Number of images in a step.
        lr: Learning rate at the start.
        augment: Names of operations joined by "_", see `Augmentation`.
        cutmix: Whether half of the batches, drawn at random, are mixed by CutMix.
        tests: How often the accuracy is measured in one training, at least 1.
        seed: Seed for weights, orders and draws, in [0, 2^31).
    """

    networks: tuple[str, ...] = ("convnet",)
    repeats: int = 3
    epochs: int = 1000
    batch_size: int = 128
    lr: float = 1e-3
    augment: str = "color_crop_cutout_flip_scale_rotate"
    cutmix: bool = True
    tests: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("repeats", "epochs", "batch_size", "tests"):
            check_integer(name, getattr(self, name), at_least=1)
        check_integer("seed", self.seed, at_least=0, at_most=2**31 - 1)
        check_number("lr", self.lr, above=0)
        check_flag("cutmix", self.cutmix)
        if not isinstance(self.networks, list | tuple):
            raise TypeError(f"`networks` must be a list of names, got {self.networks!r}")
        for network in self.networks:
            if network != "convnet":
                import_by_path("networks", network)
        Augmentation(self.augment)

    def run(
        self,
        name: str,
        images_of: TrainingSet,
        network: str,
        pool: Pool,
        val: TensorImages,
        *,
        bf16: bool = False,
    ) -> Result:
        """Train one kind of network on one set, several times.

        Args:
            name: Name of the set, for the result.
            images_of: Function that gives the set for the number of a repetition, on the device of `val`.
            network: Which of `networks` is trained.
            pool: Pool whose form "convnet" takes.
            val: Images that the accuracy is measured on; training runs on their device.
            bf16: Whether the networks compute in bfloat16.
        """
        normalize = normalizer(val.image_shape[0]).to(val.device)
        recipe = Recipe(
            self.epochs, self.batch_size, self.lr, "adamw", 0.01, (0.2, 0.4, 0.6, 0.8), 0.5, self.augment, self.cutmix
        )
        last, best, count = [], [], 0
        for repeat in range(self.repeats):
            images, targets = images_of(repeat)
            count = len(images)
            model = self._build(network, pool, val, repeat)
            curve = self._curve(model, images, targets, val, normalize, recipe, repeat, bf16)
            last.append(curve[-1])
            best.append(max(curve))
        return Result(name, network.rpartition(".")[2], count, tuple(last), tuple(best))

    def _build(self, network: str, pool: Pool, val: TensorImages, repeat: int) -> nn.Module:
        # Seeds that no network of a pool has.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(2**31 + 1000 * self.seed + repeat)
            if network == "convnet":
                model: nn.Module = ConvNet(len(val.classes), val.image_shape, pool.width, pool.depth)
            else:
                model = import_by_path("networks", network)(len(val.classes), in_channels=val.image_shape[0])
        return model.to(val.device).to(memory_format=torch.channels_last)

    def _curve(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        val: TensorImages,
        normalize: nn.Module,
        recipe: Recipe,
        repeat: int,
        bf16: bool,
    ) -> list[float]:
        curve: list[float] = []
        every = max(1, self.epochs // self.tests)

        def test(epoch: int) -> None:
            if epoch % every == 0 or epoch == self.epochs:
                curve.append(accuracy(model, val.images, val.targets, normalize, bf16))

        seed = 2**31 + 1000 * self.seed + repeat
        train_classifier(model, images, targets, normalize, recipe, seed, bf16=bf16, after_epoch=test)
        return curve


def random_images(data: TensorImages, per_class: int, seed: int) -> TrainingSet:
    """So many real images of every class at random, others in every repetition.

    Args:
        data: The real images to draw from.
        per_class: Number of images of each class.
        seed: Seed for the draws.
    """

    def draw(repeat: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1000 * seed + repeat)
        keys = torch.rand(len(data), generator=generator)
        return _rows(data, [_members(data, c)[keys[_members(data, c)].argsort()] for c in _codes(data)], per_class)

    return draw


def herding_images(data: TensorImages, per_class: int, pool: Pool) -> TrainingSet:
    """So many real images of every class by herding, the same in every repetition.

    Args:
        data: The real images to choose from.
        per_class: Number of images of each class.
        pool: Pool whose first trained network makes the features, which are scaled to length 1.
    """
    loaded = pool.load(data, data.device)
    network = loaded.trained(0)
    normalize = normalizer(data.image_shape[0]).to(data.device)
    chosen = []
    for code in _codes(data):
        members = _members(data, code)
        features = predict(network.features, data.images[members.to(data.device)], normalize)
        features = nn.functional.normalize(features, dim=1)
        chosen.append(members[herding_order(features, min(per_class, len(members))).cpu()])
    found = _rows(data, chosen, per_class)
    return lambda repeat: found


def _codes(data: TensorImages) -> range:
    return range(len(data.classes))


def _members(data: TensorImages, code: int) -> Tensor:
    return (data.targets.cpu() == code).nonzero()[:, 0]


def _rows(data: TensorImages, by_class: list[Tensor], per_class: int) -> tuple[Tensor, Tensor]:
    rows = torch.cat([members[:per_class] for members in by_class]).to(data.device)
    return data.images[rows], one_hot(data.targets[rows], len(data.classes))
