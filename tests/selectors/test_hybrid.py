"""Hybrid and its terms: sums by hand, planted structure, restart, refreshed features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clusters import three_blobs
from scipy.stats import gumbel_r, kstest
from support import Module, SaveEvery, fit, same_weights, train_loader

from dynsel.callbacks import DynamicSelection
from dynsel.schedules import Linear, Step
from dynsel.selectors import RRD, EpsilonGreedy, Feedback, Hybrid
from dynsel.selectors.ranking import loss_rank, rank_within_class
from dynsel.selectors.terms import Material, Term
from dynsel.usage import usage_penalty

FEATURES = {
    "uncertainty": 1.0,
    "loss": 0.5,
    "representativeness": 0.5,
    "rarity": 0.25,
    "witness": 1.0,
    "boundary": 0.5,
    "region": 0.5,
}


def bound(n: int = 60, **options: object) -> Hybrid:
    features, labels = three_blobs(n)
    selector = Hybrid(seed=0, **options)
    selector.bind(n, labels)
    if selector.needs_features:
        selector.fit(features)
    return selector


# ---------------------------------------------------------------- the sum
def test_the_sum_by_hand():
    terms = {"uncertainty": 0.0, "loss": 1.0, "representativeness": Linear(0.0, 1.0), "rarity": 0.5}
    selector = bound(4, terms=terms, gamma=0.3, noise=0.0, smoothing=0.0)
    selector.terms["representativeness"].ranks = torch.tensor([0.0, 0.2, 0.4, 1.0])
    selector.terms["rarity"].ranks = torch.tensor([1.0, 0.6, 0.2, 0.0])
    selector.observe(Feedback(torch.tensor([0, 1, 2, 3, 3]), per_sample_loss=torch.tensor([4.0, 1.0, 3.0, 2.0, 2.0])))
    # Loss ranks are (place + 0.5) / 4, uses 1, 1, 1, 2 of mean 1.25; at progress 0.25 representativeness counts 0.25.
    expected = [
        0.875 + 0.5 - 0.24,
        0.125 + 0.05 + 0.3 - 0.24,
        0.625 + 0.1 + 0.1 - 0.24,
        0.375 + 0.25 - 0.48,
    ]
    np.testing.assert_allclose(selector.scores(0.25), expected, rtol=1e-6)
    assert selector.select(0.25, 2).indices.tolist() == [0, 2]


def test_the_noise_is_gumbel_of_its_scale():
    selector = bound(3000, noise=0.5, gamma=0.0)
    selector.observe(Feedback(torch.arange(3000), value=torch.ones(3000)))
    noise = selector.scores(0.5).numpy() - loss_rank(torch.ones(3000)).numpy()
    assert kstest(noise, gumbel_r(scale=0.5).cdf).pvalue > 0.01


@pytest.mark.parametrize("terms", [None, {"loss": 1.0}])
def test_what_was_never_trained_on_goes_first(terms):
    selector = bound(noise=1.0, gamma=0.0, epsilon=0.0, terms=terms)
    known, told = torch.arange(0, 60, 2), torch.full((30,), 100.0)
    selector.observe(Feedback(known, per_sample_loss=told, value=told))
    chosen = selector.select(0.1, 30).indices
    assert chosen.tolist() == list(range(1, 60, 2))
    # And in random order: not the first ones, when only some fit.
    assert selector.select(0.1, 10).indices.tolist() != chosen[:10].tolist()


def test_by_loss_alone_it_is_epsilon_greedy():
    hybrid = Hybrid(terms={"loss": 1.0}, gamma=0.0, epsilon=0.2, seed=0)
    greedy = EpsilonGreedy(epsilon=0.2, seed=0)
    losses = torch.rand(200, generator=torch.Generator().manual_seed(1))
    for selector in (hybrid, greedy):
        selector.bind(200)
    for epoch in range(5):
        indices = hybrid.select(epoch / 5, 80).indices
        assert torch.equal(greedy.select(epoch / 5, 80).indices, indices)
        for selector in (hybrid, greedy):
            selector.observe(Feedback(indices, per_sample_loss=losses[indices] / (epoch + 1)))


def test_features_are_captured_without_detours():
    """Until its terms are ready it only rotates: a random share would leave samples unseen."""
    selector = Hybrid(terms={"rarity": 1.0}, epsilon=0.5, seed=0)
    selector.bind(60)
    first = selector.select(0.0, 30).indices
    selector.observe(Feedback(first))
    assert not set(first.tolist()) & set(selector.select(0.1, 30).indices.tolist())


def test_only_weighted_terms_are_computed():
    plain = Hybrid()
    assert (plain.needs_features, plain.wants, list(plain.terms)) == (False, {"value"}, ["uncertainty"])
    assert Hybrid(terms={"uncertainty": 1.0, "loss": 1.0}).wants == {"per_sample_loss", "value"}
    factors = Hybrid(terms={"rarity": 1.0})
    assert (factors.needs_features, factors.wants, list(factors.terms)) == (True, frozenset(), ["rarity"])
    assert not factors.keeps_features
    assert Hybrid(terms={"witness": 1.0}).keeps_features
    assert Hybrid(terms={"rarity": 1.0}, refresh=2).keeps_features


def test_a_weight_may_start_late():
    selector = bound(terms={"rarity": Step([0.0, 1.0], [0.5])}, noise=0.0, gamma=0.0)
    assert not selector.scores(0.4).any()
    assert torch.equal(selector.scores(0.6), selector.terms["rarity"].ranks)


def test_feature_ranks_are_within_class_only_if_balanced():
    features, labels = three_blobs()
    for balance in (True, False):
        selector = bound(terms={"boundary": 1.0}, class_balance=balance)
        material = Material(features, labels, None, 0)
        expected = rank_within_class(selector.terms["boundary"].raw(material), labels if balance else None)
        assert torch.equal(selector.terms["boundary"].ranks, expected)


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": {"loss": 0.0}}, "`terms` must have one with a weight above 0, .* there are uncertainty, loss, rep"),
        ({"terms": {}}, "`terms` must have one with a weight above 0"),
        ({"terms": {"rarity": -1.0}}, r"`terms\['rarity'\]` must be at least 0, got -1.0"),
        ({"terms": {"rarity": Linear(0, -1)}}, r"`terms\['rarity'\]` must be at least 0, got -0.001 at progress 0.001"),
        ({"terms": {"rarty": 1.0}}, "`terms` has the unknown term 'rarty'; did you mean 'rarity'"),
        ({"terms": {"torch.nn.Linear": 1.0}}, "'torch.nn.Linear' is none"),
        ({"terms": {"no.Such": 1.0}}, r"`terms` must be a class path that can be imported, got 'no.Such' \("),
        ({"gamma": -0.1}, "`gamma` must be at least 0, got -0.1"),
        ({"noise": -0.1}, "`noise` must be at least 0, got -0.1"),
        ({"smoothing": 1.0}, r"`smoothing` must be in \[0, 1\), got 1.0"),
        ({"clip": 1.0}, r"`clip` must be in \[0, 1\), got 1.0"),
        ({"refresh": -1}, "`refresh` must be at least 0, got -1; it is a number of epochs, 0 = never"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Hybrid(**options)


class Given(Term):
    """A term of one's own whose values are what stands in `shown`."""

    shown: object = 0.5

    def values(self, usage):
        return torch.full(usage.shape, 0.5).index_fill(0, torch.tensor([1]), self.shown)


class Needy(Given):
    def __init__(self, power):
        self.power = power


@pytest.mark.parametrize(
    ("shown", "said"), [(1.1, r"0.5 .. 1.1"), (-0.1, r"-0.1 .. 0.5"), (float("inf"), "inf"), (float("nan"), "nan")]
)
def test_values_of_a_term_out_of_range_name_it(monkeypatch, shown, said):
    monkeypatch.setattr(Given, "shown", shown)
    selector = Hybrid(terms={f"{__name__}.Given": 1.0})
    selector.bind(4)
    with pytest.raises(ValueError, match=rf"`Given.values` must return finite numbers in \[0, 1\], got .*{said}"):
        selector.select(0.0, 2)


def test_rounding_may_leave_the_range(monkeypatch):
    monkeypatch.setattr(Given, "shown", 1.0005)
    selector = Hybrid(terms={f"{__name__}.Given": 1.0}, gamma=0.0, epsilon=0.0)
    selector.bind(4)
    assert selector.select(0.0, 1).indices.tolist() == [1]


def test_a_term_with_a_required_argument_is_refused():
    with pytest.raises(TypeError, match=r"`terms`: .*Needy is made without arguments, .*; give 'power' a default"):
        Hybrid(terms={f"{__name__}.Needy": 1.0})


# ---------------------------------------------------------------- restart
def test_a_restart_gives_back_features_and_nothing_else():
    """Of all terms only the witness needs the features again; no term may be fitted anew."""
    features, labels = three_blobs()
    whole = bound(terms=FEATURES)
    resumed = Hybrid(terms=FEATURES, seed=0)
    resumed.bind(60, labels)
    for epoch in range(4):
        if epoch == 2:
            resumed.load_state_dict(whole.state_dict())
            assert not resumed.ready
            resumed.fit(features + 1e-3)  # captured rows have moved on since; what was fitted has not
            resumed.terms["witness"]._features = features
        chosen = whole.select(epoch / 4, 20).indices
        feedback = Feedback(chosen, per_sample_loss=chosen / 60, value=chosen / 60)
        if epoch >= 2:
            assert torch.equal(resumed.select(epoch / 4, 20).indices, chosen)
            resumed.observe(feedback)
        whole.observe(feedback)


@pytest.mark.parametrize(("name", "refresh"), [("rarity", 1), ("witness", 2), ("neural_witness", 0)])
def test_refreshed_features_survive_a_restart_at_every_step(tmp_path, name, refresh):
    def run(*callbacks: object, **options: object) -> Module:
        module = Module()
        callback = DynamicSelection(Hybrid(terms={"uncertainty": 1.0, name: 0.5}, refresh=refresh), keep_ratio=0.5)
        return fit(callback, *callbacks, module=module, loader=train_loader(), max_epochs=6, **options)[0]

    saver = SaveEvery(tmp_path)
    whole = run(saver)
    for path in saver.paths[6::4]:
        assert same_weights(whole, run(ckpt_path=path, seed=2)), path.name


@pytest.mark.parametrize(("refresh", "fits"), [(0, [2]), (1, [2, 3, 4, 5]), (2, [2, 4])])
def test_captured_features_are_fitted_anew(refresh, fits):
    """At keep ratio 0.5 every sample has been captured after two epochs."""
    fitted, rows = [], []

    class Noting(RRD):
        def fit(self, features: torch.Tensor) -> None:
            fitted.append(callback.trainer_epoch())
            rows.append(features.clone())
            super().fit(features)

    callback = DynamicSelection(Noting(refresh=refresh), keep_ratio=0.5)
    module = Module()
    callback.trainer_epoch = lambda: module.trainer.current_epoch
    fit(callback, module=module, loader=train_loader(), max_epochs=6)
    assert fitted == fits
    assert len({str(r) for r in rows}) == len(fits)


def test_penalty_and_loss_rotate():
    """A large gamma makes uses equal whatever the losses."""
    selector = bound(gamma=20.0, noise=0.0)
    for epoch in range(12):
        chosen = selector.select(epoch / 12, 20).indices
        selector.observe(Feedback(chosen, value=chosen.float()))
    assert float(usage_penalty(selector.usage).max()) <= 1.5
    assert int(selector.usage.min()) >= 3
