"""All pictures of a comparison: no text leaves them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reports import MANY, fits_the_page, images, runs

from dynsel.compare.report import (
    accuracy_figure,
    class_balance_figure,
    overlap_figure,
    ranking_figure,
    time_figure,
    usage_figure,
    wrong_labels_figure,
)
from dynsel.compare.report.pictures import pictures


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("selectors", "seeds", "metric"),
    [(MANY[15:], 1, "val_loss"), (("full", "rrd"), 3, "val_accuracy"), (MANY, 2, "$x")],
)
def test_all_text_is_on_the_page(selectors: tuple[str, ...], seeds: int, metric: str) -> None:
    records = runs(selectors, seeds, wrong_share=0.2)
    for figure in (
        ranking_figure(records, metric=metric),
        accuracy_figure(records, metric=metric),
        accuracy_figure(records, metric=metric, over="seconds"),
        time_figure(records),
        usage_figure(records),
        class_balance_figure(records),
        overlap_figure(records),
        wrong_labels_figure(records, 0.25),
    ):
        assert figure is not None
        assert fits_the_page(figure)


def test_images_are_shown_only_where_uses_are_of_the_data_set_itself() -> None:
    records = runs(("full", "rrd"), 2)
    shown = {picture.name for picture in pictures(records, dataset=images())}
    assert "images-rrd" in shown
    # Three samples were left out: the uses that are known are of others than their places in the data set.
    without = [replace(run, usage=run.usage[3:]) for run in records]
    assert {picture.name for picture in pictures(without, dataset=images())} == shown - {"images-rrd"}
