"""UGIES: its edges beside scipy's, its greedy choice beside one that adds everything up anew for each sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import expit

from dynsel.selectors import UGIES, Feedback
from dynsel.selectors.ugies import edge_weights, greedy_gains


def drawn(n: int, d: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def fitted(x: torch.Tensor, labels: torch.Tensor | None = None, **options: object) -> UGIES:
    selector = UGIES(**{"seed": 0, **options})
    selector.bind(len(x), labels)
    selector.fit(x)
    return selector


def told(selector: UGIES, entropies: torch.Tensor) -> UGIES:
    selector.observe(Feedback(torch.arange(len(entropies)), value=entropies))
    return selector


def graph(selector: UGIES) -> np.ndarray:
    """(N, N) float64 edges; 0 between clusters."""
    whole, start, first = np.zeros((selector.num_samples, selector.num_samples)), 0, 0
    for size in selector.sizes.tolist():
        rows = selector.members[start : start + size].numpy()
        whole[np.ix_(rows, rows)] = selector.edges[first : first + size**2].double().view(size, size)
        start, first = start + size, first + size**2
    np.fill_diagonal(whole, 0)
    return whole


def greedily(nodes: np.ndarray, edges: np.ndarray, size: int) -> list[int]:
    """Equations 7 and 8 of the paper, to the letter."""
    taken: list[int] = []
    for _ in range(size):
        rest = [i for i in range(len(nodes)) if i not in taken]
        taken.append(max(rest, key=lambda i: nodes[i] + edges[i, taken].sum()))
    return taken


def test_edges_are_those_of_the_paper():
    x = drawn(30)
    ours = edge_weights(torch.nn.functional.normalize(x))
    np.testing.assert_allclose(ours, expit(cdist(x, x, "cosine")) - 1, atol=1e-6)


def weight(nodes: np.ndarray, edges: np.ndarray, clique: list[int]) -> float:
    """Equation 3."""
    return float(nodes[clique].sum() + edges[np.ix_(clique, clique)].sum() / 2)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 40), st.floats(0.05, 3), st.integers(0, 99))
def test_the_choice_is_the_greedy_one(n, cluster_size, size, alpha, seed):
    labels, entropies = torch.arange(n) % 2, drawn(n, 1, seed + 1).abs()[:, 0]
    selector = told(fitted(drawn(n, seed=seed), labels, cluster_size=cluster_size, alpha=alpha), entropies)
    nodes, edges = alpha * selector.average.double().numpy(), graph(selector)
    wanted = sorted(greedily(nodes, edges, min(n, size)))
    chosen = selector.select(0.5, min(n, size)).indices.tolist()
    # Where float32 can't tell two gains apart, either choice is the greedy one.
    assert chosen == wanted or weight(nodes, edges, chosen) == pytest.approx(weight(nodes, edges, wanted), abs=1e-4)


def test_gains_never_rise():
    selector = told(fitted(drawn(300), cluster_size=30), drawn(300, 1, 1).abs()[:, 0])
    nodes, edges = selector.average.double().numpy(), graph(selector)
    gains = selector.scores(0.5)
    order = gains.argsort(descending=True).tolist()
    for place, i in enumerate(order):
        assert float(gains[i]) == pytest.approx(nodes[i] + edges[i, order[:place]].sum(), abs=1e-3)


def test_clusters_are_of_one_class_and_of_the_size_asked_for():
    labels = torch.arange(600) % 3
    selector = fitted(drawn(600), labels, cluster_size=20)
    assert selector.members.sort().values.tolist() == list(range(600))
    assert len(selector.sizes) == 30
    for members in selector.members.split(selector.sizes.tolist()):
        assert len(labels[members].unique()) == 1


def test_of_equal_features_the_clusters_are_cut():
    selector = fitted(torch.ones(1000, 3), cluster_size=10)
    assert int(selector.sizes.max()) <= 40
    assert len(selector.select(0.5, 300).indices) == 300
    assert float(selector.edges.max()) == -0.5


def test_copies_come_after_others_of_the_same_entropy():
    x = torch.cat([drawn(20, 50), drawn(20, 50)[:5]])
    selector = told(fitted(x), torch.ones(25))
    assert len({i % 20 for i in selector.select(0.5, 12).indices.tolist()}) == 12


def test_with_much_weight_on_entropy_it_alone_decides():
    entropies = drawn(200, 1, 3).abs()[:, 0]
    selector = told(fitted(drawn(200), alpha=1e4), entropies)
    assert torch.equal(selector.select(0.5, 60).indices, entropies.topk(60).indices.sort().values)


def test_what_training_never_told_of_is_as_unsure_as_the_most_unsure():
    entropies = torch.linspace(0, 2, 100)
    entropies[[3, 50]] = torch.nan
    selector = told(fitted(drawn(100), alpha=1e4), entropies)
    assert {3, 50} <= set(selector.select(0.5, 3).indices.tolist())


def test_before_training_told_anything_features_decide():
    selector = fitted(drawn(100))
    assert selector.select(0.0, 40).indices.tolist() == sorted(greedily(np.zeros(100), graph(selector), 40))


def test_the_entropy_is_that_of_the_last_use():
    logits = torch.tensor([[0.0, 0.0], [0.0, 50.0]])
    entropies = UGIES().measure(logits, None, None)
    np.testing.assert_allclose(entropies, [np.log(2), 0], atol=1e-6)
    selector = told(told(fitted(drawn(2)), torch.tensor([1.0, 1.0])), entropies)
    assert torch.equal(selector.average, entropies)


def test_classes_keep_their_shares():
    labels = (torch.arange(300) >= 60).long()
    selector = told(fitted(drawn(300), labels, class_balance=True), torch.rand(300) + 5 * labels)
    assert torch.bincount(labels[selector.select(0.5, 100).indices]).tolist() == [20, 80]


def test_features_far_from_the_origin_and_of_length_zero():
    x = torch.cat([torch.zeros(3, 4), 1e15 * drawn(30).sign()])
    assert torch.isfinite(told(fitted(x, cluster_size=5), torch.ones(33)).scores(0.5)).all()


def test_a_refresh_takes_the_new_features():
    selector = fitted(drawn(200), cluster_size=20)
    before = selector.edges
    selector.fit(drawn(200, seed=5))
    assert not (len(before) == len(selector.edges) and torch.equal(before, selector.edges))


@pytest.mark.parametrize(
    ("name", "value"), [("alpha", -1), ("alpha", float("nan")), ("cluster_size", 0), ("refresh", -1)]
)
def test_wrong_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        UGIES(**{name: value})


def test_one_cluster_by_hand():
    nodes, edges = torch.tensor([1.0, 0.9, 0.2]), torch.tensor([0, -0.5, -0.2, -0.5, 0, -0.1, -0.2, -0.1, 0])
    gains = greedy_gains(nodes, torch.arange(3), torch.tensor([3]), edges)
    torch.testing.assert_close(gains, torch.tensor([1.0, 0.4, -0.1]))
