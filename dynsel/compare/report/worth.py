"""Full data's metric over the length of its training, and the lengths that the selectors' results are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from dynsel._lib.figures import SMALL, TEXT, WIDTH, new_figure, plain_axes, plain_text
from dynsel.compare.entry import training_apart
from dynsel.compare.report.style import metric_label, selector_style, shown_names
from dynsel.compare.stats import lower_is_better
from dynsel.compare.table import is_share
from dynsel.compare.worth import Worth, Worths, monotone

__all__ = ["worth_data", "worth_figure"]

# Space beside the curve, as a factor of the length, for arrows to what lies beyond.
MARGIN = 1.12
NAMES_HEIGHT = 0.2
# Markers of the ways in which one selector was trained.
WAYS = "oDv^PX<>sp*hd"


def worth_data(worths: Worths, metric: str) -> list[dict[str, Any]]:
    """The points of the curve, one per seed and length, then the selectors' means.

    Args:
        worths: What the results are worth.
        metric: Name of the metric, which its column is called by.
    """
    empty = {"worth": "", "worth_low": "", "worth_high": ""}
    curve = [
        {"selector": "full", "seed": seed, "length": length, metric: value, **empty}
        for length, values in zip(worths.curve.lengths, worths.curve.values, strict=True)
        for seed, value in values.items()
    ]
    return curve + [
        {
            "selector": name,
            "seed": "mean",
            "length": one.cost,
            metric: one.value,
            "worth": one.factor,
            "worth_low": "" if one.low is None else one.low,
            "worth_high": "" if one.high is None else one.high,
        }
        for name, one in worths.of.items()
    ]


def worth_figure(worths: Worths, *, metric: str = "val_accuracy") -> Figure:
    """Full data's curve, the selectors' results, and the distance from each to the curve.

    Args:
        worths: What the results are worth, of one selector at least.
        metric: Name of the metric.
    """
    curve, names, styles = worths.curve, shown_names(list(worths.of)), _styles(list(worths.of))
    figure = new_figure(WIDTH, 4.6 + NAMES_HEIGHT * len(names))
    axes = figure.add_subplot()
    sign = -1.0 if lower_is_better(metric) else 1.0
    black = selector_style("full", ["full"])
    axes.plot(curve.lengths, sign * monotone(sign * curve.means()), color=black["color"], linewidth=1.8, zorder=2)
    for length, values in zip(curve.lengths, curve.values, strict=True):
        axes.plot([length] * len(values), list(values.values()), "o", color="0.6", markersize=3, zorder=1)
    axes.plot(curve.lengths, curve.means(), "s", color=black["color"], markersize=5, label="full data", zorder=2)
    left = min([curve.lengths[0], *(one.cost for one in worths.of.values())]) / MARGIN
    right = max([curve.lengths[-1], *(one.cost for one in worths.of.values())]) * MARGIN
    for name in sorted(worths.of, key=lambda name: -worths.of[name].factor):
        one, style = worths.of[name], styles[name]
        _distance(axes, one, style["color"], left, right)
        label = f"{names[name]}: worth {one.text()}"
        axes.plot(one.cost, one.value, color=style["color"], marker=style["marker"], markersize=8, label=label, ls="")
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(FixedLocator(list(curve.lengths)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda length, _: f"{length:.2g} ×"))
    label = plain_text(metric_label(metric))
    axes.set_title(f"{label} in full data's {worths.unit}", fontsize=TEXT, loc="left")
    axes.set_xlabel(f"length of training ({worths.unit}), × that of the configured one with full data")
    axes.set_ylabel(label)
    if is_share(metric):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    figure.legend(frameon=False, loc="outside lower center", ncols=1, fontsize=SMALL)
    plain_axes(axes)
    return figure


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour for each selector, and where one was trained in several ways, a marker for each way."""
    apart = {name: training_apart(name) for name in names}
    selectors = [selector for selector, _ in apart.values()]
    styles = {name: selector_style(selector, selectors) for name, (selector, _) in apart.items()}
    ways = list(dict.fromkeys(str(training) for _, training in apart.values()))
    if len(ways) == 1:
        return styles
    markers = dict(zip(ways, cycle(WAYS), strict=False))
    return {name: {**style, "marker": markers[str(apart[name][1])]} for name, style in styles.items()}


def _distance(axes: Any, one: Worth, color: str, left: float, right: float) -> None:
    """From a result to the curve, and the interval around that end; what lies beyond the curve ends at the frame."""

    def place(factor: float) -> float:
        return float(np.clip(factor * one.cost, left, right)) if math.isfinite(factor) else right

    if one.low is not None and one.high is not None:
        span = [place(one.low), place(one.high)]
        axes.plot(span, [one.value] * 2, color=color, alpha=0.3, linewidth=7, solid_capstyle="butt", zorder=1)
    end = place(one.factor)
    axes.annotate(
        "",
        xy=(end, one.value),
        xytext=(one.cost, one.value),
        arrowprops={"arrowstyle": "->", "color": color, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0},
    )
