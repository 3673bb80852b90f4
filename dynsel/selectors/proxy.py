"""Proxy: a small network trained on the same stream goes first, and the large one trains on what it found hard."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dynsel._lib.batches import cross_entropy, cut, own_draws, scored
from dynsel._lib.checks import check_number, import_by_path
from dynsel._lib.operations import FlopTap, can_count
from dynsel.schedules import Cosine
from dynsel.selection import Selection, top_k
from dynsel.selectors.batch import BatchSelector

__all__ = ["Proxy", "Stream"]


@dataclass
class Stream:
    """What a selector needs of the training around it to train a network of its own; `SelectionController` gives it.

    Attributes:
        load: Loads batches of these positions in the data set, in turn, onto the device.
        device: Device that the batches come on.
        score: Function of (network, batch) that gives (B,) losses.
        context: Entered around forward passes: the training's precision.
        until: Progress at the end of the epoch that is chosen for.
        count_flops: Whether to count operations.
    """

    load: Callable[[Sequence[Tensor]], Iterator[Any]]
    device: torch.device
    score: Callable[[Any, Any], Tensor] = cross_entropy
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    until: float = 0.0
    count_flops: bool = False


class Proxy(BatchSelector):
    """Keeps the candidates that a small network, trained alongside, finds hardest.

    Before each epoch the small network passes through the very batches of candidates that the epoch has: of each it
    keeps those of highest loss and takes one optimiser step on them. Then the large network trains on what was
    kept; it never sees the rest. So the small one is always one epoch ahead, on the same stream, as if it had
    been trained first and its choices replayed, and whatever ends the training ends both. It is part of the
    checkpoint. Its training counts as selection: time, samples scored, operations.

    The small network is a copy of the model in training with other hyper-parameters (`save_hyperparameters`), or any
    other by class path, or one given to `follow`. A LightningModule trains by its own `training_step` (automatic
    optimisation, no use of `self.trainer`), any other module by the mean of its losses. The optimiser is SGD with
    Nesterov momentum, one-cycle (up over 30 % of training, then down to 0). On several ranks it trains on the first.

    Args:
        model: Class path of the small network; None takes the class of the model in training.
        arguments: Arguments of its constructor; for a copy those that differ, as in `{"width": 8}`.
        lr: Highest learning rate, above 0.
        momentum: Momentum of SGD, in [0, 1).
        weight_decay: Decay of weights with two or more dimensions, at least 0.
        shrink: Take batches of B candidates instead of B / ρ and train on ρ B.
        seed: Seed of its weights and draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a number is out of range, or `model` no class path.

    Reference:
        Jordan (2024), 94 % on CIFAR-10 in 3.29 seconds on a single GPU, arXiv:2404.00498, and airbench96, whose proxy
        sees all batches of training before the large network begins; Coleman et al. (2020), Selection via proxy,
        arXiv:1906.11829.

    Example:
        >>> selector = Proxy(arguments={"width": 8})  # of the model in training, all else alike
        >>> # Trainer(callbacks=[DynamicSelection(selector, keep_ratio=0.5)]).fit(your_module, your_datamodule)
    """

    needs_stream = True
    also_needs = ("a small network",)
    work: Tensor

    def __init__(
        self,
        *,
        model: str | None = None,
        arguments: dict[str, Any] | None = None,
        lr: float = 0.2,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        shrink: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(shrink=shrink, seed=seed)
        self.lr = check_number("lr", lr, above=0)
        self.momentum = check_number("momentum", momentum, at_least=0, below=1)
        self.weight_decay = check_number("weight_decay", weight_decay, at_least=0)
        if arguments is not None and not (
            isinstance(arguments, Mapping) and all(isinstance(k, str) for k in arguments)
        ):
            raise TypeError(f"`arguments` must be keyword arguments by name, such as {{'width': 8}}, got {arguments!r}")
        self.arguments = dict(arguments or {})
        # Class and arguments, once they are known.
        self._recipe = None if model is None else (import_by_path("model", model), self.arguments)
        self.network: nn.Module | None = None
        self.stream: Stream | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        # Samples scored, operations so far, the operations of scoring and of training on one sample; steps.
        self.add_state("work", torch.zeros(5, dtype=torch.float64))

    @property
    def goes_by_progress(self) -> bool:
        """True: so does its network's learning rate."""
        return True

    def __getstate__(self) -> dict[str, Any]:
        # The stream belongs to whoever trains, who gives a new one before each epoch.
        return {**super().__getstate__(), "stream": None}

    # ---------------------------------------------------------------- the small network
    def follow(self, module: nn.Module) -> None:
        """Take a small copy of a model from the next `bind` on, unless a class path was given.

        Args:
            module: The model in training; its `hparams`, as of `save_hyperparameters`, with `arguments` in their places
                make the copy.

        Raises:
            ValueError: If nothing says how the copy is smaller.
        """
        if self._recipe is not None:
            return
        # LightningCLI adds names of its own, with an underscore.
        given = {name: value for name, value in getattr(module, "hparams", {}).items() if not name.startswith("_")}
        unknown = sorted(set(self.arguments) - set(given))
        if not self.arguments or unknown:
            problem = f"{type(module).__name__} has no hyper-parameter {unknown[0]!r}" if unknown else "it has none"
            known = f"; its hyper-parameters: {', '.join(sorted(given))}" if given else ""
            raise ValueError(
                f"Proxy needs a small network: give arguments={{'width': 8}} or the like, hyper-parameters of the "
                f"model that its copy has otherwise ({problem}{known}), or a class path by `model`"
            )
        self._recipe = type(module), {**given, **self.arguments}

    def prepare(self) -> None:
        """Make the small network and its optimiser anew, with weights from the selector's own seed.

        Nothing is made while neither `model` nor a network to `follow` is known.

        Raises:
            TypeError: If the network doesn't take the arguments.
        """
        self.network = self._optimizer = None
        if self._recipe is None:
            return
        make, arguments = self._recipe
        with own_draws(torch.device("cpu"), (0,), seed=self.generator.initial_seed()):
            try:
                self.network = make(**arguments)
            except TypeError as error:
                raise TypeError(
                    f"`arguments` must be those of {make.__qualname__}, got {arguments}: {error}"
                ) from error
        named = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in named if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.SGD(groups, self.lr, self.momentum, nesterov=self.momentum > 0)

    # ---------------------------------------------------------------- choosing
    def select(self, progress: float, size: int) -> Selection:
        """The whole data set as one batch of candidates; the small network learns from it also if all stay.

        Args:
            progress: Share of training done, in [0, 1].
            size: Number of samples that stay, 1 .. N.
        """
        return Selection(self.select_batches([torch.arange(self.num_samples)], [size], progress)[0])

    def select_batch(self, candidates: Tensor, count: int, progress: float) -> Tensor:
        """The candidates of highest loss in one batch, on which the small network takes a step.

        Args:
            candidates: (c,) int64 positions in the data set.
            count: How many stay, 1 .. c.
            progress: Share of training done, in [0, 1].

        Returns:
            (count,) int64 positions within the candidates, ascending.

        Raises:
            ValueError: As of `select_batches`.
        """
        return self.select_batches([candidates], [count], progress)[0]

    def select_batches(self, candidates: Sequence[Tensor], counts: Sequence[int], progress: float) -> list[Tensor]:
        """The candidates of highest loss in each batch; the small network takes a step on them before it sees the next.

        Args:
            candidates: For each batch (c,) int64 positions in the data set, in the order of the epoch.
            counts: How many of each stay, 1 .. c.
            progress: Share of training done when the first batch comes, in [0, 1]; decides the learning rate.

        Returns:
            For each batch (count,) int64 positions within its candidates, ascending.

        Raises:
            ValueError: If there is no network or no data, or fewer candidates of a batch than are to stay have a finite
                loss.
        """
        network, stream = self.network, self.stream
        if network is None or stream is None:
            raise ValueError(
                "Proxy has no network or no data: give `model` or `follow(module)` before `bind`, and `stream`; "
                "DynamicSelection does it by itself"
            )
        network.to(stream.device)
        self._move_momentum()
        kept, span = [], (stream.until - progress) / len(candidates)
        batches = stream.load(candidates)
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.filterwarnings("ignore", ".*self.trainer. reference is not registered.*")
            for i, (rows, count, batch) in enumerate(zip(candidates, counts, batches, strict=True)):
                self._set_lr(progress + i * span)
                with own_draws(stream.device, (int(self.work[4]),), seed=self.generator.initial_seed()):
                    kept.append(self._step(network, stream, batch, len(rows), count))
        return kept

    def _step(self, network: nn.Module, stream: Stream, batch: Any, size: int, count: int) -> Tensor:
        rows = torch.arange(size)
        if count < size:
            tap = self._tap(2)
            with tap or nullcontext(), stream.context():
                losses = scored(stream.score, network, batch, size, key=(0,)).float().cpu()
            self._add(2, tap, size)
            self.work[0] += size
            finite = torch.isfinite(losses)
            if int(finite.sum()) < count:
                raise ValueError(
                    f"only {int(finite.sum())} of {size} candidates have a finite loss under the proxy and {count} are "
                    "to be kept: its training has diverged, or the data hold NaN; lower its `lr`, or look at the inputs"
                )
            rows = top_k(torch.where(finite, losses, -torch.inf), count)
            batch = cut(batch, rows, size)
        tap = self._tap(3)
        with tap or nullcontext():
            self._train(network, stream, batch)
        self._add(3, tap, count)
        self.work[4] += 1
        return rows

    def _train(self, network: nn.Module, stream: Stream, batch: Any) -> None:
        assert self._optimizer is not None
        network.train()
        with stream.context():
            step = getattr(network, "training_step", None)
            result = stream.score(network, batch).mean() if step is None else step(batch, 0)
        loss = result["loss"] if isinstance(result, dict) else result
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def _set_lr(self, progress: float) -> None:
        assert self._optimizer is not None
        up, down = Cosine(1 / 25, 1.0, finish=0.3), Cosine(1.0, 0.0, begin=0.3)
        share = up(progress) if progress < 0.3 else down(progress)
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr * share

    # ---------------------------------------------------------------- what it cost
    def _tap(self, place: int) -> FlopTap | None:
        """Counts the first batch; the others are taken to cost as much per sample."""
        assert self.stream is not None
        assert self.network is not None
        wanted = self.stream.count_flops and not self.work[place] and can_count(self.network)
        return FlopTap() if wanted else None

    def _add(self, place: int, tap: FlopTap | None, size: int) -> None:
        if tap is not None:
            self.work[place] = tap.total / size
        self.work[1] += self.work[place] * size

    # ---------------------------------------------------------------- state
    def _move_momentum(self) -> None:
        assert self._optimizer is not None
        for parameter, state in self._optimizer.state.items():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"] = state["momentum_buffer"].to(parameter.device)

    def state_dict(self) -> dict[str, Any]:
        """The state of every selector, and under `network.` and `momentum.` those of the small network."""
        state = super().state_dict()
        if self.network is None or self._optimizer is None:
            return state
        state |= {f"network.{name}": value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            momentum = self._optimizer.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                state[f"momentum.{name}"] = momentum.cpu().clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, the small network included.

        Args:
            state: What `state_dict` gave.

        Raises:
            ValueError: If the state is of another selector, of one with other arguments, or of a data set of another
                length.
            RuntimeError: If the weights are of another network.
        """
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "momentum": {}}
        rest: dict[str, Any] = {}
        for key, value in state.items():
            kind, _, name = key.partition(".")
            parts.get(kind, rest)[name or key] = value
        super().load_state_dict(rest)
        if self.network is None or self._optimizer is None:
            return
        self.network.load_state_dict(parts["network"])
        self._optimizer.state.clear()
        for name, parameter in self.network.named_parameters():
            if name in parts["momentum"]:
                buffer = parts["momentum"][name].to(parameter.device, copy=True)
                self._optimizer.state[parameter] = {"momentum_buffer": buffer}
