"""What a batch is made of, of any form: its size, the part that stays, and what nobody can tell."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dynsel._lib.batches import Cut, batch_size

Named = namedtuple("Named", "x y")


@dataclass(frozen=True)
class Record:
    x: Tensor
    names: list[str]
    scale: float = 1.0


def rows(size: int, *shape: int) -> Tensor:
    """Row i holds i."""
    return torch.arange(size).float().view(-1, *[1] * len(shape)).expand(size, *shape)


X, KEPT = rows(5, 2), [1, 3]


def cut(batch: Any, size: int = 5) -> Any:
    assert batch_size(batch) == size
    return Cut(torch.tensor(KEPT), size)(batch)


def dense(value: Any) -> Tensor:
    return value.to_dense() if isinstance(value, Tensor) else torch.as_tensor(value)


def plain(value: Any) -> Any:
    """Comparable: tensors and arrays as the list of what their rows hold."""
    if isinstance(value, (Tensor, np.ndarray)):
        return [float(row.flatten()[0]) for row in dense(value)] if value.ndim else float(value)
    if isinstance(value, (dict, UserDict)):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, Record):
        return plain(vars(value))
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


WORDS = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("batch", "wanted"),
    [
        (X, KEPT),
        ([X, WORDS], [KEPT, ["b", "d"]]),
        ((X, X.to_sparse()), [KEPT, KEPT]),
        ({"x": X, "ids": tuple(WORDS), "n": 7, "t": torch.tensor(2.0)}, {"x": KEPT, "ids": ["b", "d"], "n": 7, "t": 2}),
        (OrderedDict(x=X, inner={"y": X, "none": None}), {"x": KEPT, "inner": {"y": KEPT, "none": None}}),
        (UserDict(x=X), {"x": KEPT}),
        (Named(X, WORDS), [KEPT, ["b", "d"]]),
        (Record(X, WORDS), {"x": KEPT, "names": ["b", "d"], "scale": 1.0}),
        ([X, X.numpy()], [KEPT, KEPT]),
        ([[X, X], X], [[KEPT, KEPT], KEPT]),  # two views of each sample
        ([X, [0.1, 0.2]], [KEPT, [0.1, 0.2]]),  # not one a sample
        ({"a": [X, X.long()], "b": [X, X.long()]}, {"a": [KEPT, KEPT], "b": [KEPT, KEPT]}),  # two loaders
        ([X, [{"boxes": rows(3, 4)}] * 5], [KEPT, [{"boxes": [0, 1, 2]}] * 2]),
        ([X, [None, "b", None, "d", 3]], [KEPT, ["b", "d"]]),
        # Detection: images of several sizes, and as many dicts.
        (
            ([rows(3, 8 + i, 8) for i in range(5)], [{"n": i} for i in range(5)]),
            [[[0, 1, 2]] * 2, [{"n": 1}, {"n": 3}]],
        ),
    ],
)
def test_what_has_a_row_a_sample_is_cut(batch, wanted):
    got = cut(batch)
    assert type(got) is type(batch)
    assert plain(got) == wanted


def test_the_batch_itself_stays_as_it_was():
    batch = {"x": X, "names": list(WORDS), "inner": Record(X, WORDS)}
    cut(batch)
    assert plain(batch) == {
        "x": [0, 1, 2, 3, 4],
        "names": WORDS,
        "inner": {"x": [0, 1, 2, 3, 4], "names": WORDS, "scale": 1.0},
    }
