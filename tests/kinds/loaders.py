"""The same loss behind other loaders: samplers, orders, sizes of batches, several loaders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from kinds.table import LOSSES, Module, N, Training, classes, kind, load, mlp, vectors
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)


def module() -> Module:
    return Module(lambda m, b: F.cross_entropy(m(b[0]), b[1]), net=mlp())


@kind(LOSSES, hears="cross_entropy", also=("random",), ranks=True)
def fold_by_a_subset_sampler() -> Training:
    fold = torch.randperm(N)[:24].tolist()
    loader = load(vectors(), classes(), shuffle=False, sampler=SubsetRandomSampler(fold))
    return Training(module(), loader, allowed=fold)


@kind(LOSSES, hears="cross_entropy", also=("random",))
def rare_class_drawn_more_often() -> Training:
    labels = (torch.arange(N) % 8 == 0).long()
    weights = torch.where(labels == 1, 7.0, 1.0)
    sampler = WeightedRandomSampler(weights.tolist(), N)
    loader = load(vectors(), labels, shuffle=False, sampler=sampler)
    return Training(Module(lambda m, b: F.cross_entropy(m(b[0]), b[1]), net=mlp(outputs=2)), loader, repeats=True)


@kind(LOSSES, hears="cross_entropy")
def fewer_samples_than_there_are() -> Training:
    rows = TensorDataset(vectors(), classes())
    sampler = torch.utils.data.RandomSampler(rows, num_samples=24)
    return Training(module(), load(rows, shuffle=False, sampler=sampler), epoch=24)


@kind(LOSSES, hears="cross_entropy")
def order_of_the_data_set() -> Training:
    return Training(module(), load(vectors(), classes(), shuffle=False))


@kind(LOSSES, hears="binary_cross_entropy_with_logits", also=("random", "infobatch"), resumes=True)
def last_batch_of_one() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        # `squeeze` makes (B, 1) a scalar where B = 1.
        return F.binary_cross_entropy_with_logits(m(batch[0]).squeeze(), batch[1].float().squeeze())

    return Training(Module(step, net=mlp(outputs=1)), load(vectors(34), classes(34, 2)))


@kind(LOSSES, hears="cross_entropy")
def last_batch_dropped() -> Training:
    return Training(module(), load(vectors(), classes(), drop_last=True), slack=4.5)


@kind(LOSSES, hears="cross_entropy")
def batches_of_one() -> Training:
    return Training(module(), load(vectors(12), classes(12), batch_size=1))


@kind(LOSSES, hears="cross_entropy")
def one_batch_of_everything() -> Training:
    return Training(module(), load(vectors(), classes(), batch_size=100))


@kind(LOSSES, hears="cross_entropy")
def subset_of_joined_data_sets() -> Training:
    parts = [TensorDataset(vectors(30), classes(30)) for _ in range(2)]
    return Training(module(), load(Subset(ConcatDataset(parts), range(0, 60, 2))))


@kind(LOSSES, hears="cross_entropy")
def index_beside_the_label() -> Training:
    """The last tensor of the data set isn't the classes."""
    return Training(module(), load(vectors(), classes(), torch.arange(N)))


def _sorted_by_length(items: list[Any]) -> tuple[Tensor, Tensor, Tensor]:
    items = sorted(items, key=lambda item: -len(item[0]))
    x = torch.nn.utils.rnn.pad_sequence([item[0] for item in items], batch_first=True)
    return x, torch.tensor([item[1] for item in items]), torch.tensor([item[2] for item in items])


@kind(LOSSES, hears="cross_entropy")
def collate_that_sorts_with_indices_in_the_batch() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x, labels, _ = batch
        valid = x.ne(0).any(-1, keepdim=True)
        return F.cross_entropy((m(x) * valid).sum(1), labels)

    sizes = torch.randint(2, 9, (N,)).tolist()
    rows = [(torch.randn(size, 6), i % 3, i) for i, size in enumerate(sizes)]
    return Training(
        Module(step, net=mlp()), load(rows, collate_fn=_sorted_by_length), selection={"indices": lambda batch: batch[2]}
    )


class Buckets(Sampler[list[int]]):
    """Batches of samples of about the same length."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def __iter__(self) -> Iterator[list[int]]:
        order = sorted(range(len(self.lengths)), key=self.lengths.__getitem__)
        batches = [order[i : i + 8] for i in range(0, len(order), 8)]
        yield from (batches[i] for i in torch.randperm(len(batches)).tolist())

    def __len__(self) -> int:
        return (len(self.lengths) + 7) // 8


@kind(LOSSES, hears="cross_entropy")
def batches_by_buckets() -> Training:
    rows = TensorDataset(vectors(), classes())
    lengths = torch.randint(2, 50, (N,)).tolist()
    return Training(module(), DataLoader(rows, batch_sampler=Buckets(lengths)))


@kind(LOSSES, hears="cross_entropy")
def worker_processes() -> Training:
    return Training(module(), load(vectors(), classes(), num_workers=1))


@kind(LOSSES, hears="cross_entropy", truth=lambda m, b: _half_supervised(m, b))
def two_loaders_with_and_without_labels() -> Training:
    """FixMatch, the labelled part selected; Sohn et al. (2020), arXiv:2001.07685."""

    def step(m: Any, batch: Any) -> Tensor:
        (x, y), (free,) = batch["labelled"], batch["free"]
        with torch.no_grad():
            p, guess = m(free).softmax(1).max(1)
        unlabelled = F.cross_entropy(m(free + 0.3 * torch.randn_like(free)), guess, reduction="none")
        return F.cross_entropy(m(x), y) + (unlabelled * (p > 0.4)).mean()

    labelled, free = load(vectors(), classes()), load(vectors(80), batch_size=12)
    return Training(
        Module(step, net=mlp()),
        {"labelled": labelled, "free": free},
        dataset=labelled.dataset,
        collate=labelled.collate_fn,
        part=lambda batch: batch["labelled"],
        # Lightning begins the shorter loader anew until the longer one is through.
        repeats=True,
        slack=28,
        selection={"loader": "labelled"},
    )


def _half_supervised(m: Any, batch: Any) -> Tensor:
    return F.cross_entropy(m(batch[0]), batch[1], reduction="none")
