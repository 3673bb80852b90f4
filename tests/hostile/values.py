"""Values that nobody means, and how many inputs a run of these tests takes."""

from __future__ import annotations

import decimal
import fractions
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# 1 in the normal suite; HOSTILE=20 takes about 20,000 inputs, other ones at each run.
TIMES = int(os.environ.get("HOSTILE", "1"))


def inputs(count: int) -> settings:
    """So many inputs, the same ones at each run of the normal suite; without a limit of time."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


VALUES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    3,
    -0.5,
    0.0,
    0.3,
    0.5,
    1.0,
    1.5,
    2.0,
    math.nan,
    math.inf,
    -math.inf,
    1e30,
    1e-30,
    np.float32(0.5),
    np.float64(0.5),
    np.float32("nan"),
    np.float64("inf"),
    np.int64(1),
    np.int32(-1),
    np.uint8(2),
    np.bool_(True),
    fractions.Fraction(1, 2),
    decimal.Decimal("0.5"),
    1j,
    "",
    "no",
    "maybe",
    "0.5",
    "1",
    "nan",
    "a\nb",
    "[/x]",
    b"x",
    [],
    [1],
    [0.5, "x"],
    (),
    (1, 2),
    {},
    {"a": 1},
    {1},
    object(),
    object,
    len,
    math,
    Path("nowhere"),
    np.zeros(0),
    np.arange(3),
    np.array("x"),
    torch.tensor(0.5),
    torch.tensor(1),
    torch.arange(3.0),
    torch.zeros(0),
]
# No generator takes them as a seed, nothing has so many parts.
HUGE: list[Any] = [2**31, 2**32, 2**63, 2**64, -(2**63), 10**30]


def values(*, huge: bool = True) -> st.SearchStrategy[Any]:
    """Anything; without what is `huge` for what allocates as much as it is told."""
    return st.one_of(
        st.sampled_from(VALUES + (HUGE if huge else [])),
        st.integers(-5, 20),
        st.floats(),
        st.floats(-1, 2, width=32).map(np.float32),
        st.text(max_size=5),
        st.binary(max_size=3),
        st.lists(st.one_of(st.integers(-2, 3), st.floats(), st.text(max_size=2)), max_size=3),
    )
