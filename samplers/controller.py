"""Decides selections and keeps the books: the part of dynsel that knows no trainer.

`dynsel.callbacks.DynamicSelection` is this, driven by Lightning's hooks; a plain loop or Fabric drives it by hand.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dynsel._lib.checks import check_integer, check_keys, check_seed
from dynsel.features.capture import CapturedFeatures
from dynsel.samplers.choosing import Chooser
from dynsel.samplers.collation import Collation, collation_of, read_indices
from dynsel.samplers.driver import Driver, Phase, PlainDriver
from dynsel.samplers.epoch_record import Books, EpochRecord
from dynsel.samplers.feedback import EpochFeedback
from dynsel.samplers.frame import as_frame, sample_columns
from dynsel.samplers.loader import sampler_for, wrap_loader
from dynsel.samplers.planning import Rounds, knobs, steps_by_epoch
from dynsel.samplers.portrait import html_text, one_line
from dynsel.samplers.ranks import decide_once, gather, num_ranks, this_rank
from dynsel.samplers.rng import RandomStates
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.sources import Sources
from dynsel.schedules import Schedule
from dynsel.selection import class_balance
from dynsel.selectors import CandidateSelector, Hybrid, Selector, selector_class

__all__ = ["SelectionController"]


# Keys of the selection's state.
_STATE = ("epoch", "selector", "sampler", "books", "sources", "rng", "round", "rest")


def _nothing() -> None:
    return None


class SelectionController:
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

    Attributes:
        epoch: The current one, from 0; -1 before the first.
        driver: Whoever trains; `attach` another one than a loop written by hand.

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
    ) -> None:
        if isinstance(selector, str):
            selector = selector_class(selector)()
        if selector is not None and not isinstance(selector, Selector):
            raise TypeError(f"`selector` must be a dynsel.selectors.Selector or a short name, got {selector!r}")
        self.selector: Selector = Hybrid() if selector is None else selector
        self.keep_ratio, self.budget = knobs(keep_ratio, budget)
        self.seed = None if seed is None else check_seed("seed", seed)
        self.where, self._collation = indices, Collation(None)
        self._plain = PlainDriver(max_epochs)
        self.driver: Driver = self._plain
        self.books = Books(scores_batches=self.cuts_batches)
        self.sources = Sources(self.selector, features, labels, self.books)
        self.rounds = None if self.budget is None else Rounds(self.budget)
        self.chooser = Chooser(self.selector, self.keep_ratio, self.sources, self.books, self.rounds)
        # Weak: workers of a loader that is part of a cycle take five seconds to stop when it is collected.
        self._loader: Callable[[], Any] = _nothing
        self._sampler: SelectionSampler | None = None
        self._feedback: EpochFeedback | None = None
        self._state_to_load: dict[str, Any] | None = None
        self._reset()

    def _reset(self) -> None:
        self.epoch = -1
        self.books.clear()
        self._rng = RandomStates()
        # Of the selection at hand: the keep ratio asked for, the share selected, how alike its classes are to all.
        self._round = (math.nan, math.nan, math.nan)
        if self.rounds is not None:
            self.rounds.rest = 0.0

    def forget(self) -> None:
        """Start afresh with the next loader, as a new controller would."""
        self._sampler, self._feedback, self._loader = None, None, _nothing
        self._state_to_load = None

    def __getstate__(self) -> dict[str, Any]:
        state = {**vars(self), "driver": self._plain, "_loader": _nothing}
        if self._sampler is not None and self._feedback is not None:
            sampler = self._sampler.without_data(self.driver.batches_trained(self._sampler.delivered))
            state |= {"_sampler": sampler, "_feedback": self._feedback.of(sampler)}
        return state

    # ---------------------------------------------------------------- what is at hand
    @property
    def sampler(self) -> SelectionSampler:
        """The sampler of the wrapped loader.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        if self._sampler is None:
            raise RuntimeError("no loader yet: call `wrap(loader)` first")
        return self._sampler

    @property
    def is_bound(self) -> bool:
        """Whether a loader was wrapped."""
        return self._sampler is not None

    @property
    def feedback(self) -> EpochFeedback:
        """What the batches of the current epoch held, and what was told of them.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        if self._feedback is None:
            raise RuntimeError("no loader yet: call `wrap(loader)` first")
        return self._feedback

    @property
    def phase(self) -> Phase:
        """Where the epoch stands."""
        if self._sampler is not None:
            return self._sampler.phase
        return Phase.OFF if self.driver.announces_epochs else Phase.AWAITED

    @property
    def cuts_batches(self) -> bool:
        """Whether batches of candidates are fed, to be cut once the model's losses on them are known."""
        return isinstance(self.selector, CandidateSelector)

    @property
    def capture(self) -> CapturedFeatures | None:
        """Collects features from the model in training; None if none are needed."""
        return self.sources.capture

    @property
    def history(self) -> list[EpochRecord]:
        """One record per finished epoch."""
        return self.books.history

    # ---------------------------------------------------------------- to look at
    def to_frame(self) -> Any:
        """All that is known of each sample: see `samplers.frame.sample_columns`.

        Returns:
            A pandas DataFrame, or where pandas isn't installed a dictionary of arrays.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        self.flush()
        return as_frame(
            sample_columns(self.selector, self.sampler.dataset, self.sampler.pool, labels=self.sources.labels)
        )

    def plot(self) -> Any:
        """Uses of the samples, coverage over the epochs and the last scores, as a matplotlib Figure.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        from dynsel.samplers.pictures import selection_figure  # a second that training shouldn't take

        self.flush()
        title = f"{self.selector!r}: {self.sampler.num_total:,} samples"
        scores = self.selector.notes.last_score
        return selection_figure(
            self.selector.usage.numpy(), self.history, None if scores is None else scores.numpy(), title
        )

    def __repr__(self) -> str:
        return one_line(self, type(self).__name__)

    def _repr_html_(self) -> str:
        return html_text(self, type(self).__name__)

    # ---------------------------------------------------------------- attaching to a driver and to data
    def attach(self, driver: Driver) -> None:
        """Be driven by someone else from now on; one who announces epochs has to `begin_training` first."""
        self.driver = driver
        if self._sampler is not None and driver.announces_epochs:
            self._sampler.enter(Phase.OFF)

    def begin_training(self) -> None:
        """From here on epochs are decided."""
        self.sampler.enter(Phase.AWAITED)

    def end_training(self) -> None:
        """Count what was trained on; no epoch begins after this."""
        self.flush()
        if self.phase.selects:
            self.sampler.enter(Phase.OVER)

    def wrap(
        self,
        loader: DataLoader[Any],
        *,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool | None = None,
    ) -> Any:
        """A copy of `loader` that feeds the selection of each epoch; the loader itself stays as it is.

        Args:
            loader: Any DataLoader over a map-style data set, without a batch sampler of its own.
            num_replicas: Number of processes that share the samples; default: those of torch.distributed.
            rank: This one.
            shuffle: Whether several processes permute; default: if the loader shuffles.

        Raises:
            TypeError: If the samples can't be selected by index.
            ValueError: If features or labels don't fit the data set.
        """
        self.flush()
        before = self.phase
        world = num_ranks() if num_replicas is None else num_replicas
        place = this_rank() if rank is None and world > 1 else rank or 0
        sampler = sampler_for(loader, num_replicas=world, rank=place, shuffle=shuffle, shared=num_ranks() > 1)
        if self.rounds is not None:
            self.rounds.lay_out(sampler.full_batches())
        sampler.keep_length(None if self.rounds is None else self.rounds.epoch_batches)
        self._exchange(sampler)
        sampler.follow(self._told_epoch)
        wrapped = wrap_loader(loader, sampler, self)
        self.chooser.bind(sampler)
        self._look_at_collation(loader)
        if self.driver.announces_epochs:
            sampler.enter(Phase.AWAITED if before.selects else Phase.OFF)
        elif self.epoch < 0:
            sampler.enter(Phase.AWAITED)
        self._loader = weakref.ref(wrapped)
        return wrapped

    def _exchange(self, sampler: SelectionSampler) -> None:
        """Go on with another sampler, on the same data set from the same place."""
        previous, self._sampler = self._sampler, sampler
        counted = 0 if self._feedback is None else self._feedback.counted
        self._feedback = EpochFeedback(sampler)
        if previous is None or not previous.is_alike(sampler) or self._state_to_load is not None:
            self._bind(sampler)
            return
        self._feedback.begin(counted)
        if previous is not sampler:
            sampler.load_state_dict(previous.state_dict(counted))

    def _bind(self, sampler: SelectionSampler) -> None:
        self._reset()
        # Reading labels and making features is part of the price of choosing: the first epoch's record bears it.
        with self.books.preparing():
            # The order's seed must be the same on every rank, whatever each was seeded with.
            seed = decide_once(lambda: sampler.seed if self.seed is None else self.seed)
            sampler.reseed(seed)
            self.sources.bind(sampler.dataset, sampler.pool, seed)
        if self._state_to_load is not None:
            state, self._state_to_load = self._state_to_load, None
            self._load(state)

    def _look_at_collation(self, loader: DataLoader[Any]) -> None:
        """Refuse what would have numbers told of other samples; nobody asks where nothing is told of single ones."""
        asks = self.selector.wants or self.capture is not None or self.cuts_batches
        if self.where is not None or not asks:
            return
        self._collation = collation_of(loader, self.sampler.pool)
        if self._collation.keeps_order is False:
            name = getattr(loader.collate_fn, "__qualname__", type(loader.collate_fn).__name__)
            raise ValueError(
                f"the collate function {name} puts the samples of a batch into another order than they were fed in, so "
                "that what a row tells would be taken for another sample's: let the batch hold each sample's index in "
                "the data set and say where by `indices=`, a key of the batch or a function of it"
            )

    # ---------------------------------------------------------------- epochs
    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch, even if whoever iterates the loader next counts otherwise (Fabric after a resume)."""
        self.ensure_epoch(epoch)
        self.sampler.pin()

    def ensure_epoch(self, epoch: int) -> None:
        """Choose the samples of `epoch`, unless that is done already."""
        sampler = self.sampler
        awaited = sampler.phase is Phase.AWAITED
        if epoch != self.epoch:
            self.finish_epoch()
            self._rng.restore(self._loader())
            self._start(epoch)
        else:
            if awaited:
                sampler.enter(Phase.DECIDED)
            if not 0 < self.driver.batches_trained(sampler.delivered) < sampler.num_batches():
                self._rng.restore(self._loader())
            elif not awaited:
                return
        self.driver.epoch_decided()

    def _start(self, epoch: int) -> None:
        with self.books.preparing():
            if self.rounds is not None and self.epoch >= 0 and self.sampler.has_left(self.feedback.counted):
                self.sampler.go_on(epoch, self.feedback.counted)
            else:
                self._choose(epoch, self.epoch)
            self.epoch = epoch
            self.feedback.begin()
        self.books.open(epoch, *self._round[1:])

    def _choose(self, epoch: int, last: int, batch: int = 0) -> None:
        chosen = self.chooser.choose(epoch, last, self.sampler, self.driver, self._loader(), batch)
        self.sources.selected()
        ratio = self.keep_ratio(self.chooser.progress(epoch, batch, self.driver))
        share = ratio if self.cuts_batches else self.sampler.count / self.sampler.offered
        codes = None if self.cuts_batches else self.sources.codes
        self._round = ratio, share, math.nan if codes is None else class_balance(codes, chosen.indices)

    def finish_epoch(self) -> EpochRecord | None:
        """Close the books of the current epoch; calling it again changes nothing.

        Returns:
            The record of the epoch, or None before the first one.
        """
        self.flush()
        if self.books.record is not None:
            return self.books.close(self.selector.usage)
        return self.history[-1] if self.history else None

    # ---------------------------------------------------------------- what the loader tells
    def _told_epoch(self, epoch: int) -> None:
        if self.phase is Phase.PINNED or self.driver.too_early:
            return
        if self.phase.selects:
            self.ensure_epoch(epoch)
        else:
            self.sampler.begin(epoch)

    def before_first_batch(self) -> None:
        """The loader starts: its epoch must be decided by now."""
        if self.phase is Phase.AWAITED:
            self.ensure_epoch(self.sampler.epoch)
        if self.phase is Phase.ENDED:
            self.flush()
            self.feedback.leave_order()
            self.sampler.repeat()
        self._rng.hand_over(self._loader())
        self.driver.before_first_batch()

    def next_round(self) -> None:
        """The epoch goes on after its selection is used up: choose the next one, from all that was trained before."""
        self.flush()
        with self.books.preparing():
            self.feedback.leave_order()
            self._choose(self.epoch, self.epoch - 1, self.sampler.delivered)
            # Now, whatever the workers: it may be drawn from the global generator.
            self.sampler.draw()
        self.books.add_round(*self._round[1:])

    def waited(self, seconds: float) -> None:
        """Training waited so long for data."""
        self.books.add_waiting(seconds)

    # ---------------------------------------------------------------- feedback
    def indices(self, batch_idx: int) -> Tensor:
        """(B,) int64 data set indices of this rank's batch `batch_idx` of the current epoch."""
        return self.sampler.dataset_indices(self.feedback.positions(batch_idx))

    def weights(self, batch_idx: int) -> Tensor | None:
        """(B,) float32 loss weights of that batch; None when every sample counts alike."""
        return self.feedback.weights(batch_idx)

    def look_at(self, batch_idx: int, batch: Any) -> None:
        """Find out which samples a batch holds: to be called before anything is told of it, if `indices` are given.

        Args:
            batch_idx: Batch of the current epoch.
            batch: As it came from the loader.

        Raises:
            ValueError: If it holds others than were fed, or fewer without `indices` to tell which.
        """
        if self.where is not None:
            self.feedback.arrange(batch_idx, self.sampler.positions_of(read_indices(self.where, batch)))
            return
        rows, known = self._collation.rows(batch), len(self.feedback.positions(batch_idx))
        if rows not in (None, known):
            raise ValueError(
                f"batch {batch_idx} holds {rows} samples, but {known} were fed: where a collate function leaves some "
                "out, nobody can tell which; let the batch hold each sample's index in the data set and say where by "
                "`indices=`, a key of the batch or a function of it"
            )

    def keep(self, batch_idx: int, positions: Tensor | None, size: int = 0) -> None:
        """Tell that only a part of a batch is trained on: see `EpochFeedback.keep`."""
        self.feedback.keep(batch_idx, positions, size)

    def cut(self, batch_idx: int, size: int, losses: Callable[[], Tensor]) -> Tensor | None:
        """Of a batch of candidates, those to train on.

        Args:
            batch_idx: Batch of the current epoch.
            size: Samples in it, as it has arrived.
            losses: Scores them: (size,). Not called if all stay.

        Returns:
            (K,) int64 positions in the batch, ascending; None = all.

        Raises:
            ValueError: If the sampler fed another number of samples, or too few losses are finite.
        """
        start = time.perf_counter()
        # Told whether or not all stay, so that a batch of another size is refused at once.
        self.keep(batch_idx, torch.arange(size), size)
        kept = self.chooser.cut(self.feedback, batch_idx, self._round[0], losses)
        self.add_scoring(0 if kept is None else size, time.perf_counter() - start)
        return kept

    def add_scoring(self, size: int, seconds: float) -> None:
        """Tell what choosing inside a batch took.

        Args:
            size: Samples of this rank's batch that were scored by a forward pass; on every rank as many.
            seconds: Wall-clock time.
        """
        self.books.add_scored(size * self.sampler.num_replicas, seconds)

    def observe(
        self,
        batch_idx: int,
        *,
        per_sample_loss: Tensor | None = None,
        value: Tensor | None = None,
        features: Tensor | None = None,
        batch_loss: Tensor | float | None = None,
    ) -> None:
        """Tell what training computed for a batch. Nothing is copied off the device before the next selection.

        Args:
            batch_idx: Batch of the current epoch.
            per_sample_loss: (B,) losses.
            value: (B,) what the selector's `measure` gave; the loss may stand in for it (`Selector.value_or_loss`).
            features: (B, d) what describes each sample, kept if features are captured.
            batch_loss: Mean loss of the batch, one number; not looked at if the losses are given.

        Raises:
            ValueError: If the number of values is not that of the batch's samples.
        """
        if value is None and self.selector.value_or_loss:
            value = per_sample_loss
        told = {"per_sample_loss": per_sample_loss, "value": value, "features": features}
        self.feedback.check(batch_idx, told)
        if "batch_loss" in self.selector.wants:
            mean = batch_loss if per_sample_loss is None else per_sample_loss.float().nanmean()
            size = len(self.feedback.positions(batch_idx))
            told["batch_loss"] = None if mean is None else torch.as_tensor(mean).float().expand(size)
        wanted = {name: values for name in self.selector.wants if (values := told[name]) is not None}
        self.feedback.tell(batch_idx, wanted)
        if features is not None and self.capture is not None:
            # A copy: what ranks send each other of a view is the whole epoch's order.
            self.capture.put(self.feedback.positions(batch_idx).clone(), features)

    def flush(self) -> None:
        """Hand everything trained on since the last flush to the selector, all ranks together."""
        if self.epoch < 0 or self._sampler is None:
            return
        done = self.driver.batches_trained(self._sampler.delivered)
        if done > self.feedback.counted:
            feedback = self.feedback.collect(done, self.selector.wants)
            self.books.add_trained(len(feedback.indices))
            self.selector.observe(feedback)
        if self.capture is not None:
            self.capture.merge(gather)

    # ---------------------------------------------------------------- planning
    def plan(self, max_epochs: int, max_steps: int = -1, steps: Callable[[int], int] | None = None) -> list[int]:
        """Optimiser steps of each epoch, as far as the keep ratio decides them; see `planning.steps_by_epoch`."""

        def batches_at(progress: float) -> int:
            if self.rounds is not None:
                return self.rounds.epoch_batches
            return self.sampler.num_batches(*self.chooser.fed(progress, self.sampler))

        return steps_by_epoch(batches_at, max_epochs, max_steps, steps)

    def total_steps(self, max_epochs: int, accumulate_grad_batches: int = 1) -> int:
        """Optimiser steps of a whole training, for schedulers that want to know (OneCycleLR, cosine)."""
        return sum(self.plan(max_epochs, steps=lambda batches: math.ceil(batches / accumulate_grad_batches)))

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly; loads with `weights_only=True`. To be called on every rank."""
        if self._sampler is None or self.epoch < 0:
            return {}
        self.flush()
        return {
            "epoch": self.epoch,
            "selector": self.selector.state_dict(),
            "sampler": self._sampler.state_dict(self.feedback.counted),
            "books": self.books.state_dict(),
            "sources": self.sources.state_dict(),
            "rng": self._rng.state_dict(self._loader()),
            "round": list(self._round),
            "rest": None if self.rounds is None else self.rounds.rest,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; takes effect when a loader is wrapped, if that is still to come.

        Another keep ratio, batch size or number of ranks than before is fine.

        Raises:
            ValueError: If it is of another selector, of one with other arguments, of another data set, or of another
                version of dynsel.
        """
        if not state:
            return
        if self._loader() is None:
            self._state_to_load = state
        else:
            self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        check_keys("the selection", state, _STATE)
        try:
            check_integer("epoch", state["epoch"], at_least=0)
            self._take(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
            raise ValueError(f"the state of the selection can't be read, the checkpoint is damaged: {error}") from error

    def _take(self, state: dict[str, Any]) -> None:
        # The selector first: it knows best what is wrong.
        self.selector.load_state_dict(state["selector"])
        self.sampler.load_state_dict(state["sampler"])
        self.books.load_state_dict(state["books"])
        self.sources.load_state_dict(state["sources"])
        self.epoch = state["epoch"]
        self.feedback.begin(state["sampler"]["batches"])
        self._rng.load_state_dict(state["rng"])
        ratio, share, balance = state["round"]
        self._round = ratio, share, balance
        if self.rounds is not None:
            self.rounds.rest = state["rest"] or 0.0
