"""Features that the model in training computes anyway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CapturedFeatures", "find_module"]


class CapturedFeatures:
    """Collects one row a sample while training goes on, until every sample has one.

    Rows are float16. Until it is complete it is part of the checkpoint, N x d x 2 bytes; afterwards it is empty.

    Args:
        num_samples: N.
        module: Dotted name of the submodule whose input is the feature; None = the model's last linear layer.
    """

    def __init__(self, num_samples: int, module: str | None = None) -> None:
        self.num_samples, self.module = num_samples, module
        self.rows: Tensor | None = None
        self.seen = torch.zeros(num_samples, dtype=torch.bool)
        self.done = False
        self._new: list[tuple[Tensor, Tensor]] = []

    def put(self, indices: Tensor, features: Tensor) -> None:
        """Keep the rows of a batch.

        Args:
            indices: (B,) int64.
            features: (B, ...) floating point, flattened to (B, d); may be on any device.
        """
        if not self.done:
            self._new.append((indices, features.detach().flatten(1).half()))

    def merge(self, gather: Callable[[Any], list[Any]]) -> None:
        """Take in the rows put since the last call, those of all ranks (`gather` gives every rank's)."""
        if self.done:
            return
        mine, self._new = [(indices, rows.cpu()) for indices, rows in self._new], []
        for theirs in gather(mine):
            for indices, rows in theirs:
                self._store(indices, rows)

    def _store(self, indices: Tensor, rows: Tensor) -> None:
        if self.rows is None:
            self.rows = torch.zeros(self.num_samples, rows.shape[1], dtype=torch.float16)
        if rows.shape[1] != self.rows.shape[1]:
            raise ValueError(
                f"captured features must have one width, got {rows.shape[1]} after {self.rows.shape[1]}; "
                "name a submodule with a fixed input size by `features='model:NAME'`"
            )
        # Overflow to infinity in float16, or a diverged step, must not end up in the scores: keep waiting instead.
        good = torch.isfinite(rows).all(1)
        self.rows[indices[good]] = rows[good]
        self.seen[indices[good]] = True

    @property
    def is_complete(self) -> bool:
        """Whether `rows` holds (N, d) float16, one row for every sample."""
        return self.rows is not None and bool(self.seen.all())

    @property
    def complete_rows(self) -> Tensor | None:
        """`rows` once they are complete, else None."""
        return self.rows if self.is_complete else None

    def release(self) -> None:
        """The rows have served; collect no more."""
        self.rows, self.done = None, True

    def state_dict(self) -> dict[str, Any]:
        rows = None if self.rows is None else self.rows.clone()
        return {"rows": rows, "seen": self.seen.clone(), "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.seen, self.done = state["rows"], state["seen"].clone(), state["done"]
        self._new = []


def find_module(model: nn.Module, name: str | None) -> nn.Module:
    """The submodule of that dotted name, or the model's last `nn.Linear` if None.

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
    from difflib import get_close_matches

    near = get_close_matches(name, [m for m in modules if m], n=3) or list(modules)[1:6]
    raise ValueError(f"the model has no submodule {name!r}; did you mean {', '.join(map(repr, near))}?")
