"""What every extractor offers: inputs by name, and a hash of weights that a changed one gives away."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dynsel.features.extractors.base import Extractor, weights_hash


class Sums(Extractor):
    """The sum of each text's letters."""

    keys = ("text",)

    def prepare(self, value: Any) -> Tensor:
        return torch.tensor([float(sum(map(ord, value)))])

    def forward(self, batch: Tensor) -> Tensor:
        return batch

    def describe(self) -> dict[str, Any]:
        return {"model": "sums"}


def test_inputs_are_found_by_their_keys():
    extractor = Sums()
    items = [{"text": "a", "label": 1}, ("b", 2), "c"]
    assert extractor.read(items, [2, 0, 1]) == ["c", "a", "b"]
    batch = extractor.collate([extractor.prepare(value) for value in ("a", "b")])
    assert extractor(batch).tolist() == [[97.0], [98.0]]
    with pytest.raises(TypeError, match=r"under one of \('text',\), got the keys \['label'\]"):
        extractor.read([{"label": 1}], [0])


def test_a_hash_is_of_names_types_and_values():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = weights_hash(net)
    assert before == weights_hash(net)
    assert len(before) == 32
    assert weights_hash(nn.Sequential(net)) != before  # other names
    assert weights_hash(net.bfloat16()) != before
    net.float()[0].weight.data[0, 0] += 1e-7
    assert weights_hash(net) != before
