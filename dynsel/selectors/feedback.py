"""What training tells back about the samples that it trained on."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from dynsel._lib.checks import check_tensor

__all__ = ["Feedback", "check_wants"]


@dataclass(frozen=True)
class Feedback:
    """What training tells back about the samples it trained on. B is any number of samples.

    Args:
        indices: (B,) integer positions in the data set, in any order; a sample may occur several times.
        per_sample_loss: (B,) float32 losses, NaN where none was told; None if the selector doesn't want them.
        value: (B,) float32, what the selector's own `measure` made of the batch, NaN where nothing was told; None
            if the selector doesn't want it.
        batch_loss: (B,) float32 mean losses of the batches that the samples were in, NaN where none was told; None if
            the selector doesn't want them.
        given: (B,) float32, class that the sample was trained as, a whole number; this part and the next three are
            of a classification with one class a sample (see `dynsel.selectors.verdicts`), and NaN or None likewise.
        own: (B,) float32, probability of that class.
        other: (B,) float32, the most probable of all other classes, a whole number.
        margin: (B,) float32, logit of the class given minus that of the other, below 0 where the model contradicts.

    Raises:
        TypeError: If one is no tensor.
    """

    indices: Tensor
    per_sample_loss: Tensor | None = None
    value: Tensor | None = None
    batch_loss: Tensor | None = None
    given: Tensor | None = None
    own: Tensor | None = None
    other: Tensor | None = None
    margin: Tensor | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if (values := getattr(self, field.name)) is not None or field.name == "indices":
                check_tensor(field.name, values)

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

    def only(self, parts: Set[str]) -> Feedback:
        """The same with no other parts than these: what isn't among them is None."""
        return Feedback(self.indices, **{name: getattr(self, name) for name in parts})


def check_wants(cls: type) -> None:
    """Refuse a class whose `wants` is no set of parts of `Feedback`; a property is taken as it is.

    Args:
        cls: Class of a selector or a term, just defined.

    Raises:
        TypeError: If it is something else, or names what `Feedback` doesn't have.
    """
    wants = vars(cls).get("wants", frozenset())
    parts = {field.name for field in fields(Feedback)} - {"indices"}
    if not (hasattr(wants, "__get__") or (isinstance(wants, Set) and wants <= parts)):
        raise TypeError(f"{cls.__name__}: `wants` must be a set of {', '.join(sorted(parts))}, got {wants!r}")
