"""GSTDS: Fiedler vectors by scipy one by one, the keep rules worked by hand, graphs that are special cases."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynsel.samplers.batch import keep_in_batches
from dynsel.selectors import GSTDS, Feedback
from dynsel.selectors.gstds import keep_by_fiedler

RULES = ["extremes", "magnitude", "boundary", "top", "spread"]


def features(count: int, dim: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def fitted(x: torch.Tensor, **options: object) -> GSTDS:
    selector = GSTDS(**options)
    selector.bind(len(x))
    selector.fit(x)
    return selector


def by_scipy(x: np.ndarray, keep: int, rule: str) -> list[int]:
    """One batch by the definition: clipped cosines, D - S, scipy's second eigenvector, the rule by sorting."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity = np.clip(unit @ unit.T, 0, None)
    np.fill_diagonal(similarity, 0)
    v = scipy.linalg.eigh(np.diag(similarity.sum(1)) - similarity)[1][:, 1]
    v = v * np.sign(v[np.abs(v).argmax()])
    order = sorted(range(len(v)), key=lambda i: v[i])
    if rule == "top":
        return sorted(order[-keep:])
    if rule == "spread":
        return sorted(order[::-1][int((i + 0.5) * len(v) / keep)] for i in range(keep))
    if rule == "extremes":
        low = keep // 2
        return sorted(order[:low] + order[low - keep :])
    by_size = sorted(range(len(v)), key=lambda i: abs(v[i]))
    return sorted(by_size[:keep] if rule == "boundary" else by_size[-keep:])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("keep", [1, 4, 7])
def test_every_batch_of_an_epoch_is_scipys(rule, keep):
    x = features(20 * 16 + 9)  # 20 batches of 16 and one of 9: two sizes solved together
    batches = [torch.arange(i * 16, min(i * 16 + 16, len(x))) for i in range(21)]
    kept = fitted(x, rule=rule).select_batches(batches, [keep] * 21, 0.0)
    assert [rows.tolist() for rows in kept] == [by_scipy(x[b].double().numpy(), keep, rule) for b in batches]


def test_beyond_512_candidates():
    x = features(700)
    kept = fitted(x, rule="top").select_batch(torch.arange(700), 70, 0.0)
    assert kept.tolist() == by_scipy(x.double().numpy(), 70, "top")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_any_precision(dtype):
    x = features(24).to(dtype)
    kept = fitted(x).select_batch(torch.arange(24), 6, 0.0)
    assert kept.tolist() == by_scipy(x.double().numpy(), 6, "extremes")


def test_features_stay_where_they_are(tmp_path):
    np.save(tmp_path / "x.npy", features(24).numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    kept = fitted(mapped).select_batch(torch.arange(24), 6, 0.0)
    assert kept.tolist() == by_scipy(features(24).double().numpy(), 6, "extremes")


# ---------------------------------------------------------------- the rules
@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("extremes", [0, 2, 3]),
        ("magnitude", [0, 1, 3]),
        ("boundary", [1, 2, 4]),
        ("top", [0, 2, 4]),
        ("spread", [0, 3, 4]),
    ],
)
def test_rules_by_hand(rule, kept):
    v = torch.tensor([[0.8, -0.2, 0.1, -0.5, 0.05]])
    assert keep_by_fiedler(v, 3, rule).tolist() == [kept]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("extremes", [0, 1]), ("magnitude", [0, 1]), ("boundary", [0, 1]), ("top", [0, 1]), ("spread", [1, 4])],
)
def test_equal_values_go_by_position(rule, kept):
    assert keep_by_fiedler(torch.full((1, 6), 0.4), 2, rule).tolist() == [kept]


@given(st.integers(2, 12), st.data())
def test_a_rule_keeps_as_many_as_asked(count, data):
    keep = data.draw(st.integers(1, count))
    values = data.draw(st.lists(st.sampled_from([-0.5, -0.1, 0.0, 0.1, 0.5]), min_size=count, max_size=count))
    for rule in RULES:
        kept = keep_by_fiedler(torch.tensor([values]), keep, rule)[0].tolist()
        assert len(set(kept)) == keep
        assert kept == sorted(kept)


# ---------------------------------------------------------------- special graphs
@pytest.mark.parametrize("rule", RULES)
def test_identical_features_go_by_position(rule):
    """A complete graph: every vector that sums to 0 is a Fiedler vector. Ours singles the first sample out."""
    kept = fitted(torch.ones(8, 3), rule=rule).select_batch(torch.arange(8), 3, 0.0).tolist()
    ends = {"boundary": [1, 2, 3], "spread": [1, 4, 6]}
    assert kept == ends.get(rule, [0, 1, 2])


def test_a_graph_in_two_parts_is_cut_between_them():
    """Orthogonal features: no edge from one part to the other. Extremes take from both."""
    x = torch.eye(2).repeat_interleave(4, 0)
    kept = fitted(x).select_batch(torch.arange(8), 4, 0.0).tolist()
    assert kept == [0, 1, 4, 5]


def test_spread_keeps_the_shares_of_clusters():
    """Three clusters of 8, 8 and 16 along a line of directions: half of each stays."""
    angles = torch.tensor([0.0, 0.7, 1.4]).repeat_interleave(torch.tensor([8, 8, 16]))
    angles = angles + 0.01 * torch.randn(32, generator=torch.Generator().manual_seed(0))
    kept = fitted(torch.stack([angles.cos(), angles.sin()], 1), rule="spread").select_batch(torch.arange(32), 16, 0.0)
    assert [int(((kept >= a) & (kept < b)).sum()) for a, b in ((0, 8), (8, 16), (16, 32))] == [4, 4, 8]


@pytest.mark.parametrize("x", [torch.eye(6), torch.zeros(6, 3), torch.eye(2).repeat(3, 1)])
@pytest.mark.parametrize("rule", RULES)
def test_graphs_without_structure_are_deterministic(x, rule):
    runs = [fitted(x, rule=rule).select_batch(torch.arange(6), 3, 0.0).tolist() for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


def test_all_stay_without_a_graph():
    assert fitted(features(3)).select_batch(torch.arange(3), 3, 0.0).tolist() == [0, 1, 2]


# ---------------------------------------------------------------- without features
def test_before_features_are_there_the_least_used_stay():
    selector = GSTDS(seed=0)
    selector.bind(12)
    assert not selector.ready
    used = torch.tensor([0, 1, 4, 6, 9, 11])
    selector.observe(Feedback(used))
    kept = keep_in_batches(selector, torch.arange(12), 6, 6, 0.0)
    assert sorted(kept.tolist()) == [2, 3, 5, 7, 8, 10]


def test_bad_input():
    with pytest.raises(
        ValueError, match="`rule` must be 'extremes' or 'magnitude' or 'boundary' or 'top' or 'spread', got 'both'"
    ):
        GSTDS(rule="both")
    selector = GSTDS()
    selector.bind(5)
    with pytest.raises(ValueError, match="`features` must have one row per sample: expected 5, got 4"):
        selector.fit(features(4))
    with pytest.raises(ValueError, match="`features` must be finite, got NaN or infinite values in row 3"):
        selector.fit(features(5).index_fill(0, torch.tensor([3]), torch.nan))
    with pytest.raises(TypeError, match=r"`features` must be floating point, got torch.int64"):
        selector.fit(torch.arange(10).view(5, 2))
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"`count` must be between 1 and the number of candidates, 3, got {count}"):
            selector.select_batch(torch.arange(3), count, 0.0)
