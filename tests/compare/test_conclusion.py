"""What a comparison shows, in two sentences."""

from __future__ import annotations

import math

from reports import record

from dynsel.compare import RunRecord, summarise
from dynsel.compare.conclusion import conclusion


def said(runs: list[RunRecord], metric: str = "val_accuracy", words: str = "validation accuracy") -> str:
    rows = summarise(runs, metric=metric)
    return conclusion(rows, metric, words, {row.selector: row.selector for row in rows})


def values(**selectors: list[float]) -> list[RunRecord]:
    return [record(name, seed, value) for name, each in selectors.items() for seed, value in enumerate(each)]


def test_the_best_is_told_with_its_distance_to_the_baselines() -> None:
    text = said(values(full=[0.5, 0.5, 0.5], random=[0.49, 0.5, 0.51], rrd=[0.6, 0.61, 0.63]))
    assert text.startswith(
        "rrd ends best, with a validation accuracy of 61.33 % (mean of 3 seeds): "
        "11.33 ± 1.43 points above random (p 0.002), 11.33 ± 3.79 points above full (p 0.012). "
    )
    assert text.endswith(". Shown to be better than random: rrd; no other difference to random is shown.")


def test_both_sides_are_told() -> None:
    better, worse = {"a": [0.6, 0.612, 0.621], "b": [0.61, 0.62, 0.631]}, {"c": [0.3, 0.311, 0.32]}
    text = said(values(random=[0.5, 0.51, 0.52], **better, **worse))
    assert text.endswith(". Shown to be better than random: a, b; worse than random: c.")


def test_a_loss_is_best_when_low() -> None:
    text = said(values(random=[1.0, 1.1], rrd=[0.9, 1.01]), "val_loss", "validation loss")
    assert text.startswith(
        "rrd ends best, with a validation loss of 0.9550 (mean of 2 seeds): 0.0950 ± 0.0635 below random"
    )
    assert text.endswith("Shown to be better than random: rrd. Of val_loss lower values count as better.")


def test_an_error_is_best_when_low_and_a_score_when_high() -> None:
    text = said(values(random=[1.0, 1.1], rrd=[0.9, 1.01]), "val_mse", "validation mse")
    assert text.startswith("rrd ends best")
    assert text.endswith("Of val_mse lower values count as better.")
    text = said(values(random=[1.0, 1.1], rrd=[0.9, 1.01]), "val_f1", "validation f1")
    assert text.startswith("random ends best")
    assert text.endswith("Of val_f1 higher values count as better.")


def test_where_nothing_is_shown_that_is_said() -> None:
    assert said(values(random=[0.5, 0.6], rrd=[0.6, 0.5])).endswith("No difference to random is shown.")
    assert said(values(random=[0.5], rrd=[0.6])).endswith("One seed shows no difference: give --seeds 3 or more.")
    assert said(values(rrd=[0.6])) == "rrd ends best, with a validation accuracy of 60.00 % (one seed)."
    assert said([RunRecord("rrd", 0, error="no")]) == ""


def test_a_baseline_that_is_no_number_is_not_stood_beside() -> None:
    text = said(values(full=[0.5, 0.5], random=[math.nan, 0.5], rrd=[0.6, 0.61]))
    assert "random (p" not in text
    assert "nan" not in text
    assert "points above full" in text
