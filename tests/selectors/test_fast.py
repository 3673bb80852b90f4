"""FAST: its parts against direct formulas, and coresets nearer to their class than random ones."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits, make_blobs

from dynsel.cfd import characteristic_sums, gaussian_frequencies, median_scale, phase_decoupled
from dynsel.selection import balanced_top_k, largest_remainder
from dynsel.selectors import Feedback
from dynsel.selectors.fast import FAST
from dynsel.selectors.fast.points import _submatrix, assign, log_det, optimise
from dynsel.selectors.fast.problem import make_problem
from dynsel.selectors.fast.swaps import swap, swap_waves

QUICK = {"steps": 20, "num_frequencies": 96, "steps_again": 4, "assign_every": 4, "frequencies_per_step": 16}


def blobs(count: int = 300, classes: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes of several clusters each, of different sizes."""
    x, cluster = make_blobs(count, 8, centers=3 * classes, random_state=seed)
    return torch.from_numpy(x).float(), torch.from_numpy(cluster % classes)


def fitted(x: torch.Tensor, labels: torch.Tensor | None = None, **options: object) -> FAST:
    selector = FAST(**{**QUICK, "class_balance": labels is not None, "seed": 0, **options})
    selector.bind(len(x), labels)
    selector.fit(x)
    return selector


def distance(embedding: torch.Tensor, chosen: torch.Tensor) -> float:
    """Phase-decoupled CFD at frequencies that FAST never saw."""
    generator = torch.Generator().manual_seed(99)
    t = gaussian_frequencies(512, embedding.shape[1], median_scale(embedding, generator), generator)
    value = characteristic_sums(embedding[chosen], t).value()
    return float(phase_decoupled(value, characteristic_sums(embedding, t).value(), t).mean())


# ---------------------------------------------------------------- parts
@pytest.mark.parametrize("rows", [5, 40])
def test_log_det_is_that_of_the_large_matrix(rows):
    waves = torch.randn(rows, 16, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    direct = torch.logdet(waves @ waves.T + 0.01 * torch.eye(rows))
    ours = log_det(waves, 0.01)
    assert float(ours) == pytest.approx(float(direct), rel=1e-6)
    (gradient,), (wanted,) = (torch.autograd.grad(value, waves) for value in (ours, direct))
    np.testing.assert_allclose(gradient, wanted, atol=1e-4)


def problem_of(x: torch.Tensor, count: int = 20, **options: object):
    selector = fitted(x, **options)
    return make_problem(selector.embedding, selector.degree, count, selector.settings, seed=1), selector


def test_the_assignment_is_the_cheapest():
    problem, _ = problem_of(blobs(80)[0])
    points = torch.randn(20, 16, generator=torch.Generator().manual_seed(1))
    cost = torch.cdist(points, problem.reference).square() / problem.degree
    match = assign(points, problem)
    assert len(match.unique()) == 20
    rows, columns = linear_sum_assignment(cost.numpy())
    assert float(cost[range(20), match].sum()) == pytest.approx(float(cost[rows, columns].sum()), rel=1e-5)


def test_the_degree_can_be_left_out():
    problem, selector = problem_of(blobs(80)[0], degree_exponent=0.0)
    assert problem.degree.eq(1).all()
    assert not selector.degree.eq(1).all()


def test_a_penalty_turns_to_other_samples():
    problem, _ = problem_of(blobs(80)[0])
    before = assign(problem.reference[:20], problem)
    assert sorted(before.tolist()) == list(range(20))
    penalty = torch.zeros(80)
    penalty[:20] = 100
    assert not set(assign(problem.reference[:20], problem, penalty).tolist()) & set(range(20))


def test_the_points_approach_the_reference():
    problem, selector = problem_of(blobs(200)[0])
    generator = torch.Generator().manual_seed(0)
    start = problem.reference[torch.randperm(200, generator=generator)[:20]]

    def away(points: torch.Tensor) -> float:
        value = characteristic_sums(points, problem.bank).value()
        return float(phase_decoupled(value, problem.aim.to(value), problem.bank).mean())

    points, match = optimise(start, problem, selector.settings, 80, generator)
    assert away(points) < 0.6 * away(start)
    assert len(match.unique()) == 20


def test_waves_measure_the_phase_decoupled_distance():
    """To second order: exact enough for subsets that are near."""
    x = torch.randn(2000, 4, generator=torch.Generator().manual_seed(3))
    settings = FAST(num_frequencies=256).settings
    waves = swap_waves(x, 0.4, None, 1000, settings, seed=5)
    generator = torch.Generator().manual_seed(5)
    t = torch.cat([gaussian_frequencies(n, 4, s, generator) for n, s in ((64, 0.4), (64, 0.8), (128, 0.4))])
    half = torch.randperm(2000, generator=generator)[:1000]
    now, aim = characteristic_sums(x[half], t).value(), characteristic_sums(x, t).value()
    # The weight of a phase is that of |φ|² + 1 / M: where that is small against |φ|², it is the paper's.
    loud = aim.abs() > 0.2
    squares = (waves[half].mean(0) - waves.mean(0)).square() * len(t)
    ours = (squares[: len(t)] + squares[len(t) :])[loud].mean()
    assert float(ours) == pytest.approx(float(phase_decoupled(now, aim, t)[loud].mean()), rel=0.05)


def naive_swaps(chosen: set[int], waves: np.ndarray) -> float:
    """Best single exchange again and again, by trying all."""
    aim, best = waves.mean(0), np.inf
    while True:
        now = np.square(waves[sorted(chosen)].mean(0) - aim).sum()
        if now >= best - 1e-9:
            return float(best)
        best = now
        pairs = [
            (float(np.square(waves[sorted(chosen - {i} | {j})].mean(0) - aim).sum()), i, j)
            for i in sorted(chosen)
            for j in range(len(waves))
            if j not in chosen
        ]
        _, i, j = min(pairs)
        chosen = chosen - {i} | {j} if min(pairs)[0] < now else chosen


def test_exchanges_end_as_low_as_trying_all_of_them():
    waves = torch.randn(30, 12, generator=torch.Generator().manual_seed(2))
    chosen = swap(torch.arange(8), waves)
    ours = float((waves[chosen].mean(0) - waves.mean(0)).square().sum())
    start = float((waves[:8].mean(0) - waves.mean(0)).square().sum())
    assert len(chosen.unique()) == 8
    assert ours < 0.5 * start
    assert ours < 1.5 * naive_swaps(set(range(8)), waves.numpy())


def test_exchanges_never_raise_the_uses():
    waves = torch.randn(60, 20, generator=torch.Generator().manual_seed(2))
    usage = torch.arange(60, dtype=torch.int32) // 20
    chosen = swap(torch.arange(20, 40), waves, usage)
    assert (usage[chosen] <= 1).all()
    assert chosen.tolist() != list(range(20, 40))
    assert swap(torch.arange(60), waves).tolist() == list(range(60))


# ---------------------------------------------------------------- coresets
def test_a_coreset_of_digits_is_nearer_than_the_best_of_100_random_ones():
    digits = load_digits()
    x, labels = torch.from_numpy(digits.data).float(), torch.from_numpy(digits.target)
    chosen_of = [c for c in range(10) if c in (1, 8)]
    few = torch.isin(labels, torch.tensor(chosen_of))
    x, labels = x[few], (labels[few] == 8).long()
    selector = fitted(x, labels, steps=60)
    chosen = selector.select(0.0, 72).indices
    generator = torch.Generator().manual_seed(0)
    random = [balanced_top_k(torch.rand(len(x), generator=generator), labels, 72) for _ in range(100)]
    for c in range(2):
        members = (labels == c).nonzero()[:, 0]
        inside = [torch.isin(members, subset).nonzero()[:, 0] for subset in (chosen, *random)]
        ours, *theirs = (distance(selector.embedding[members], subset) for subset in inside)
        assert ours < min(theirs)


def test_quotas_are_exact_and_indices_ascend():
    x, labels = blobs(330, 3)
    chosen = fitted(x, labels).select(0.0, 100).indices
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    sizes = torch.bincount(labels)
    assert torch.equal(torch.bincount(labels[chosen]), largest_remainder(sizes, 100))


def test_static_is_one_coreset_until_the_size_changes():
    x, labels = blobs(200)
    selector = fitted(x, labels)
    first = selector.select(0.0, 40).indices
    selector.observe(Feedback(first))
    assert torch.equal(selector.select(0.5, 40).indices, first)
    assert len(selector.select(0.6, 50).indices) == 50


def test_the_seed_decides():
    x, labels = blobs(140)
    chosen = [fitted(x, labels, seed=seed).select(0.0, 28).indices.tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_without_exchanges_the_assigned_samples_stay():
    x, _ = blobs(200)
    selector = fitted(x, swaps=False)
    chosen = selector.select(0.0, 20).indices
    problem = make_problem(selector.embedding, selector.degree, 20, selector.settings, seed=0)
    assert sorted(assign(selector.points, problem).tolist()) == chosen.tolist()


def run(selector: FAST, epochs: range, size: int) -> list[list[int]]:
    chosen = []
    for epoch in epochs:
        indices = selector.select(epoch / 10, size).indices
        selector.observe(Feedback(indices))
        chosen.append(indices.tolist())
    return chosen


@pytest.mark.parametrize("count", [140, 60])  # classes of more and of fewer than 64
def test_rotating_uses_all_samples_alike(count):
    x, labels = blobs(count)
    selector = fitted(x, labels, mode="rotating")
    chosen = run(selector, range(10), count // 5)
    assert len({tuple(indices) for indices in chosen}) == 10
    assert int(selector.usage.sum()) == 10 * count // 5
    # Ten epochs of a fifth are two uses each.
    assert int((selector.usage == 0).sum()) <= 0.1 * count
    assert int(selector.usage.max()) <= 5


def test_without_a_price_rotating_stays_nearby():
    x, labels = blobs(200)
    priced, free = (fitted(x, labels, mode="rotating", usage_price=price, swaps=False) for price in (1.0, 0.0))
    for selector in (priced, free):
        run(selector, range(8), 40)
    assert int((free.usage == 0).sum()) > 2 * int((priced.usage == 0).sum())


def test_each_epoch_of_rotating_is_nearer_than_random():
    x, _ = blobs(400, 1)
    selector = fitted(x, mode="rotating")
    generator = torch.Generator().manual_seed(0)
    theirs = [distance(selector.embedding, torch.randperm(400, generator=generator)[:80]) for _ in range(20)]
    ours = [distance(selector.embedding, torch.tensor(chosen)) for chosen in run(selector, range(4), 80)]
    assert max(ours) < np.median(theirs)


@pytest.mark.parametrize("mode", ["static", "rotating"])
def test_a_resumed_run_goes_on_the_same(mode):
    x, labels = blobs(140)
    whole = fitted(x, labels, mode=mode)
    run(whole, range(2), 28)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    resumed = FAST(**QUICK, mode=mode, seed=0)
    resumed.bind(len(x), labels)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.ready
    assert run(resumed, range(2, 5), 28) == run(whole, range(2, 5), 28)
    # Another size is solved for anew.
    assert run(resumed, range(5, 7), 42) == run(whole, range(5, 7), 42)


# ---------------------------------------------------------------- special inputs
def test_quotas_of_nothing_and_of_all():
    """Sizes 1, 2, 3, 5 and 89: of the smaller ones at most one sample in a coreset of 20."""
    labels = torch.tensor([0] + [1] * 2 + [2] * 3 + [3] * 5 + [4] * 89)
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    selector = fitted(x, labels)
    quotas = largest_remainder(torch.bincount(labels), 20)
    assert quotas.min() == 0
    assert torch.equal(torch.bincount(labels[selector.select(0.0, 20).indices], minlength=5), quotas)
    assert selector.select(0.0, 100).indices.tolist() == list(range(100))
    assert len(selector.select(0.0, 1).indices) == 1


def test_more_dimensions_than_samples():
    x = torch.randn(70, 200, generator=torch.Generator().manual_seed(0))
    assert len(fitted(x).select(0.0, 7).indices) == 7


def test_duplicates_are_chosen_once_each():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).repeat(4, 1)
    assert len(fitted(x).select(0.0, 80).indices.unique()) == 80


def test_arrays_of_half_precision():
    x, labels = blobs(150)
    ours = fitted(x.half(), labels).select(0.0, 30).indices
    again = FAST(**QUICK, seed=0)
    again.bind(150, labels)
    again.fit(x.half().numpy())
    assert torch.equal(again.select(0.0, 30).indices, ours)


def test_the_same_features_everywhere():
    x, labels = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    x[labels == 1] = 3.0
    with pytest.raises(ValueError, match="all samples of class 1 have the same features, FAST can't tell them apart"):
        fitted(x, labels)
    with pytest.raises(ValueError, match="all samples have the same features"):
        fitted(torch.ones(20, 2))


def test_too_many_samples_at_once():
    x = torch.zeros(20_001, 1)
    with pytest.raises(ValueError, match=r"at most 20,000 samples at once, got 20,001; give labels and class_balance"):
        fitted(x)
    with pytest.raises(ValueError, match=r"got 20,001 in one class; split the classes into finer ones"):
        fitted(x, torch.zeros(20_001, dtype=torch.int64))


def test_features_that_do_not_fit():
    selector = FAST(class_balance=False)
    selector.bind(5)
    with pytest.raises(ValueError, match="`features` must have one row per sample: expected 5, got 4"):
        selector.fit(torch.randn(4, 2))
    with pytest.raises(ValueError, match="got NaN or infinite values in row 2"):
        selector.fit(torch.tensor([[0.0], [1.0], [math.nan], [1.0], [2.0]]))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "dynamic"}, "`mode` must be 'static' or 'rotating', got 'dynamic'"),
        ({"usage_price": -1.0}, "`usage_price` must be at least 0, got -1.0"),
        ({"dim": 0}, "`dim` must be at least 1, got 0"),
        ({"scales": [0, 5]}, "`scales` must be at least 1, got 0"),
        ({"scales": []}, "`scales` must hold at least one number of neighbours, got none"),
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"steps_again": 0}, "`steps_again` must be at least 1, got 0"),
        ({"assign_every": 0}, "`assign_every` must be at least 1, got 0"),
        ({"frequencies_per_step": 0}, "`frequencies_per_step` must be at least 1, got 0"),
        ({"num_frequencies": 11}, "`num_frequencies` must be at least 12, got 11; 1024 is usual"),
        ({"lr": 0.0}, "`lr` must be above 0, got 0.0"),
        ({"strength": -0.1}, "`strength` must be at least 0, got -0.1"),
        ({"diversity": math.nan}, "`diversity` must be at least 0 and finite, got nan"),
        ({"degree_exponent": -1.0}, "`degree_exponent` must be at least 0, got -1.0"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        FAST(**options)


def test_a_progress_bar_changes_nothing():
    x, labels = blobs(60)
    shown, bare = (fitted(x, labels, progress_bar=shown).select(0.0, 12).indices for shown in (True, False))
    assert torch.equal(shown, bare)


def test_the_laplacian_is_forgotten_after_the_first_coreset():
    """So that a resumed run, which has none, goes on the same."""
    selector = fitted(blobs(100)[0])
    (matrix,) = selector._laplacians.values()
    np.testing.assert_allclose(matrix.diagonal(), 1)
    selector.select(0.0, 20)
    assert selector._laplacians == {}
    assert all(problem.laplacian is None for problem in selector._problems.values())


def test_the_graph_term_is_that_of_the_assigned_samples():
    """Tr(Yᵀ L_sub Y) with the rows and columns of the assigned samples, repeated ones impossible."""
    selector = fitted(blobs(100)[0])
    matrix, match = selector._laplacians[0], torch.tensor([5, 2, 70])
    dense = torch.from_numpy(matrix.toarray()).float()
    np.testing.assert_allclose(_submatrix(matrix, match).to_dense(), dense[match][:, match])
    assert _submatrix(None, match) is None
