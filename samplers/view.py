"""What a user asks of a selection: its batches, records and steps, what is known of each sample, pictures of it."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dynsel._lib.checks import check_integer
from dynsel.samplers.epoch_record import EpochRecord
from dynsel.samplers.findings import Findings
from dynsel.samplers.frame import as_frame, sample_columns
from dynsel.samplers.portrait import figure_of, html_text, one_line
from dynsel.samplers.sources import features_from

if TYPE_CHECKING:
    from dynsel.samplers.controller import SelectionController

__all__ = ["SelectionView"]


class SelectionView:
    """What a user asks of a selection, the same whoever drives it: of a controller, or of a callback that has one."""

    def _controller(self) -> SelectionController:
        """What decides the selections."""
        raise NotImplementedError

    @property
    def history(self) -> list[EpochRecord]:
        """One record per finished epoch."""
        return self._controller().books.history

    def indices(self, batch_idx: int) -> Tensor:
        """Which samples this rank's batch of the current epoch holds, or the part of it that is trained on.

        Args:
            batch_idx: Number of the batch in the epoch, from 0.

        Returns:
            (B,) int64 indices in the data set.
        """
        controller = self._controller()
        return controller.sampler.whole.dataset_indices(controller.feedback.positions(batch_idx))

    def total_steps(self, max_epochs: int, accumulate_grad_batches: int = 1) -> int:
        """Optimiser steps of a whole training, for schedulers that want to know (OneCycleLR, cosine).

        Args:
            max_epochs: Number of epochs of the training.
            accumulate_grad_batches: Batches of an optimiser step.

        Raises:
            RuntimeError: If no loader was wrapped yet; under Lightning, if the fit hasn't started.
            TypeError: If one of the numbers is no whole number.
            ValueError: If one is below 1, as Lightning's -1 for a training without end.
        """
        check_integer("max_epochs", max_epochs, at_least=1, why="without an end a training has no number of steps")
        every = check_integer("accumulate_grad_batches", accumulate_grad_batches, at_least=1)
        controller = self._controller()
        plan = controller.chooser.sizes.plan
        return sum(plan(controller.sampler, max_epochs, steps=lambda batches: math.ceil(batches / every)))

    def to_frame(self) -> Any:
        """All that is known of each sample: see `samplers.frame.sample_columns`.

        Returns:
            A pandas DataFrame, or where pandas isn't installed a dictionary of arrays.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        controller = self._controller()
        controller.sharding.check_whole("to_frame")
        controller.flush()
        data, pool = controller.sampler.dataset, controller.sampler.whole.pool
        return as_frame(sample_columns(controller.selector, data, pool, labels=controller.sources.labels))

    def findings(self, *, features: Any = None, labels: Any = None, paths: Any = None) -> Findings:
        """Suspected wrong labels, duplicates, rare and hard samples, samples never learned and never used.

        Args:
            features: (N, d) features of the samples, for duplicates and rare samples, the path of a file of them, or
                "pixels" (PCA of the raw inputs, in two passes over the data set); default: those that the selector
                was given, or thumbnails of images that the data set holds as an array.
            labels: (N,) labels as they are to be shown; default: by the data set's `classes`.
            paths: (N,) where the samples come from; default: as the data set tells.

        Raises:
            FileNotFoundError: If there is no such file of features.
            RuntimeError: If no loader was wrapped yet.
            ValueError: If features, labels or paths are of another number of samples, or `features` is a text but no
                name or path.
        """
        from dynsel.samplers.findings.find import find  # graphs, which training may not need

        controller = self._controller()
        controller.sharding.check_whole("findings")
        controller.flush()
        data, pool = controller.sampler.dataset, controller.sampler.whole.pool
        if features is None:
            features = controller.sources.at_hand(data, pool)
        elif isinstance(features, str | os.PathLike):
            features = features_from(features, data, pool)
        evidence, usage = controller.epochs.evidence, controller.selector.usage
        return find(evidence, usage, data, pool, features=features, labels=labels, paths=paths)

    def plot(self) -> Any:
        """Uses of the samples, coverage over the epochs and the last scores, as a matplotlib Figure.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        controller = self._controller()
        controller.sharding.check_whole("plot")
        controller.flush()
        return figure_of(controller)

    def __repr__(self) -> str:
        return one_line(self._controller(), type(self).__name__)

    def _repr_html_(self) -> str:
        return html_text(self._controller(), type(self).__name__)
