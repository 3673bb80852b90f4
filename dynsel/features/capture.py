"""Features that the model in training computes anyway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dynsel._lib.checks import check_integer, check_keys, check_text
from dynsel._lib.messages import suggest

__all__ = ["CapturedFeatures", "find_module"]


class CapturedFeatures:
    """Collects the features of every sample while training goes on, until every sample has some.

    They are kept in float16. Until they are complete they are part of the checkpoint, N x d x 2 bytes.

    Args:
        num_samples: Number of samples, N.
        module: Dotted name of the submodule whose input is the features; None = the model's last linear layer.

    Attributes:
        features: (N, d) float16 on the CPU, zeros for samples not seen yet; None before the first batch and after
            `release`.
        seen: (N,) bool, which samples have their features.
        done: Whether the features have served and no more are collected.
    """

    def __init__(self, num_samples: int, module: str | None = None) -> None:
        self.num_samples = check_integer("num_samples", num_samples, at_least=1)
        self.module = None if module is None else check_text("module", module, "a submodule's name")
        self.features: Tensor | None = None
        self.seen = torch.zeros(num_samples, dtype=torch.bool)
        self.done = False
        self._new: list[tuple[Tensor, Tensor]] = []

    def put(self, indices: Tensor, features: Tensor) -> None:
        """Keep the features of a batch.

        Args:
            indices: (B,) int64 dataset indices, on the CPU.
            features: (B, ...) floating point, flattened to (B, d); on any device.
        """
        if not self.done:
            self._new.append((indices, features.detach().flatten(1).half()))

    def merge(self, gather: Callable[[Any], list[Any]]) -> None:
        """Take in what was put since the last call, on all ranks.

        Args:
            gather: Called with this rank's list of (indices, features); returns every rank's.

        Raises:
            ValueError: If the features of two batches differ in width.
        """
        if self.done:
            return
        mine, self._new = [(indices, features.cpu()) for indices, features in self._new], []
        for theirs in gather(mine):
            for indices, features in theirs:
                self._store(indices, features)

    def _store(self, indices: Tensor, features: Tensor) -> None:
        if self.features is None:
            self.features = torch.zeros(self.num_samples, features.shape[1], dtype=torch.float16)
        if features.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"captured features must have one width, got {features.shape[1]} after {self.features.shape[1]}; "
                "name a submodule with a fixed input size by `features='model:NAME'`"
            )
        # Overflow to infinity in float16, or a diverged step, must not end up in the scores: keep waiting instead.
        good = torch.isfinite(features).all(1)
        self.features[indices[good]] = features[good]
        self.seen[indices[good]] = True

    @property
    def is_complete(self) -> bool:
        """Whether `features` holds (N, d) float16, a row for every sample."""
        return self.features is not None and bool(self.seen.all())

    @property
    def complete_features(self) -> Tensor | None:
        """The (N, d) float16 features once they are complete, else None."""
        return self.features if self.is_complete else None

    def release(self) -> None:
        """Collect no more: the features have served."""
        self.features, self.done = None, True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs: `features`, `seen` and `done`, as copies."""
        features = None if self.features is None else self.features.clone()
        return {"features": features, "seen": self.seen.clone(), "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Args:
            state: As `state_dict` gave it.

        Raises:
            ValueError: If a key is missing or not known, or it is of another number of samples.
        """
        check_keys("captured features", state, ("features", "seen", "done"))
        if len(state["seen"]) != self.num_samples:
            raise ValueError(
                f"the captured features are of {len(state['seen'])} samples, this data set has {self.num_samples}"
            )
        self.features, self.seen, self.done = state["features"], state["seen"].clone(), state["done"]
        self._new = []


def find_module(model: nn.Module, name: str | None) -> nn.Module:
    """The submodule of a dotted name.

    Args:
        model: Any model, compiled or not.
        name: Dotted name, as in `named_modules()`; None = the model's last `nn.Linear`.

    Raises:
        ValueError: If there is none; names similar ones.
    """
    # Names stay the same when the model, or a part of it, is compiled.
    modules: dict[str, nn.Module] = {n.replace("_orig_mod.", ""): module for n, module in model.named_modules()}
    if name is None:
        linear = [module for module in modules.values() if isinstance(module, nn.Linear)]
        if not linear:
            raise ValueError(
                "the model has no nn.Linear whose input could serve as features; name a submodule by "
                "`features='model:NAME'`, or give features as an array, a file or 'pixels'"
            )
        return linear[-1]
    if name.replace("_orig_mod.", "") in modules:
        return modules[name.replace("_orig_mod.", "")]
    raise ValueError(f"the model has no submodule {name!r}{suggest(name, filter(None, modules))}")
