"""Which pictures a comparison has data for, what each shows in words, and its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from dynsel._lib.sheets import image_sheet, is_image, sheet_data
from dynsel._lib.tables import csv_table
from dynsel.compare.record import RunRecord, by_selector
from dynsel.compare.report.bars import overlap_figure, ranking_figure, time_figure, usage_figure, wrong_labels_figure
from dynsel.compare.report.curves import accuracy_figure, class_balance_figure, spread_text
from dynsel.compare.report.data import (
    PARTS,
    balance_data,
    curve_data,
    mean_of,
    overlap_data,
    overlaps,
    time_data,
    time_parts,
    usage_data,
    value_data,
    wrong_data,
)
from dynsel.compare.report.picture import Picture, drawn
from dynsel.compare.report.style import metric_label
from dynsel.compare.report.worth import worth_data, worth_figure
from dynsel.compare.store import file_name
from dynsel.compare.table import labels, value_text
from dynsel.compare.worth import Worths
from dynsel.samplers.frame import declared_paths

__all__ = ["pictures"]

SHEETS, SHEET_COLUMNS, SHEET_ROWS = "Images used most and least", 10, 2


def pictures(
    records: Sequence[RunRecord],
    *,
    metric: str = "val_accuracy",
    dataset: Any = None,
    worths: Worths | None = None,
) -> Iterator[Picture]:
    """All pictures that the runs have data for.

    Args:
        records: Finished runs.
        metric: Name of the metric of the runs' values.
        dataset: Training set, for the sheets of images and its share of wrong labels; None leaves these out.
        worths: What the results are worth in full data's training; None leaves that picture out.
    """
    if not records:
        return
    yield _results(records, metric)
    if worths is not None and worths.of:
        yield _worth(worths, metric)
    yield from _curves(records, metric)
    yield _time(records)
    if all(run.usage for run in records):
        yield _usage(records)
    yield from _balance(records)
    if all(run.usage for run in records):
        yield from _overlap(records)
    yield from _wrong(records, dataset)
    if dataset is not None and is_image(dataset[0]):
        yield from _sheets(records, dataset)


def _results(records: Sequence[RunRecord], metric: str) -> Picture:
    label = metric_label(metric)
    said = {name: ", ".join(value_text(run.value, metric) for run in runs) for name, runs in _shown(records).items()}
    caption = (
        "Each seed a dot; the mean and its 95 % confidence interval by Student's t, which is wide with few seeds: an "
        "arrow says that it goes on beyond the axis. "
        "Whether a difference is settled is for the paired test in the table to say."
    )
    text = f"Dots and intervals, one line per selector, the best first. Seeds: {_listed(said)}."
    figure, data = ranking_figure(records, metric=metric), csv_table(value_data(records, metric))
    return drawn("ranking", f"{label} after the last step", caption, text, figure, data)


def _worth(worths: Worths, metric: str) -> Picture:
    label = metric_label(metric)
    caption = (
        "The line is a monotone fit to full data's trainings of several lengths, each with its own schedule to the end "
        "(squares: means, dots: seeds). Each selector's result stands where its cost is; the distance from there to "
        "the line is what it is worth, the bar its 95 % interval by the paired t-test over the seeds."
    )
    text = worths.sentence(label, labels(list(worths.of)))
    figure, data = worth_figure(worths, metric=metric), csv_table(worth_data(worths, metric))
    return drawn("worth", f"{label} in full data's {worths.unit}", caption, text, figure, data)


def _curves(records: Sequence[RunRecord], metric: str) -> Iterator[Picture]:
    data = csv_table(curve_data(records, metric))
    label = metric_label(metric)
    ends = {
        name: f"{value_text(mean_of(runs, 'value'), metric)} after {mean_of(runs, 'samples'):,.0f} samples and "
        f"{mean_of(runs, 'seconds'):,.1f} seconds"
        for name, runs in _shown(records).items()
    }
    text = f"Lines, one per selector. At their ends: {_listed(ends)}."
    spread = spread_text(records)
    seeds = f"{spread[0].upper()}{spread[1:]}."
    figure = accuracy_figure(records, metric=metric)
    yield drawn("accuracy", f"{label} over samples", seeds, text, figure, data)
    figure = accuracy_figure(records, metric=metric, over="seconds")
    caption = f"{seeds} Seconds are those of training, selection and waiting for data, without validation."
    yield drawn("accuracy_seconds", f"{label} over seconds", caption, text, figure, data)


def _time(records: Sequence[RunRecord]) -> Picture:
    split = {
        name: ", ".join(f"{part} {value:.1f} s" for part, value in zip(PARTS, time_parts(runs), strict=True))
        for name, runs in _shown(records).items()
    }
    caption = (
        "Waiting for data: for the loader's batches. Fitting: making features and fitting autoencoder, graph or "
        "coreset to them. Selection: the rest of choosing."
    )
    text = f"Stacked bars, one per selector: {_listed(split)}."
    return drawn("time", "Time", caption, text, time_figure(records), csv_table(time_data(records)))


def _usage(records: Sequence[RunRecord]) -> Picture:
    uses = {name: np.concatenate([run.usage for run in runs]) for name, runs in _shown(records).items()}
    said = {name: f"mean {u.mean():.1f}, never used {100 * (u == 0).mean():.1f} %" for name, u in uses.items()}
    caption = "Share of the samples by how often they were trained on, all seeds together."
    text = f"Histograms, one per selector: {_listed(said)}."
    return drawn("usage", "Use of the samples", caption, text, usage_figure(records), csv_table(usage_data(records)))


def _balance(records: Sequence[RunRecord]) -> Iterator[Picture]:
    figure = class_balance_figure(records)
    if figure is not None:
        means = {
            name: f"{np.mean([np.mean(run.class_balance) for run in runs if run.class_balance]):.3f}"
            for name, runs in _shown(records).items()
            if any(run.class_balance for run in runs)
        }
        caption = "1 minus the total variation distance between the class shares of selection and data set. Runs of "
        caption += "as many steps have fewer epochs where an epoch is longer; a line goes over all epochs of its runs."
        text = f"Lines over the epochs, one per selector, whose means are: {_listed(means)}."
        yield drawn("class_balance", "Class balance", caption, text, figure, csv_table(balance_data(records)))


def _overlap(records: Sequence[RunRecord]) -> Iterator[Picture]:
    figure = overlap_figure(records)
    if figure is None:
        return
    names, shares = overlaps(records)
    short = labels(names)
    said = {
        f"{short[names[j]]} and {short[names[i]]}": f"{100 * shares[i, j]:.0f} %"
        for i, j in zip(*np.tril_indices(len(names), -1), strict=True)
        if np.isfinite(shares[i, j])
    }
    caption = (
        "Share of the training that two selectors have in common: the sum over the samples of min(p, q), where p and q "
        "are a sample's shares of all uses by one and the other. Mean over pairs of the same seed; on the diagonal "
        "over pairs of different seeds of one selector, which tells what is chance. Colours go from 0 to 100 %."
    )
    text = f"Heat map with numbers: {_listed(said)}." if said else "Heat map of a single selector."
    yield drawn("overlap", "Overlap between selectors", caption, text, figure, csv_table(overlap_data(records)))


def _wrong(records: Sequence[RunRecord], dataset: Any) -> Iterator[Picture]:
    wrong = getattr(dataset, "wrong", None)
    share = float(wrong.double().mean()) if isinstance(wrong, torch.Tensor) and len(wrong) else None
    figure = wrong_labels_figure(records, share)
    if figure is None:
        return
    said = {
        name: f"{100 * np.mean([run.wrong_share for run in runs]):.1f} %"
        for name, runs in _shown(records).items()
        if all(run.wrong_share is not None for run in runs)
    }
    caption = (
        "Share of samples labelled wrongly on purpose among what was trained on, with repetition; one dot per seed."
    )
    whole = "" if share is None else f" In the data set: {100 * share:.1f} %."
    text = f"Bars, one per selector: {_listed(said)}.{whole}"
    yield drawn(
        "wrong_labels", "Wrong labels trained on", caption + whole, text, figure, csv_table(wrong_data(records))
    )


def _sheets(records: Sequence[RunRecord], dataset: Any) -> Iterator[Picture]:
    short, paths = labels(list(by_selector(records))), declared_paths(dataset)
    for name, runs in by_selector(records).items():
        # Where samples are excluded, uses are of the others: their places aren't those of the data set.
        if not all(len(run.usage) == len(dataset) for run in runs):
            continue
        # Rotations use all samples alike, and then which comes first says nothing.
        if max(np.ptp(run.usage) for run in runs) <= 1:
            continue
        usage = np.sum([run.usage for run in runs], axis=0)
        seeds = f"in {len(runs)} seeds together" if len(runs) > 1 else "in one seed"
        figure = image_sheet(
            usage, dataset, title=f"{short[name]}: uses {seeds}", columns=SHEET_COLUMNS, rows=SHEET_ROWS, paths=paths
        )
        rows = sheet_data(usage, dataset, SHEET_COLUMNS * SHEET_ROWS, paths)
        count = len(rows) // 2
        text = f"{count} images used {rows[count - 1]['uses']} to {rows[0]['uses']} times, and {count} used "
        text += f"{rows[count]['uses']} to {rows[-1]['uses']} times, each with its class."
        caption = f"{short[name]}: uses {seeds}; ties are mixed."
        yield drawn(f"images-{file_name(name)}", SHEETS, caption, text, figure, csv_table(rows), rows)


def _shown(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    groups = by_selector(records)
    short = labels(list(groups))
    return {short[name]: runs for name, runs in groups.items()}


def _listed(said: dict[str, str]) -> str:
    return "; ".join(f"{name} {text}" for name, text in said.items())
