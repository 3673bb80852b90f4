"""Decides selections and keeps the books: the part of dynsel that knows no trainer.

`dynsel.callbacks.DynamicSelection` is this, driven by Lightning's hooks; a plain loop or Fabric drives it by hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from dynsel._lib.checks import check_flag, check_seed
from dynsel.samplers.accelerated import AcceleratedFeed
from dynsel.samplers.arrivals import Arrivals
from dynsel.samplers.driver import Driver, PlainDriver
from dynsel.samplers.epoch_record import Books, EpochRecord
from dynsel.samplers.feedback import EpochFeedback
from dynsel.samplers.findings import Evidence
from dynsel.samplers.loader import wrap_loader
from dynsel.samplers.planning import knobs, stays_at_the_beginning
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.sharding import Sharding
from dynsel.samplers.sizes import Sizes
from dynsel.samplers.sources import Sources
from dynsel.samplers.view import SelectionView
from dynsel.schedules import Schedule
from dynsel.selectors import CandidateSelector, Hybrid, Selector, selector_class
from dynsel.selectors.verdicts import VERDICTS

__all__ = ["SelectionController"]


class SelectionController(SelectionView):
    """Chooses the samples to train on, feeds them, and learns from what was trained on.

    With a budget an epoch keeps that share of its batches, whatever is selected, and consists of rounds: each is a
    fresh selection of `keep_ratio` of the data, and rounds go on over the ends of epochs. Without one, an epoch is one
    selection and has as many batches as that.

    A copy (`copy.deepcopy`, `pickle`) has its own selector, books and position, and goes on from there once it wraps a
    loader; loader and Trainer stay with the original.

    Args:
        selector: A `Selector` or its short name ("random", "rrd", ...); default: `Hybrid`.
        keep_ratio: Share of the training set that a selection holds, in (0, 1]; a number or a schedule. Default: 0.5,
            or the budget if that is smaller.
        budget: Share of the full training's batches to spend, in (0, 1]. Default: 1, unless `keep_ratio` is given.
        features: Where features come from, if the selector needs them: an (N, d) array or tensor; a path to a
            `.npy` or `.npz` file; "pixels" (PCA of the raw inputs); "model" (default: what the trained model's
            last linear layer takes in, captured while training) or "model:NAME" for a submodule's input.
        labels: (N,) class labels of any hashable type; default: the data set's `targets` or `labels`, or else,
            if the selector needs them, a pass over the data set.
        max_epochs: Length of training in epochs, from which progress follows, when no trainer gives it.
        seed: Seed of selector and order; default: Lightning's `seed_everything` seed, else 0.
        indices: Where a batch holds the data set indices of its samples: a key, attribute or position of it, or a
            function of it that returns (B,) whole numbers. Needed where a collate function changes the samples' order
            or leaves some out; default: row k of a batch is the k-th sample that was fed.
        findings: Whether to take down what the logits say of the labels, 36 bytes per sample, for `findings`; default:
            if the selector goes by logits anyway.
        exclude: Samples to leave out of training: data set indices, or a file that names them, as the one that
            `dynsel findings` writes (see `dynsel.samplers.findings.kept_indices`).
        sharded: Let each process know its own samples only, for data sets of a hundred million samples and more
            (docs/scale.md); a number is that of the shards, which the number of processes must always divide.

    Attributes:
        selector: Selector that decides.
        keep_ratio: Share of the training set that a selection holds, over the progress of training.
        budget: Share of the full training's batches to spend; None = an epoch is one selection.
        seed: The seed that was given, or None.
        books: What was trained on and how long it took; its records are `history`.
        sources: Where labels and features come from.
        chooser: How samples are chosen.
        epochs: What begins and ends epochs.
        arrivals: Which samples a batch holds.
        sharding: Whether each process knows its own samples only.

    Raises:
        TypeError: If `selector` is no selector, `features` or `labels` can't be any, or a number is none.
        ValueError: If `keep_ratio` or `budget` leaves (0, 1], `max_epochs` is below 1 or `seed` below 0, or `features`
            is a text but no name or path.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> data = TensorDataset(torch.arange(10.0), torch.arange(10) % 2)
        >>> selection = SelectionController("random", keep_ratio=0.4, max_epochs=5, seed=0)
        >>> loader = selection.wrap(DataLoader(data, batch_size=2, shuffle=True))
        >>> for epoch in range(5):
        ...     loader.sampler.set_epoch(epoch)
        ...     for x, y in loader:
        ...         pass  # train
        >>> selection.finish_epoch().coverage
        1.0
    """

    def __init__(
        self,
        selector: Selector | str | None = None,
        keep_ratio: float | Schedule | None = None,
        *,
        budget: float | None = None,
        features: Any = None,
        labels: Any = None,
        max_epochs: int | None = None,
        seed: int | None = None,
        indices: str | int | Callable[[Any], Any] | None = None,
        findings: bool | None = None,
        exclude: Any = None,
        sharded: bool | int = False,
    ) -> None:
        if isinstance(selector, str):
            selector = selector_class(selector)()
        if selector is not None and not isinstance(selector, Selector):
            raise TypeError(f"`selector` must be a dynsel.selectors.Selector or a short name, got {selector!r}")
        self.selector: Selector = Hybrid() if selector is None else selector
        self.keep_ratio, self.budget = knobs(keep_ratio, budget)
        self.seed = None if seed is None else check_seed("seed", seed)
        driver = PlainDriver(max_epochs)
        self.books = Books(scores_batches=self.cuts_batches)
        self.sources = Sources(self.selector, features, labels, self.books)
        sizes = Sizes(self.selector, self.keep_ratio, self.budget)
        self.sharding = Sharding(sharded, self.selector, findings=findings, exclude=exclude)
        self.chooser = self.sharding.chooser(self.selector, sizes, self.sources, self.books)
        asks = (
            bool(self.selector.wants & {"value", *VERDICTS}) if findings is None else check_flag("findings", findings)
        )
        self.epochs = self.sharding.epochs(self.chooser, driver, Evidence() if asks else None)
        self.arrivals = Arrivals(indices)

    # ---------------------------------------------------------------- what is at hand
    @property
    def epoch(self) -> int:
        """The current epoch, from 0; -1 before the first."""
        return self.epochs.epoch

    @property
    def driver(self) -> Driver:
        """Whoever trains; `attach` another one than a loop written by hand."""
        return self.epochs.driver

    @property
    def sampler(self) -> SelectionSampler:
        """The sampler of the wrapped loader.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        return self.epochs.sampler

    @property
    def feedback(self) -> EpochFeedback:
        """What the batches of the current epoch held, and what was told of them.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        return self.epochs.feedback

    @property
    def cuts_batches(self) -> bool:
        """Whether batches of candidates are fed, to be cut once the model's losses on them are known."""
        return isinstance(self.selector, CandidateSelector)

    def _controller(self) -> SelectionController:
        return self

    # ---------------------------------------------------------------- attaching to a driver and to data
    def attach(self, driver: Driver) -> None:
        """Be driven by someone else from now on.

        Args:
            driver: Driver of the training; one that announces epochs has to call `epochs.begin_training` first.
        """
        self.epochs.attach(driver)

    def wrap(
        self,
        loader: DataLoader[Any],
        *,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool | None = None,
        accelerator: Any = None,
    ) -> Any:
        """A copy of `loader` that feeds the selection of each epoch; the loader itself stays as it is.

        Args:
            loader: Any DataLoader over a map-style data set, without a batch sampler of its own.
            num_replicas: Number of processes that share the samples; default: those of torch.distributed.
            rank: Number of this rank, from 0; None asks torch.distributed.
            shuffle: Whether several processes permute; default: if the loader shuffles.
            accelerator: The `accelerate.Accelerator` of the training, whose own loaders this one then takes after.

        Raises:
            TypeError: If the samples can't be selected by index.
            ValueError: If features or labels don't fit the data set.
        """
        self.flush()
        accelerated = None if accelerator is None else AcceleratedFeed(accelerator, self.epochs.begin_next)
        before = self.epochs.phase
        sampler = self.sharding.sampler(loader, self.epochs, num_replicas=num_replicas, rank=rank, shuffle=shuffle)
        self.chooser.sizes.lay_out(sampler)
        self.epochs.follow(sampler, self.seed)
        wrapped = wrap_loader(loader, sampler, self.epochs, accelerated)
        self.chooser.bind(sampler)
        # Nobody asks what a row is of where nothing is told of single samples.
        if self.epochs.wants or self.sources.capture is not None or self.cuts_batches:
            self.arrivals.look_at(loader, sampler.whole.pool)
        self.epochs.feed(wrapped, before)
        unknown = isinstance(self.driver, PlainDriver) and self.driver.max_epochs is None
        if unknown and (waiting := stays_at_the_beginning(self.selector, self.keep_ratio)):
            warnings.warn(f"SelectionController: {waiting}. Give it `max_epochs`.", stacklevel=2)
        return wrapped

    # ---------------------------------------------------------------- epochs
    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, even if whoever iterates the loader next counts otherwise (Fabric after a resume).

        Args:
            epoch: Number of the epoch, from 0.
        """
        self.ensure_epoch(epoch)
        self.sampler.pin()

    def ensure_epoch(self, epoch: int) -> None:
        """Choose the samples of an epoch, unless that is done already.

        Args:
            epoch: Number of the epoch, from 0.
        """
        self.epochs.ensure(epoch)

    def finish_epoch(self) -> EpochRecord | None:
        """Close the books of the current epoch; calling it again changes nothing.

        Returns:
            The record of the epoch, or None before the first one.
        """
        return self.epochs.finish()

    def flush(self) -> None:
        """Hand everything trained on since the last flush to the selector, all ranks together."""
        self.epochs.flush()

    # ---------------------------------------------------------------- feedback
    def weights(self, batch_idx: int) -> Tensor | None:
        """Loss weights of a batch, in the order of `indices`.

        Args:
            batch_idx: Number of the batch in the epoch, from 0.

        Returns:
            (B,) float32; None when every sample counts alike.
        """
        return self.feedback.weights(batch_idx)

    def look_at(self, batch_idx: int, batch: Any) -> None:
        """Find out which samples a batch holds: to be called before anything is told of it, if `indices` are given.

        Args:
            batch_idx: Batch of the current epoch.
            batch: As it came from the loader.

        Raises:
            ValueError: If it holds others than were fed, or fewer without `indices` to tell which.
        """
        self.arrivals.enter(self.feedback, batch_idx, batch)

    def keep(self, batch_idx: int, positions: Tensor | None, size: int = 0) -> None:
        """Tell that only a part of a batch is trained on: see `EpochFeedback.keep`.

        Args:
            batch_idx: Number of the batch in the epoch, from 0.
            positions: (K,) int64 positions in the batch that stay; None = all of them.
            size: Samples in the batch before it was cut; not looked at if all stay.

        Raises:
            ValueError: If the sampler fed another number of samples.
        """
        self.feedback.keep(batch_idx, positions, size)

    def observe(
        self,
        batch_idx: int,
        *,
        per_sample_loss: Tensor | None = None,
        value: Tensor | None = None,
        features: Tensor | None = None,
        batch_loss: Tensor | float | None = None,
        verdicts: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Tell what training computed for a batch. Nothing is copied off the device before the next selection.

        Args:
            batch_idx: Batch of the current epoch.
            per_sample_loss: (B,) losses; None = not told.
            value: (B,) what the selector's `measure` gave; the loss may stand in for it (`Selector.value_or_loss`).
            features: (B, d) what describes each sample, kept if features are captured.
            batch_loss: Mean loss of the batch, one number; not looked at if the losses are given and wanted too. None
                takes the mean of these.
            verdicts: What the logits say of the labels, as `dynsel.selectors.verdicts` gives it.

        Raises:
            ValueError: If the number of values is not that of the batch's samples.
        """
        if value is None and self.selector.value_or_loss:
            value = per_sample_loss
        told = {"per_sample_loss": per_sample_loss, "value": value, "features": features, **(verdicts or {})}
        self.feedback.hear(batch_idx, self.epochs.wants, told, batch_loss)
        self.epochs.told(batch_idx)
        if features is not None and self.sources.capture is not None:
            # A copy: what ranks send each other of a view is the whole epoch's order.
            self.sources.capture.put(self.feedback.positions(batch_idx).clone(), features)

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly; loads with `weights_only=True`. To be called on every rank."""
        return self.epochs.state_dict()

    def write_shards(self, folder: str | Path) -> None:
        """Write what of a sharded selection `state_dict`, asked for just before, doesn't hold. On every rank.

        Args:
            folder: A file for each shard is made in it; it goes with the file that has the state.

        Raises:
            RuntimeError: If `state_dict` wasn't called before, or a disk is full.
            TypeError: If the selection isn't sharded.
        """
        self.sharding.epochs_of(self.epochs).write(Path(folder))

    def load_state_dict(self, state: dict[str, Any], shards: str | Path | None = None) -> None:
        """Continue from a checkpoint; takes effect when a loader is wrapped, if that is still to come.

        Another keep ratio, batch size or number of ranks than before is fine.

        Args:
            state: What `state_dict` gave.
            shards: The folder that `write_shards` wrote, if the selection is sharded; else None.

        Raises:
            ValueError: If it is of another selector, of one with other arguments, of another data set, or of another
                version of dynsel.
        """
        if shards is not None:
            self.sharding.epochs_of(self.epochs).folder = Path(shards)
        self.epochs.load_state_dict(state)
