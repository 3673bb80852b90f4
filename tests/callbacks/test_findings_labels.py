"""Of which trainings something can be said of labels: not of contrastive ones; of labels of any integer type."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import Indexed, Module, fit
from torch.nn.functional import cross_entropy

from dynsel import DynamicSelection
from dynsel.samplers.findings.suspects import suspects_in_words


class Contrastive(Module):
    """Each sample is its own class among those of its batch, as in CLIP."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, _, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        z = self(x)
        return cross_entropy(z @ (z + 0.1 * torch.randn_like(z)).T, torch.arange(len(x)))


class FirstOfAll(Module):
    """The right answer is always the first, as in MoCo."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, _, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        return cross_entropy(self(x), torch.zeros(len(x), dtype=torch.long))


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (Contrastive, "the classes that samples are trained as change from use to use"),
        (FirstOfAll, "all samples are trained as one class"),
    ],
)
def test_classes_that_are_no_labels_are_told_from_labels(module: type[Module], why: str) -> None:
    callback = DynamicSelection()
    fit(callback, module=module())
    found = callback.findings()
    for kind in ("wrong_label", "hard", "never_learned"):
        assert found.unknown[kind].startswith(why)
    evidence = callback.controller.epochs.evidence
    assert evidence is not None
    assert suspects_in_words(evidence) == ""


class Typed(Module):
    """Targets of the type that the class attribute names."""

    dtype = torch.int64

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        return cross_entropy(self(x), y.to(self.dtype))


class Bytes(Typed):
    """Bytes are classes to torch's cross entropy."""

    dtype = torch.uint8


def test_labels_of_bytes_are_those_of_integers() -> None:
    given = []
    for module in (Typed, Bytes):
        torch.manual_seed(0)
        callback = DynamicSelection()
        fit(callback, module=module())
        given.append(callback.controller.epochs.evidence.state_dict())
    for name, numbers in given[0].items():
        assert torch.equal(given[1][name], numbers), name
    assert given[1]["given"].tolist() == Indexed().targets


def test_where_nobody_listened_the_way_out_is_named() -> None:
    callback = DynamicSelection("random")
    fit(callback)
    assert callback.findings().unknown["wrong_label"].endswith("ask for it: DynamicSelection(..., findings=True)")
