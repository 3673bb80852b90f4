"""Losses of the training samples under models that never saw them: the reference that JEST compares with.

    python recipes/reference_losses.py --config recipes/cifar10/small.yaml --out runs/cifar10-reference.npy

The training set is halved at random; the configured model is trained on each half, without selection, and gives the
losses of the other. Validation and test data are used for nothing. Further options override the configuration, as in
`--trainer.max_epochs 3`. Written: (N,) float32, row i = training sample i, without augmentation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from dynsel._lib.files import write_atomically
from dynsel._lib.quiet import quiet
from dynsel.compare.run import Comparison


def train_on(comparison: Comparison, rows: Tensor, seed: int) -> tuple[pl.LightningModule, DataLoader]:
    """The configured model, trained on these samples only, and a loader of the whole training set."""
    comparison.make("full", seed, [])
    data = comparison.datamodule
    data.prepare_data()
    data.setup("fit")
    whole = data.train_dataloader()
    part = DataLoader(
        Subset(whole.dataset, rows.tolist()), batch_size=whole.batch_size, shuffle=True, collate_fn=whole.collate_fn
    )
    comparison.trainer.fit(comparison.model, part)
    ordered = DataLoader(whole.dataset, batch_size=1000, collate_fn=whole.collate_fn)
    return comparison.model, ordered


@torch.no_grad()
def losses_of(model: pl.LightningModule, loader: DataLoader) -> tuple[Tensor, Tensor]:
    """(N,) cross entropies, and whether each sample is classified rightly."""
    model.eval()
    losses, right = [], []
    for images, targets in loader:
        logits = model(images.to(model.device)).cpu()
        losses.append(F.cross_entropy(logits, targets.cpu(), reduction="none"))
        right.append(logits.argmax(1) == targets.cpu())
    return torch.cat(losses), torch.cat(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npy")
    options, rest = parser.parse_known_args()
    if options.out.suffix != ".npy":
        parser.error(f"`--out` must end in .npy, got {options.out}")
    with quiet():
        comparison = Comparison(rest, "val_accuracy")
        seed, dataset = comparison.first_seed, comparison.train_dataset()
        halves = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tensor_split(2)
        found = torch.full((len(dataset),), torch.nan)
        for i, half in enumerate(halves):
            losses, right = losses_of(*train_on(comparison, half, seed))
            other = halves[1 - i]
            found[other] = losses[other]
            print(f"half {i}: accuracy on the other half {right[other].float().mean():.1%}", flush=True)
    write_atomically(options.out, lambda file: np.lib.format.write_array(file, found.numpy(), allow_pickle=False))
    print(f"{options.out}: {len(found):,} losses, mean {found.mean():.3f}")


if __name__ == "__main__":
    main()
