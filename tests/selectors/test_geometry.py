"""Geometry: the sum of its terms, what it goes on from, and that nothing has to be heard."""

from __future__ import annotations

import warnings

import lightning.pytorch as pl
import pytest
import torch
from support import Indexed, fit
from torch.utils.data import DataLoader

import dynsel.selectors.geometry as geometry
from dynsel.callbacks import DynamicSelection
from dynsel.selectors import Feedback, Geometry, Hybrid
from dynsel.usage import usage_penalty

N = 700  # above it the quick eigenvectors are looked for
LABELS = torch.arange(N) % 4


@pytest.fixture(autouse=True)
def quick_ways_from_few_samples_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "_EXACT", 100)


def rows(moved: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    place = torch.randn(N, 3, generator=generator)
    x = (place @ torch.randn(3, 8, generator=generator)).sin() + LABELS[:, None] * 0.3
    return x + moved * torch.randn(N, 8, generator=generator)


def trained(labels: torch.Tensor | None = LABELS, **options: object) -> Geometry:
    selector = Geometry(seed=0, sae_epochs=1, **options)
    selector.bind(N, labels)
    selector.fit(rows())
    selector.observe(Feedback(torch.arange(0, N, 3)))
    return selector


def test_it_wants_features_and_nothing_else():
    assert Geometry().needs == ("features",)
    assert Geometry().wants == frozenset()
    assert Geometry().refresh == 1


@pytest.mark.parametrize("labels", [LABELS, None])
def test_the_score_is_the_sum_of_the_terms_minus_the_uses(labels):
    selector = trained(labels, rarity=0.5, gamma=2.0)
    weights = {"rarity": 0.5, "witness": 1.0, "region": 1.0} | ({} if labels is None else {"boundary": 1.0})
    assert selector.terms.keys() == weights.keys()
    wanted = sum(w * selector.terms[name].values(selector.usage) for name, w in weights.items())
    wanted = wanted - 2.0 * usage_penalty(selector.usage)
    torch.testing.assert_close(selector.scores(0.5), wanted, rtol=1e-5, atol=1e-5)


def test_a_first_fit_has_the_terms_of_hybrid():
    """Those that depend on no random start."""
    ours = trained()
    theirs = Hybrid(terms={"boundary": 1.0}, seed=0)
    theirs.bind(N, LABELS)
    theirs.fit(rows())
    # Other scales of the graph, so the order is much the same.
    a, b = ours.terms["boundary"].values(ours.usage), theirs.terms["boundary"].values(theirs.usage)
    assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.8


def test_a_refresh_is_near_to_a_fresh_fit():
    """Beside a selector that never saw the features of before."""
    selector, fresh = trained(), Geometry(seed=0, sae_epochs=1)
    selector.fit(rows(0.02))
    fresh.bind(N, LABELS)
    fresh.fit(rows(0.02))
    fresh.observe(Feedback(torch.arange(0, N, 3)))
    for name, least in (("boundary", 0.9), ("region", 0.9), ("witness", 0.99)):
        a, b = (s.terms[name].values(s.usage) for s in (selector, fresh))
        assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > least, name


def test_a_refresh_goes_on_from_the_last_weights(monkeypatch):
    selector = trained()
    before = selector.sae_decoder.clone()
    monkeypatch.setattr(geometry, "fit_sae", None)  # calling it would raise
    selector.fit(rows(0.02))
    # Each atom is still its own nearest one.
    assert ((selector.sae_decoder @ before.T).argmax(1) == torch.arange(len(before))).all()
    assert not torch.equal(selector.sae_decoder, before)


def test_a_restart_refreshes_to_the_same():
    whole, resumed = trained(), Geometry(seed=0, sae_epochs=1)
    resumed.bind(N, LABELS)
    resumed.load_state_dict(whole.state_dict())
    assert not resumed.ready
    resumed.fit(rows())  # gives back what is no part of the state
    assert resumed.ready
    for selector in (whole, resumed):
        selector.fit(rows(0.02))
    a, b = whole.state_dict(), resumed.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert torch.equal(whole.select(0.5, 100).indices, resumed.select(0.5, 100).indices)


def test_bound_to_other_data_it_counts_boundaries_again():
    selector = trained(None)
    selector.bind(N, LABELS)
    assert "boundary" in selector.terms
    with pytest.raises(ValueError, match="Geometry of `boundary` alone needs labels; pass `labels=`"):
        Geometry(rarity=0, witness=0, region=0).bind(N)


def test_it_says_that_the_boundary_is_left_out():
    with pytest.warns(UserWarning, match="Geometry goes without `boundary`, for there are no class labels"):
        Geometry().bind(N)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Geometry(boundary=0).bind(N)
        Geometry().bind(N, LABELS)


def test_weights_are_checked_by_their_names():
    with pytest.raises(ValueError, match="`region` must be at least 0"):
        Geometry(region=-1.0)
    with pytest.raises(ValueError, match="Geometry must have a weight above 0 among rarity, witness, boundary, region"):
        Geometry(rarity=0, witness=0, boundary=0, region=0)


def test_it_trains_where_nothing_can_be_heard():
    """A loss of nobody's making, and no labels: features are captured and refreshed each epoch."""

    class Unheard(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

        def training_step(self, batch: object, batch_idx: int) -> torch.Tensor:
            return self.net(batch[0]).square().mean().sqrt()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.01)

    selection = DynamicSelection(Geometry(sae_epochs=1), keep_ratio=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(selection, module=Unheard(), loader=DataLoader(Indexed(40), 4, shuffle=True), val=False, max_epochs=6)
    assert selection.selector.ready
    assert int(selection.selector.usage.sum()) == 6 * 20


def test_its_repr_is_a_call_that_makes_it() -> None:
    assert repr(Geometry()) == "Geometry()"
    other = Geometry(rarity=0.5, boundary=0, gamma=0.3, epsilon=0)
    assert repr(other) == "Geometry(rarity=0.5, boundary=0.0, gamma=0.3, epsilon=0.0)"
    assert repr(eval(repr(other))) == repr(other)
