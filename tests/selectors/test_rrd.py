"""RRD: its scores by hand, its anti-monopoly property, and planted factors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import spearmanr

from dynsel.schedules import Constant, Cosine, Linear, Step
from dynsel.selectors import RRD, Feedback
from dynsel.usage import usage_penalty


def scored(scores: torch.Tensor, **options: float) -> RRD:
    """RRD whose fixed scores are these: all representativeness, no curriculum."""
    selector = RRD(curriculum=0.0, class_balance=False, seed=0, **options)
    selector.bind(len(scores))
    selector.representativeness = scores
    selector.rarity = torch.zeros(len(scores))
    return selector


def frequencies(selector: RRD, size: int, epochs: int) -> torch.Tensor:
    for epoch in range(epochs):
        selector.observe(Feedback(selector.select(epoch / epochs, size).indices))
    return selector.usage.double() / epochs


# ---------------------------------------------------------------- usage penalty
@settings(max_examples=25)
@given(
    st.integers(2, 40), st.floats(0.05, 1.0), st.floats(0.1, 10.0), st.integers(1, 150), st.integers(0, 10**6)
)  # fmt: skip
def test_no_monopoly(n, keep, gamma, epochs, seed):
    """Frequencies of use differ by at most (max S - min S) ρ / γ, and one use.

    When a more used sample last went before a less used one, S_i - S_j was at least γ (u_i - u_j) / (t ρ), and
    since then it has not gained on the other.
    """
    scores = torch.rand(n, generator=torch.Generator().manual_seed(seed))
    size = max(1, round(keep * n))
    f = frequencies(scored(scores, gamma=gamma), size, epochs)
    bound = float(scores.max() - scores.min()) * (size / n) / gamma
    assert float(f.max() - f.min()) <= bound + 1 / epochs + 1e-4


@pytest.mark.parametrize(("gamma", "spread"), [(0.1, None), (0.3, None), (1.0, 0.298), (5.0, 0.0595)])
def test_frequencies_fill_up_like_water(gamma, spread):
    """At stationarity f_i = (S_i - level) ρ / γ, cut to [0, 1], at the level that makes them sum to ρ N.

    The spreads are those of an independent simulation: 200 scores over 0.995, ρ = 0.3, 2,000 epochs.
    """
    n, keep, epochs = 200, 0.3, 2000
    scores = torch.arange(n) / n

    def water(level: float) -> np.ndarray:
        return np.clip((scores.numpy() - level) * keep / gamma, 0, 1)

    level = brentq(lambda level: water(level).sum() - keep * n, -50, 1)
    f = frequencies(scored(scores, gamma=gamma), size=60, epochs=epochs)
    np.testing.assert_allclose(f, water(level), atol=3 / epochs)
    if spread is not None:
        assert float(f.max() - f.min()) == pytest.approx(spread, abs=1e-3)


def test_without_penalty_the_best_have_a_monopoly():
    scores = torch.rand(50, generator=torch.Generator().manual_seed(0))
    f = frequencies(scored(scores, gamma=0.0), size=10, epochs=20)
    assert f[scores.argsort()[-10:]].tolist() == [1.0] * 10
    assert float(f.sum()) == 10


def test_a_large_penalty_rotates():
    selector = scored(torch.rand(50, generator=torch.Generator().manual_seed(0)), gamma=1e4)
    for _ in range(20):
        frequencies(selector, size=13, epochs=1)
        assert int(selector.usage.max() - selector.usage.min()) <= 1


# ---------------------------------------------------------------- the score
def test_score_by_hand():
    selector = RRD(gamma=Linear(2.0, 0.0), curriculum=Cosine(0.0, 1.0))
    selector.bind(3)
    selector.representativeness, selector.rarity = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.5, 0.2])
    selector.usage = torch.tensor([0, 1, 5], dtype=torch.int32)  # relative to their mean: 0, 0.5, 2.5
    assert selector.scores(0.0).tolist() == pytest.approx([0.0, 0.5 - 2 * 0.5, 1.0 - 2 * 2.5])
    # Half way λ = 0.5 and γ = 1, at the end λ = 1 and γ = 0.
    assert selector.scores(0.5).tolist() == pytest.approx([0.5, 0.5 - 0.5, 0.6 - 2.5])
    assert selector.scores(1.0).tolist() == pytest.approx([1.0, 0.5, 0.2])
    assert selector.usage.tolist() == [0, 1, 5]
    assert selector.representativeness.tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (1.0, 1.0)])
def test_the_curriculum_goes_from_neutral_to_rare(progress, weight):
    assert RRD().curriculum(progress) == pytest.approx(weight)


def test_frequent_first_and_rare_last():
    n = 100
    selector = RRD(gamma=0.0, curriculum=Cosine(0.0, 1.0))
    selector.bind(n)
    selector.representativeness = torch.linspace(0, 1, n)
    selector.rarity = torch.linspace(1, 0, n)
    assert selector.select(0.0, 10).indices.tolist() == list(range(90, 100))
    assert selector.select(1.0, 10).indices.tolist() == list(range(10))


def test_noise_is_gumbel_of_its_scale_and_replays():
    selectors = [scored(torch.zeros(20_000), gamma=0.0, noise=0.5) for _ in range(2)]
    first, again = (selector.scores(0.0) for selector in selectors)
    assert torch.equal(first, again)
    assert float(first.std()) == pytest.approx(0.5 * math.pi / math.sqrt(6), rel=0.03)
    assert not torch.equal(first, selectors[0].scores(0.0))


def test_scores_before_fit():
    selector = RRD(class_balance=False)
    selector.bind(5)
    with pytest.raises(RuntimeError, match="RRD has no scores before `fit`"):
        selector.scores(0.0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gamma": -1.0}, "`gamma` must be at least 0, got -1.0"),
        ({"gamma": Step([1.0, -1.0], [0.5])}, "`gamma` must be at least 0, got -1.0 at progress 0.5"),
        ({"curriculum": 1.5}, r"`curriculum` must be in \[0, 1\], got 1.5"),
        ({"curriculum": Linear(0.0, -0.5)}, r"`curriculum` must be in \[0, 1\], got -0.0\S+ at progress 0.001"),
        ({"noise": -0.1}, "`noise` must be at least 0, got -0.1"),
        ({"noise": math.nan}, "`noise` must be at least 0 and finite, got nan"),
        ({"k": 0}, "`k` must be at least 1, got 0"),
        ({"num_factors": 1}, "`num_factors` must be at least 2, got 1"),
        ({"factors": "some"}, "`factors` must be 'all' or 'split', got 'some'"),
        ({"frequencies": "mine"}, "`frequencies` must be 'class' or 'dataset', got 'mine'"),
        ({"refresh": -1}, "`refresh` must be at least 0, got -1; it is a number of epochs, 0 = never"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        RRD(**options)


def test_schedules_and_numbers_alike():
    assert RRD(gamma=2).gamma(0.3) == RRD(gamma=Constant(2)).gamma(0.3) == 2.0
    assert RRD(curriculum=0.25).curriculum(0.9) == 0.25


# ---------------------------------------------------------------- fit
@pytest.fixture(scope="module")
def planted() -> tuple[torch.Tensor, torch.Tensor]:
    """Two directions in each sample, of very different popularity; and how popular a sample's are on average."""
    generator = torch.Generator().manual_seed(0)
    popularity = torch.tensor([0.4, 0.3, 0.15, 0.08, 0.04, 0.03])
    directions = torch.linalg.qr(torch.randn(12, 6, generator=generator)).Q.T
    parts = torch.multinomial(popularity.expand(400, -1), 2, generator=generator)
    return directions[parts].sum(1) + 0.02 * torch.randn(400, 12, generator=generator), popularity[parts].mean(1)


@pytest.fixture(scope="module")
def fitted(planted) -> RRD:
    selector = RRD(num_factors=12, k=2, curriculum=Cosine(0.0, 1.0), seed=0)
    selector.bind(400)
    selector.fit(planted[0])
    return selector


def test_fit_ranks_planted_factors(fitted, planted):
    assert fitted.ready
    assert spearmanr(fitted.representativeness, planted[1]).statistic > 0.6
    assert spearmanr(fitted.rarity, planted[1]).statistic < -0.6


def test_early_epochs_take_frequent_factors_and_late_ones_rare(fitted, planted):
    popularity = [float(planted[1][fitted.select(progress, 100).indices].mean()) for progress in (0.0, 1.0)]
    assert popularity[0] > float(planted[1].mean()) > popularity[1]


@pytest.mark.parametrize(("frequencies", "rank"), [("class", 1.0), ("dataset", None)])
def test_what_is_rare_in_its_class_is_rare(planted, frequencies, rank):
    """Two classes, each a blob of its own; one sample carries the other's label. In the data set its factors are
    as frequent as any, in its class nobody shares them.
    """
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(200) % 2
    features = 5 * torch.nn.functional.one_hot(labels, 4) + 0.3 * torch.randn(200, 4, generator=generator)
    labels[0] = 1
    selector = RRD(num_factors=8, k=2, frequencies=frequencies, seed=0)
    selector.bind(200, labels)
    selector.fit(features)
    if rank is None:
        assert float(selector.rarity[0]) < 0.9
    else:
        assert float(selector.rarity[0]) > 0.97


def test_ranks_are_within_class_only_if_balanced(planted):
    labels = torch.arange(60) % 2
    selectors = [RRD(num_factors=12, k=2, class_balance=balance, seed=0) for balance in (False, True)]
    for selector in selectors:
        selector.bind(60, labels.short())
        selector.fit(planted[0][:60])
    together, apart = (selector.representativeness for selector in selectors)
    assert sorted(together.tolist()) == pytest.approx(np.linspace(0, 1, 60).tolist())
    for c in (0, 1):
        assert sorted(apart[labels == c].tolist()) == pytest.approx(np.linspace(0, 1, 30).tolist())


def test_penalty_is_relative_to_the_mean_use():
    """Also when the keep ratio changes: it is the share of uses that counts, not that of epochs."""
    selector = scored(torch.zeros(4), gamma=1.0)
    selector.usage = torch.tensor([3, 1, 0, 0], dtype=torch.int32)
    assert torch.equal(selector.scores(0.0), -usage_penalty(selector.usage))
    assert selector.scores(0.0).tolist() == [-3.0, -1.0, 0.0, 0.0]
