"""FAST's points: assignment by scipy's solver, log-determinant by the large matrix, graph term by its rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clusters import fitted_fast, uneven_blobs
from scipy.optimize import linear_sum_assignment

from dynsel.cfd import characteristic_sums, phase_decoupled
from dynsel.selectors.fast.points import _submatrix, assign, log_det, optimise
from dynsel.selectors.fast.problem import make_problem


@pytest.mark.parametrize("rows", [5, 40])
def test_log_det_is_that_of_the_large_matrix(rows):
    waves = torch.randn(rows, 16, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    direct = torch.logdet(waves @ waves.T + 0.01 * torch.eye(rows))
    ours = log_det(waves, 0.01)
    assert float(ours) == pytest.approx(float(direct), rel=1e-6)
    (gradient,), (wanted,) = (torch.autograd.grad(value, waves) for value in (ours, direct))
    np.testing.assert_allclose(gradient, wanted, atol=1e-4)


def problem_of(x: torch.Tensor, count: int = 20, **options: object):
    selector = fitted_fast(x, **options)
    return make_problem(selector.embedding, selector.degree, count, selector.settings, seed=1), selector


def test_the_assignment_is_the_cheapest():
    problem, _ = problem_of(uneven_blobs(80)[0])
    points = torch.randn(20, 16, generator=torch.Generator().manual_seed(1))
    cost = torch.cdist(points, problem.reference).square() / problem.degree
    match = assign(points, problem)
    assert len(match.unique()) == 20
    rows, columns = linear_sum_assignment(cost.numpy())
    assert float(cost[range(20), match].sum()) == pytest.approx(float(cost[rows, columns].sum()), rel=1e-5)


def test_a_penalty_turns_to_other_samples():
    problem, _ = problem_of(uneven_blobs(80)[0])
    before = assign(problem.reference[:20], problem)
    assert sorted(before.tolist()) == list(range(20))
    penalty = torch.zeros(80)
    penalty[:20] = 100
    assert not set(assign(problem.reference[:20], problem, penalty).tolist()) & set(range(20))


def test_the_points_approach_the_reference():
    problem, selector = problem_of(uneven_blobs(200)[0])
    generator = torch.Generator().manual_seed(0)
    start = problem.reference[torch.randperm(200, generator=generator)[:20]]

    def away(points: torch.Tensor) -> float:
        value = characteristic_sums(points, problem.bank).value()
        return float(phase_decoupled(value, problem.aim.to(value), problem.bank).mean())

    points, match = optimise(start, problem, selector.settings, 80, generator)
    assert away(points) < 0.6 * away(start)
    assert len(match.unique()) == 20


def test_the_graph_term_is_that_of_the_assigned_samples():
    """Tr(Yᵀ L_sub Y) with the rows and columns of the assigned samples, repeated ones impossible."""
    selector = fitted_fast(uneven_blobs(100)[0])
    matrix, match = selector._laplacians[0], torch.tensor([5, 2, 70])
    dense = torch.from_numpy(matrix.toarray()).float()
    np.testing.assert_allclose(_submatrix(matrix, match).to_dense(), dense[match][:, match])
    assert _submatrix(None, match) is None
