"""The batches that a sparse autoencoder is trained on, from memory or from pools of a large memory map."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.matrices import Matrix, take

__all__ = ["Batches"]

POOL_BYTES = 2**28
CHUNK_BYTES = 2**16


class Batches:
    """Shuffled batches of rows for all epochs in turn; rows of a batch ascend, which suits a memory map.

    Of a large memory map batches are drawn from pools, see `fit_sae`; then an epoch is N rows, and an order may end in
    the middle of a batch's pool. Pools are ours: they trade some mixing for reads in order.

    Args:
        features: (N, d) floating point.
        batch_size: Largest number of rows of a batch, on all ranks together; the batches of an epoch differ by one row
            at most.
        epochs: Number of passes over the rows.
        generator: Source of the orders, on the CPU; in the same state on every rank.
        progress_bar: Whether to show a progress bar.
        mask: (N,) bool, which rows to use; None = all.
    """

    def __init__(
        self,
        features: Matrix,
        batch_size: int,
        epochs: int,
        generator: torch.Generator,
        progress_bar: bool = False,
        mask: Tensor | None = None,
    ) -> None:
        self.features, self.epochs, self.generator = features, epochs, generator
        self.rows = None if mask is None else mask.nonzero()[:, 0].cpu()
        self.count = len(features) if self.rows is None else len(self.rows)
        self.batch_size, self.mask = batch_size, mask
        self.batches_per_epoch = -(-self.count // batch_size)
        self.progress_bar = progress_bar
        self.rank, self.world = 0, 1
        self.pooled = isinstance(features, np.memmap) and features.nbytes > POOL_BYTES
        self.chunk_rows = max(1, CHUNK_BYTES // (features.shape[1] * features.dtype.itemsize))

    def __len__(self) -> int:
        return self.epochs * self.batches_per_epoch

    def __iter__(self) -> Iterator[Tensor]:
        from dynsel._lib.progress import track

        batches = islice(self._from_pools(), len(self)) if self.pooled else self._draw()
        show = self.progress_bar and not self.rank
        return iter(track(batches, "training the sparse autoencoder", len(self), show=show))

    def _draw(self) -> Iterator[Tensor]:
        for _ in range(self.epochs):
            order = torch.randperm(self.count, generator=self.generator)
            for rows in order.tensor_split(self.batches_per_epoch):
                mine = rows.sort().values[self.rank :: self.world]
                yield take(self.features, mine if self.rows is None else self.rows[mine])

    def _from_pools(self) -> Iterator[Tensor]:
        """Without end, so that ranks whose chunks are fewer still take as many batches."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        inner = torch.Generator().manual_seed(seed + self.rank)
        size = max(1, self.batch_size // self.world)
        with ThreadPoolExecutor(1) as reader:
            pools = self._pools()
            coming = reader.submit(self._read, next(pools))
            while True:
                pool, coming = coming.result(), reader.submit(self._read, next(pools))
                for rows in torch.randperm(len(pool), generator=inner).tensor_split(-(-len(pool) // size)):
                    yield take(pool, rows)

    def _pools(self) -> Iterator[list[int]]:
        """Numbers of the chunks of each pool, ascending."""
        chunks = -(-len(self.features) // self.chunk_rows)
        per_pool = max(1, POOL_BYTES // CHUNK_BYTES)
        while True:
            order = torch.randperm(chunks, generator=self.generator)[self.rank :: self.world]
            # Pools of even size: a small last one would give batches of few places.
            for group in order.tensor_split(max(1, -(-len(order) // per_pool))):
                yield sorted(group.tolist())

    def _read(self, chunks: list[int]) -> Matrix:
        parts = []
        for chunk in chunks:
            rows = slice(chunk * self.chunk_rows, (chunk + 1) * self.chunk_rows)
            part = np.asarray(self.features[rows])
            parts.append(part if self.mask is None else part[self.mask[rows].numpy()])
        return np.concatenate(parts)
