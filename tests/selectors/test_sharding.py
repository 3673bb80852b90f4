from __future__ import annotations

import pytest

from dynsel.selectors import SELECTORS, AlignPrune, Hybrid, Proxy, Random
from dynsel.selectors.sharding import check_fits_shards, fits_shards

FITTING = {"random", "epsilon-greedy", "loss", "hybrid", "ucb", "el2n", "grand", "aum", "forgetting"}
MADE = {"alignprune": lambda: AlignPrune(trusted=[0]), "proxy": lambda: Proxy(model="torch.nn.Identity")}


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_fits_or_is_refused_with_a_reason(name):
    selector = MADE.get(name, SELECTORS[name])()
    assert fits_shards(selector) == (name in FITTING)
    if name in FITTING:
        check_fits_shards(selector)
        return
    kind = type(selector).__name__
    with pytest.raises(
        ValueError, match=f"`sharded`: {kind} can't choose where .*: .*\\. Hybrid, .* and Forgetting can;"
    ):
        check_fits_shards(selector)


@pytest.mark.parametrize(
    ("term", "reason"),
    [("boundary", "the neighbours of every sample"), ("rarity", "autoencoder"), ("batch_loss", "batches")],
)
def test_a_term_that_does_not_fit_is_named(term, reason):
    with pytest.raises(ValueError, match=f"can't choose .*: .*{reason}"):
        check_fits_shards(Hybrid(terms={"uncertainty": 1.0, term: 0.5}))


def test_what_a_subclass_adds_is_not_taken_for_granted():
    class Mine(Random):
        pass

    with pytest.raises(ValueError, match=r"Mine can't choose .*: it looks at all samples.*`fits_shards = True`"):
        check_fits_shards(Mine())

    class Asks(Random):
        fits_shards = True

    check_fits_shards(Asks())
