"""Decides each epoch's selection and keeps the books: the part of dynsel that knows no trainer.

`dynsel.callbacks.DynamicSelection` is this, driven by Lightning's hooks; a plain loop or Fabric drives it by hand.
"""

from __future__ import annotations

import math
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dynsel._lib.batches import cross_entropy
from dynsel.features.arrays import load_features
from dynsel.features.capture import CapturedFeatures
from dynsel.labels import dataset_labels, declared_labels, encode_labels
from dynsel.samplers.batch import batch_of_candidates, check_candidates, keep_in_batches
from dynsel.samplers.loader import sampler_for, wrap_loader
from dynsel.samplers.ranks import decide_once, gather, num_ranks
from dynsel.samplers.rng import get_rng_state, set_rng_state
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.schedules import Schedule, as_keep_ratio, sample_count
from dynsel.selection import Selection, class_balance
from dynsel.selectors import (
    BatchSelector,
    CandidateSelector,
    Feedback,
    Hybrid,
    Selector,
    checked_selection,
    selector_class,
)
from dynsel.selectors.proxy import Stream
from dynsel.usage import coverage, gini

__all__ = ["EpochRecord", "SelectionController"]


@dataclass
class EpochRecord:
    """What one epoch was, for logs and reports.

    Attributes:
        epoch: Number of the epoch, from 0.
        keep_ratio: Share of the data set selected, in (0, 1].
        coverage: Share of the data set trained on at least once so far.
        usage_gini: Gini coefficient of the uses so far; 0 = all alike.
        class_balance: 1 minus the total variation distance between the class shares of selection and data set;
            NaN without labels, and where batches are cut once they are loaded.
        selection_seconds: Time that choosing took before this epoch and inside its batches; in the first one with the
            making of labels and features, and where the selector is fitted with that.
        fit_seconds: The part of it that making features and fitting the selector to them took (autoencoder, graph,
            coreset); under DDP on rank 0, for which the others wait.
        data_seconds: Time for which whoever trains waited for batches of the wrapped loader.
        samples_trained: Samples trained on since the run began, with repetition, all ranks together.
        samples_scored: Samples passed forward through a network only to choose among them, likewise.
        flops: Floating-point operations of networks since the run began, all ranks together, by torch's counter: what
            the first batch takes, a sample, times the samples. NaN where they aren't counted.
        selection_flops: The part of them that choosing took.
    """

    epoch: int
    keep_ratio: float
    coverage: float = 0.0
    usage_gini: float = 0.0
    class_balance: float = math.nan
    selection_seconds: float = 0.0
    fit_seconds: float = 0.0
    data_seconds: float = 0.0
    samples_trained: int = 0
    samples_scored: int = 0
    flops: float = math.nan
    selection_flops: float = math.nan


class SelectionController:
    """Chooses the samples of each epoch, feeds them, and learns from what was trained on.

    Args:
        selector: A `Selector` or its short name ("random", "rrd", ...); default: `Hybrid`.
        keep_ratio: Share of the training set that an epoch trains on, in (0, 1]; a number or a schedule.
        features: Where features come from, if the selector needs them: an (N, d) array or tensor; a path to a
            `.npy` or `.npz` file; "pixels" (PCA of the raw inputs); "model" (default: what the trained model's
            last linear layer takes in, captured while training) or "model:NAME" for a submodule's input.
        labels: (N,) class labels of any hashable type; default: the data set's `targets` or `labels`, or else,
            if the selector needs them, a pass over the data set.
        max_epochs: Length of training, from which progress follows, when no trainer gives it.
        seed: Seed of selector and order; default: Lightning's `seed_everything` seed, else 0.

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
        keep_ratio: float | Schedule = 0.5,
        *,
        features: Any = None,
        labels: Any = None,
        max_epochs: int | None = None,
        seed: int | None = None,
    ) -> None:
        if isinstance(selector, str):
            selector = selector_class(selector)()
        if selector is not None and not isinstance(selector, Selector):
            raise TypeError(f"`selector` must be a dynsel.selectors.Selector or a short name, got {selector!r}")
        if max_epochs is not None and max_epochs < 1:
            raise ValueError(f"`max_epochs` must be at least 1, got {max_epochs}")
        self.selector: Selector = Hybrid() if selector is None else selector
        self.keep_ratio = as_keep_ratio(keep_ratio)
        self.features, self.labels, self.seed = features, labels, seed
        # A trainer replaces this by its own notion of progress.
        self.progress: Callable[[int], float] = lambda epoch: min(1.0, epoch / max_epochs) if max_epochs else 0.0
        self.progress_after: Callable[[int, int], float] = lambda epoch, batches: self.progress(epoch + 1)
        # For selectors that train a network of their own.
        self.score: Callable[[Any, Any], Tensor] = cross_entropy
        self.device: Callable[[], torch.device] = lambda: torch.device("cpu")
        self.to_device: Callable[[Any], Any] = lambda batch: batch
        self.precision: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.count_flops = False
        self.batches_trained: Callable[[], int] = lambda: self.sampler.delivered
        # Whether the sampler is told an epoch before that can begin.
        self.too_early: Callable[[], bool] = lambda: False
        self.on_new_epoch: Callable[[], None] | None = None
        self.before_begin: Callable[[], None] | None = None
        self.armed = True
        self.history: list[EpochRecord] = []
        self.capture: CapturedFeatures | None = None
        # Weak: workers of a loader that is part of a cycle take five seconds to stop when it is collected.
        self._loader: Callable[[], Any] = lambda: None
        self._sampler: SelectionSampler | None = None
        self._state_to_load: dict[str, Any] | None = None
        self._reset()

    def _reset(self) -> None:
        self.epoch = -1
        self.record: EpochRecord | None = None
        self.history.clear()
        self.samples_trained = self.samples_scored = 0
        # Operations of training on a sample and of scoring one, None = not counted; all those of choosing.
        self.flops_trained: float | None = None
        self.flops_scored: float | None = None
        self.selection_flops = 0.0
        self._fixed_features: Any = None
        self._preparation = self._fitting = 0.0
        self._codes: Tensor | None = None
        self._pinned = False
        self._counted = 0
        self._warned = False
        self._fitted: int | None = None  # the epoch before the one fitted for
        self._heard: list[tuple[int, dict[str, Tensor]]] = []
        # Whether this epoch began without a row of features from every sample, which training is to give.
        self.gathers_features = False
        # Batches of this epoch that were cut: which positions stayed, None = all.
        self._kept: dict[int, Tensor | None] = {}
        self._rng: dict[str, Any] | None = None

    def forget(self) -> None:
        """Start afresh with the next loader, as a new controller would."""
        self._sampler, self._loader = None, lambda: None
        self._state_to_load = None

    # ---------------------------------------------------------------- attaching to data
    @property
    def sampler(self) -> SelectionSampler:
        """The sampler of the wrapped loader.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        if self._sampler is None:
            raise RuntimeError("no loader yet: call `wrap(loader)` first")
        return self._sampler

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
        world = num_ranks() if num_replicas is None else num_replicas
        place = torch.distributed.get_rank() if rank is None and world > 1 else rank or 0
        sampler = sampler_for(loader, num_replicas=world, rank=place, shuffle=shuffle)
        previous, self._sampler = self._sampler, sampler
        if previous is None or previous.num_total != sampler.num_total or self._state_to_load is not None:
            self._bind(sampler.dataset, sampler.num_total)
        elif previous is not sampler:
            sampler.load_state_dict(previous.state_dict(self._counted))
        sampler.on_set_epoch = self._sampler_epoch
        wrapped = wrap_loader(loader, sampler)
        self._check_batches()
        wrapped.before_begin, wrapped.on_wait = self._before_begin, self._waited
        sampler.delivered = sampler.first_batch
        self._loader = weakref.ref(wrapped)
        return wrapped

    def _check_batches(self) -> None:
        selector, sampler = self.selector, self.sampler
        if not isinstance(selector, (BatchSelector, CandidateSelector)):
            return
        if not sampler.batched:
            raise ValueError(f"{type(selector).__name__} chooses inside batches: give the loader a `batch_size`")
        check_candidates(self.keep_ratio, sampler.batch_size, sampler.num_total, shrink=selector.shrink)

    def _bind(self, dataset: Any, num_samples: int) -> None:
        self._reset()
        start = time.perf_counter()
        # The order's seed must be the same on every rank, whatever each was seeded with.
        seed = decide_once(lambda: self.sampler.seed if self.seed is None else self.seed)
        self.sampler.seed = seed
        self._codes = self._find_labels(dataset)
        self.selector.bind(num_samples, self._codes, seed=seed)
        self.capture = None
        if self.selector.needs_features:
            with self._timed_fit():
                self._find_features(dataset, num_samples)
        # Reading labels and making features is part of the price of choosing: the first epoch's record bears it.
        self._preparation = time.perf_counter() - start
        if self._state_to_load is not None:
            state, self._state_to_load = self._state_to_load, None
            self._load(state)

    def _find_labels(self, dataset: Any) -> Tensor | None:
        if self.selector.needs_labels:
            return encode_labels(dataset_labels(dataset) if self.labels is None else self.labels)[0]
        # Only for the log then: labels that are at hand and are classes, or none.
        labels = declared_labels(dataset) if self.labels is None else self.labels
        try:
            return None if labels is None else encode_labels(labels)[0]
        except (TypeError, ValueError):
            return None

    def _find_features(self, dataset: Any, num_samples: int) -> None:
        source = "model" if self.features is None else self.features
        if isinstance(source, str) and source.split(":")[0] == "model":
            self.capture = CapturedFeatures(num_samples, source.partition(":")[2] or None)
        elif isinstance(source, str) and source == "pixels":
            from dynsel.features.pixels import pixel_features

            self._fixed_features = pixel_features(dataset)
        else:
            self._fixed_features = load_features(source, num_samples=num_samples, dataset=dataset, labels=self._codes)

    # ---------------------------------------------------------------- epochs
    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch, even if whoever iterates the loader next counts otherwise (Fabric after a resume)."""
        self.ensure_epoch(epoch)
        self._pinned = True

    def ensure_epoch(self, epoch: int) -> None:
        """Choose the samples of `epoch`, unless that is done already."""
        planned, self.sampler.planning = self.sampler.planning, False
        if epoch != self.epoch:
            self.finish_epoch()
            self._restore_rng()
            self._start(epoch)
        elif not 0 < self.batches_trained() < self.sampler.num_batches():
            self._restore_rng()
        elif not planned:
            return
        if self.on_new_epoch is not None:
            self.on_new_epoch()

    def _start(self, epoch: int) -> None:
        start = time.perf_counter()
        progress = self.progress(epoch)
        size, batch_size = self._fed(progress)
        self.sampler.epoch_batch_size = batch_size
        selector = self.selector
        in_batches = isinstance(selector, BatchSelector) and (size < self.sampler.num_total or selector.needs_stream)
        self.sampler.by_seed = in_batches
        if in_batches:
            chosen = self._choose_in_batches(epoch, progress)
        else:
            chosen = decide_once(lambda: self._choose(progress, size))
        if not len(chosen):
            raise ValueError(
                f"epoch {epoch}: {type(self.selector).__name__} returned an empty selection; "
                "an epoch must train on at least one sample"
            )
        if self.capture is not None:
            self.gathers_features = not (self.capture.done or self.capture.is_complete)
            if not (self.gathers_features or self.selector.keeps_features):
                self.capture.release()
        self.epoch, self._counted = epoch, 0
        self._kept.clear()
        if not in_batches:
            self.sampler.begin(epoch)
            self.sampler.select(chosen)
        if not self.sampler.is_permutation:
            self.sampler.draw()  # only the draw tells the epoch's length
        if self.sampler.num_batches() == 0:
            raise ValueError(
                f"epoch {epoch}: {self.sampler.count} selected samples are less than one batch of "
                f"{self.sampler.step_size} on each of {self.sampler.num_replicas} ranks and drop_last=True drops "
                "them all; raise the keep ratio, lower the batch size, or set drop_last=False"
            )
        if not in_batches:
            self._warn_of_small_batch(epoch)
        self.sampler.delivered = 0
        self.record = EpochRecord(
            epoch,
            keep_ratio=self.keep_ratio(progress) if self.cuts_batches else len(chosen) / self.sampler.num_total,
            class_balance=math.nan
            if self._codes is None or self.cuts_batches
            else class_balance(self._codes, chosen.indices),
            selection_seconds=time.perf_counter() - start + self._preparation,
            fit_seconds=self._fitting,
        )
        self._preparation = self._fitting = 0.0

    def _warn_of_small_batch(self, epoch: int) -> None:
        """Say once that the selection's size leaves a last batch that is no more than noise."""
        sampler = self.sampler
        if self._warned or sampler.rank or sampler.drop_last or sampler.count == sampler.num_total:
            return
        size = sampler.step_size
        last = math.ceil(sampler.count / sampler.num_replicas) % size
        if 0 < last < size / 8:
            self._warned = True
            warnings.warn(
                f"epoch {epoch}: {sampler.count} selected samples leave a last batch of {last} instead of {size}. It "
                "is an optimiser step as large as the others on much noisier gradients and batch statistics, which may "
                "cost points of accuracy; set drop_last=True in your DataLoader, or change the keep ratio slightly",
                stacklevel=2,
            )

    def _choose_in_batches(self, epoch: int, progress: float) -> Selection:
        """Cut the epoch's order into batches of candidates, and keep of each what the selector says."""
        sampler, selector = self.sampler, self.selector
        assert isinstance(selector, BatchSelector)
        sampler.begin(epoch)
        sampler.select(None)
        order = sampler.draw()
        size = sample_count(self.keep_ratio(progress), len(order))

        if selector.needs_stream:
            batches = sampler.num_batches(size, sampler.step_size)
            selector.stream = self._stream(self.progress_after(epoch, batches))

        def decide() -> tuple[Tensor, Tensor | None]:
            self._fit_if_needed()
            with self._undisturbed() if selector.needs_stream else nullcontext():
                return keep_in_batches(selector, order, size, sampler.step_size, progress), selector.work

        kept, work = decide_once(decide)
        if work is not None:
            self.samples_scored, self.selection_flops = int(work[0]), float(work[1])
        return Selection(sampler.keep(kept))

    def _stream(self, until: float) -> Stream:
        """The data as training gets them, for a network that a selector trains."""
        return Stream(self._load_batches, self.device(), self.score, self.precision, until, self.count_flops)

    def _load_batches(self, batches: Sequence[Tensor]) -> Iterator[Any]:
        original = getattr(self._loader(), "original", None)
        assert original is not None
        loader = DataLoader(
            original.dataset,
            batch_sampler=[rows.tolist() for rows in batches],
            collate_fn=original.collate_fn,
            num_workers=original.num_workers,
            worker_init_fn=original.worker_init_fn,
            multiprocessing_context=original.multiprocessing_context,
        )
        for batch in loader:
            yield self.to_device(batch)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Whatever is drawn inside, training goes on as if nothing had been."""
        state, generators = get_rng_state(self._generators()), self._generators()
        try:
            yield
        finally:
            set_rng_state(state, generators)

    def _fit_if_needed(self) -> None:
        if self.selector.needs_features:
            self._fit(self._fixed_features if self.capture is None else self.capture.complete_features)

    def _choose(self, progress: float, size: int) -> Selection:
        self._fit_if_needed()
        return checked_selection(self.selector, progress, size)

    def _fit(self, features: Any) -> None:
        if features is None:
            return
        # After a restart this only gives back what was no part of the state; it is no refresh.
        if not self.selector.ready:
            with self._timed_fit():
                self.selector.fit(features)
        if self._fitted is None:
            self._fitted = self.epoch
        elif self.capture is not None and 0 < self.selector.refresh <= self.epoch - self._fitted:
            with self._timed_fit():
                self.selector.fit(features)
            self._fitted = self.epoch

    @contextmanager
    def _timed_fit(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._fitting += time.perf_counter() - start

    def _waited(self, seconds: float) -> None:
        if self.record is not None:
            self.record.data_seconds += seconds

    def size(self, progress: float) -> int:
        """Number of samples that the keep ratio stands for; an upper bound if the selector isn't exact."""
        n = self.sampler.num_total
        return sample_count(self.keep_ratio(progress), n) if self.selector.exact else n

    @property
    def cuts_batches(self) -> bool:
        """Whether batches of candidates are fed, to be cut once the model's losses on them are known."""
        return isinstance(self.selector, CandidateSelector)

    def _fed(self, progress: float) -> tuple[int, int | None]:
        """Samples that an epoch feeds, and the size of its batches where that isn't the loader's."""
        size, ratio = self.size(progress), self.keep_ratio(progress)
        if isinstance(self.selector, BatchSelector) and self.selector.shrink:
            return size, sample_count(ratio, self.sampler.batch_size)
        if isinstance(self.selector, CandidateSelector) and not self.selector.shrink:
            return size, batch_of_candidates(ratio, self.sampler.batch_size)
        return size, None

    def finish_epoch(self) -> EpochRecord | None:
        """Close the books of the current epoch; calling it again changes nothing.

        Returns:
            The record of the epoch, or None before the first one.
        """
        self.flush()
        if self.record is None:
            return self.history[-1] if self.history else None
        record, self.record = self.record, None
        record.coverage, record.usage_gini = coverage(self.selector.usage), gini(self.selector.usage)
        record.samples_trained, record.samples_scored = self.samples_trained, self.samples_scored
        record.flops, record.selection_flops = self.flops()
        self.history.append(record)
        return record

    def flops(self) -> tuple[float, float]:
        """Operations so far, and the part of them that choosing took; NaN where they aren't counted."""
        if self.flops_trained is None:
            return math.nan, math.nan
        chosen = self.selection_flops
        if self.flops_scored is not None:
            chosen = self.flops_scored * self.samples_scored
        elif self.cuts_batches and self.samples_scored:
            chosen = math.nan
        return self.flops_trained * self.samples_trained + chosen, chosen

    def _sampler_epoch(self, epoch: int) -> None:
        if self._pinned or self.too_early():
            return
        if self.armed:
            self.ensure_epoch(epoch)
        else:
            self.sampler.begin(epoch)

    def _before_begin(self) -> None:
        """The loader starts: its epoch must be decided by now."""
        self._pinned = False
        if self.armed and self.epoch < 0:
            self.ensure_epoch(self.sampler.epoch)
        if self.armed and self.sampler.ended:
            self.flush()
            self.sampler.repeat()
        if self._rng is not None and (loader := self._loader()) is not None:
            loader.resume_rng, self._rng = self._rng, None
        if self.before_begin is not None:
            self.before_begin()

    # ---------------------------------------------------------------- feedback
    def indices(self, batch_idx: int) -> Tensor:
        """(B,) int64 data set indices of this rank's batch `batch_idx` of the current epoch."""
        indices, kept = self.sampler.batch(batch_idx), self._kept.get(batch_idx)
        return indices if kept is None else indices[kept]

    def weights(self, batch_idx: int) -> Tensor | None:
        """(B,) float32 loss weights of that batch; None when every sample counts alike."""
        weights = self.sampler.weights
        return None if weights is None else weights[self.indices(batch_idx)]

    def keep(self, batch_idx: int, positions: Tensor | None, size: int = 0) -> None:
        """Tell that only a part of a batch is trained on; whatever is asked or told of the batch is then about it.

        If any batch is told of, on any rank, every one must be: several ranks tell each other what they kept.

        Args:
            batch_idx: Batch of the current epoch.
            positions: (K,) int64, those of the batch's samples that stay; None = all of them.
            size: Samples in the batch before it was cut; not looked at if all stay.

        Raises:
            ValueError: If the sampler fed another number of samples.
        """
        fed = len(self.sampler.batch(batch_idx))
        if positions is not None and size != fed:
            raise ValueError(
                f"batch {batch_idx} has {size} samples, but the sampler fed {fed}: where a collate function or a "
                "transfer hook changes their number, nobody can tell which ones stay; do that in `training_step`"
            )
        self._kept[batch_idx] = positions

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
        assert isinstance(self.selector, CandidateSelector)
        assert self.record is not None
        start = time.perf_counter()
        self.keep(batch_idx, torch.arange(size), size)
        count, kept = sample_count(self.record.keep_ratio, size), None
        if count < size:
            candidates = self.sampler.batch(batch_idx)
            # No state to keep: the draws of a batch are its own, on each rank others.
            key = (self.selector.generator.initial_seed(), self.epoch, batch_idx, self.sampler.rank)
            generator = torch.Generator().manual_seed(hash(key))
            try:
                kept = self.selector.keep(candidates, losses(), count, generator)
            except ValueError as error:
                raise ValueError(f"epoch {self.epoch}, batch {batch_idx}: {error}") from error
        self.keep(batch_idx, kept, size)
        self.add_scoring(0 if kept is None else size, time.perf_counter() - start)
        return kept

    def add_scoring(self, size: int, seconds: float) -> None:
        """Tell what choosing inside a batch took.

        Args:
            size: Samples of this rank's batch that were scored by a forward pass; on every rank as many.
            seconds: Wall-clock time.
        """
        self.samples_scored += size * self.sampler.num_replicas
        if self.record is not None:
            self.record.selection_seconds += seconds

    def observe(
        self,
        batch_idx: int,
        *,
        per_sample_loss: Tensor | None = None,
        value: Tensor | None = None,
        features: Tensor | None = None,
    ) -> None:
        """Tell what training computed for a batch. Nothing is copied off the device before the epoch ends.

        Args:
            batch_idx: Batch of the current epoch.
            per_sample_loss: (B,) losses.
            value: (B,) what the selector's `measure` gave; the loss may stand in for it (`Selector.value_or_loss`).
            features: (B, d) what describes each sample, kept if features are captured.

        Raises:
            ValueError: If the number of values is not that of the batch's samples.
        """
        indices = self.indices(batch_idx)
        if value is None and self.selector.value_or_loss:
            value = per_sample_loss
        told = {"per_sample_loss": per_sample_loss, "value": value, "features": features}
        for name, values in told.items():
            if values is not None and len(values) != len(indices):
                raise ValueError(
                    f"`{name}` must have one row a sample of batch {batch_idx}: expected {len(indices)}, "
                    f"got {len(values)}"
                )
        heard = {name: values.detach() for name in self.selector.wants if (values := told[name]) is not None}
        if heard:
            self._heard.append((batch_idx, heard))
        if features is not None and self.capture is not None:
            self.capture.put(indices, features)

    def flush(self) -> None:
        """Hand everything trained on since the last flush to the selector, all ranks together."""
        if self.epoch < 0 or self._sampler is None:
            return
        done = self.batches_trained()
        if done > self._counted:
            feedback = self._gathered_feedback(done)
            self.samples_trained += len(feedback.indices)
            self.selector.observe(feedback)
            self._counted = done
        if self.capture is not None:
            self.capture.merge(gather)

    def _gathered_feedback(self, done: int) -> Feedback:
        """What all ranks trained on in the batches before `done` that are not counted yet."""
        # Every rank knows what all of them fed, but of cut batches only its own.
        cut = torch.cat([self.indices(b) for b in range(self._counted, done)]) if self._kept else None
        heard = [(self.indices(b), {n: v.float().cpu() for n, v in values.items()}) for b, values in self._heard]
        self._heard = []
        wants = self.selector.wants
        everyone = gather((cut, heard)) if wants or cut is not None else []
        if cut is None:
            used = self.sampler.used(self._counted, done)
        else:
            used = torch.cat([theirs for theirs, _ in everyone if theirs is not None])
        # NaN = not known; selectors pass over what is not finite.
        by_sample = {name: torch.full((self.sampler.num_total,), math.nan) for name in wants}
        for _, theirs in everyone:
            for indices, values in theirs:
                for name, numbers in values.items():
                    by_sample[name][indices] = numbers
        return Feedback(used, **{name: numbers[used] for name, numbers in by_sample.items()})

    # ---------------------------------------------------------------- planning
    def plan(self, max_epochs: int, max_steps: int = -1, steps: Callable[[int], int] | None = None) -> list[int]:
        """Optimiser steps of each epoch, as far as the keep ratio decides them.

        Args:
            max_epochs: Number of epochs.
            max_steps: Stop after so many optimiser steps; -1 = no limit.
            steps: Optimiser steps of so many batches; default: one a batch.
        """
        done, result = 0, []
        for epoch in range(max_epochs):
            progress = max(epoch / max_epochs, done / max_steps if max_steps > 0 else 0.0)
            batches = self.sampler.num_batches(*self._fed(min(1.0, progress)))
            result.append(batches if steps is None else steps(batches))
            done += result[-1]
            if 0 <= max_steps <= done:
                result[-1] -= done - max_steps
                break
        return result

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
            "sampler": self.sampler.state_dict(self._counted),
            "samples_trained": self.samples_trained,
            "samples_scored": self.samples_scored,
            "flops": [self.flops_trained, self.flops_scored, self.selection_flops],
            "fitted": self._fitted,
            "history": [asdict(record) for record in self.history],
            "record": None if self.record is None else asdict(self.record),
            "capture": None if self.capture is None else self.capture.state_dict(),
            "gathers_features": self.gathers_features,
            "rng": gather(get_rng_state(self._generators())),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; takes effect when a loader is wrapped, if that is still to come."""
        if not state:
            return
        if self._loader() is None:
            self._state_to_load = state
        else:
            self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        self._kept.clear()
        self.sampler.load_state_dict(state["sampler"])
        self.selector.load_state_dict(state["selector"])
        self.epoch, self._counted = state["epoch"], state["sampler"]["batches"]
        self.samples_trained, self._fitted = state["samples_trained"], state["fitted"]
        self.samples_scored = state["samples_scored"]
        self.flops_trained, self.flops_scored, self.selection_flops = state["flops"]
        self.history[:] = [EpochRecord(**record) for record in state["history"]]
        self.record = None if state["record"] is None else EpochRecord(**state["record"])
        if self.capture is not None and state["capture"] is not None:
            self.capture.load_state_dict(state["capture"])
        self.gathers_features = state["gathers_features"]
        states = state["rng"]
        self._rng = states[self.sampler.rank] if self.sampler.rank < len(states) else states[0]
        self.sampler.delivered = self._counted

    def _restore_rng(self) -> None:
        """At an epoch's boundary: before anything of the next epoch draws."""
        if self._rng is not None:
            set_rng_state(self._rng, self._generators())
            self._rng = None
            if (loader := self._loader()) is not None:
                loader.keep_rng = True

    def _generators(self) -> list[torch.Generator]:
        loader = self._loader()
        return [] if loader is None else loader.generators
