"""What a data set holds at once: texts, arrays and files of the usual kinds; thumbnails that copies share."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from dynsel.graph import duplicate_groups
from dynsel.samplers.findings.inputs import channels_first, equal_groups, held_array, held_texts, thumbnails


class Held:
    """A data set of four with these attributes."""

    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, key: object) -> object:
        return self.columns[key]


TEXTS = ["a b", "c", "A, B!", "d"]


class Lazy:
    """A column of `datasets` from version 4 on: neither a list nor a tuple."""

    def __iter__(self) -> Iterator[str]:
        return iter(TEXTS)

    def __len__(self) -> int:
        return 4


@pytest.mark.parametrize(
    "data",
    [
        Held(texts=TEXTS),
        Held(text=tuple(TEXTS)),
        Held(column_names=["label", "text"], columns={"text": TEXTS}),
        Held(column_names=["sentence", "label"], columns={"sentence": Lazy()}),
    ],
)
def test_texts(data: Held) -> None:
    assert held_texts(data) == TEXTS
    assert held_texts(Subset(data, [3, 1])) == ["d", "c"]
    assert equal_groups(data, held_texts(data)).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    ("texts", "groups"),
    [
        (["👍", "😡", "???", "", "!!!", " ", "?", "👍🏽"], [0, 1, 2, 3, 4, 3, 5, 6]),
        (["दिन", "दान", "दून", "दिन।"], [0, 1, 2, 0]),
        (["C++", "C#", "C", "c++."], [0, 1, 2, 0]),
        (["3 + 4", "3 - 4", "3 * 4", "3 / 4", "3 = 4", "(3 + 4)!"], [0, 1, 2, 3, 4, 0]),
        (["-5", "5", "5%", "$5", "5°", "5!"], [0, 1, 2, 3, 4, 1]),
        (["x > y", "x < y", "x y", "x, y"], [0, 1, 2, 2]),
        (["u\u0308ber", "über", "ÜBER", "U\u0308ber?", "uber"], [0, 0, 0, 0, 1]),
        (["İ", "i\u0307", "ﬁne", "fine", "STRASSE", "Straße"], [0, 0, 1, 1, 2, 2]),
        (["“Don’t…”", "don't", "DON'T !", "«don't»"], [0, 0, 0, 0]),
        (["你好！", "你好", "（你好）。", "你"], [0, 0, 0, 1]),
        (["❤\ufe0f", "❤", "soft\u00adware", "software", "\ufeffsoftware\n", "a\tb", "a  b"], [0, 0, 1, 1, 1, 2, 2]),
        (["?", "？", "\u200b", "", "\ud800", "\ud801"], [0, 0, 1, 1, 2, 3]),
    ],
)
def test_equal_texts_but_for_case_and_punctuation(texts: list[str], groups: list[int]) -> None:
    assert equal_groups(Held(), texts).tolist() == groups


@pytest.mark.parametrize("data", [Held(texts=TEXTS[:2]), Held(texts=[1, 2, 3, 4]), SimpleNamespace(text="abcd")])
def test_what_are_no_texts(data: object) -> None:
    assert held_texts(data) is None


IMAGES = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)


@pytest.mark.parametrize(
    "data", [Held(data=IMAGES), Held(images=torch.from_numpy(IMAGES)), TensorDataset(torch.from_numpy(IMAGES))]
)
def test_arrays(data: object) -> None:
    np.testing.assert_array_equal(held_array(data), IMAGES)
    np.testing.assert_array_equal(held_array(Subset(data, [2, 0])), IMAGES[[2, 0]])
    assert equal_groups(data).tolist() == [0, 1, 2, 3]


def test_equal_arrays() -> None:
    data = Held(data=IMAGES[[0, 1, 0, 3]])
    assert equal_groups(data).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("data", [Held(), Held(data=np.arange(4)), Held(data=np.array(TEXTS)), range(4)])
def test_what_holds_nothing_to_compare(data: object) -> None:
    assert held_array(data) is None
    assert equal_groups(data) is None


@pytest.mark.parametrize("layout", ["first", "last", "grey"])
def test_thumbnails_of_copies_are_near(layout: str) -> None:
    images = torch.rand(60, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(images, 5, 1)
    copies = smooth[:5] + 0.002 * torch.randn(5, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    both = torch.cat([smooth, copies])
    shown = {"first": both, "last": both.movedim(1, 3), "grey": both[:, 0]}[layout]
    rows = thumbnails(channels_first(shown.numpy()))
    assert rows.shape == (65, 64)
    groups = duplicate_groups(rows)
    assert groups.tolist() == [*range(60), *range(5)]
