"""What training says of the labels: heard on the side, the same after a restart; and samples left out of it."""

from __future__ import annotations

import csv
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from support import Indexed, Module, N, SaveEvery, fit, same_weights, train_loader, trainer
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, RandomSampler, Subset, WeightedRandomSampler

from dynsel import DynamicSelection
from dynsel.data import Banking77DataModule, DigitsDataModule
from dynsel.models import ImageClassifier, TextClassifier
from dynsel.selectors import Hybrid

SHARED = Path(os.environ.get("DYNSEL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def sums(callback: DynamicSelection) -> dict[str, torch.Tensor]:
    return callback.controller.epochs.evidence.state_dict()


def test_every_use_is_taken_down() -> None:
    callback = DynamicSelection()
    fit(callback)
    found = sums(callback)
    assert torch.equal(found["seen"], callback.selector.usage)
    assert found["given"].tolist() == Indexed().targets
    assert torch.equal(found["other"], 1 - found["given"])
    assert float(found["margin"].abs().min()) > 0


@pytest.mark.parametrize("selector", ["full", "random", "hybrid"])
def test_training_is_the_same_with_and_without(selector: str) -> None:
    runs = [fit(DynamicSelection(selector, findings=findings))[0] for findings in (True, False)]
    assert same_weights(*runs)


@pytest.mark.parametrize(
    ("selector", "asked"), [("full", False), ("infobatch", False), ("hybrid", True), ("aum", True)]
)
def test_by_default_it_is_asked_where_logits_are_heard_anyway(selector: str, asked: bool) -> None:
    callback = DynamicSelection(selector)
    assert (callback.controller.epochs.evidence is not None) is asked
    assert (DynamicSelection(selector, findings=not asked).controller.epochs.evidence is not None) is not asked


def test_it_is_the_same_after_a_restart_at_every_step(tmp_path) -> None:
    saver, whole = SaveEvery(tmp_path), DynamicSelection()
    fit(whole, saver)
    for path in saver.paths[::3]:
        again = DynamicSelection()
        fit(again, ckpt_path=path, seed=2)
        for name, numbers in sums(whole).items():
            torch.testing.assert_close(sums(again)[name], numbers, msg=f"{path.name}: {name}")


def test_a_run_that_asks_goes_on_with_one_that_did_not_and_the_other_way_round(tmp_path) -> None:
    for first in (True, False):
        saver = SaveEvery(tmp_path)
        fit(DynamicSelection(findings=first), saver)
        fit(DynamicSelection(findings=not first), ckpt_path=saver.paths[3])


class Mixed(Module):
    """Mixes each batch with itself, as mixup does."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        logits = self(0.7 * x + 0.3 * x.flip(0))
        return 0.7 * cross_entropy(logits, y) + 0.3 * cross_entropy(logits, y.flip(0))


class Regression(Module):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        return mse_loss(self(x)[:, 0], y.float())


class Auxiliary(Module):
    """A second head of small weight."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y, i = batch
        self.seen[self.current_epoch].append(i.tolist())
        return cross_entropy(self(x), y) + 0.1 * cross_entropy(self(-x), 1 - y)


@pytest.mark.parametrize("module", [Mixed, Regression])
def test_where_no_class_is_that_of_the_sample_nothing_is_told(module: type[Module]) -> None:
    callback = DynamicSelection()
    fit(callback, module=module())
    found = callback.findings()
    assert "wrong_label" in found.unknown
    assert found.kinds["never_used"].tolist() == []


def test_of_several_heads_the_main_one_counts() -> None:
    callback = DynamicSelection()
    fit(callback, module=Auxiliary())
    assert sums(callback)["given"].tolist() == Indexed().targets


def test_a_fold_has_the_data_sets_indices() -> None:
    callback = DynamicSelection("random", findings=True)
    loader = DataLoader(Indexed(), 4, sampler=torch.utils.data.SubsetRandomSampler(range(10, 30)))
    fit(callback, loader=loader)
    assert callback.findings().samples["index"].tolist() == list(range(10, 30))


def test_before_training_there_is_nothing_to_find() -> None:
    with pytest.raises(RuntimeError, match=r"no loader yet: .* under Lightning, ask after `trainer\.fit`"):
        DynamicSelection().findings()


class Separable(Indexed):
    """Labels that a network learns at once, but for forty wrong ones."""

    def __init__(self, n: int = 400) -> None:
        super().__init__(n)
        self.x *= 3
        self.targets = [int(float(row.sum()) > 0) for row in self.x]
        self.wrong = sorted(range(n), key=lambda i: -abs(float(self.x[i].sum())))[:40]
        for i in self.wrong:
            self.targets[i] = 1 - self.targets[i]


def test_at_the_end_people_are_told_what_looks_wrong(caplog) -> None:
    pl.seed_everything(0, verbose=False)
    data, callback = DigitsDataModule(batch_size=32, label_noise=0.2), DynamicSelection()
    model = ImageClassifier(architecture="small_cnn", num_classes=10, in_channels=1, width=8, lr=0.1)
    with caplog.at_level(logging.INFO):
        trainer(callback, max_epochs=16).fit(model, data)
    found, wrong = callback.findings(), data.train_set.wrong
    assert float(wrong[found.suspects].sum() / wrong.sum()) > 0.8
    [line] = [r.message for r in caplog.records if "look wrong" in r.message]
    assert f"{len(found.suspects)} of 1,347 labels look wrong, about" in line
    assert "`dynsel findings CHECKPOINT --data CLASS`" in line


class Pictures(torch.utils.data.Dataset[Any]):
    """Held where nobody looks for them; item 25 is nearly item 4."""

    def __init__(self) -> None:
        self.held = Indexed()
        self.held.x[25] = self.held.x[4] * 1.0001

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> Any:
        return self.held[i]


def test_features_may_be_the_inputs_or_a_file(tmp_path) -> None:
    callback, data = DynamicSelection("random"), Pictures()
    fit(callback, loader=DataLoader(data, 4, sampler=torch.utils.data.SubsetRandomSampler(range(2, 30))))
    assert "rare" in callback.findings().unknown
    np.save(tmp_path / "features.npy", data.held.x.numpy())
    for given in ("pixels", tmp_path / "features.npy", str(tmp_path / "features.npy"), data.held.x.numpy()):
        found = callback.findings(features=given)
        assert found.samples["index"][found.kinds["duplicate"]].tolist() == [4, 25, 9, 26], "9 and 26 lie near as well"
        assert len(found.kinds["rare"]) == 1


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ("pixls", ValueError, "did you mean 'pixels'"),
        ("model", ValueError, "'model' is captured while a selection trains, .* give 'pixels' or a file"),
        ("no.npy", FileNotFoundError, r"there is no feature file no\.npy"),
    ],
)
def test_a_text_that_is_no_features(features: str, error: type[Exception], message: str) -> None:
    callback = DynamicSelection("random")
    fit(callback)
    with pytest.raises(error, match=message):
        callback.findings(features=features)


def test_they_are_not_told_where_nobody_knows_how_many_are_wrong(caplog) -> None:
    """Of two classes that a line divides margins grow without end."""
    data, callback = Separable(), DynamicSelection()
    pl.seed_everything(0, verbose=False)
    with caplog.at_level(logging.INFO):
        fit(callback, loader=DataLoader(data, 16, shuffle=True), module=Module(dropout=0.0), max_epochs=8)
    found = callback.findings()
    assert len(set(found.suspects.tolist()) & set(data.wrong)) > len(found.suspects) / 2 > 0
    assert found.expected_wrong is None
    assert not [r for r in caplog.records if "look wrong" in r.message]


@pytest.mark.long
@pytest.mark.skipif(not (SHARED / "banking77-train.csv").is_file(), reason="the CSV files are not in ../shared/data")
def test_labels_made_wrong_by_hand_in_banking77_are_found() -> None:
    """Three of 10,003 questions, each with a label that a customer of a bank would call wrong."""
    data = Banking77DataModule(SHARED)
    data.setup("fit")
    questions, classes = data.train_set.texts, data.train_set.classes
    planted = {
        "I'm panicking!  I lost my card!  Help!": "exchange_rate",
        "What is the exchange rate for EUR?": "pin_blocked",
        "My PIN tries have run out. Now what?": "exchange_rate",
    }
    rows = {question: next(i for i, text in enumerate(questions) if text == question) for question in planted}
    for question, label in planted.items():
        data.train_set.targets[rows[question]] = classes.index(label)
    callback = DynamicSelection()
    pl.seed_everything(0, verbose=False)
    trainer(callback, max_epochs=4).fit(TextClassifier(), data)
    found = callback.findings()
    foremost = found.suspects[:100].tolist()
    assert set(rows.values()) <= set(foremost)
    listed = {row["index"]: row for row in found.rows(["wrong_label"])}
    for question, label in planted.items():
        assert listed[rows[question]]["text"] == question
        assert listed[rows[question]]["given"] == label
        assert listed[rows[question]]["predicted"] != label


# ---------------------------------------------------------------- leaving samples out
def trained_on(module: Module) -> set[int]:
    return {i for epoch in module.seen.values() for batch in epoch for i in batch}


@pytest.mark.parametrize("shuffle", [True, False])
def test_what_is_excluded_is_never_trained_on(shuffle: bool) -> None:
    callback = DynamicSelection(exclude=[3, 8, 39])
    module, _ = fit(callback, loader=train_loader(shuffle=shuffle))
    assert trained_on(module) == set(range(N)) - {3, 8, 39}
    assert callback.selector.num_samples == N - 3


def test_it_is_the_training_on_a_subset_sampler_of_the_others() -> None:
    kept = [i for i in range(N) if i not in (3, 8)]
    sampler = torch.utils.data.SubsetRandomSampler(kept)
    runs = [
        fit(DynamicSelection("hybrid", 0.5, exclude=[8, 3]))[0],
        fit(DynamicSelection("hybrid", 0.5), loader=DataLoader(Indexed(), 4, sampler=sampler))[0],
    ]
    assert same_weights(*runs)


def test_findings_are_excluded_by_their_file(tmp_path) -> None:
    data, callback = Separable(), DynamicSelection()
    loader = DataLoader(data, 16, shuffle=True)
    pl.seed_everything(0, verbose=False)
    fit(callback, loader=loader, module=Module(dropout=0.0), max_epochs=8)
    found = callback.findings()
    found.to_csv(tmp_path / "suspects.csv", kinds=["wrong_label"])
    with open(tmp_path / "suspects.csv") as file:
        assert [int(row["index"]) for row in csv.DictReader(file)] == found.suspects.tolist()
    module, _ = fit(DynamicSelection(exclude=str(tmp_path / "suspects.csv")), loader=loader)
    assert trained_on(module) == set(range(400)) - set(found.suspects.tolist())


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_class_that_is_left_out_is_named_once(shuffle: bool) -> None:
    data: Any = Indexed()
    data.classes = ["cat", "dog"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(DynamicSelection(exclude=list(range(0, N, 2))), loader=DataLoader(data, 4, shuffle=shuffle))
    [text] = [str(each.message) for each in caught if "`exclude`" in str(each.message)]
    assert text.startswith("`exclude` leaves out every sample of the class 'cat': training never sees it; ")


def test_an_own_sampler_is_refused_with_the_way_out() -> None:
    loader = DataLoader(Indexed(), 4, sampler=WeightedRandomSampler(torch.ones(N), N))
    with pytest.raises(ValueError, match=r"`exclude` is for loaders that shuffle .*\(WeightedRandomSampler\): leave"):
        fit(DynamicSelection(exclude=[1]), loader=loader)


def test_a_subset_as_data_set_is_fine() -> None:
    data = Subset(Indexed(), range(20))
    module, _ = fit(DynamicSelection(Hybrid(), exclude=[0]), loader=DataLoader(data, 4, sampler=RandomSampler(data)))
    assert trained_on(module) == set(range(1, 20))
