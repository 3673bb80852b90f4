"""transformers' Trainer: a selection mixed into it, against its own training and against losses by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from programs.ranks import launch
from snippets import run_snippets
from support import same_weights
from torch import nn
from torch.utils.data import Dataset

from dynsel.callbacks.transformers_trainer import Selecting
from dynsel.samplers import SelectionController
from dynsel.selectors import Feedback, Full, Random, SelectiveBackprop

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
PAGE = Path(__file__).parents[2] / "docs/engines.md"
N = 40


class Items(Dataset[Any]):
    """Sample i: four features and a label; its first feature is i."""

    def __init__(self) -> None:
        self.x = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
        self.x[:, 0] = torch.arange(N)
        self.labels = [i % 2 for i in range(N)]

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"x": self.x[i], "labels": self.labels[i]}


class Classifier(nn.Module):
    """Takes and gives what transformers' models do; notes what it was trained on."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))
        self.seen: list[list[int]] = []
        self.losses: dict[int, float] = {}
        self.means: list[float] = []

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        indices = x[:, 0].long()
        logits = self.net(torch.cat([x[:, :1] / N, x[:, 1:]], 1))
        if self.training:
            self.seen.append(indices.tolist())
            with torch.no_grad():
                each = F.cross_entropy(logits, labels, reduction="none")
                self.losses.update(zip(indices.tolist(), each.tolist(), strict=True))
                self.means.append(float(each.mean()))
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class SelectingTrainer(Selecting, transformers.Trainer):
    pass


class Noted(Random):
    """Notes what it is told."""

    wants = frozenset({"per_sample_loss"})

    def prepare(self) -> None:
        super().prepare()
        self.told: list[Feedback] = []

    def learn(self, feedback: Feedback) -> None:
        self.told.append(feedback)


def trained(
    folder: Path, selection: SelectionController | None, resume: Any = None, dropout: float = 0.3, **options: Any
) -> tuple[Classifier, Any]:
    transformers.set_seed(1)
    model = Classifier(dropout)
    settings = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "save_strategy": "no", **options}
    arguments = transformers.TrainingArguments(
        str(folder),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        learning_rate=0.01,
        ignore_data_skip=True,
        **settings,
    )
    kind = transformers.Trainer if selection is None else SelectingTrainer
    mixed = {} if selection is None else {"selection": selection}
    trainer = kind(model, arguments, train_dataset=Items(), **mixed)
    trainer.train(resume_from_checkpoint=resume)
    return model, trainer


def controller(selector: Any = None, ratio: float = 0.5, budget: float = 1.0) -> SelectionController:
    return SelectionController(Random() if selector is None else selector, ratio, budget=budget, seed=3)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("selector", [Full(), Random()])
def test_all_data_are_the_trainers_own_training_to_the_bit(tmp_path, accumulate, selector):
    plain, _ = trained(tmp_path, None, gradient_accumulation_steps=accumulate)
    whole, _ = trained(tmp_path, controller(selector, 1.0), gradient_accumulation_steps=accumulate)
    assert whole.seen == plain.seen
    assert same_weights(whole, plain)


@pytest.mark.parametrize(("budget", "accumulate", "steps"), [(1.0, 1, 10), (0.7, 1, 7), (1.0, 3, 4)])
def test_epochs_consist_of_rounds(tmp_path, budget, accumulate, steps):
    selection = controller(ratio=0.25, budget=budget)
    model, trainer = trained(tmp_path, selection, gradient_accumulation_steps=accumulate)
    assert trainer.state.global_step == trainer.state.max_steps == 3 * steps
    assert len(model.seen) == 3 * round(10 * budget)
    counts = Counter(i for batch in model.seen for i in batch)
    assert selection.selector.usage.tolist() == [counts[i] for i in range(N)]
    assert [record.epoch for record in selection.history] == [0, 1, 2]
    # Classes stay balanced, and no sample is used twice as often as another.
    assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.parametrize("accumulate", [1, 2])
def test_losses_are_heard(tmp_path, accumulate):
    selection = controller(Noted(), 0.5)
    model, _ = trained(tmp_path, selection, gradient_accumulation_steps=accumulate, num_train_epochs=1)
    told = {}
    for feedback in selection.selector.told:
        told.update(zip(feedback.indices.tolist(), feedback.per_sample_loss.tolist(), strict=True))
    assert told == pytest.approx(model.losses, rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_losses_of_batches_are_told_as_they_were_before_accumulation(tmp_path, accumulate):
    """Ten batches in windows of three: the last one is by itself, and divided by one only."""

    class OfBatches(Noted):
        wants = frozenset({"batch_loss"})

    selection = controller(OfBatches(), 1.0)
    model, _ = trained(tmp_path, selection, gradient_accumulation_steps=accumulate, num_train_epochs=1)
    told = [loss for feedback in selection.selector.told for loss in feedback.batch_loss[::4].tolist()]
    assert told == pytest.approx(model.means, rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_losses_of_a_language_model_are_its_samples(tmp_path, accumulate):
    """A model of the library's own, which divides the sum over tokens by their number in all batches of a step."""
    texts = torch.randint(0, 30, (16, 6), generator=torch.Generator().manual_seed(0))
    texts[:, 0] = torch.arange(16)
    # The first token is nobody's target; transformers would count it among the items that it divides by.
    targets = torch.cat([torch.full((16, 1), -100), texts[:, 1:]], 1)
    data: Any = [{"input_ids": text, "labels": target} for text, target in zip(texts, targets, strict=True)]
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=30, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        logits = model(texts).logits[:, :-1]
        wanted = F.cross_entropy(logits.transpose(1, 2), texts[:, 1:], reduction="none").mean(1)
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        num_train_epochs=1,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulate,
        learning_rate=0.0,
        save_strategy="no",
    )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    selection = controller(Noted(), 0.5)
    SelectingTrainer(model, arguments, train_dataset=data, selection=selection).train()
    for feedback in selection.selector.told:
        assert feedback.per_sample_loss.tolist() == pytest.approx(wanted[feedback.indices].tolist(), rel=1e-4)


def test_the_default_goes_by_the_logits(tmp_path):
    selection = SelectionController(seed=3)
    trained(tmp_path, selection)
    told = selection.selector.terms["uncertainty"].average
    assert bool(((told >= 0) & (told <= 0.6932)).all())


@pytest.mark.parametrize("stop", [4, 10, 13])
def test_resumed_it_goes_on_to_the_bit(tmp_path, stop):
    """In the midst of an epoch, at its end, and in the second."""
    whole, _ = trained(tmp_path, controller(ratio=0.25), save_strategy="steps", save_steps=stop)
    again, trainer = trained(tmp_path, controller(ratio=0.25), tmp_path / f"checkpoint-{stop}")
    assert trainer.state.global_step == 30
    assert again.seen == whole.seen[stop:]
    assert same_weights(again, whole)


def test_without_a_budget_it_is_refused(tmp_path):
    with pytest.raises(ValueError, match="plans its steps by one length of an epoch: give the selection a `budget`"):
        trained(tmp_path, SelectionController("random", 0.5))


def test_candidates_are_refused(tmp_path):
    with pytest.raises(ValueError, match="SelectiveBackprop cuts batches once they are loaded"):
        trained(tmp_path, controller(SelectiveBackprop()))


def test_the_pages_snippet_runs(tmp_path, monkeypatch):
    found = run_snippets(PAGE, tmp_path, monkeypatch, needs="transformers")
    assert len(found["selection"].history) == 3


def test_skipping_batches_is_refused(tmp_path):
    arguments = transformers.TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    trainer = SelectingTrainer(Classifier(), arguments, train_dataset=Items(), selection=controller())
    with pytest.raises(ValueError, match=r"resume with TrainingArguments\(ignore_data_skip=True\)"):
        trainer.train(resume_from_checkpoint=tmp_path)


# ---------------------------------------------------------------- two processes
@pytest.mark.long
def test_two_processes_share_the_selection(tmp_path):
    ranks = [rank["selected"] for rank in launch("transformers_checks", tmp_path, 2)[2]]
    # 40 samples are 5 batches of 4 on each process.
    assert [rank["steps"] for rank in ranks] == [15, 15]
    assert [[len(batch) for batch in rank["seen"]] for rank in ranks] == [[4] * 15] * 2
    counts = Counter(i for rank in ranks for batch in rank["seen"] for i in batch)
    for rank in ranks:
        assert rank["usage"] == [counts[i] for i in range(N)]
        assert rank["trained"] == [40, 80, 120]
        assert rank["rest"] == rank["seen"][4:]
    for first, second in zip(*(rank["seen"] for rank in ranks), strict=True):
        assert not set(first) & set(second)


def test_where_there_is_no_checkpoint_it_says_so(tmp_path):
    with pytest.raises(ValueError, match="holds no checkpoint to resume from"):
        trained(tmp_path, SelectionController("random", keep_ratio=0.5), resume=True)
