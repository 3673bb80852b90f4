"""Rarity: a factor is rare among the samples of a class."""

from __future__ import annotations

from clusters import three_blobs

from dynsel.selectors import Hybrid


def test_rarity_is_that_of_the_class():
    """One factor for each blob: a point of blob 0 with the label of blob 1 is the rarest of its class."""
    features, labels = three_blobs()
    labels = labels.clone()
    labels[0] = 1
    selector = Hybrid(terms={"rarity": 1.0}, class_balance=True, seed=0)
    selector.bind(60, labels)
    selector.fit(features)
    ranks = selector.terms["rarity"].ranks
    assert float(ranks[0]) > 0.9 * float(ranks[labels == 1].max())
