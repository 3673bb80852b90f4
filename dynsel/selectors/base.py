"""The contract between a selection method and everything around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dynsel.selection import Selection, balanced_top_k, largest_remainder, top_k
from dynsel.usage import count_uses

__all__ = ["Feedback", "ScoreSelector", "Selector", "put_first", "rotation_scores"]


@dataclass(frozen=True)
class Feedback:
    """What training tells back about the samples it trained on. B is any number of samples.

    Args:
        indices: (B,) integer positions in the data set.
        per_sample_loss: (B,) losses, or None.
        value: (B,) what the selector's own `measure` made of the batch, or None.
    """

    indices: Tensor
    per_sample_loss: Tensor | None = None
    value: Tensor | None = None

    def finite(self) -> Feedback:
        """Only the samples whose values are all finite, so that one NaN loss can't poison a running mean."""
        keep = torch.ones(len(self.indices), dtype=torch.bool)
        for field in fields(self)[1:]:
            values = getattr(self, field.name)
            if values is not None:
                keep &= torch.isfinite(values)
        if bool(keep.all()):
            return self
        kept = {f.name: getattr(self, f.name)[keep] for f in fields(self) if getattr(self, f.name) is not None}
        return replace(self, **kept)


class Selector(ABC):
    """Decides which samples an epoch trains on, and owns all state of that which must survive a restart.

    Life: constructed from plain numbers (so that it can stand in a YAML file); `bind` to a data set; `fit` to
    its features if `needs_features`; then `select` before each epoch and `observe` after training, in turn.
    `select` is deterministic given the state: draws come from the selector's own generator.

    Args:
        class_balance: Keep the same share of every class, exactly. Needs class labels.
        seed: Seed of the selector's draws; None takes the run's seed.

    Attributes:
        needs_features: Whether `fit` must be called with features.
        wants: The optional parts of `Feedback` that `observe` makes use of; nothing else is computed.
        measures_features: Whether `measure` needs what the last linear layer takes in.
        needs_targets: Whether `measure` looks at the targets. If not, they may be probabilities instead of classes, or
            not known, and several losses of the same logits are as good as one.
        value_or_loss: Whether a sample's loss stands in for `Feedback.value` where training tells no logits.
        exact: Whether `select` returns exactly the size asked for (else: any number of samples).
        refresh: Epochs after which features captured from the model in training are fitted anew; 0 = never.
        keeps_features: Whether captured features are needed after the first `fit`.
        usage: (N,) int32, how often each sample was trained on.
    """

    needs_features: bool = False
    wants: frozenset[str] = frozenset()
    measures_features: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = True
    value_or_loss: ClassVar[bool] = False
    exact: ClassVar[bool] = True
    refresh: int = 0
    keeps_features: bool = False
    # Attributes holding tensors (or None) that go into the checkpoint.
    state_names: ClassVar[tuple[str, ...]] = ("usage",)

    def __init__(self, *, class_balance: bool = False, seed: int | None = None) -> None:
        self.class_balance = class_balance
        self.seed = seed
        self.usage = torch.zeros(0, dtype=torch.int32)
        self.labels: Tensor | None = None
        self.generator = torch.Generator()

    @property
    def needs_labels(self) -> bool:
        """Whether `bind` must be called with labels."""
        return self.class_balance

    @property
    def num_samples(self) -> int:
        """N of the data set bound to; 0 before `bind`."""
        return len(self.usage)

    @property
    def ready(self) -> bool:
        """Whether `select` can use this method's own scores (features, if needed, were given)."""
        return True

    def bind(self, num_samples: int, labels: Tensor | None = None, *, seed: int = 0) -> None:
        """Start afresh on a data set.

        Args:
            num_samples: N.
            labels: (N,) class codes 0 .. C-1 (see `dynsel.labels.encode_labels`).
            seed: The run's seed, used if the selector has none of its own.

        Raises:
            ValueError: If labels are needed and missing, or of another length.
        """
        name = type(self).__name__
        if self.needs_labels and labels is None:
            way_out = ", or class_balance=False" if self.class_balance else ""
            why = " with class_balance=True" if self.class_balance else ""
            raise ValueError(f"{name}{why} needs labels; pass `labels=`{way_out}")
        if labels is not None and len(labels) != num_samples:
            raise ValueError(f"labels must have one entry a sample: expected {num_samples}, got {len(labels)}")
        self.usage = torch.zeros(num_samples, dtype=torch.int32)
        self.labels = labels
        self.generator.manual_seed(seed if self.seed is None else self.seed)

    def fit(self, features: Any) -> None:  # noqa: B027 - most selectors have nothing to fit
        """Offline work: scores of the samples from their features.

        Args:
            features: (N, d) floating-point tensor, array or memory map; row i describes sample i.
        """

    @abstractmethod
    def select(self, progress: float, size: int) -> Selection:
        """The samples of the next epoch.

        Args:
            progress: Share of training done, in [0, 1].
            size: Number of samples that the keep ratio stands for, 1 .. N.
        """

    def measure(self, logits: Tensor, targets: Tensor, features: Tensor | None) -> Tensor:
        """One number a sample from what the classifier put out: `Feedback.value`, where `wants` names it.

        Called once a training batch, on its device and without gradient, so that no more than this number is kept.

        Args:
            logits: (B, C) float32.
            targets: (B,) int64 classes; unless `needs_targets`, (B, C) probabilities or None as well.
            features: (B, d) float32, what the last linear layer took in, if `measures_features`.

        Returns:
            (B,) float.
        """
        raise NotImplementedError(f"{type(self).__name__} wants `value` but has no `measure`")

    def observe(self, feedback: Feedback) -> None:
        """Take in what was really trained on. Order and grouping of the calls within an epoch don't matter.

        Args:
            feedback: Any number of batches together; parts not named in `wants` may be missing.
        """
        count_uses(self.usage, feedback.indices)

    def state_dict(self) -> dict[str, Any]:
        """Tensors only, so that the checkpoint loads with `weights_only=True`."""
        tensors = {key: getattr(holder, name) for key, (holder, name) in self._holders().items()}
        # Copies: the checkpoint must not change when training goes on before it is written.
        state = {name: value.clone() for name, value in tensors.items() if value is not None}
        return {**state, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, on a selector bound to the same data set.

        Raises:
            ValueError: If the state is of another selector or of a data set of another length.
        """
        holders = self._holders()
        unknown = set(state) - {*holders, "generator"}
        missing = {"usage", "generator"} - set(state)
        if unknown or missing:
            raise ValueError(
                f"the state is not of a {type(self).__name__}: unexpected {sorted(unknown)}, missing {sorted(missing)}"
            )
        if len(state["usage"]) != self.num_samples:
            raise ValueError(
                f"the state is of a data set of {len(state['usage'])} samples, this one has {self.num_samples}"
            )
        for key, (holder, name) in holders.items():
            setattr(holder, name, state[key].clone() if key in state else None)
        self.generator.set_state(state["generator"])

    def _holders(self) -> dict[str, tuple[Any, str]]:
        """Where each tensor of the state lives: key to object and attribute."""
        return {name: (self, name) for name in self.state_names}


class ScoreSelector(Selector):
    """A selector that takes the samples of highest score, in each class if `class_balance`.

    Until it is `ready` (features captured in training need one pass over the data), it rotates at random.

    Attributes:
        epsilon: Share of the epoch, in [0, 1], drawn at random from all samples but those of highest score.
    """

    epsilon: float = 0.0

    @abstractmethod
    def scores(self, progress: float) -> Tensor:
        """(N,) float32, higher = rather take it."""

    def select(self, progress: float, size: int) -> Selection:
        labels = self.labels if self.class_balance else None
        if not self.ready:
            scores = rotation_scores(self.usage, self.generator)
        else:
            scores = self.scores(progress)
            if self.epsilon:
                scores = self._partly_drawn(scores, labels, size)
        return Selection(top_k(scores, size) if labels is None else balanced_top_k(scores, labels, size))

    def _partly_drawn(self, scores: Tensor, labels: Tensor | None, size: int) -> Tensor:
        """Scores whose top `size` are the highest of these, and for a share ε of it any others at random."""
        greedy = size - int(self.epsilon * size + 0.5)
        drawn = torch.rand(self.num_samples, generator=self.generator)
        if labels is not None:
            quotas = largest_remainder(torch.bincount(labels), size)
            # Shares of the quotas, not of the classes: only then none is above its quota.
            drawn[balanced_top_k(scores, labels, quotas=largest_remainder(quotas, greedy))] = 2.0
        elif greedy:
            drawn[top_k(scores, greedy)] = 2.0
        return drawn


def check_epsilon(value: float) -> float:
    """The value, if it is a share.

    Raises:
        ValueError: If it is outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise ValueError(f"`epsilon` must be in [0, 1], got {value}; it is the share taken at random")
    return value


def rotation_scores(usage: Tensor, generator: torch.Generator) -> Tensor:
    """Scores whose top k are the k least used samples, ties broken at random.

    Args:
        usage: (N,) int32.
        generator: Source of the ties' order.

    Returns:
        (N,) float32.
    """
    # Relative to the least used, the counts stay small and the draw keeps its full float32 resolution.
    noise = torch.rand(len(usage), generator=generator)
    counts = usage.numpy()
    np.subtract(noise.numpy(), counts - counts.min(), out=noise.numpy(), casting="same_kind")
    return noise


def put_first(scores: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], generator: torch.Generator) -> None:
    """Raise some scores above all others, in random order among themselves, in place.

    Args:
        scores: (N,) floating point, finite.
        rows: Positions in 0 .. N-1; none is fine.
        generator: Source of the order.
    """
    if len(rows):
        scores[rows] = scores.max() + 1 + torch.rand(len(rows), generator=generator).numpy()
