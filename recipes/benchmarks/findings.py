"""Precision and recall of suspected labels, beside cleanlab and AUM, with what each costs.

    python recipes/benchmarks/findings.py --data banking77 --root data --noise 0.2 0.4
    python recipes/benchmarks/findings.py --data cifar10 --root data --noise 0.2 0.4
    python recipes/benchmarks/findings.py --time --root data
    python recipes/benchmarks/findings.py --copies --root data

Labels are made wrong on purpose, each other class equally likely. Every training has the recipe's model, length and
learning rate. Suspected by

- dynsel: `selection.findings()` after one training with the default selector, and after one on full data;
- AUM: mean margins below the 99th percentile of those of samples of an extra class, as in the paper: two trainings,
  since such samples can't be judged themselves;
- cleanlab: `find_label_issues` by its default, on out-of-sample probabilities of five trainings on four fifths each.

Needs `pip install cleanlab` for the last; it is left out where that is missing. Seconds are process time, training
only.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.utils.data import DataLoader, SubsetRandomSampler

from dynsel import DynamicSelection
from dynsel._lib.images import TensorImages
from dynsel._lib.tables import markdown_table
from dynsel.data import Banking77DataModule, CIFAR10DataModule, flip_labels
from dynsel.data.corrupt import Copy, altered, copy_rows
from dynsel.models import ImageClassifier, TextClassifier
from dynsel.samplers.findings import Evidence
from dynsel.samplers.findings.find import find
from dynsel.selectors import Feedback

FOLDS = 5
SEED = 0


class Task(NamedTuple):
    """A data set with wrong labels, and how to train on it."""

    data: Any
    wrong: Tensor
    classes: int
    batch_size: int
    epochs: int
    model: Callable[[int], pl.LightningModule]


def task_of(name: str, root: str, noise: float) -> Task:
    """A recipe's data, model and length."""
    if name == "banking77":
        module: Any = Banking77DataModule(root)
        model = lambda classes: TextClassifier(num_classes=classes, lr=5e-3)  # noqa: E731
        size, epochs = 64, 8
    else:
        module = CIFAR10DataModule(root)
        options = {"width": 16, "lr": 0.8, "weight_decay": 5e-4, "label_smoothing": 0.1, "schedule": "onecycle"}
        options |= {"augment": True, "crop_padding": 2}
        model = lambda classes: ImageClassifier(architecture="small_resnet", num_classes=classes, **options)  # noqa: E731
        size, epochs = 256, 6
    module.setup("fit")
    data, classes = module.train_set, len(module.train_set.classes)
    data.targets, wrong = flip_labels(data.targets, noise, classes, torch.Generator().manual_seed(SEED))
    return Task(data, wrong, classes, size, epochs, model)


def train(task: Task, rows: Tensor, selector: str, classes: int) -> tuple[DynamicSelection, pl.LightningModule, float]:
    """A training on some of the samples; process seconds that it took."""
    pl.seed_everything(SEED, verbose=False)
    model, selection = task.model(classes), DynamicSelection(selector, findings=True)
    loader = DataLoader(
        task.data, task.batch_size, sampler=SubsetRandomSampler(rows.tolist()), collate_fn=TensorImages.collate
    )
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        max_epochs=task.epochs, callbacks=[selection], accelerator="cpu", enable_model_summary=False, **options
    )
    start = time.process_time()
    trainer.fit(model, loader)
    return selection, model.eval(), time.process_time() - start


class Found(NamedTuple):
    """What a method suspects: (N,) bool, and (N,) higher = more suspicious; and its cost."""

    suspected: np.ndarray[Any, Any]
    score: np.ndarray[Any, Any]
    trainings: int
    seconds: float
    note: str = ""


def ours(task: Task, selector: str) -> Found:
    """One training, and `findings`."""
    count = len(task.wrong)
    selection, _, seconds = train(task, torch.arange(count), selector, task.classes)
    start = time.perf_counter()
    found = selection.findings()
    looked = time.perf_counter() - start
    suspected = np.zeros(count, dtype=bool)
    suspected[found.suspects] = True
    share = (found.expected_wrong or 0.0) / max(1, int(suspected.sum()))
    score = -np.nan_to_num(found.samples["margin"], nan=-np.inf)
    return Found(suspected, score, 1, seconds, f"estimated {100 * share:.1f} %, looked in {looked:.1f} s")


def aum(task: Task) -> Found:
    """Two trainings, each with samples of an extra class that set the threshold."""
    count, given = len(task.wrong), task.data.targets.clone()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SEED))
    size, seconds = count // (task.classes + 1), 0.0
    margins, suspected = np.zeros(count), np.zeros(count, dtype=bool)
    for turn in range(2):
        extra = order[turn * size : (turn + 1) * size]
        task.data.targets = given.index_fill(0, extra, task.classes)
        task.data.classes.append("extra") if len(task.data.classes) == task.classes else None
        selection, _, took = train(task, torch.arange(count), "full", task.classes + 1)
        found = selection.findings().samples["margin"].astype(np.float64)
        threshold = np.percentile(found[extra.numpy()], 99)
        judged = np.setdiff1d(np.arange(count), extra.numpy()) if turn == 0 else order[:size].numpy()
        margins[judged], suspected[judged] = found[judged] - threshold, found[judged] < threshold
        seconds += took
    task.data.targets = given
    return Found(suspected, -margins, 2, seconds)


def cleanlab(task: Task) -> Found | None:
    """Five trainings on four fifths each, and `find_label_issues` on what they say of the rest."""
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return None
    count = len(task.wrong)
    fold = torch.randperm(count, generator=torch.Generator().manual_seed(SEED)) % FOLDS
    probabilities, seconds = np.zeros((count, task.classes)), 0.0
    for number in range(FOLDS):
        rest = (fold == number).nonzero()[:, 0]
        _, model, took = train(task, (fold != number).nonzero()[:, 0], "full", task.classes)
        with torch.no_grad():
            for rows in rest.split(1000):
                probabilities[rows] = model(task.data.__getitems__(rows)[0]).softmax(1).double().numpy()
        seconds += took
    labels = task.data.targets.numpy()
    suspected = find_label_issues(labels, probabilities / probabilities.sum(1, keepdims=True))
    return Found(suspected, -get_label_quality_scores(labels, probabilities), FOLDS, seconds)


def row(name: str, found: Found, wrong: np.ndarray[Any, Any]) -> list[str]:
    """A line of the table."""
    hits = int((found.suspected & wrong).sum())
    numbers = (hits / max(1, int(found.suspected.sum())), hits / max(1, int(wrong.sum())))
    texts = [f"{100 * n:.1f}" for n in (*numbers, average_precision_score(wrong, found.score))]
    return [name, f"{int(found.suspected.sum()):,}", *texts, str(found.trainings), f"{found.seconds:.0f}", found.note]


def compare(name: str, root: str, noise: float) -> None:
    """One table."""
    methods: dict[str, Callable[[Task], Found | None]] = {
        "dynsel, Hybrid": lambda task: ours(task, "hybrid"),
        "dynsel, full data": lambda task: ours(task, "full"),
        "AUM": aum,
        "cleanlab": cleanlab,
    }
    rows = []
    for label, method in methods.items():
        task = task_of(name, root, noise)
        found = method(task)
        if found is not None:
            rows.append(row(label, found, task.wrong.numpy()))
            print(rows[-1], flush=True)
    headings = ["method", "suspected", "precision %", "recall %", "average precision %", "trainings", "process s", ""]
    print(f"\n{name}, {100 * noise:.0f} % wrong, seed {SEED} (n = 1)\n\n{markdown_table(headings, rows)}\n", flush=True)


def measure_time(root: str) -> None:
    """Seconds that findings of CIFAR-10's 50,000 training images take, with margins drawn at random."""
    data = task_of("cifar10", root, 0.0).data
    count, generator = len(data), torch.Generator().manual_seed(SEED)
    evidence, margin = Evidence(count), 1 + torch.randn(count, generator=generator)
    said = {"given": data.targets.float(), "other": (data.targets.float() + 1) % 10}
    evidence.learn(Feedback(torch.arange(count), own=margin.sigmoid(), margin=margin, **said))
    start, process = time.perf_counter(), time.process_time()
    found = find(evidence, torch.ones(count, dtype=torch.int32), data)
    took, wall = time.process_time() - process, time.perf_counter() - start
    print(f"{took:.1f} s of process time, {wall:.1f} s, threads: {torch.get_num_threads()}\n{found}")


def measure_copies(root: str) -> None:
    """Which of the copies of `recipes/stress/duplicates_30.yaml` are found by thumbnails, by kind of copy."""
    clean = task_of("cifar10", root, 0.0).data
    source, kind = copy_rows(len(clean), 0.3, torch.Generator().manual_seed(SEED))
    images = altered(clean.images[source], kind, torch.Generator().manual_seed(SEED))
    data = TensorImages(images, clean.targets[source], clean.classes)
    groups = torch.from_numpy(find(None, torch.ones(len(data), dtype=torch.int32), data).samples["group"])
    for copy in Copy:
        rows = (kind == copy).nonzero()[:, 0]
        found = (groups[rows] == groups[source[rows]]).double().mean()
        print(f"{copy.name.lower()}: {len(rows):,}" + ("" if copy == Copy.NONE else f", {100 * found:.1f} % found"))
    several = [source[groups == group].unique() for group in (groups.bincount() > 1).nonzero()[:, 0]]
    mixed = sum(len(sources) > 1 for sources in several)
    print(f"{mixed:,} of {len(several):,} groups hold other images as well")


def main(args: Sequence[str] | None = None) -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("banking77", "cifar10"), default="banking77")
    parser.add_argument("--root", default="data")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.2, 0.4])
    parser.add_argument("--time", action="store_true", help="time findings of CIFAR-10 instead")
    parser.add_argument("--copies", action="store_true", help="count which copies are found instead")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor (default: 1)")
    options = parser.parse_args(args)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    if options.time or options.copies:
        (measure_time if options.time else measure_copies)(options.root)
        return
    for noise in options.noise:
        compare(options.data, options.root, noise)


if __name__ == "__main__":
    main()
