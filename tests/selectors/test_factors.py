"""Scores of a sparse autoencoder's factors, by hand and by the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynsel.sae import SparseCodes
from dynsel.selectors.factors import factor_scores

# Rows: samples; factor 0 is active in all three, factor 1 in two, factor 2 in one.
ACTIVATIONS = [[1.0, 1.0, 0.0], [2.0, 0.0, 0.0], [1.0, 1.0, 2.0]]


def codes_of(activations: list[list[float]]) -> SparseCodes:
    values = torch.tensor(activations)
    return SparseCodes(torch.arange(values.shape[1]).repeat(len(values), 1), values, values.shape[1])


def test_factor_scores_by_hand():
    common, rare = factor_scores(codes_of(ACTIVATIONS), too_common=1.0)
    third, log3 = 1 / 3, math.log(3)
    assert common.tolist() == pytest.approx([(1 + 2 * third) / 2, 1.0, (1 + 2 * third + 2 * third) / 4])
    assert rare.tolist() == pytest.approx([math.log(1.5) / 2 / log3, 0.0, (math.log(1.5) + 2 * log3) / 4 / log3])


def test_factors_of_nearly_all_samples_are_left_out():
    common, rare = factor_scores(codes_of(ACTIVATIONS))
    # Without factor 0 the weights are (1, 0), none, (1/3, 2/3).
    assert common.tolist() == pytest.approx([2 / 3, 0.0, 2 / 9 + 2 / 9])
    assert rare.tolist() == pytest.approx([math.log(1.5) / math.log(3), 0.0, math.log(1.5) / math.log(27) + 2 / 3])


def test_split_halves_the_factors():
    common, rare = factor_scores(codes_of(ACTIVATIONS), split=True)
    # Factor 1 is the frequent half, factor 2 the rare one.
    assert common.tolist() == pytest.approx([2 / 3, 0.0, 2 / 9])
    assert rare.tolist() == pytest.approx([0.0, 0.0, 2 / 3])


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 10**6), st.booleans())
def test_factor_scores_are_the_formula(n, m, seed, split):
    rng = np.random.default_rng(seed)
    a = rng.random((n, m)) * (rng.random((n, m)) < 0.5)
    common, rare = factor_scores(codes_of(a.astype(np.float32).tolist()), split=split)
    p = (a > 0).mean(0)
    counted = (p > 0) & (p <= 0.9)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.nan_to_num(a * counted / (a * counted).sum(1, keepdims=True))
        surprise = np.where(counted, -np.log(p) / math.log(max(2, n)), 0)
    upper = p >= np.median(p[counted]) if split and counted.any() else np.ones(m, bool)
    lower = ~upper if split and counted.any() else np.ones(m, bool)
    np.testing.assert_allclose(common, weights @ (p * upper), atol=1e-5)
    np.testing.assert_allclose(rare, weights @ (surprise * lower), atol=1e-5)
    assert float(rare.max()) <= 1 + 1e-5


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6))
def test_frequencies_may_be_those_of_the_class(n, m, classes, seed):
    rng = np.random.default_rng(seed)
    a = (rng.random((n, m)) * (rng.random((n, m)) < 0.5)).astype(np.float32)
    labels = rng.integers(classes, size=n)
    common, rare = factor_scores(codes_of(a.tolist()), torch.from_numpy(labels), too_common=1.0)
    p = np.stack([(a[labels == label] > 0).mean(0) for label in labels])
    total = np.maximum(a.sum(1, keepdims=True), 1e-30)
    np.testing.assert_allclose(common, (a / total * p).sum(1), atol=1e-5)
    surprise = np.where(p > 0, -np.log(np.maximum(p, 1e-12)) / math.log(max(2, n)), 0)
    np.testing.assert_allclose(rare, (a / total * surprise).sum(1), atol=1e-5)
