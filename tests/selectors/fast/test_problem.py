"""What FAST is given to solve: degrees, the aim by the definition, the floor by its formula, the same each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clusters import fitted_fast, uneven_blobs

from dynsel.cfd import random_floor
from dynsel.selectors.fast.problem import Problem, Settings, make_problem


def problem_of(count: int = 20, **options: object) -> tuple[Problem, torch.Tensor]:
    selector = fitted_fast(uneven_blobs(80)[0], **options)
    return make_problem(selector.embedding, selector.degree, count, selector.settings, seed=1), selector.degree


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_degree_has_its_power(power):
    problem, degree = problem_of(degree_exponent=power)
    torch.testing.assert_close(problem.degree, degree**power)
    assert not degree.eq(1).all()


def test_the_aim_is_the_characteristic_function_of_all():
    problem, _ = problem_of()
    angles = problem.reference.double() @ problem.bank.double().T
    np.testing.assert_allclose(problem.aim, torch.exp(1j * angles).mean(0), atol=1e-5)
    assert (problem.bank.norm(dim=1).diff() >= 0).all()
    assert problem.floor == pytest.approx(float(random_floor(problem.aim, 20, 80)))


def test_the_same_arguments_make_the_same_problem():
    (one, _), (other, _) = problem_of(), problem_of()
    assert torch.equal(one.bank, other.bank)
    assert one.scale == other.scale


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_frequencies", 11, "`num_frequencies` must be at least 12, got 11; 1024 is usual"),
        ("assign_every", 0, "`assign_every` must be at least 1, got 0"),
        ("lr", 0.0, "`lr` must be above 0, got 0.0"),
        ("strength", -0.1, "`strength` must be at least 0, got -0.1"),
    ],
)
def test_settings_out_of_range(name, value, message):
    numbers = dict.fromkeys(Settings.__dataclass_fields__, 12) | {name: value}
    with pytest.raises(ValueError, match=message):
        Settings(**numbers)
