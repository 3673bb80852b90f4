"""Where a selector's labels and features come from, and when it is fitted to them."""

from __future__ import annotations

import os
import reprlib
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from dynsel._lib.checks import check_keys
from dynsel._lib.messages import suggest
from dynsel.features.arrays import load_features
from dynsel.features.capture import CapturedFeatures
from dynsel.labels import by_position, check_labels, dataset_labels, declared_labels, encode_labels
from dynsel.samplers.epoch_record import Books
from dynsel.selectors import Selector

__all__ = ["Sources", "features_from"]


def check_features(features: Any) -> None:
    """Check that something can say where features come from, before there are samples; no file is looked for.

    Args:
        features: As `SelectionController` takes them.

    Raises:
        TypeError: If it is no tensor, array or text.
        ValueError: If it is a text, but neither a name nor a path.
    """
    if features is None or isinstance(features, Tensor | np.ndarray | os.PathLike):
        return
    kinds = "an (N, d) tensor or array, 'model', 'model:NAME', 'pixels', or a path (.npy, .npz, .npz:KEY, a folder)"
    if not isinstance(features, str):
        raise TypeError(f"`features` must be {kinds}, got {reprlib.repr(features)}")
    path, _, key = features.partition(".npz:")
    is_path = bool(path and key) or features.endswith((".npy", ".npz", ".npy.json")) or os.sep in features
    if not (is_path or features in ("model", "pixels") or features.startswith("model:") or os.path.isdir(features)):
        near = suggest(features, ("model", "pixels"), others=False)
        raise ValueError(f"`features` must be {kinds}, got {features!r}{near}")


def _are_captured(source: Any) -> bool:
    """Whether features are those of the trained model: "model" or "model:NAME"."""
    return isinstance(source, str) and source.split(":")[0] == "model"


def features_from(source: Any, dataset: Any, pool: Tensor | None, codes: Tensor | None = None) -> Any:
    """Features that no training needs to give: an array's, a file's or the inputs' own.

    Args:
        source: (N, d) tensor or array, path of a file of features, or "pixels".
        dataset: The whole data set, not only the pool.
        pool: (P,) int64 indices of the samples that can be chosen; None = every one.
        codes: (N,) class codes, for files that have labels to be compared with.

    Returns:
        (P, d) features of the samples that can be chosen.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it can't be features, or items hold no images to be features.
        ValueError: If it is "model", or no name or path, or features don't fit the data set.
    """
    check_features(source)
    if _are_captured(source):
        raise ValueError(
            f"`features`: {source!r} is captured while a selection trains, and there is none to ask now; give 'pixels' "
            "or a file, as `dynsel features extract` writes it"
        )
    if isinstance(source, str) and source == "pixels":
        from dynsel.features.pixels import pixel_features

        return pixel_features(dataset if pool is None else Subset(dataset, pool.tolist()))
    features = load_features(source, num_samples=len(dataset), dataset=dataset, labels=codes)
    return features if pool is None else features[pool.numpy()]


class Sources:
    """Gives a selector what it needs to know of a data set.

    Args:
        selector: Bound and fitted here.
        features: As `SelectionController` takes them.
        labels: Labels, as `SelectionController` takes them.
        books: Where the time that it takes is entered.

    Raises:
        TypeError: If features or labels are of a kind that can't be any.
        ValueError: If features are a text but no name or path, or labels aren't one-dimensional.

    Attributes:
        codes: (N,) int64 class codes, for the selector or for the log only; None if there are none.
        capture: Collects features from the model in training; None if the selector needs none, or has them already.
        is_gathering: Whether the selection at hand was chosen without a row of features from every sample, which
            training is to give.
        lacks_labels: Whether labels were looked for only for the log, and not found.
    """

    def __init__(self, selector: Selector, features: Any, labels: Any, books: Books) -> None:
        check_features(features)
        if labels is not None:
            check_labels(labels)
        self.selector, self.features, self.books = selector, features, books
        self.labels = by_position(labels)
        self._forget()

    def _forget(self) -> None:
        self.codes: Tensor | None = None
        self.capture: CapturedFeatures | None = None
        self.is_gathering = self.lacks_labels = False
        self._fixed: Any = None
        # The epoch before the one that the selector was fitted for.
        self._fitted: int | None = None

    def bind(self, dataset: Any, pool: Tensor | None, seed: int) -> None:
        """Bind the selector to a data set, and make what it needs of it.

        Args:
            dataset: The whole data set, not only the pool.
            pool: (P,) int64 indices, all that are ever sampled from it and that the selector knows; None = every one.
            seed: Seed of the selector's draws, unless it has its own.

        Raises:
            ValueError: If features or labels don't fit the data set.
        """
        self._forget()
        self.codes = self._find_labels(dataset, pool)
        self.selector.restrict(pool, len(dataset))
        self.selector.bind(len(dataset) if pool is None else len(pool), self.codes, seed=seed)
        if self.selector.needs_features:
            with self.books.fitting():
                self._find_features(dataset, pool)

    def are_others(self, dataset: Any, pool: Tensor | None) -> bool:
        """Whether these samples can't be those that the selector is bound to, by the labels that the data tell.

        Args:
            dataset: As many samples as there were.
            pool: (P,) int64 indices, all that are ever sampled from it; None = every one.
        """
        if self.codes is None or self.labels is not None:
            return False
        told = declared_labels(dataset if pool is None else Subset(dataset, pool.tolist()))
        try:
            return told is not None and not torch.equal(encode_labels(told)[0], self.codes)
        except (TypeError, ValueError):
            return False

    def _find_labels(self, dataset: Any, pool: Tensor | None) -> Tensor | None:
        part = dataset if pool is None else Subset(dataset, pool.tolist())
        given = self.labels
        if given is not None and pool is not None and len(given) == len(dataset):
            given = [given[i] for i in pool.tolist()]
        if self.selector.needs_labels:
            return encode_labels(dataset_labels(part) if given is None else given)[0]
        # Only for the log then: labels that are at hand and are classes, or none.
        labels = declared_labels(part) if given is None else given
        self.lacks_labels = labels is None
        try:
            return None if labels is None else encode_labels(labels)[0]
        except (TypeError, ValueError):
            return None

    def _find_features(self, dataset: Any, pool: Tensor | None) -> None:
        source = "model" if self.features is None else self.features
        if _are_captured(source):
            self.capture = CapturedFeatures(self.selector.num_samples, source.partition(":")[2] or None)
            return
        # Codes are of the pool only, and of use to whoever checks that features are the data set's.
        self._fixed = features_from(source, dataset, pool, self.codes if pool is None else None)

    # ---------------------------------------------------------------- fitting
    def fit_if_needed(self, epoch: int) -> None:
        """Fit the selector, if it needs features, has them and isn't fitted yet, or is due to be fitted anew.

        Args:
            epoch: The last one that was trained; -1 before the first.
        """
        if not self.selector.needs_features:
            return
        features = self._fixed if self.capture is None else self.capture.complete_features
        if features is None:
            return
        # After a restart this only gives back what was no part of the state; it is no refresh.
        if not self.selector.ready:
            self._fit(features)
        if self._fitted is None:
            self._fitted = epoch
        elif self.capture is not None and 0 < self.selector.refresh <= epoch - self._fitted:
            self._fit(features)
            self._fitted = epoch

    def _fit(self, features: Any) -> None:
        with self.books.fitting():
            self.selector.fit(features)

    def selected(self) -> None:
        """Samples are chosen: captured features that have served are let go."""
        if self.capture is None:
            return
        self.is_gathering = not (self.capture.done or self.capture.is_complete)
        if not (self.is_gathering or self.selector.keeps_features):
            self.capture.release()

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; fixed features are no part of it."""
        return {
            "fitted": self._fitted,
            "capture": None if self.capture is None else self.capture.state_dict(),
            "is_gathering": self.is_gathering,
        }

    def at_hand(self, dataset: Any, pool: Tensor | None) -> Any:
        """Features that were given as an array or a file, or made of the inputs, whoever needs them.

        Args:
            dataset: The whole data set, not only the pool.
            pool: (P,) int64 indices of the samples that can be chosen; None = every one.

        Returns:
            (N, d) features of these samples, or None.

        Raises:
            ValueError: If features don't fit the data set.
        """
        made = _are_captured(self.features) or (isinstance(self.features, str) and self.features == "pixels")
        if self._fixed is not None or self.features is None or made:
            return self._fixed
        return features_from(self.features, dataset, pool)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, bound to the same data set.

        Args:
            state: What `state_dict` gave.

        Raises:
            ValueError: If a key is missing or not known.
        """
        check_keys("the features' source", state, ("fitted", "capture", "is_gathering"))
        self._fitted, self.is_gathering = state["fitted"], state["is_gathering"]
        if self.capture is not None and state["capture"] is not None:
            self.capture.load_state_dict(state["capture"])
