"""The atlas as a page: every image leads to its row."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from dynsel.compare.report.atlas_page import factor_picture, map_picture
from dynsel.compare.report.factors import Samples
from dynsel.compare.report.page import page_html
from dynsel.sae import SparseCodes


class Photos:
    paths = tuple(f"photos/<{i}>.png" for i in range(12))

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.full((3, 4, 4), 20 * i, dtype=torch.uint8)


def codes() -> SparseCodes:
    """Factor 0 on all images; 1 on the last four, which so stand in two rows."""
    values = torch.ones(12, 2)
    values[:8, 1] = 0
    return SparseCodes(torch.tensor([[0, 1]]).expand(12, 2), values * torch.arange(1.0, 13)[:, None], 2)


SAMPLES = Samples(Photos(), np.arange(12) % 2, ["one", "two"], np.arange(12), Photos.paths)


def test_links_lead_to_rows_of_their_own() -> None:
    picture = factor_picture(codes(), SAMPLES, rows=1, columns=4)
    assert [place.index for place in picture.places] == [11, 10, 9, 8] * 2
    page = page_html("Atlas", pictures=[picture], writer="dynsel features atlas")
    links = re.findall(r'<a href="#(factors-[^"]*)">', page)
    rows = re.findall(r'<tr id="([^"]*)">', page)
    assert links == rows == [f"factors-{factor}-{index}" for factor in (0, 1) for index in (11, 10, 9, 8)]
    assert "<td>photos/&lt;11&gt;.png</td>" in page
    assert "Written by dynsel features atlas." in page


def test_the_map_has_every_point_in_its_file() -> None:
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    picture = map_picture(features, SAMPLES, np.array([1, 4, 11]), "pca")
    heading, *lines = picture.csv.split()
    assert heading == "index,x,y,class,uses,path"
    assert [line.split(",")[0] for line in lines] == ["1", "4", "11"]
    assert lines[-1].endswith(",two,11,photos/<11>.png")


def test_codes_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="codes are of 12 samples, the data set has 30"):
        factor_picture(codes(), Samples(range(30)))
