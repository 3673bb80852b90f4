"""What share of each class stays when a batch is chosen by GSTDS, for each of its rules.

    python recipes/cifar10/class_shares.py --features data/cifar10-resnet56-features.npz
    python recipes/cifar10/class_shares.py --features FILE.npz --candidates 1024 --keep_ratio 0.5 --epochs 2

FILE.npz holds `train_features` (N, d) and `train_labels` (N,). No network is trained: the data set is shuffled, cut
into batches of candidates, and of each batch a part stays. Printed for each rule and for random samples: each class's
share of what stays, how far a batch's shares are from its candidates' (half the sum of the absolute differences, mean
over batches: that share of the batch would have to be exchanged), and the share of the images that ever stayed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.tables import markdown_table
from dynsel.selectors import GSTDS, BatchSelector, Feedback, RandomInBatch
from dynsel.selectors.gstds import Rule


def shares(labels: Tensor, classes: int) -> Tensor:
    """(classes,) float64 share of each class among these labels."""
    return torch.bincount(labels, minlength=classes).double() / len(labels)


def measure(
    selector: BatchSelector, labels: Tensor, candidates: int, keep: int, epochs: int
) -> tuple[Tensor, float, float]:
    """Class shares of what stays, mean distance of a batch's from its candidates', share of images that stayed."""
    classes, kept, apart = int(labels.max()) + 1, [], []
    for epoch in range(epochs):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch))
        batches = [rows for rows in order.split(candidates) if len(rows) == candidates]
        chosen = selector.select_batches(batches, [keep] * len(batches), epoch / epochs)
        for rows, stay in zip(batches, chosen, strict=True):
            kept.append(rows[stay])
            apart.append((shares(labels[rows[stay]], classes) - shares(labels[rows], classes)).abs().sum() / 2)
        selector.observe(Feedback(torch.cat(kept[-len(batches) :])))
    everything = torch.cat(kept)
    return shares(labels[everything], classes), float(torch.stack(apart).mean()), len(everything.unique()) / len(labels)


def table(features: Tensor, labels: Tensor, candidates: int, keep: int, epochs: int) -> str:
    """A row for each rule, in Markdown.

    Args:
        features: (N, d) floats.
        labels: (N,) int64.
        candidates: Samples of which a part stays.
        keep: How many of them stay.
        epochs: Passes over the data.
    """
    selectors: dict[str, BatchSelector] = {"random": RandomInBatch(seed=0)}
    selectors |= {rule: GSTDS(rule=rule, seed=0) for rule in get_args(Rule)}
    rows = []
    for name, selector in selectors.items():
        selector.bind(len(labels), labels)
        if isinstance(selector, GSTDS):
            selector.fit(features)
        found, apart, ever = measure(selector, labels, candidates, keep, epochs)
        rows.append([name, *(f"{100 * share:.1f}" for share in found), f"{100 * apart:.1f}", f"{100 * ever:.1f}"])
    classes = [f"class {code}" for code in range(int(labels.max()) + 1)]
    return markdown_table(["rule", *classes, "to exchange in a batch", "images ever used"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--candidates", type=int, default=1024)
    parser.add_argument("--keep_ratio", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    stored = np.load(options.features)
    features = torch.from_numpy(stored["train_features"]).float()
    labels = torch.from_numpy(stored["train_labels"].astype(np.int64))
    keep = round(options.keep_ratio * options.candidates)
    print(f"{keep} of {options.candidates} candidates, {options.epochs} epochs, {len(labels):,} images, shares in %\n")
    print(table(features, labels, options.candidates, keep, options.epochs))


if __name__ == "__main__":
    main()
