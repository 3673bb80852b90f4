"""Herding against a search by brute force; and the greedy order that it shares with k-center."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.selection import largest_remainder
from dynsel.selectors import Herding, KCenter
from dynsel.selectors.herding import herding_order

both = pytest.mark.parametrize("method", [Herding, KCenter])
LINE = torch.tensor([[0.0], [1.0], [4.0], [6.0], [9.0]])  # mean 4
LABELS = (torch.arange(60) % 7 % 3).to(torch.int16)  # classes of 26, 17 and 17


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def fitted(method: type, features: torch.Tensor, labels: torch.Tensor | None = None, **options: object):
    selector = method(class_balance=labels is not None, seed=0, **options)
    selector.bind(len(features), labels)
    selector.fit(features)
    return selector


def distances(x: np.ndarray, picks: list[int]) -> np.ndarray:
    """||(t + 1) μ - Σ - x|| as it is written, for each x after these picks."""
    distance = np.linalg.norm((len(picks) + 1) * x.mean(0) - x[picks].sum(0) - x, axis=1)
    distance[picks] = np.inf
    return distance


# ---------------------------------------------------------------- the order
@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 10**6))
def test_each_pick_is_that_of_brute_force(n, d, seed):
    x = rows(n, d, seed) + 3
    order = herding_order(x, n)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(n))
    for t, pick in enumerate(order.tolist()):
        distance = distances(x.double().numpy(), order[:t].tolist())
        assert distance[pick] == pytest.approx(distance.min(), abs=1e-4)  # the nearest, to float32


def test_order_is_that_of_brute_force():
    x, picks = rows(40, 5), []
    for _ in range(40):
        picks.append(int(distances(x.double().numpy(), picks).argmin()))
    assert herding_order(x, 40).tolist() == picks


def test_order_on_a_line():
    """From 4: 6 is 2 off; with 1 that makes -1, with 0 -2, with 9 7; then 9 makes 4 and 0 -5.

    The arg max would begin with 9.
    """
    assert herding_order(LINE, 5).tolist() == [2, 3, 1, 4, 0]


def test_ties_go_to_the_lower_row():
    assert herding_order(torch.zeros(4, 3), 4).tolist() == [0, 1, 2, 3]
    assert herding_order(torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_neither_scale_nor_offset_matter(scale, offset):
    x = rows(30, 4)
    wanted = herding_order(x, 30)
    shifted = (x.double() + offset) * scale
    # An offset costs the last digits, and late picks compare almost equal sums.
    assert herding_order(shifted.float(), 30).tolist()[:10] == wanted.tolist()[:10]


@pytest.mark.parametrize("size", [10, 50, 200])
def test_the_mean_is_nearer_than_that_of_any_random_subset(size):
    x = rows(1000, 16).exp()
    generator = torch.Generator().manual_seed(1)

    def gap(indices: torch.Tensor) -> float:
        return float((x[indices].mean(0) - x.mean(0)).norm())

    random = [gap(torch.randperm(1000, generator=generator)[:size]) for _ in range(100)]
    ours = gap(herding_order(x, size))
    farthest = gap((x - x.mean(0)).norm(dim=1).topk(size).indices)  # what an arg max begins with
    assert ours < 0.5 * min(random)
    assert farthest > max(random)


# ---------------------------------------------------------------- as selectors
@both
def test_a_smaller_subset_is_the_beginning_of_a_larger_one(method):
    selector = fitted(method, rows(60, 5))
    subsets = [set(selector.select(0.0, size).indices.tolist()) for size in range(1, 61)]
    assert all(small < large for small, large in pairwise(subsets))


@both
@pytest.mark.parametrize("size", [3, 7, 20, 59])
def test_each_class_is_ordered_by_itself(method, size):
    features = rows(60, 5)
    selector = fitted(method, features, LABELS)
    wanted = []
    for c, quota in enumerate(largest_remainder(torch.bincount(LABELS), size).tolist()):
        members = LABELS.eq(c).nonzero()[:, 0]
        if quota:
            wanted += members[method.order(features[members], quota)].tolist()
    assert selector.select(0.0, size).indices.tolist() == sorted(wanted)
    assert selector.select(0.9, size).indices.tolist() == sorted(wanted)  # the same all along


@both
def test_all_samples_together(method):
    features = rows(60, 5)
    selector = fitted(method, features)
    assert selector.select(0.0, 9).indices.tolist() == sorted(method.order(features, 9).tolist())


@both
def test_rows_of_length_one(method):
    features = rows(60, 5)
    features[0] = 0  # has no length to scale by
    lengths = features.norm(dim=1, keepdim=True).clamp_min(1e-9)
    selector = fitted(method, features, normalize=True)
    assert torch.equal(selector.place, fitted(method, features / lengths).place)
    assert not torch.equal(selector.place, fitted(method, features).place)


@both
@pytest.mark.parametrize("labels", [None, LABELS])
@pytest.mark.parametrize("ratio", [0.05, 0.1, 1 / 3, 0.75])
def test_an_order_that_ends_early(method, labels, ratio):
    features = rows(60, 5)
    short, whole = (fitted(method, features, labels, max_keep_ratio=r) for r in (ratio, 1.0))
    for size in range(1, int(60 * ratio + 0.5) + 1):
        assert torch.equal(short.select(0.0, size).indices, whole.select(0.0, size).indices)
    with pytest.raises(
        ValueError, match=r"`max_keep_ratio` must cover the keep ratio: .* of 60 samples are ordered, 5"
    ):
        short.select(0.0, 55)


@both
@pytest.mark.parametrize("kind", ["float16", "numpy", "mapped"])
def test_features_of_any_kind(method, kind, tmp_path):
    features = rows(60, 5).half()
    given = {"float16": features, "numpy": features.float().numpy()}.get(kind)
    if kind == "mapped":
        np.save(tmp_path / "x.npy", features.numpy())
        given = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert torch.equal(fitted(method, given, LABELS).place, fitted(method, features.float(), LABELS).place)


@both
def test_classes_of_one_or_none(method):
    labels = torch.tensor([0, 2, 2, 4, 2, 2], dtype=torch.int16)
    selector = fitted(method, rows(6, 3), labels)
    assert len(selector.select(0.0, 6)) == 6
    assert selector.select(0.0, 1).indices.tolist()[0] in (1, 2, 4, 5)


@both
def test_equal_rows_are_taken_once_each(method):
    selector = fitted(method, torch.ones(10, 3))
    for size in range(1, 11):
        assert selector.select(0.0, size).indices.tolist() == list(range(size))


# ---------------------------------------------------------------- errors
@both
@pytest.mark.parametrize("ratio", [0.0, 1.5, -0.1, float("nan")])
def test_bad_ratio(method, ratio):
    with pytest.raises(ValueError, match=rf"`max_keep_ratio` must be in \(0, 1\], got {ratio}; 1 orders all samples"):
        method(max_keep_ratio=ratio)


@both
def test_bad_features(method):
    selector = method(class_balance=False)
    selector.bind(60)
    with pytest.raises(ValueError, match="`features` must have one row per sample: expected 60, got 59"):
        selector.fit(rows(59, 3))
    features = rows(60, 3)
    features[7, 1] = torch.nan
    with pytest.raises(ValueError, match="`features` must be finite, got NaN or infinite values in row 7"):
        selector.fit(features)
    assert not selector.ready
    with pytest.raises(RuntimeError, match=f"{method.__name__} has no scores before `fit`"):
        selector.scores(0.0)


@both
def test_without_features_it_rotates(method):
    selector = method(class_balance=False, seed=0)
    selector.bind(60)
    assert selector.select(0.0, 20).indices.tolist() != selector.select(0.0, 20).indices.tolist()
