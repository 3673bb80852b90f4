"""The pictures of an atlas: the factors by their images, and the map, with the numbers of each sample in them."""

from __future__ import annotations

from dynsel._lib.figures import Array
from dynsel._lib.matrices import Matrix
from dynsel._lib.tables import csv_table
from dynsel.compare.report.atlas import embed, map_figure
from dynsel.compare.report.factors import Samples, factor_data, factor_figure, frequent_and_rare
from dynsel.compare.report.picture import Picture, drawn
from dynsel.sae import SparseCodes

__all__ = ["factor_picture", "map_picture"]


def factor_picture(codes: SparseCodes, samples: Samples, rows: int = 8, columns: int = 10) -> Picture:
    """The factors, with a row for each image.

    Args:
        codes: Sparse codes of all samples.
        samples: What is known of them.
        rows: Number of factors of each kind.
        columns: Number of images of a factor.

    Raises:
        ValueError: If codes and data set are of different length, or too few images share a factor.
    """
    if len(codes) != len(samples.dataset):
        raise ValueError(f"codes are of {len(codes)} samples, the data set has {len(samples.dataset)}")
    factors = frequent_and_rare(codes, rows, columns)
    figure, numbers = factor_figure(factors, samples), factor_data(factors, samples)
    caption = (
        f"Each row is a factor of the sparse autoencoder and the {columns} images that activate it most, with their "
        "index in the data set. An image leads to its row in the table."
    )
    text = f"Rows of images of {sum(map(len, factors))} factors; the table below has their numbers."
    csv = csv_table([{name: value for name, value in row.items() if name != "anchor"} for row in numbers])
    return drawn("factors", "factors", caption, text, figure, csv, numbers)


def map_picture(features: Matrix, samples: Samples, rows: Array, method: str = "tsne", seed: int = 0) -> Picture:
    """The map, with the place of each sample on it.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        samples: What is known of the samples.
        rows: (M,) indices of the samples to show, ascending.
        method: "pca" or "tsne".
        seed: Seed for t-SNE.
    """
    spots = embed(features, rows, method, seed)
    known = {"class": samples.labels, "uses": samples.usage}
    chosen = {name: values[rows] for name, values in known.items() if values is not None}
    title = f"{method}-map of {len(rows):,} of {len(features):,} samples by their features (d = {features.shape[1]})"
    figure = map_figure(spots, chosen.get("class"), samples.classes, chosen.get("uses"), title=title)
    numbers = [
        {"index": index, "x": float(x), "y": float(y), **samples.facts(index)}
        for index, (x, y) in zip(rows.tolist(), spots, strict=True)
    ]
    caption = "Samples near one another have similar features; the axes mean nothing. The CSV file has every point."
    text = f"Scatter plot of {len(rows):,} samples" + "".join(f", coloured by {name}" for name in chosen) + "."
    return drawn("map", "map of the samples", caption, text, figure, csv_table(numbers))
