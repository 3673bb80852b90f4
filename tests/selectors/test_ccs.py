"""CCS against the paper's loop over strata."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.selectors import CCS, Feedback
from dynsel.selectors.ccs import stratified_draw


def paper_budgets(sizes: list[int], total: int) -> list[int]:
    """The smallest stratum first, each with an even part of what is left; fractions rounded down, as published."""
    budgets = [0] * len(sizes)
    left = [i for i, size in enumerate(sizes) if size]
    while left:
        smallest = min(left, key=lambda i: sizes[i])
        budgets[smallest] = min(sizes[smallest], total // len(left))
        total -= budgets[smallest]
        left.remove(smallest)
    return budgets


@settings(max_examples=60)
@given(st.integers(1, 80), st.integers(1, 12), st.sampled_from([0.0, 0.1, 0.4]), st.data())
def test_budgets_are_the_papers(count: int, strata: int, drop: float, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, count))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    hardness = rng.normal(size=count).round(1).astype(np.float32)
    draw = torch.from_numpy(rng.random(count).astype(np.float32))
    chosen = stratified_draw(torch.from_numpy(hardness), draw, size, drop, strata).numpy()
    assert len(np.unique(chosen)) == size
    kept = max(size, count - int(drop * count + 0.5))
    rest = np.sort(hardness)[:kept].astype(np.float64)
    assert hardness[chosen].max() <= rest[-1]
    width = max(rest[-1] - rest[0], np.finfo(np.float64).tiny)
    cut = lambda values: np.clip((values - rest[0]) / width * strata, 0, strata - 1).astype(int)  # noqa: E731
    sizes = np.bincount(cut(rest), minlength=strata)
    ours = np.bincount(cut(hardness[chosen].astype(np.float64)), minlength=strata)
    # The paper rounds down; what its loop gives the last strata instead may differ from an even share by one each.
    assert np.abs(ours - np.array(paper_budgets(sizes.tolist(), size))).max() <= 1


def test_the_hardest_are_left_out_and_all_degrees_are_there() -> None:
    selector = CCS(drop_hardest=0.1, strata=10, warmup=0.0, seed=0)
    selector.bind(1000)
    # Squares: most samples are easy.
    hardness = torch.linspace(0, 1, 1000).square()
    selector.observe(Feedback(torch.arange(1000), value=hardness))
    chosen = selector.select(0.5, 100).indices
    assert int(chosen.max()) < 900
    counts = torch.histc(hardness[chosen], bins=10, min=0, max=float(hardness[899]))
    assert counts.tolist() == [10] * 10


def test_no_more_is_dropped_than_the_keep_ratio_allows() -> None:
    selector = CCS(drop_hardest=0.5, warmup=0.0, seed=0)
    selector.bind(10)
    selector.observe(Feedback(torch.arange(10), value=torch.arange(10.0)))
    assert selector.select(0.5, 8).indices.tolist() == list(range(8))


@pytest.mark.parametrize(
    ("options", "said"), [({"drop_hardest": 1.0}, "`drop_hardest` must be in"), ({"strata": 0}, "`strata` must be")]
)
def test_wrong_arguments(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CCS(**options)
