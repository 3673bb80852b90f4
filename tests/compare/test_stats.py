"""Statistics of a comparison: intervals, paired tests, Holm's correction, verdicts, evaluations at a target."""

from __future__ import annotations

import math
from statistics import mean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import curve, half
from scipy import stats as oracle

from dynsel.compare.stats import differences, half_width, holm, lower_is_better, paired, reached, verdict


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.integers(0, 2**32))
def test_paired_is_the_formula_of_the_t_test(base: list[float], seed: int) -> None:
    own = [b + e for b, e in zip(base, np.random.default_rng(seed).normal(0.1, 0.2, len(base)), strict=True)]
    found, n = paired(own, base), len(own)
    pairs = [a - b for a, b in zip(own, base, strict=True)]
    error = stdev(pairs) / n**0.5
    assert found.p == pytest.approx(2 * oracle.t.sf(abs(mean(pairs)) / error, n - 1), abs=1e-12)
    assert found.ci95 == pytest.approx(oracle.t.ppf(0.975, n - 1) * error, rel=1e-12, abs=1e-12)
    assert half_width(own) == pytest.approx(half(own), rel=1e-12, abs=1e-12)


def test_holm_by_hand() -> None:
    # In order: 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04, which may not be below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_rejects_as_its_procedure_does(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    rejected, m = set(), len(p_values)
    for k, i in enumerate(sorted(range(m), key=p_values.__getitem__)):
        if (m - k) * p_values[i] > 0.05:
            break
        rejected.add(i)
    assert {i for i, a in enumerate(adjusted) if a <= 0.05} == rejected


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=5), st.booleans())
def test_no_verdict_unless_the_interval_excludes_zero(values: list[list[float]], lower: bool) -> None:
    by_seed = {str(i) if i else "random": dict(enumerate(of_seeds)) for i, of_seeds in enumerate(values)}
    for difference in differences(by_seed, "random").values():
        said = verdict(difference, lower=lower)
        if said in ("better", "worse"):
            assert difference.ci95 is not None
            assert abs(difference.mean) > difference.ci95
            assert (said == "better") == ((difference.mean < 0) == lower)
        else:
            assert said in ("same", "–")


def test_the_verdict_is_on_corrected_values() -> None:
    alone = {"random": dict.fromkeys(range(3), 0.0), "rrd": {0: 0.030, 1: 0.050, 2: 0.035}}
    assert verdict(differences(alone, "random")["rrd"]) == "better"
    many = alone | {f"s{i}": {0: 0.01, 1: -0.01, 2: 0.005} for i in range(3)}
    rrd = differences(many, "random")["rrd"]
    assert rrd.p is not None
    assert rrd.p < 0.05
    assert verdict(rrd) == "same"


def test_equal_differences_are_no_certainty() -> None:
    # One image of 360 more with both seeds: chance, though the t statistic is infinite. In float32, as metrics come.
    base = [float(np.float32(k / 360)) for k in (300, 311)]
    own = [float(np.float32((k + 1) / 360)) for k in (300, 311)]
    found = differences({"random": dict(enumerate(base)), "rrd": dict(enumerate(own))}, "random")["rrd"]
    assert (found.p, found.ci95, verdict(found)) == (None, None, "–")
    same = differences({"random": dict(enumerate(base)), "rrd": dict(enumerate(base))}, "random")["rrd"]
    assert (same.p, same.ci95, verdict(same)) == (1.0, 0.0, "same")


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ((0.5, 0.7, 0.8, 0.9), 30),
        ((0.8, 0.7, 0.8, 0.9), 30),  # reached, lost, reached again
        ((0.8, 0.9, 0.9, 0.7), None),  # reached, and lost in the end
        ((0.8, 0.8, 0.9, 0.8), 10),  # at the first point
        ((0.1, 0.2, 0.3, 0.9), 40),  # at the last point
        ((0.1, 0.2, 0.3, 0.75), None),
        ((0.1, 0.2, float(np.float32(0.76)), 0.9), 30),  # 0.75999999
        ((0.8, float("nan"), 0.8, 0.8), 30),
        ((), None),
    ],
)
def test_reached_and_held(values: tuple[float, ...], step: int | None) -> None:
    for sign, lower in ((1, False), (-1, True)):
        point = reached(curve(*(sign * value for value in values)), sign * 0.76, lower=lower)
        assert (point and point.step) == step


@pytest.mark.parametrize("values", [(math.inf, 1.0), (math.inf, -math.inf), (math.nan, 1.0)])
def test_losses_that_overflowed_have_no_test(values: tuple[float, float]) -> None:
    found = paired(values, values[::-1])
    assert (found.n, found.p, found.ci95) == (2, None, None)
    assert math.isnan(found.mean)
    assert half_width(values) is None or math.isnan(half_width(values))


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        *(
            (name, True)
            for name in ("val_loss", "valLoss", "val_losses", "loss/dataloader_idx_0", "val_mse", "val/RMSE")
        ),
        *((name, True) for name in ("val_error", "ValMeanSquaredError", "val_top1_err", "val_perplexity", "test.wer")),
        *((name, True) for name in ("val_crossentropy_loss", "val_cross_entropy", "FID", "val_mae_epoch")),
        *((name, True) for name in ("val_crossentropy", "val_negative_log_likelihood", "val_errors", "valDeviance")),
        *((name, False) for name in ("distance_correlation", "ce_accuracy", "val_negative_predictive_value")),
        *((name, False) for name in ("val_accuracy", "lossless_accuracy", "val_f1", "MulticlassAUROC", "val_r2")),
        *(
            (name, False)
            for name in ("val_map", "val_bleu", "val_mIoU", "val_psnr", "ssim", "glossary", "terror_recall")
        ),
    ],
)
def test_which_way_is_better_is_in_the_name(metric: str, lower: bool) -> None:
    assert lower_is_better(metric) is lower
