"""Pictures of a comparison: accuracy over samples trained on, use of the samples, class balance, the images themselves.

Figures are drawn without pyplot: nothing global is changed, no display is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from dynsel.compare.record import RunRecord
from dynsel.compare.store import file_name

__all__ = ["accuracy_figure", "class_balance_figure", "image_sheet", "selector_style", "usage_figure", "write_report"]

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; the yellow is too light for lines.
COLOURS = {"full": "#000000", "random": "#E69F00", "rrd": "#0072B2"}
FURTHER_COLOURS = ("#009E73", "#D55E00", "#CC79A7", "#56B4E9")
# Markers differ as well, for print in grey.
MARKERS = {"full": "s", "random": "o", "rrd": "^"}
FURTHER_MARKERS = ("D", "v", "P", "X")
DPI = 150

Array = NDArray[Any]


def selector_style(selector: str, selectors: Sequence[str]) -> dict[str, Any]:
    """Colour and marker of a selector, the same in every picture.

    Args:
        selector: Its name.
        selectors: All names of the comparison.
    """
    if selector in COLOURS:
        return {"color": COLOURS[selector], "marker": MARKERS[selector]}
    place = sorted({s for s in selectors if s not in COLOURS}).index(selector) % len(FURTHER_COLOURS)
    return {"color": FURTHER_COLOURS[place], "marker": FURTHER_MARKERS[place]}


def write_report(
    records: Sequence[RunRecord], folder: Path, *, metric: str = "val_accuracy", dataset: Any = None
) -> list[Path]:
    """Write all pictures that the runs have data for, as PNG with 150 dots per inch.

    Args:
        records: Finished runs.
        folder: Where to.
        metric: What the runs' values are.
        dataset: Training set, for the sheets of images; None leaves them out.

    Returns:
        The files written.
    """
    if not records:
        return []
    figures: dict[str, Figure | None] = {
        "accuracy.png": accuracy_figure(records, metric=metric),
        "usage.png": usage_figure(records),
        "class_balance.png": class_balance_figure(records),
    }
    if dataset is not None and _is_image(dataset[0]):
        for name, runs in _by_selector(records).items():
            # Rotations use all samples alike, and then which comes first says nothing.
            if max(np.ptp(run.usage) for run in runs) > 1:
                usage = np.sum([run.usage for run in runs], axis=0)
                sheet = image_sheet(usage, dataset, title=_uses_title(name, len(runs)))
                figures[f"images-{file_name(name)}.png"] = sheet
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file, figure in figures.items():
        if figure is not None:
            figure.savefig(folder / file, dpi=DPI)
            written.append(folder / file)
    return written


def _by_selector(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    names = dict.fromkeys(record.selector for record in records)
    return {name: [record for record in records if record.selector == name] for name in names}


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


# -------------------------------------------------------------------- lines
def accuracy_figure(records: Sequence[RunRecord], *, metric: str = "val_accuracy") -> Figure:
    """The metric over samples trained on: mean over the seeds, and a band of one sample standard deviation.

    Args:
        records: Finished runs.
        metric: What their values are.
    """
    figure = _figure(7.5, 4.5)
    axes = figure.add_subplot()
    groups = _by_selector(records)
    for name, runs in groups.items():
        points = min(len(run.curve) for run in runs)
        samples = np.mean([[p.samples for p in run.curve[:points]] for run in runs], axis=0)
        values = np.array([[p.value for p in run.curve[:points]] for run in runs])
        label = f"{name} ({_percent_or_number(values[:, -1].mean(), metric)})"
        _line(axes, samples, values, label, selector_style(name, list(groups)))
    seeds = max(len(runs) for runs in groups.values())
    spread = f"mean of {seeds} seeds, band: ± 1 standard deviation" if seeds > 1 else "one seed"
    axes.set_title(f"{_label(metric)} at equal optimiser steps\n{spread}", fontsize=10, loc="left")
    axes.set_xlabel("samples trained on (with repetition)")
    axes.set_ylabel(_label(metric))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(7))
    if _is_share(metric):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        _focus(axes, [point.value for run in records for point in run.curve])
    axes.legend(title="selector (after the last step)", frameon=False, loc="best")
    _plain(axes)
    return figure


def class_balance_figure(records: Sequence[RunRecord]) -> Figure | None:
    """How alike the class shares of selection and data set are, epoch by epoch; None without labels.

    Args:
        records: Finished runs.
    """
    groups = {
        name: [run.class_balance for run in runs if run.class_balance] for name, runs in _by_selector(records).items()
    }
    groups = {name: runs for name, runs in groups.items() if runs}
    if not groups:
        return None
    figure = _figure(7.5, 4.0)
    axes = figure.add_subplot()
    for name, runs in groups.items():
        epochs = min(map(len, runs))
        values = np.array([run[:epochs] for run in runs])
        _line(axes, np.arange(1, epochs + 1), values, name, selector_style(name, list(groups)))
    title = "class balance of each epoch's selection\n1 = the class shares of the data set"
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel("class balance")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_ylim(min(0.9, axes.get_ylim()[0]), 1.005)
    # Below the axes: the lines leave no corner free, and names with arguments are long.
    figure.legend(title="selector", frameon=False, loc="outside lower center", ncols=min(3, len(groups)))
    _plain(axes)
    return figure


def _line(axes: Axes, x: Array, values: Array, label: str, style: dict[str, Any]) -> None:
    mean = values.mean(0)
    every = max(1, round(len(x) / 10))
    axes.plot(x, mean, label=label, linewidth=1.8, markersize=5, markevery=every, **style)
    if len(values) > 1:
        std = values.std(0, ddof=1)
        axes.fill_between(x, mean - std, mean + std, color=style["color"], alpha=0.15, linewidth=0)


def _focus(axes: Axes, values: list[float]) -> None:
    """Leave the first evaluations out of sight if they would squeeze the interesting part."""
    median = float(np.median(values))
    low = max(min(values), median - 3 * (max(values) - median) - 0.02)
    margin = 0.05 * (max(values) - low) or 0.01
    axes.set_ylim(low - margin, min(1.0, max(values) + margin))


def _label(metric: str) -> str:
    return {"val_accuracy": "validation accuracy", "val_loss": "validation loss"}.get(metric, metric)


def _is_share(metric: str) -> bool:
    return "acc" in metric.lower()


def _percent_or_number(value: float, metric: str) -> str:
    return f"{100 * value:.2f} %" if _is_share(metric) else f"{value:.4f}"


# -------------------------------------------------------------------- usage
def usage_figure(records: Sequence[RunRecord]) -> Figure:
    """Share of the samples by how often they were trained on, one panel a selector, over all seeds.

    Args:
        records: Finished runs.
    """
    groups = _by_selector(records)
    figure = _figure(7.5, 1.3 + 1.5 * len(groups))
    figure.suptitle("how often each sample was trained on", fontsize=11)
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    top = max(max(run.usage) for run in records)
    # A bar a count while these are few enough to see.
    edges = np.arange(-0.5, top + 1.5, max(1, -(-(top + 1) // 60)))
    for axes, (name, runs) in zip(panels, groups.items(), strict=True):
        usage = np.concatenate([run.usage for run in runs])
        weights = np.full(len(usage), 1 / len(usage))
        axes.hist(usage, edges, weights=weights, color=selector_style(name, list(groups))["color"], rwidth=0.9)
        never = float((usage == 0).mean())
        axes.set_title(f"{name}: mean {usage.mean():.1f}, never used {100 * never:.1f} %", fontsize=10, loc="left")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        _plain(axes)
    panels[-1].set_xlabel("times trained on")
    panels[-1].xaxis.set_major_locator(MaxNLocator(10, integer=True))
    figure.supylabel("share of the samples", fontsize=10)
    return figure


# -------------------------------------------------------------------- images
def image_sheet(usage: Array, dataset: Any, *, title: str = "", columns: int = 10, rows: int = 2) -> Figure:
    """The most and the least used images, with class and number of uses.

    Args:
        usage: (N,) how often each was used.
        dataset: Items are (image, class), the image a (C, H, W) tensor, uint8 or floating; names of the classes
            are taken from its attribute `classes`, if it has one.
        title: Above all.
        columns: Images in a row.
        rows: Rows of most used and rows of least used ones, each.
    """
    usage = np.asarray(usage)
    count = min(columns * rows, len(usage) // 2)
    # Ties are many; in the order of the data set they would all be of its first or last class.
    mixed = np.random.default_rng(0).permutation(len(usage))
    order = mixed[np.argsort(-usage[mixed], kind="stable")]
    used_rows = -(-count // columns)
    figure = _figure(1.0 * columns, 2 * used_rows * 1.35 + 0.9)
    figure.suptitle(title, fontsize=12)
    halves: Any = figure.subfigures(2, 1)
    for half, chosen, heading in zip(
        halves, (order[:count], order[::-1][:count]), ("most used", "least used"), strict=True
    ):
        half.suptitle(heading, fontsize=11, x=0.01, ha="left")
        panels = half.subplots(used_rows, columns, squeeze=False).ravel()
        for axes in panels:
            axes.set_axis_off()
        for axes, index in zip(panels, chosen, strict=False):
            _show(axes, dataset, int(index), int(usage[index]))
    return figure


def _show(axes: Axes, dataset: Any, index: int, uses: int) -> None:
    image, label = dataset[index][:2]
    axes.imshow(_pixels(image), cmap="gray", interpolation="nearest")
    axes.set_title(f"{_class_name(dataset, label)}\n{uses}×", fontsize=8, pad=3)


def _class_name(dataset: Any, label: Any) -> str:
    names = getattr(dataset, "classes", None)
    name = str(names[int(label)] if names is not None else int(label))
    return name if len(name) <= 12 else name[:11] + "…"


def _pixels(image: Any) -> Array:
    """(H, W, 3) or (H, W) in [0, 1]; normalised images are stretched to that range."""
    array = np.asarray(image.detach().float().cpu())
    if image.is_floating_point():
        low, high = array.min(), array.max()
        array = (array - low) / (high - low) if high > low else array * 0
    else:
        array = array / 255
    return np.moveaxis(array, 0, -1) if array.shape[0] == 3 else array[0]


def _is_image(item: Any) -> bool:
    if not isinstance(item, tuple | list) or len(item) < 2:
        return False
    image = item[0]
    return getattr(image, "ndim", 0) == 3 and image.shape[0] in (1, 3) and hasattr(image, "is_floating_point")


def _uses_title(name: str, seeds: int) -> str:
    return f"{name}: uses " + (f"in {seeds} seeds together" if seeds > 1 else "in one seed")
