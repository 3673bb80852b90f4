"""The books of a training: samples, seconds and operations, epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from torch import Tensor

from dynsel._lib.checks import check_keys
from dynsel.selectors.population import Population

__all__ = ["Books", "EpochRecord"]


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch was, for logs and reports.

    Attributes:
        epoch: Number of the epoch, from 0.
        keep_ratio: Share of the data set selected, in (0, 1]; of several rounds in an epoch the mean.
        coverage: Share of the data set trained on at least once so far.
        usage_gini: Gini coefficient of the uses so far; 0 = all alike.
        class_balance: 1 minus the total variation distance between the class shares of selection and data set;
            NaN without labels, and where batches are cut once they are loaded; of several rounds the mean.
        selection_seconds: Time that choosing took before this epoch and inside its batches; in the first one with the
            making of labels and features, and where the selector is fitted with that.
        fit_seconds: The part of it that making features and fitting the selector to them took (autoencoder, graph,
            coreset); under DDP on rank 0, for which the others wait.
        data_seconds: Time for which whoever trains waited for batches of the wrapped loader.
        samples_trained: Samples trained on since the run began, with repetition, all ranks together.
        samples_scored: Samples passed forward through a network only to choose among them, likewise.
        flops: Floating-point operations of networks since the run began, all ranks together, by torch's counter: what
            the first batch takes per sample, times the samples. NaN where they aren't counted.
        selection_flops: The part of them that choosing took.
        rounds: Selections that the epoch was trained on; the first may have begun, and the last go on, beyond it.
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
    rounds: int = 1


class Books:
    """Keeps one `EpochRecord` per epoch, and the sums of the whole run.

    Args:
        scores_batches: Whether samples are scored by the model in training, whose operations are then unknown as long
            as nobody has entered them.

    Attributes:
        history: Records of the epochs that have ended.
        record: Record of the current epoch; None between epochs.
        samples_trained: Samples trained on so far, all ranks together.
        samples_scored: Samples scored by a forward pass of their own so far, likewise.
        trained_flops: Operations of training on one sample; None = not counted.
        scored_flops: Operations of scoring one sample; None = not counted.
    """

    def __init__(self, *, scores_batches: bool = False) -> None:
        self.scores_batches = scores_batches
        self.history: list[EpochRecord] = []
        self.clear()

    def clear(self) -> None:
        """Start afresh; the list of records stays the same object."""
        self.history.clear()
        self.record: EpochRecord | None = None
        self.samples_trained = self.samples_scored = 0
        self.trained_flops: float | None = None
        self.scored_flops: float | None = None
        # Of a network that the selector trains by itself.
        self._own_flops = 0.0
        # Seconds spent for the next epoch before its record is opened: all, and the part that fitting took.
        self._preparing = self._fitting = 0.0

    # ---------------------------------------------------------------- an epoch
    def open(self, epoch: int, keep_ratio: float, balance: float) -> None:
        """Begin the record of an epoch, with the time spent for it so far.

        Args:
            epoch: Number of the epoch, from 0.
            keep_ratio: Keep ratio that was asked for, in (0, 1].
            balance: How like the data set the selection is in its class shares, in (0, 1]; NaN without labels.
        """
        self.record = EpochRecord(
            epoch, keep_ratio, class_balance=balance, selection_seconds=self._preparing, fit_seconds=self._fitting
        )
        self._preparing = self._fitting = 0.0

    def add_round(self, keep_ratio: float, balance: float) -> None:
        """Enter another selection of the same epoch, with the time spent for it; the record has means over selections.

        Args:
            keep_ratio: Keep ratio that was asked for, in (0, 1].
            balance: How like the data set the selection is in its class shares, in (0, 1]; NaN without labels.
        """
        if self.record is not None:
            record, count = self.record, self.record.rounds + 1
            self.record = replace(
                record,
                rounds=count,
                keep_ratio=record.keep_ratio + (keep_ratio - record.keep_ratio) / count,
                class_balance=record.class_balance + (balance - record.class_balance) / count,
                selection_seconds=record.selection_seconds + self._preparing,
                fit_seconds=record.fit_seconds + self._fitting,
            )
        self._preparing = self._fitting = 0.0

    def close(self, usage: Tensor, population: Population) -> EpochRecord:
        """End the record of the current epoch.

        Args:
            usage: (N,) uses of each sample so far.
            population: Makes coverage and Gini coefficient of them.

        Returns:
            That record.
        """
        assert self.record is not None
        flops, selection_flops = self.flops()
        record, self.record = self.record, None
        self.history.append(
            replace(
                record,
                coverage=population.coverage(usage),
                usage_gini=population.gini(usage),
                samples_trained=self.samples_trained,
                samples_scored=self.samples_scored,
                flops=flops,
                selection_flops=selection_flops,
            )
        )
        return self.history[-1]

    # ---------------------------------------------------------------- entries
    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Time that goes into `selection_seconds` of the next record."""
        start = time.perf_counter()
        yield
        self._preparing += time.perf_counter() - start

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Time that goes into `fit_seconds` of the next record."""
        start = time.perf_counter()
        yield
        self._fitting += time.perf_counter() - start

    def add_trained(self, samples: int) -> None:
        """Enter samples that all ranks together trained on.

        Args:
            samples: How many they are, each occurrence counted.
        """
        self.samples_trained += samples

    def add_scored(self, samples: int, seconds: float) -> None:
        """Enter samples that all ranks together scored to choose among them.

        Args:
            samples: How many they are.
            seconds: Wall-clock time that it took on this rank.
        """
        self.samples_scored += samples
        if self.record is not None:
            self.record = replace(self.record, selection_seconds=self.record.selection_seconds + seconds)

    def add_waiting(self, seconds: float) -> None:
        """Enter time for which training waited for data.

        Args:
            seconds: Wall-clock time on this rank.
        """
        if self.record is not None:
            self.record = replace(self.record, data_seconds=self.record.data_seconds + seconds)

    def set_own_work(self, samples: int, flops: float) -> None:
        """Enter what a selector's own network has done since training began.

        Args:
            samples: Samples that it scored.
            flops: Floating-point operations of its scoring and its training.
        """
        self.samples_scored, self._own_flops = samples, flops

    def set_flops(self, *, trained: float | None = None, scored: float | None = None) -> None:
        """Enter floating-point operations per sample; what isn't given stays.

        Args:
            trained: Operations of training on one sample, forward and backward.
            scored: Operations of scoring one sample.
        """
        self.trained_flops = self.trained_flops if trained is None else trained
        self.scored_flops = self.scored_flops if scored is None else scored

    def flops(self) -> tuple[float, float]:
        """Operations so far, and the part of them that choosing took; NaN where they aren't counted."""
        if self.trained_flops is None:
            return math.nan, math.nan
        chosen = self._own_flops
        if self.scored_flops is not None:
            chosen = self.scored_flops * self.samples_scored
        elif self.scores_batches and self.samples_scored:
            chosen = math.nan
        return self.trained_flops * self.samples_trained + chosen, chosen

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "history": [asdict(record) for record in self.history],
            "record": None if self.record is None else asdict(self.record),
            "samples": [self.samples_trained, self.samples_scored],
            "flops": [self.trained_flops, self.scored_flops, self._own_flops],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Args:
            state: What `state_dict` gave.

        Raises:
            ValueError: If a key is missing or not known.
        """
        check_keys("the books", state, ("history", "record", "samples", "flops"))
        names = [field.name for field in fields(EpochRecord)]
        for record in (*state["history"], *([] if state["record"] is None else [state["record"]])):
            check_keys("an epoch's record", record, names)
        self.history[:] = [EpochRecord(**record) for record in state["history"]]
        self.record = None if state["record"] is None else EpochRecord(**state["record"])
        self.samples_trained, self.samples_scored = state["samples"]
        self.trained_flops, self.scored_flops, self._own_flops = state["flops"]
