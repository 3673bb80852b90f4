"""One line per selector: results, uses of samples, time, wrong labels trained on, training in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dynsel._lib.figures import SMALL, TEXT, WIDTH, Array, count_edges, new_figure, plain_axes, plain_text
from dynsel.compare.record import RunRecord, by_selector
from dynsel.compare.report.data import PARTS, mean_of, overlaps, time_parts
from dynsel.compare.report.style import metric_label, selector_style, shown_names
from dynsel.compare.stats import half_width, lower_is_better
from dynsel.compare.summary import BASELINES
from dynsel.compare.table import is_share

__all__ = ["overlap_figure", "ranking_figure", "time_figure", "usage_figure", "wrong_labels_figure"]

# Of the parts of a run's time; hatched as well, for print in grey.
PART_COLOURS = ("#56B4E9", "#F0E442", "#D55E00", "#CC79A7")
PART_HATCHES = ("", "..", "//", "xx")
# Panels above one another that a page takes; in more columns long names need a line of their own.
TALLEST = 6
SEPARATORS = {1: ": ", 2: "\n"}


def ranking_figure(records: Sequence[RunRecord], *, metric: str = "val_accuracy") -> Figure:
    """The metric after the last step, best selector at the top: each seed a dot, mean, and its 95 % interval.

    The axis is made for the dots: an interval that is much wider, as those of two seeds are, ends in an arrow. No
    share is above 100 %.

    Args:
        records: Finished runs.
        metric: Name of the metric of the runs' values.
    """
    groups = by_selector(records)
    ranked = sorted(groups, key=lambda name: mean_of(groups[name], "value"), reverse=not lower_is_better(metric))
    figure, axes = _bars(ranked)
    bounds = (0.0, 1.0) if is_share(metric) else (-math.inf, math.inf)
    axes.set_xlim(_ends([run.value for run in records], bounds))
    axes.tick_params(axis="y", pad=8)  # room for arrows
    for place, name in enumerate(ranked):
        style = selector_style(name, ranked) | {"linestyle": "-", "clip_on": False}
        _result(axes, place, [run.value for run in groups[name]], style, bounds)
        if name in BASELINES:
            mean = mean_of(groups[name], "value")
            axes.axvline(mean, color=style["color"], linestyle="--", linewidth=1.0, zorder=0)
    seeds = max(map(len, groups.values()))
    title = f"{seeds} seeds (dots), mean and 95 % interval (an arrow: goes on)" if seeds > 1 else "one seed"
    lines = " and ".join(name for name in BASELINES if name in groups)
    axes.set_title(title + (f"\nbroken lines: {lines}" if lines else ""), fontsize=TEXT, loc="left")
    axes.set_xlabel(f"{plain_text(metric_label(metric))} after the last step")
    if is_share(metric):
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    return figure


def _ends(values: Sequence[float], bounds: tuple[float, float]) -> tuple[float, float]:
    """Of an axis that shows all values, and on each side as much again for intervals."""
    finite = [value for value in values if math.isfinite(value)] or [0.5]
    margin = (max(finite) - min(finite)) or 0.05 * abs(finite[0]) or 0.05
    return max(bounds[0], min(finite) - margin), min(bounds[1], max(finite) + margin)


def _result(
    axes: Axes, place: int, values: Sequence[float], style: dict[str, Any], bounds: tuple[float, float]
) -> None:
    """One line of the ranking: the interval as far as the axis goes, the mean and the seeds."""
    mean, half = float(np.mean(values)), half_width(values)
    if half is not None:
        low, high = np.clip([mean - half, mean + half], *bounds)
        left, right = axes.get_xlim()
        axes.plot([max(low, left), min(high, right)], [place, place], **style | {"marker": ""}, linewidth=1.8)
        for end, marker, beyond in ((left, "<", low < left), (right, ">", high > right)):
            if beyond:
                axes.plot(end, place, **style | {"marker": marker}, markersize=6)
    axes.plot(mean, place, **style, markersize=7)
    places = [place] * len(values)
    axes.plot(values, places, "o", color="white", markeredgecolor="0.3", markersize=3.5, clip_on=False)


def usage_figure(records: Sequence[RunRecord]) -> Figure:
    """Share of the samples by how often they were trained on, one panel per selector, over all seeds.

    Args:
        records: Finished runs.
    """
    groups = by_selector(records)
    names = shown_names(list(groups))
    columns = 1 if len(groups) <= TALLEST else 2
    rows = -(-len(groups) // columns)
    figure = new_figure(WIDTH, 1.3 + 1.5 * rows)
    figure.suptitle("how often each sample was trained on", fontsize=TEXT, x=0.01, ha="left")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).T.ravel()
    top = max(max(run.usage) for run in records)
    edges = count_edges(top)
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    for axes, (name, runs) in zip(panels, groups.items(), strict=False):
        usage = np.concatenate([run.usage for run in runs])
        _histogram(axes, usage, edges, selector_style(name, list(groups))["color"])
        never = float((usage == 0).mean())
        title = f"{names[name]}{SEPARATORS[columns]}mean {usage.mean():.1f}, never used {100 * never:.1f} %"
        axes.set_title(title, fontsize=TEXT if columns == 1 else SMALL, loc="left")
    figure.supxlabel("times trained on", fontsize=TEXT)
    figure.supylabel("share of the samples", fontsize=TEXT)
    return figure


def _histogram(axes: Axes, usage: Array, edges: Array, color: str) -> None:
    axes.hist(usage, edges.tolist(), weights=np.full(len(usage), 1 / len(usage)), color=color, rwidth=0.9)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    plain_axes(axes)


def time_figure(records: Sequence[RunRecord]) -> Figure:
    """Where the seconds went, one bar per selector: means over the seeds.

    Args:
        records: Finished runs.
    """
    groups = by_selector(records)
    figure, axes = _bars(list(groups))
    places = np.arange(len(groups))
    parts = np.array([time_parts(runs) for runs in groups.values()])
    left = np.zeros(len(groups))
    for part, seconds, colour, hatch in zip(PARTS, parts.T, PART_COLOURS, PART_HATCHES, strict=True):
        axes.barh(places, seconds, 0.7, left, label=part, color=colour, hatch=hatch, edgecolor="0.3", linewidth=0.5)
        left += seconds
    for place, total in zip(places, left, strict=True):
        axes.text(total, float(place), f" {total:,.1f} s", va="center", fontsize=SMALL)
    axes.set_title("time of a run without validation: mean over the seeds", fontsize=TEXT, loc="left")
    axes.set_xlabel("seconds")
    axes.set_xlim(0, 1.15 * float(left.max()) or 1.0)
    figure.legend(frameon=False, loc="outside lower center", ncols=len(PARTS), fontsize=SMALL)
    return figure


def wrong_labels_figure(records: Sequence[RunRecord], share: float | None = None) -> Figure | None:
    """Share of wrong labels among what was trained on: mean over the seeds, each seed a dot; None if not known.

    Args:
        records: Finished runs.
        share: Share of wrong labels in the data set, in [0, 1]; None where it isn't known.
    """
    known = {
        name: [run.wrong_share for run in runs if run.wrong_share is not None]
        for name, runs in by_selector(records).items()
    }
    known = {name: shares for name, shares in known.items() if shares}
    if not known:
        return None
    figure, axes = _bars(list(known))
    for place, (name, shares) in enumerate(known.items()):
        mean = float(np.mean(shares))
        axes.barh(place, mean, 0.7, color=selector_style(name, list(known))["color"], alpha=0.75)
        axes.plot(shares, [place] * len(shares), "o", color="white", markeredgecolor="black", markersize=4)
        axes.text(max(shares), place, f"  {100 * mean:.1f} %", va="center", fontsize=SMALL)
    if share is not None:
        axes.axvline(share, color="0.3", linestyle="--", linewidth=1.2, label="share in the data set")
        figure.legend(frameon=False, loc="outside lower center")
    axes.set_title("wrong labels among what was trained on", fontsize=TEXT, loc="left")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlim(0, 1.15 * max(max(max(shares) for shares in known.values()), share or 0.0) or 1.0)
    return figure


def _bars(selectors: list[str]) -> tuple[Figure, Axes]:
    """Lying bars, the first selector at the top."""
    figure = new_figure(WIDTH, 1.6 + 0.36 * len(selectors))
    axes = figure.add_subplot()
    names = shown_names(selectors)
    axes.set_yticks(range(len(selectors)), [names[name] for name in selectors])
    axes.set_ylim(len(selectors) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    plain_axes(axes, grid="x")
    return figure, axes


def overlap_figure(records: Sequence[RunRecord]) -> Figure | None:
    """What each two selectors trained on alike, as numbers on colours; None for a single run.

    Args:
        records: Finished runs.
    """
    selectors, shares = overlaps(records)
    if len(records) < 2:
        return None
    names = [shown_names(selectors)[name] for name in selectors]
    count = len(names)
    figure = new_figure(max(5.0, 2.4 + 0.62 * count), max(3.6, 2.0 + 0.46 * count))
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names)
    axes.tick_params(length=0)
    for (row, place), share in np.ndenumerate(shares):
        text = f"{100 * share:.0f}" if np.isfinite(share) else "–"
        axes.text(place, row, text, ha="center", va="center", color="white" if share < 0.5 else "black")
    # Without this a diagonal below 100 looks like a mistake.
    diagonal = "\ndiagonal: between seeds of one selector" if np.isfinite(np.diag(shares)).any() else ""
    axes.set_title(f"training samples in common, in percent{diagonal}", fontsize=TEXT, loc="left")
    figure.colorbar(image, format=PercentFormatter(1.0, decimals=0, symbol=" %"))
    return figure
