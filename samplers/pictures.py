"""Pictures of a selection while it trains: uses, coverage over the epochs, scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dynsel._lib.figures import BARS, BLUE, ORANGE, Array, count_edges, new_figure, plain_axes
from dynsel.samplers.epoch_record import EpochRecord

__all__ = ["selection_figure", "uses_figure"]


def uses_figure(usage: Array) -> Figure:
    """Number of samples by how often they were trained on.

    Args:
        usage: (N,) uses of each sample.
    """
    figure = new_figure(5.0, 3.2)
    _draw_uses(figure.add_subplot(), usage)
    return figure


def selection_figure(usage: Array, history: Sequence[EpochRecord], scores: Array | None, title: str = "") -> Figure:
    """Uses of the samples, coverage and keep ratio over the epochs, and the scores of the last selection, if any.

    Args:
        usage: (N,) uses of each sample.
        history: Records of the finished epochs.
        scores: (N,) scores of the last selection; None or no finite one leaves that panel out.
        title: Heading of the picture.
    """
    known = np.empty(0) if scores is None else scores[np.isfinite(scores)]
    panels: list[Any] = [lambda axes: _draw_uses(axes, usage)]
    panels += [lambda axes: _draw_epochs(axes, history)] if history else []
    panels += [lambda axes: _draw_scores(axes, known)] if len(known) else []
    figure = new_figure(4.2 * len(panels), 3.4 + (0.3 if title else 0))
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes)
    return figure


def _draw_uses(axes: Axes, usage: Array) -> None:
    top = int(usage.max()) if len(usage) else 0
    axes.hist(usage, count_edges(top).tolist(), color=BLUE, rwidth=0.9)
    never = float((usage == 0).mean()) if len(usage) else 0.0
    axes.set_title(f"uses: never {100 * never:.1f} %, most {top:,}", fontsize=10, loc="left")
    axes.set_xlabel("times trained on")
    axes.set_ylabel("samples")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    plain_axes(axes)


def _draw_epochs(axes: Axes, history: Sequence[EpochRecord]) -> None:
    epochs = [record.epoch + 1 for record in history]
    style: dict[str, Any] = {"linewidth": 1.8, "markersize": 4}
    axes.plot(epochs, [record.coverage for record in history], "o-", color=BLUE, label="coverage", **style)
    axes.plot(epochs, [record.keep_ratio for record in history], "s--", color=ORANGE, label="keep ratio", **style)
    axes.set_title("share of the data set", fontsize=10, loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.legend(frameon=False, fontsize=9, loc="best")
    plain_axes(axes)


def _draw_scores(axes: Axes, scores: Array) -> None:
    axes.hist(scores, BARS, color=BLUE)
    axes.set_title("scores of the last selection", fontsize=10, loc="left")
    axes.set_xlabel("score")
    axes.set_ylabel("samples")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    plain_axes(axes)
