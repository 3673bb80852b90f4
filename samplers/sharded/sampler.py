"""A sampler that feeds the selected samples of one rank's shards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import RandomSampler, SequentialSampler

from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.sharded.batches import ShardBatches
from dynsel.samplers.sharded.order import ShardedOrder, ShardedWhole

__all__ = ["ShardedSampler", "sharded_sampler_for"]

# Places of which data set indices are computed at a time.
CHUNK = 1 << 16


class ShardedSampler(SelectionSampler):
    """Feeds the selected samples of this rank's shards, without an array of the order.

    Positions are places in those shards. Every rank gets as many samples, no two the same one, none is repeated, and
    global batches are the same for any number of ranks that share the shards.

    Args:
        data_source: The data set; only its length is used.
        num_shards: Number of canonical shards, C.
        num_replicas: Number of ranks, which must divide C.
        rank: This one.
        seed: Seed of shards and orders; None takes Lightning's `seed_everything` seed, else 0.
        batch_size: Samples in a batch of the loader, on one rank; None = the loader makes no batches.
        drop_last: Whether the loader leaves out a last batch that isn't full.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If the ranks don't divide C, or there are fewer samples than shards.

    Example:
        >>> sampler = ShardedSampler(range(12), 4, num_replicas=2, rank=1, seed=0, batch_size=2)
        >>> [len(batch) for batch in sampler.batches()]
        [2, 2, 2]
    """

    def __init__(
        self,
        data_source: Any,
        num_shards: int,
        *,
        num_replicas: int = 1,
        rank: int = 0,
        seed: int | None = None,
        batch_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            data_source, seed=seed, num_replicas=num_replicas, rank=rank, batch_size=batch_size, drop_last=drop_last
        )
        self.whole: ShardedWhole = ShardedWhole(data_source, num_shards, num_replicas, rank, self.whole.seed)
        self._order: ShardedOrder = ShardedOrder(self.whole)  # type: ignore[assignment]
        self._part: ShardBatches | None = None  # type: ignore[assignment]

    def share(self, num_replicas: int, rank: int) -> None:
        """Refused: shards belong to a rank.

        Raises:
            ValueError: If number or rank are others than they were.
        """
        if (num_replicas, rank) != (self.num_replicas, self.rank):
            raise ValueError(f"this loader's shards are those of rank {self.rank} of {self.num_replicas}")

    def _leave_data(self, trained: int) -> None:
        super()._leave_data(trained)
        # It is computed anew when it is asked for; what it was in the middle of can't be copied.
        self._part = None

    @property
    def part(self) -> ShardBatches:  # type: ignore[override]
        """What this rank feeds from `first_position` on."""
        if self._part is None:
            self._part = ShardBatches(
                self._order,
                start=self.first_position,
                first_batch=self.first_batch,
                batch_size=self.step_size,
                drop_last=self.drop_last,
            )
        return self._part

    def draw(self) -> Tensor:
        """Nothing is drawn ahead: (0,) int64."""
        return self.part.used(self.first_batch, self.first_batch)

    def num_batches(self, samples: int | None = None, batch_size: int | None = None) -> int:
        """Batches of this rank in an epoch of `samples`, see `SelectionSampler.num_batches`.

        Args:
            samples: Of all ranks; rounded so that each shard has as many.
            batch_size: Of those batches, if it isn't the loader's; goes with `samples`.
        """
        if samples is not None:
            samples = self.whole.shards.quota(samples) * self.whole.shards.num_shards
        return super().num_batches(samples, batch_size)

    def __iter__(self) -> Iterator[int]:
        length = self.part.length if self._room is None else min(self.part.length, self._room * self.step_size)
        for start in range(0, length, CHUNK):
            places = self.part.run(start, min(start + CHUNK, length))
            yield from self.whole.shards.indices(places).tolist()

    def batches(self) -> Iterator[list[int]]:
        """Data set indices of each batch that this rank feeds, from the first one of a resumed epoch on."""
        part = self.part
        number = part.number if self._room is None else min(part.number, self._room)
        at_once = max(1, CHUNK // self.step_size)
        for first in range(self.first_batch, self.first_batch + number, at_once):
            places = part.used(first, min(first + at_once, self.first_batch + number))
            indices = self.whole.shards.indices(places.numpy())
            for start in range(0, len(indices), self.step_size):
                yield indices[start : start + self.step_size].tolist()

    # ---------------------------------------------------------------- state
    def _check_state(self, state: dict[str, Any]) -> None:
        """Besides, the ranks must have had equal shares of what was trained on."""
        super()._check_state(state)
        if state["position"] % self.num_replicas:
            raise ValueError(
                f"the checkpoint stands after {state['position']} samples of a selection, which {self.num_replicas} "
                "ranks can't have trained on in equal shares: resume with the same samples per optimiser step, batch "
                "size times ranks, or from the end of an epoch"
            )


def sharded_sampler_for(loader: Any, num_shards: int, *, num_replicas: int, rank: int) -> ShardedSampler:
    """The sampler that feeds selections of the user's loader from shards, in an order of its own.

    Args:
        loader: The user's loader.
        num_shards: Number of canonical shards.
        num_replicas: Number of ranks.
        rank: This one.

    Raises:
        TypeError: If the loader's samples aren't all of a map-style data set, each once and shuffled.
        ValueError: If the ranks don't divide the shards, or there are fewer samples than shards.
    """
    loader = getattr(loader, "original", loader)
    base, batches = loader.sampler, loader.batch_sampler
    plain = batches is None or type(batches).__module__.startswith("torch.utils.data")
    whole = type(base) is SequentialSampler or (
        type(base) is RandomSampler and not base.replacement and base.num_samples == len(base.data_source)
    )
    if not (plain and whole):
        odd = base if plain else batches
        raise TypeError(
            f"`sharded` feeds every sample of the data set in an order of its own, and the loader has a "
            f"{type(odd).__name__}: leave `sampler` and `batch_sampler` out of the DataLoader"
        )
    return ShardedSampler(
        loader.dataset,
        num_shards,
        num_replicas=num_replicas,
        rank=rank,
        batch_size=None if batches is None else batches.batch_size,
        drop_last=False if batches is None else batches.drop_last,
    )
