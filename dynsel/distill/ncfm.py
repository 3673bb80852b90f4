"""NCFM: synthetic images whose features have the characteristic function of the real ones, class by class."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel._lib.checks import check_integer, check_seed, check_text
from dynsel._lib.images import TensorImages
from dynsel.cfd import FrequencyNetwork, Mode
from dynsel.distill._training import autocast, predict
from dynsel.distill.augment import Augmentation, Draw
from dynsel.distill.blending import LoadedPool
from dynsel.distill.matching import add_ranks, class_chunks, explained_memory, match_loss
from dynsel.distill.mosaic import check_factor, decode
from dynsel.distill.pool import Pool, normalizer
from dynsel.distill.start import check_classes, check_options, class_table, draw_rows, first_images

__all__ = ["NCFM"]

CHECK_EVERY = 50


class NCFM(pl.LightningModule):
    """Makes a few images per class that train a network as the whole set does.

    Every step takes a network between its beginning and the end of its training, passes a random batch of every
    class and all synthetic images through it, and moves the images so that the characteristic functions of the
    features, class by class, come nearer, while a network moves the frequencies so that they get farther apart. All
    classes are one batch. With several ranks each works on its share of the classes; gradients are added up, so all
    ranks hold all images, and the result is that of one rank up to rounding.

    Steps follow from the seed and their number: a run that is resumed goes on as if it had never stopped. Train for
    `max_steps`; there are no epochs.

    Differences from the published code: real batches are drawn at random (there: the same first images of a class
    at all times); all classes share frequencies, operation and one step of the frequency network; the calibration
    loss is part of the same step; the learning rate of the images alone is halved on a plateau.

    Args:
        data: The real images, all in memory.
        pool: Where the feature networks come from; prepared before training.
        images_per_class: Images stored for every class.
        factor: Tiles along each side of an image, which is a mosaic of factor² smaller ones: 1 or 2.
        mode: "scale-mixture" for frequencies that are learned (min-max), or "normal" for standard normal ones.
        num_frequencies: Number of frequencies, F.
        amplitude: Weight of amplitudes against phases, in [0, 1].
        lr: Learning rate of the images (AdamW).
        frequency_lr: Learning rate of the frequency network (SGD, momentum 0.5).
        patience: Steps without a lower loss after which `lr` is halved.
        real_batch: Real images of a class per step; all of them where there are fewer.
        augment: What real and synthetic images of a class go through alike; see `Augmentation`.
        init: Where the images begin: "real" (random ones), "herding", "noise", or the manifest of `dynsel select`,
            a `.json` file, whose samples are then taken in turn.
        calibration: Weight of the cross entropy of the synthetic images under the trained network; 0 = the paper.
        soft_labels: Store what the pool's trained networks say of the images at the end, as shares of the classes.
        class_chunk: Classes computed at a time, which bounds memory; None = all.
        compile: Whether the feature network is compiled.
        seed: Seed for the first images, the frequencies and every draw, in [0, 2^31).

    Attributes:
        images: (C, images_per_class, channels, H, W) in [0, 1].

    Raises:
        ValueError: If a number is out of range or the data doesn't allow it.

    Reference:
        Wang et al. (2025), Dataset Distillation with Neural Characteristic Function: A Minmax Perspective,
        arXiv:2502.20653.
    """

    def __init__(
        self,
        data: TensorImages,
        pool: Pool,
        images_per_class: int = 10,
        factor: int = 2,
        mode: Mode = "scale-mixture",
        num_frequencies: int = 1024,
        amplitude: float = 0.5,
        lr: float = 0.01,
        frequency_lr: float = 1e-3,
        patience: int = 500,
        real_batch: int = 1024,
        augment: str = "color_crop_cutout",
        init: str = "real",
        calibration: float = 0.0,
        soft_labels: bool = False,
        class_chunk: int | None = None,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if not isinstance(data, TensorImages):
            raise TypeError(f"`data` must be dynsel.data.TensorImages, got {type(data).__name__}")
        if not isinstance(pool, Pool):
            raise TypeError(f"`pool` must be a dynsel.distill.Pool, got {type(pool).__name__}")
        check_text("init", init, "'real', 'herding', 'noise' or a path")
        factor, seed = check_integer("factor", factor, at_least=1), check_seed("seed", seed, at_most=2**31 - 1)
        check_options(
            images_per_class, real_batch, patience, class_chunk, lr, frequency_lr, amplitude, calibration, seed
        )
        check_factor(factor, *data.image_shape[1:])
        check_classes(data, images_per_class)
        self.data, self.pool, self.factor, self.amplitude = data, pool, factor, amplitude
        self.lr, self.frequency_lr, self.patience, self.real_batch = lr, frequency_lr, patience, real_batch
        self.calibration, self.soft_labels, self.class_chunk = calibration, soft_labels, class_chunk
        self.compile_network, self.seed = compile, seed
        self.augmentation = Augmentation(augment)
        self.normalize = normalizer(data.image_shape[0])
        self.frequencies = FrequencyNetwork(pool.build(data).num_features, num_frequencies, mode=mode, seed=seed)
        self.images = nn.Parameter(first_images(data, images_per_class, factor, init, seed))
        self.loaded: LoadedPool | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.data.classes)

    # ------------------------------------------------------------ life
    def train_dataloader(self) -> Any:
        """A clock: the real images are drawn on their device in each step.

        Raises:
            ValueError: If the Trainer has no `max_steps`.
        """
        if self.trainer.max_steps < 1:
            raise ValueError("`trainer.max_steps` must be set: distillation has no epochs; the paper takes 20000")
        return range(self.trainer.max_steps)

    def on_fit_start(self) -> None:
        """Bring real images and networks to the device.

        Raises:
            ValueError: If the Trainer scales gradients, which are taken by hand here, or its weights aren't float32, as
                the pool's are.
        """
        check_precision(self.trainer)
        self.real = self.data.to(self.device)
        self.table = class_table(self.real.targets, self.num_classes)
        # Known beforehand, so that a GPU need not be asked in every step.
        self.ragged = bool((self.table[:, : self.real_batch] < 0).any())
        self.loaded = self.pool.load(self.data, self.device)
        self.embed = self.loaded.network.features
        if self.compile_network:
            self.embed = torch.compile(self.loaded.network.features, dynamic=False)

    def configure_optimizers(self) -> Any:
        """AdamW for the images, halved on a plateau; SGD for the frequency network."""
        images = torch.optim.AdamW([self.images], self.lr, weight_decay=5e-4)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(images, factor=0.5, patience=self.patience)
        schedule = {"scheduler": plateau}
        if self.frequencies.mode == "normal":
            return {"optimizer": images, "lr_scheduler": schedule}
        network = torch.optim.SGD(self.frequencies.parameters(), self.frequency_lr, momentum=0.5)
        return [images, network], [schedule]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One step of the images down, and of the frequency network up, the same loss.

        Args:
            batch: Number of the step; what is trained on is drawn here.
            batch_idx: The same number; not used.

        Raises:
            RuntimeError: If memory runs out, with a way out.
            ValueError: If the loss isn't finite any more.
        """
        with explained_memory(self.num_classes, self.class_chunk):
            gradient, t_gradient, t, sums = self._gradients(self.global_step)
        self.images.grad = gradient
        optimizers = self.optimizers()
        images, *network = optimizers if isinstance(optimizers, list) else [optimizers]
        images.step()
        if network:
            parameters = list(self.frequencies.parameters())
            # The mean over the classes: a step of the size that the published code takes for one of them.
            ascent = torch.autograd.grad(t, parameters, -t_gradient / self.num_classes)
            for parameter, value in zip(parameters, ascent, strict=True):
                parameter.grad = value
            # Past Lightning, which would count two steps.
            network[0].optimizer.step()
        clamped = self._clamp()
        match, amplitude, phase, calibration = (sums / self.num_classes).tolist()
        if not math.isfinite(match):
            raise ValueError(
                f"the loss must stay finite, got {match} in step {self.global_step}; lower `lr` ({self.lr:g})"
            )
        self.lr_schedulers().step(match)  # type: ignore[union-attr]
        values = {"match": match, "amplitude": amplitude, "phase": phase, "lr": images.param_groups[0]["lr"]}
        if self.calibration:
            values["calibration"] = calibration
        self.log_dict(values, prog_bar=False)
        if self.global_step % CHECK_EVERY == 0 or self.global_step == 1:
            self._report_clamped(float(clamped))

    # ------------------------------------------------------------ one step
    def _gradients(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of the images and the frequencies, the frequencies with their graph, and the sums to report."""
        host = torch.Generator().manual_seed(self.seed * 2**32 + step)
        generator = torch.Generator(self.device).manual_seed(self.seed * 2**32 + step)
        assert self.loaded is not None
        number, share = int(torch.randint(len(self.loaded), (), generator=host)), float(torch.rand((), generator=host))
        draw = self.augmentation.draw(self.num_classes, host, generator)
        keys = torch.rand(self.table.shape, generator=generator, device=self.device)
        rows = draw_rows(self.table, keys, self.real_batch)
        with autocast(self.device, False):
            t = self.frequencies(generator)
        leaf = t.detach().requires_grad_(t.requires_grad)
        # Real features need no gradient, but the frequencies they are looked at with do.
        wanted = [self.images, leaf] if t.requires_grad else [self.images]
        gradients = [torch.zeros_like(tensor) for tensor in wanted]
        sums = torch.zeros(4, device=self.device)
        self.loaded.blend(number, share)
        teacher = self.loaded.trained(number) if self.calibration else None
        for classes in self._chunks():
            loss, parts = self._match(classes, rows[classes], draw, leaf)
            if teacher is not None:
                calibration = self._calibrate(teacher, classes, draw)
                loss, parts = loss + self.calibration * calibration, [*parts, calibration.detach()]
            sums[: len(parts)] += torch.stack(parts)
            for total, value in zip(gradients, torch.autograd.grad(loss, wanted), strict=True):
                total += value
        add_ranks([*gradients, sums])
        return gradients[0], gradients[-1], t, sums

    def _match(self, classes: slice, rows: Tensor, draw: Draw, t: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The loss, summed over some classes, and its parts without gradient."""
        numbers = Draw(draw.operation, draw.numbers[classes])
        weights = (rows >= 0).float() if self.ragged else None
        with torch.no_grad():
            images = self.normalize(self.real.images[rows.clamp_min(0).flatten()])
            real = self._features(images.view(*rows.shape, *self.data.image_shape), numbers)
        synthetic = self._features(self._decoded(classes), numbers)
        # bfloat16 has too few digits for angles.
        with autocast(self.device, False):
            return match_loss(synthetic, real, t, self.amplitude, weights)

    def _features(self, images: Tensor, draw: Draw) -> Tensor:
        """(c, n, C, H, W) normalized images, augmented by class -> (c, n, D) float32 features of length 1."""
        flat = self.augmentation(images, draw).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return F.normalize(self.embed(flat).float(), dim=1).view(*images.shape[:2], -1)

    def _decoded(self, classes: slice) -> Tensor:
        """(c, n, C, H, W) normalized images as they are to be trained on."""
        full = decode(self.images[classes], self.factor).flatten(1, 2)
        normal: Tensor = self.normalize(full.flatten(0, 1)).view(full.shape)
        return normal

    def _calibrate(self, teacher: nn.Module, classes: slice, draw: Draw) -> Tensor:
        """Cross entropy under the trained network, summed over classes."""
        images = self.augmentation(self._decoded(classes), Draw(draw.operation, draw.numbers[classes]))
        labels = torch.arange(self.num_classes, device=self.device)[classes].repeat_interleave(images.shape[1])
        logits = teacher(images.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits.float(), labels) * len(images)

    def _chunks(self) -> Iterator[slice]:
        """The classes of this rank, some at a time."""
        ranks = (self.global_rank, self.trainer.world_size) if self._trainer is not None else (0, 1)
        return class_chunks(self.num_classes, self.class_chunk, *ranks)

    @torch.no_grad()
    def _clamp(self) -> Tensor:
        """Bring pixels back into [0, 1]; the share of them that had left it."""
        outside = ((self.images < 0) | (self.images > 1)).float().mean()
        self.images.clamp_(0, 1)
        return outside

    def _report_clamped(self, share: float) -> None:
        self.log("clamped", share)
        if share > 0.5 and self.global_rank == 0:
            warnings.warn(
                f"{share:.0%} of the pixels left [0, 1] in step {self.global_step} and were clamped: the images "
                f"explode; lower `lr` ({self.lr:g})",
                stacklevel=2,
            )

    # ------------------------------------------------------------ results
    def stored(self) -> tuple[Tensor, Tensor]:
        """(M, C, H, W) images as they are stored and (M,) labels, on the CPU."""
        per_class = self.images.shape[1]
        return self.images.detach().cpu().flatten(0, 1), torch.arange(self.num_classes).repeat_interleave(per_class)

    @torch.no_grad()
    def soft_targets(self) -> Tensor:
        """Mean of what the pool's trained networks say of the decoded images.

        Returns:
            (K, C) float32 rows on the CPU that sum to 1, for the K = M factor² decoded images.
        """
        loaded = self.pool.load(self.data, self.device)
        full = decode(self.images.detach(), self.factor).flatten(0, 2)
        votes = [predict(loaded.trained(number), full, self.normalize).softmax(1) for number in range(len(loaded))]
        return torch.stack(votes).mean(0).cpu()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `dynsel distill export` must know: plain values, which load without unpickling.

        Args:
            checkpoint: Lightning's checkpoint, which is added to.
        """
        checkpoint["ncfm"] = {"classes": list(self.data.classes), "factor": self.factor}


def check_precision(trainer: pl.Trainer) -> None:
    """Refuse a Trainer in whose precision nothing can be distilled.

    Args:
        trainer: The Trainer.

    Raises:
        ValueError: If it scales gradients, or has weights of another dtype than float32.
    """
    if trainer.precision not in ("32-true", "bf16-mixed"):
        raise ValueError(f"`trainer.precision` must be 32-true or bf16-mixed, got {trainer.precision}")
