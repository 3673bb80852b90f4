"""Lines: the metric over samples trained on and over seconds, class balance over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from dynsel._lib.figures import SMALL, TEXT, WIDTH, Array, new_figure, plain_axes, plain_text
from dynsel.compare.record import RunRecord, by_selector
from dynsel.compare.report.style import metric_label, selector_style, shown_names
from dynsel.compare.table import is_share, value_text

__all__ = ["accuracy_figure", "class_balance_figure", "spread_text"]

# More selectors than these are named below the axes; each line of names takes so much height, in inches.
INSIDE, NAMES_HEIGHT = 5, 0.2
# What more selectors than these would have of a spread hides the lines; seeds fewer than these are lines of their own.
SPREADS, MANY_SEEDS = 8, 4
# Beside one another, not in one place: distance of two selectors' whiskers as a share of the axis.
ASIDE = 0.006
COST = {"samples": "samples trained on (with repetition)", "seconds": "seconds of training and selection"}


def accuracy_figure(
    records: Sequence[RunRecord], *, metric: str = "val_accuracy", over: Literal["samples", "seconds"] = "samples"
) -> Figure:
    """The metric over what it took: mean over the seeds, and beside it what `spread_text` says.

    Args:
        records: Finished runs.
        metric: Name of the metric of the runs' values.
        over: What the horizontal axis shows: samples trained on, or seconds of training and selection.
    """
    groups = by_selector(records)
    names = shown_names(list(groups))
    figure = new_figure(WIDTH, 4.5 + (NAMES_HEIGHT * len(groups) / 2 if len(groups) > INSIDE else 0))
    axes = figure.add_subplot()
    for place, (name, runs) in enumerate(groups.items()):
        points = min(len(run.curve) for run in runs)
        cost = np.mean([[getattr(p, over) for p in run.curve[:points]] for run in runs], axis=0)
        values = np.array([[p.value for p in run.curve[:points]] for run in runs])
        label = f"{names[name]} ({value_text(values[:, -1].mean(), metric)})"
        aside = None if len(groups) > SPREADS else ASIDE * (place - (len(groups) - 1) / 2)
        _line(axes, cost, values, label, selector_style(name, list(groups)), aside)
    label = plain_text(metric_label(metric))
    axes.set_title(f"{label} over {COST[over]}\n{spread_text(records)}", fontsize=TEXT, loc="left")
    axes.set_xlabel(COST[over])
    axes.set_ylabel(label)
    if over == "samples":
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(7))
    if is_share(metric):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        _focus(axes, [point.value for run in records for point in run.curve])
    _legend(figure, axes, "selector (after the last step)", 2 if len(groups) > INSIDE else 0)
    plain_axes(axes)
    return figure


def spread_text(records: Sequence[RunRecord]) -> str:
    """What lines and bands of the curves are.

    Args:
        records: Finished runs.
    """
    groups = by_selector(records)
    seeds = max(map(len, groups.values()))
    if seeds == 1:
        return "one seed"
    few = f"mean of {seeds} seeds"
    if len(groups) > SPREADS:
        return few
    return f"{few}, thin lines: each seed" if seeds < MANY_SEEDS else f"{few}, bars: ± 1 sample standard deviation"


def class_balance_figure(records: Sequence[RunRecord]) -> Figure | None:
    """How alike the class shares of selection and data set are, epoch by epoch; None without labels.

    A selection that is half as large makes twice as many epochs of as many steps: all lines end where training ends.

    Args:
        records: Finished runs.
    """
    groups = by_selector([run for run in records if run.class_balance])
    if not groups:
        return None
    names = shown_names(list(groups))
    figure = new_figure(WIDTH, 3.8 + NAMES_HEIGHT * -(-len(groups) // 2))
    axes = figure.add_subplot()
    for place, (name, runs) in enumerate(groups.items()):
        epochs = min(len(run.class_balance) for run in runs)
        values = np.array([run.class_balance[:epochs] for run in runs])
        label = f"{names[name]} ({epochs} epoch{'s' if epochs > 1 else ''})"
        style = selector_style(name, list(groups))
        aside = None if len(groups) > SPREADS else ASIDE * (place - (len(groups) - 1) / 2)
        _line(axes, np.arange(1, epochs + 1) / epochs, values, label, style, aside)
    title = "class balance of each epoch's selection: 1 = the class shares of the data set"
    axes.set_title(
        f"{title}\na line ends with its runs; how many epochs they have follows from their steps",
        fontsize=TEXT,
        loc="left",
    )
    axes.set_xlabel("share of the run's epochs")
    axes.set_ylabel("class balance")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.set_xlim(0, 1.02)
    axes.set_ylim(min(0.9, axes.get_ylim()[0]), 1.005)
    # The lines leave no corner free.
    _legend(figure, axes, "selector", min(2, len(groups)))
    plain_axes(axes)
    return figure


def _legend(figure: Figure, axes: Axes, title: str, columns: int) -> None:
    """Below the axes in so many columns; 0 = inside."""
    if columns:
        figure.legend(title=title, frameon=False, loc="outside lower center", ncols=columns, fontsize=SMALL)
    else:
        axes.legend(title=title, frameon=False, loc="best", fontsize=SMALL)


def _line(axes: Axes, x: Array, values: Array, label: str, style: dict[str, Any], aside: float | None) -> None:
    """The mean of (seeds, points) values; and each seed, or of many seeds bars so far beside it, None = neither."""
    mean = values.mean(0)
    every = max(1, round(len(x) / 10))
    axes.plot(x, mean, label=label, linewidth=1.8, markersize=5, markevery=every, **style)
    if aside is None or len(values) == 1:
        return
    if len(values) < MANY_SEEDS:
        axes.plot(x, values.T, color=style["color"], linewidth=0.7, alpha=0.5, zorder=1)
        return
    # Bands of several selectors become one grey: each has its own place for its bars.
    places = x[::every] + aside * (x[-1] - x[0])
    std = values.std(0, ddof=1)[::every]
    axes.errorbar(places, mean[::every], std, fmt="none", ecolor=style["color"], elinewidth=1.2, zorder=1)


def _focus(axes: Axes, values: list[float]) -> None:
    """Leave the first evaluations out of sight if they would squeeze the interesting part."""
    values = [value for value in values if np.isfinite(value)]
    if not values:
        return
    median = float(np.median(values))
    low = max(min(values), median - 3 * (max(values) - median) - 0.02)
    margin = 0.05 * (max(values) - low) or 0.01
    axes.set_ylim(low - margin, min(1.0, max(values) + margin))
