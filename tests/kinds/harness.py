"""Runs a kind of training and says what was trained on, what was told and what would have been true."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from kinds.table import BATCH_LOSS, NORM, Kind, Training, generators_kept
from scipy.stats import rankdata
from support import trainer as make_trainer
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from dynsel.callbacks import DynamicSelection
from dynsel.callbacks.listening.heard import Rule
from dynsel.selectors import Feedback, Random

EPOCHS, KEEP = 2, 0.5


class Recorder(Random):
    """Selects at random, so that two epochs of a half see each sample once, and keeps what it is told.

    Args:
        field: Of `Feedback`: "per_sample_loss", or "value", for which it measures the entropy of the logits.
    """

    needs_targets: ClassVar[bool] = False

    def __init__(self, field: str = "per_sample_loss") -> None:
        super().__init__()
        self.wants = frozenset({field})
        self.field = field
        self.told: dict[int, float] = {}

    def measure(self, logits: Tensor, targets: Any, features: Any) -> Tensor:
        return entropies(logits)

    def learn(self, feedback: Feedback) -> None:
        told = getattr(feedback, self.field)
        if told is not None:
            self.told |= dict(zip(feedback.indices.tolist(), told.tolist(), strict=True))

    def of_samples(self, training: Training) -> dict[int, float]:
        """The numbers that it was told, by the samples' indices in the data set."""
        return {training.pool[k]: x for k, x in self.told.items() if x == x}


def entropies(logits: Tensor) -> Tensor:
    """Of each row, or pixel, of (rows, C, ...) logits."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


class Watch(pl.Callback):
    """Notes what each batch is made of by the selection's own account, and holds the account against the batch.

    Attributes:
        epochs: Indices of the samples of each epoch, in the order of training on this rank.
        untold: Samples of batches that the step skips.
        strangers: What was found in a batch that isn't made of the samples that the selection names.
        truth: What the kind's function of a batch says of each sample.
    """

    def __init__(self, kind: Kind, training: Training, selection: DynamicSelection, frozen: bool) -> None:
        self.kind, self.training, self.selection, self.frozen = kind, training, selection, frozen
        self.epochs: dict[int, list[int]] = defaultdict(list)
        self.untold: set[int] = set()
        self.strangers: list[str] = []
        self.truth: dict[int, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.frozen:
            for optimizer in trainer.optimizers:
                _freeze(optimizer)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        if self.frozen:  # a scheduler has a learning rate of its own
            _freeze(optimizer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        indices = self.selection.indices(batch_idx).tolist()
        self.epochs[trainer.current_epoch] += indices
        if batch_idx in self.training.skips:
            self.untold |= set(indices)
        own = self.training.part(batch)
        if self.kind.replays:
            with generators_kept():
                expected = self.training.collate([self.training.dataset[i] for i in indices])
            pairs = zip(leaves(expected), leaves(own), strict=True)
            if not all(torch.equal(a.to(b.dtype), b) for a, b in pairs):
                self.strangers.append(f"batch {batch_idx} of epoch {trainer.current_epoch} is not of {indices}")
        if self.frozen and callable(self.kind.truth):
            with generators_kept(), trainer.precision_plugin.forward_context():
                losses = self.kind.truth(pl_module, own).detach().float()
            assert losses.shape == (len(indices),), "the kind's truth has one number per sample"
            self.truth |= dict(zip(indices, losses.tolist(), strict=True))


def _freeze(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = 0.0


def leaves(batch: Any) -> list[Tensor]:
    """The tensors of a batch of any make."""
    if hasattr(batch, "to_dict"):  # torch-geometric's
        batch = batch.to_dict()
    return [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]


@dataclass
class Fit:
    """A finished training and what was seen of it."""

    training: Training
    selection: DynamicSelection
    watch: Watch
    before: list[Tensor]

    @property
    def learnt(self) -> bool:
        """Whether any weight moved, and all stayed finite."""
        after = [p.detach() for p in self.training.module.parameters()]
        moved = any(not torch.equal(a, b) for a, b in zip(self.before, after, strict=True))
        return moved and all(bool(torch.isfinite(p).all()) for p in after)


def fit(
    kind: Kind,
    selector: Any = None,
    *,
    frozen: bool = False,
    callbacks: tuple[pl.Callback, ...] = (),
    ckpt_path: Any = None,
    seed: int = 1,
    **options: Any,
) -> Fit:
    """Train a kind from the same initial weights.

    Args:
        kind: The row of the table.
        selector: Instance or short name; None = the default.
        frozen: Learning rate 0.
        callbacks: Further ones.
        ckpt_path: Checkpoint to resume from.
        seed: Seed of the training; the module's and the data's is always 0.
        options: Further arguments of the Trainer.
    """
    pl.seed_everything(0, verbose=False)
    training = kind.make()
    selection = DynamicSelection(selector, keep_ratio=KEEP, **training.selection)
    watch = Watch(kind, training, selection, frozen)
    settings = {"max_epochs": EPOCHS, **kind.trainer(), **options}
    trainer = make_trainer(selection, watch, *callbacks, *settings.pop("callbacks", ()), **settings)
    before = [p.detach().clone() for p in training.module.parameters()]
    pl.seed_everything(seed, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(training.module, training.loader, ckpt_path=ckpt_path)
    return Fit(training, selection, watch, before)


def faults_of_training(done: Fit) -> list[str]:
    """What is wrong with the samples that were trained on; nothing, if all is right."""
    watch, training, faults = done.watch, done.training, list(done.watch.strangers)
    size = training.epoch * KEEP
    allowed = set(training.allowed)
    for epoch, indices in watch.epochs.items():
        if done.selection.selector.exact and abs(len(indices) - size) > training.slack:
            faults.append(f"epoch {epoch} had {len(indices)} samples, not {size:g}")
        if not training.repeats and len(set(indices)) != len(indices):
            faults.append(f"epoch {epoch} had samples twice")
        if set(indices) - allowed:
            faults.append(f"epoch {epoch} had samples that the sampler never yields: {set(indices) - allowed}")
    flat = torch.tensor([i for indices in watch.epochs.values() for i in indices], dtype=torch.int64)
    uses = flat.bincount(minlength=len(training.dataset))
    if not torch.equal(uses[training.pool], done.selection.selector.usage.long()):
        faults.append("the selector's account of uses is not what was trained on")
    if len(watch.epochs) != EPOCHS:
        faults.append(f"{len(watch.epochs)} epochs, not {EPOCHS}")
    if not done.watch.frozen and not done.learnt:
        faults.append("no weight moved, or some are no numbers")
    return faults


def alone(done: Fit, index: int) -> float:
    """Loss that the user's step gives for a batch of one sample."""
    training = done.training
    precision = training.module.trainer.precision_plugin
    batch = precision.convert_input(training.collate([training.dataset[index]]))
    with generators_kept(), precision.forward_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        training.module.log = lambda *_, **__: None  # there is no Trainer any more that could log
        result = training.module.training_step(batch, 0)
    loss = result["loss"] if isinstance(result, dict) else result
    return float(loss.detach())


@dataclass
class Report:
    """What was told of the samples of a kind whose weights stayed as they were.

    Args:
        rule: The rule of the chain that listening says it used; None if it doesn't say.
        line: What it says.
        told: Samples that it told a finite number of.
        missing: Samples trained on that it told nothing of, although they have a loss.
        pearson: Correlation with the truth; NaN without truth.
        spearman: That of the ranks.
    """

    rule: Rule | None
    line: str
    told: int
    missing: int
    pearson: float
    spearman: float

    @property
    def claim(self) -> str:
        return "nothing said" if self.rule is None else self.rule.name


def correlation(a: Any, b: Any) -> float:
    pair = torch.stack([torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)])
    return float(torch.corrcoef(pair)[0, 1])


def listen(kind: Kind) -> Report:
    """Train with learning rate 0 and hold what was told against the truth."""
    recorder = Recorder()
    done = fit(kind, recorder, frozen=True)
    faults = faults_of_training(done)
    assert not faults, faults
    trained = sorted({i for indices in done.watch.epochs.values() for i in indices} - done.watch.untold)
    truth = done.watch.truth
    if kind.truth == "alone":
        truth = {i: alone(done, i) for i in trained}
    told = recorder.of_samples(done.training)
    have = [i for i in trained if kind.truth is None or truth[i] == truth[i]]
    missing, both = [i for i in have if i not in told], [i for i in have if i in told]
    invented = set(told) - set(have)
    assert not invented, f"told a loss of samples that have none: {invented}"
    if kind.truth is not None:
        values = torch.tensor([truth[i] for i in have], dtype=torch.float64)
        assert values.std() > 1e-3 * values.abs().mean(), "the kind's samples all have the same loss"
    heard = done.selection.listening
    pearson = spearman = float("nan")
    if kind.truth is not None and len(both) > 2:
        a, b = [told[i] for i in both], [truth[i] for i in both]
        pearson, spearman = correlation(a, b), correlation(rankdata(a), rankdata(b))
    return Report(heard.rule, str(heard), len(told), len(missing), pearson, spearman)


def faults_of_listening(kind: Kind, report: Report) -> list[str]:
    """What is wrong with what was told; nothing, if all is right."""
    faults = []
    if (report.missing and kind.truth is not None) or not report.told:
        faults.append(f"{report.missing} samples were trained on and nothing told of them")
    if report.rule not in kind.rules:
        faults.append(f"listened by {report.claim}, not by {' or '.join(rule.name for rule in kind.rules)}")
    faults += false_claims(kind, report)
    if kind.hears and kind.hears not in report.line:
        faults.append(f"the line doesn't say {kind.hears!r}: {report.line!r}")
    return faults


def false_claims(kind: Kind, report: Report) -> list[str]:
    """Where what was told is not what listening says it is: the one fault that nobody would notice.

    The norm of a gradient is said to be no loss; it is held against the truth only where it must follow it.
    """
    if kind.truth is None or not report.told or report.rule == BATCH_LOSS:
        return []
    found, least = (report.pearson, kind.least) if report.rule != NORM else (report.spearman, 0.9)
    right = found > least or (report.rule == NORM and kind.rules[0] != NORM)
    return [] if right else [f"{report.claim}: correlation {report.pearson:.3f}, of the ranks {report.spearman:.3f}"]


class Logits(TorchFunctionMode):
    """Mean entropy of the valid logits of the only cross entropy that is computed while it is active."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.cross_entropy:
            logits, targets = args[:2]
            valid = targets != (kwargs or {}).get("ignore_index", -100)
            self.found = float(entropies(logits)[valid].mean())
        return func(*args, **(kwargs or {}))


def check_values(kind: Kind) -> list[str]:
    """Whether what a selector makes of logits is the mean over the sample's own valid rows."""
    recorder = Recorder("value")
    done = fit(kind, recorder, frozen=True)
    truth = {}
    for i in done.watch.epochs[0] + done.watch.epochs[1]:
        with Logits() as mode:
            alone(done, i)
        if mode.found == mode.found:
            truth[i] = mode.found
    told = recorder.of_samples(done.training)
    if told.keys() != truth.keys():
        return [f"told of {len(told)} samples, not of {len(truth)}"]
    found = correlation([told[i] for i in truth], list(truth.values()))
    return [] if found > kind.least else [f"entropies: correlation with the truth {found:.3f}"]


def check_training(kind: Kind, selector: Any = None) -> list[str]:
    return faults_of_training(fit(kind, selector))


def check_listening(kind: Kind) -> list[str]:
    return faults_of_listening(kind, listen(kind))
