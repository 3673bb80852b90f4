"""The contract between a selection method and everything around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from dynsel._lib.checks import check_flag, check_integer
from dynsel._lib.reprs import call_text, differing_arguments
from dynsel.schedules import Constant, Schedule
from dynsel.selection import Selection
from dynsel.selectors.feedback import Feedback, check_wants
from dynsel.selectors.made_by import check_made_by, described, packed
from dynsel.selectors.notes import SampleNotes
from dynsel.selectors.state import Stateful
from dynsel.selectors.verdicts import VERDICTS
from dynsel.usage import count_uses

__all__ = ["Selector"]


class Selector(Stateful, ABC):
    """Decides which samples an epoch trains on, and owns all state of that which must survive a restart.

    Life: constructed from plain numbers (so that it can stand in a YAML file); `bind` to a data set; `fit` to
    its features if `needs_features`; then `select` before each epoch and `observe` after training, in turn.
    `select` is deterministic given the state: draws come from the selector's own generator.

    A subclass has `select`, or `scores` if it is a `ScoreSelector`; besides, as it needs them, `__init__` with
    `add_state`, `prepare`, `fit`, `measure` and `learn`. `bind` and `observe` are final.

    Args:
        class_balance: Keep the same share of every class, exactly. Needs class labels.
        seed: Seed of the selector's draws, at least 0; None takes the run's seed.

    Attributes:
        needs_features: Whether `fit` must be called with features.
        wants: The optional parts of `Feedback` that `learn` makes use of; nothing else is computed.
        measures_features: Whether `measure` needs what the last linear layer takes in.
        needs_targets: Whether `measure` looks at the targets. If not, they may be probabilities instead of classes, or
            not known, and several losses of the same logits are as good as one.
        value_or_loss: Whether a sample's loss stands in for `Feedback.value` where training tells no logits.
        free_arguments: Arguments that a run resumed from a checkpoint may have otherwise; any other must be as it was.
        exact: Whether `select` returns exactly the size asked for (else: any number of samples).
        same_size: Whether each round is to ask for the same number of samples, that of the keep ratio, and train on as
            many whole batches of them: for a subset that stays the same, where another number is another subset.
        refresh: Epochs after which features captured from the model in training are fitted anew; 0 = never.
        keeps_features: Whether captured features are needed after the first `fit`.
        usage: (N,) int32, how often each sample was trained on; part of the state.
        labels: (N,) integer class codes 0 .. C-1 that `bind` was given, or None.
        generator: Source of all draws; part of the state.
        notes: Last scores and losses, for people to look at; no part of the state.

    Raises:
        TypeError: If `class_balance` is no bool or `seed` no whole number.
        ValueError: If `seed` is negative.
    """

    _pool: Tensor | None = None
    _dataset_length: int | None = None
    wants: frozenset[str] = frozenset()
    measures_features: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = True
    value_or_loss: ClassVar[bool] = False
    exact: ClassVar[bool] = True
    same_size: bool = False
    refresh: int = 0
    keeps_features: bool = False
    # What the method can't do without beside features, feedback and labels, in words.
    also_needs: ClassVar[tuple[str, ...]] = ()
    _state_exempt = frozenset({"labels"})
    _state_compact: ClassVar[Mapping[str, torch.dtype]] = {"usage": torch.int16}
    # Arguments that a resumed run may have otherwise: a path may have moved, and draws come from the saved generator.
    free_arguments: ClassVar[frozenset[str]] = frozenset({"seed", "progress_bar"})

    # Defaults for a subclass that doesn't call `super().__init__()`.
    class_balance: bool = False
    seed: int | None = None
    labels: Tensor | None = None
    usage: Tensor
    generator: torch.Generator
    notes: SampleNotes
    _arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "observe" in vars(cls):
            raise TypeError(f"{cls.__name__} overrides `observe`, which is final: override `learn(feedback)` instead")
        if "bind" in vars(cls):
            raise TypeError(f"{cls.__name__} overrides `bind`, which is final: override `prepare()` instead")
        check_wants(cls)

    def _state_defaults(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._arguments = described(type(self), args, kwargs, self.free_arguments)
        self.generator = torch.Generator()
        self.add_state("usage", 0)

    def __init__(self, *, class_balance: bool = False, seed: int | None = None) -> None:
        self.class_balance = check_flag("class_balance", class_balance)
        self.seed = None if seed is None else check_integer("seed", seed, at_least=0, at_most=2**63 - 1)

    def __repr__(self) -> str:
        return call_text(type(self).__name__, self._shown_arguments())

    def _shown_arguments(self) -> dict[str, Any]:
        """What `repr` shows: the arguments that aren't the default."""
        return differing_arguments(self, lambda value: value.value if isinstance(value, Constant) else value)

    # ---------------------------------------------------------------- what it needs
    @property
    def needs_labels(self) -> bool:
        """Whether `bind` must be called with labels."""
        return self.class_balance

    @property
    def needs(self) -> tuple[str, ...]:
        """All that the method can't do without, in words: "features", "losses", "logits", "labels" and so on."""
        logits = "logits or losses" if self.value_or_loss else "logits"
        told = {"per_sample_loss": "losses", "value": logits, "batch_loss": "batch losses"}
        parts = ["features"] if self.needs_features else []
        told |= dict.fromkeys(VERDICTS, "logits")
        # Of the samples' losses their batch's mean is made.
        wanted = self.wants - {"batch_loss"} if "per_sample_loss" in self.wants else self.wants
        parts += [*dict.fromkeys(told[part] for part in sorted(wanted)), *self.also_needs]
        return (*parts, "labels") if self.needs_labels else tuple(parts)

    @property
    def goes_by_progress(self) -> bool:
        """Whether the share of training that is done decides what it takes, as by a schedule or after a warm-up."""
        values = [v for own in vars(self).values() for v in (own.values() if isinstance(own, dict) else [own])]
        return any(isinstance(value, Schedule) and not isinstance(value, Constant) for value in values)

    @property
    def num_samples(self) -> int:
        """N of the data set bound to; 0 before `bind`."""
        return self._state_size

    def restrict(self, pool: Tensor | None, length: int) -> None:
        """Told before `bind` where it is bound to a part of a data set only, to find its own arguments in it.

        Args:
            pool: (N,) int64 indices in the data set, ascending, that positions 0 .. N-1 stand for; None = all.
            length: Number of samples of the whole data set.
        """
        self._pool, self._dataset_length = pool, length

    # A generator is pickled as bytes: of a tensor made on the way a process that is started afresh finds nothing left.
    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "generator": self.generator.get_state().numpy().tobytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.generator = torch.Generator()
        self.generator.set_state(torch.frombuffer(bytearray(state["generator"]), dtype=torch.uint8))

    # ---------------------------------------------------------------- life
    @final
    def bind(self, num_samples: int, labels: Tensor | None = None, *, seed: int = 0) -> None:
        """Start afresh on a data set, then call `prepare`.

        Args:
            num_samples: Number of samples, N.
            labels: (N,) class codes 0 .. C-1 (see `dynsel.labels.encode_labels`).
            seed: The run's seed, used if the selector has none of its own.

        Raises:
            ValueError: If labels are needed and missing, or of another length.
            TypeError: If the selector needs features and nothing tells whether `fit` had them.
        """
        name = type(self).__name__
        if self.needs_labels and labels is None:
            way_out = ", or class_balance=False" if self.class_balance else ""
            why = " with class_balance=True" if self.class_balance else ""
            raise ValueError(f"{name}{why} needs labels; pass `labels=`{way_out}")
        if labels is not None and len(labels) != num_samples:
            raise ValueError(f"labels must have one entry per sample: expected {num_samples}, got {len(labels)}")
        self.labels = labels
        self.generator.manual_seed(seed if self.seed is None else self.seed)
        self._state_begin(num_samples)
        self.notes = SampleNotes(num_samples)
        self.prepare()

    def prepare(self) -> None:
        """Called at the end of `bind`: everything declared is fresh, `labels` and `num_samples` are known."""

    def fit(self, features: Any) -> None:
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
        """One number per sample from what the classifier put out: `Feedback.value`, where `wants` names it.

        Called once a training batch, on its device and without gradient, so that no more than this number is kept.

        Args:
            logits: (B, C) float32, outputs of the classifier before softmax.
            targets: (B,) int64 classes; unless `needs_targets`, (B, C) probabilities or None as well.
            features: (B, d) float32, what the last linear layer took in, if `measures_features`.

        Returns:
            (B,) float.

        Raises:
            TypeError: If the selector wants `value` and doesn't override this.
        """
        raise TypeError(f"{type(self).__name__} wants `value` but has no `measure(logits, targets, features)`")

    def learn(self, feedback: Feedback) -> None:
        """Take in what training told, after its uses were counted. Override this; there is nothing to call by `super`.

        "Not told" has two forms. A part that isn't in `wants` is None. A part that is wanted is NaN for the samples
        about which nothing was told: in a training that tells of some batches only, or where a loss overflowed.
        `feedback.finite()` has only the samples without such a gap.

        Args:
            feedback: Any number of batches together. Order and grouping of the calls within an epoch must not matter.
        """

    @final
    def observe(self, feedback: Feedback) -> None:
        """Take in what was really trained on: counts its uses, then calls `learn`.

        Args:
            feedback: Any number of batches together.

        Raises:
            RuntimeError: If the selector is not bound.
        """
        count_uses(self.usage, feedback.indices)
        self.notes.add_feedback(feedback)
        self.learn(feedback)

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Everything declared by `add_state`, as copies. Tensors only: the checkpoint loads with `weights_only=True`.

        Besides `generator`, and `made_by`: class and arguments of the selector, which must be the same to resume.

        Warns once of each attribute with an entry per sample that was not declared.

        Raises:
            RuntimeError: If the selector is not bound.
            TypeError: If a declared attribute is neither a tensor nor None.
        """
        made_by = packed(type(self), self._arguments)
        return {**self._state_copies(), "generator": self.generator.get_state(), "made_by": made_by}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, on a selector bound to the same data set. Nothing changes if it raises.

        Without the key `made_by` nothing is compared but keys, shapes and types: for whoever changes an argument on
        purpose and keeps what was counted and learned.

        Args:
            state: What `state_dict` gave.

        Raises:
            ValueError: If the state is of another selector, of one with other arguments, or of a data set of another
                length.
        """
        name = type(self).__name__
        if "made_by" in state:
            check_made_by(type(self), self._arguments, state["made_by"])
        rest = {key: value for key, value in state.items() if key not in ("generator", "made_by")}
        unexpected, missing, wrong = self._state_problems(rest)
        missing += ["generator"] if "generator" not in state else []
        if unexpected or missing:
            raise ValueError(f"the state is not of a {name}: unexpected {unexpected}, missing {missing}")
        usage = state["usage"]
        if isinstance(usage, Tensor) and usage.ndim == 1 and len(usage) != self.num_samples:
            raise ValueError(
                f"the state is of a data set of {len(usage)} samples, this one has {self.num_samples}: go on with the "
                "data, and the `exclude`, of that training, or train anew, without its checkpoint"
            )
        if wrong:
            raise ValueError(f"the state is not of this {name}: {'; '.join(wrong)}")
        try:
            self.generator.set_state(state["generator"])
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"the state is not of a {name}: `generator` is none ({error})") from error
        self._state_restore(rest)
