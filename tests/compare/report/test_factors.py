"""The pictures of factors: which images stand for each, and how often they occur."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dynsel.compare.report.factors import Samples, factor_data, factor_figure, frequency_figure, frequent_and_rare
from dynsel.sae import SparseCodes


class Shades:
    """Image i is grey level i; classes alternate."""

    classes = ("even", "odd")

    def __init__(self, n: int = 30) -> None:
        self.n, self.targets = n, [i % 2 for i in range(n)]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        return torch.full((1, 4, 4), i, dtype=torch.uint8), self.targets[i]


def codes() -> SparseCodes:
    """Factor 0 on all, the more the later; 1 on every third, the more the earlier; 2 on four; 3 on one; 4 on none."""
    dense = torch.zeros(30, 5)
    dense[:, 0] = torch.arange(1.0, 31)
    dense[::3, 1] = torch.arange(10.0, 0, -1)
    dense[4:8, 2] = torch.tensor([1.0, 4, 2, 3])
    dense[9, 3] = 1
    values, indices = dense.topk(4, dim=1)
    return SparseCodes(indices, values, 5)


def shown(figure: Any) -> list[tuple[str, list[int]]]:
    """For each row of images: its text and the grey levels in it."""
    rows = []
    for half in figure.subfigs:
        for axes in half.axes:
            if axes.texts:
                rows.append((axes.texts[0].get_text(), []))
            for image in axes.get_images():
                rows[-1][1].append(int(np.asarray(image.get_array())[0, 0, 0]))
    return rows


def test_factors_by_the_images_that_activate_them_most() -> None:
    labels = np.array(Shades().targets)
    factors = frequent_and_rare(codes(), rows=1, columns=4)
    figure = factor_figure(factors, Samples(Shades(), labels, ["even", "odd"]))
    assert shown(figure) == [
        ("factor 0\n100 % of images\n50 % of them even", [29, 28, 27, 26]),
        ("factor 2\n13.3 % of images\n50 % of them even", [5, 7, 6, 4]),
    ]
    # Fewer factors than asked for: no factor in both halves.
    figure = factor_figure(frequent_and_rare(codes(), rows=8, columns=1), Samples(Shades()))
    assert [text.split("\n")[0] for text, _ in shown(figure)] == ["factor 0", "factor 1", "factor 3", "factor 2"]
    assert shown(figure)[1][1] == [0]


def test_any_kind_of_image() -> None:
    class Normalized(Shades):
        def __getitem__(self, i: int) -> Any:
            return {"image": torch.linspace(-2, 2, 48).reshape(3, 4, 4)}

    assert len(shown(factor_figure(frequent_and_rare(codes(), rows=1, columns=2), Samples(Normalized())))) == 2


def test_factors_of_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer than two factors are active on 20 images or more"):
        frequent_and_rare(codes(), columns=20)


def test_every_image_has_a_row_with_its_caption() -> None:
    factors = frequent_and_rare(codes(), rows=1, columns=4)
    paths = [f"folder/picture_{i:02}.png" for i in range(30)]
    samples = Samples(Shades(), np.array(Shades().targets), ["even", "odd"], np.arange(30) * 2, paths)
    rows = factor_data(factors, samples)
    assert rows[4] == {
        "anchor": "2-5",
        "index": 5,
        "factor": 2,
        "share of images": "13.3 %",
        "activation": "4",
        "class": "odd",
        "uses": 10,
        "path": "folder/picture_05.png",
    }
    figure = factor_figure(factors, samples)
    images = [axes for half in figure.subfigs for axes in half.axes if axes.get_images()]
    assert [axes.get_gid() for axes in images] == [row["anchor"] for row in rows]
    assert images[4].get_title() == "#5\n…re_05.png"


def test_frequencies_count_every_living_factor() -> None:
    frequency = torch.tensor([0.5, 0.25, 0.001, 0.0])
    figure = frequency_figure(frequency, fvu=0.0312)
    axes = figure.axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 3
    assert "4 factors, 25.0 % of them dead, fraction of variance unexplained 0.0312" in axes.get_title(loc="left")
    assert "median 25 %" in axes.texts[0].get_text()
    assert "100.0 % of them dead" in frequency_figure(torch.zeros(3)).axes[0].get_title(loc="left")
