"""Whether each process knows all samples or its own shards only, and what is made accordingly."""

from __future__ import annotations

import warnings
from typing import Any

from torch.utils.data import DataLoader

from dynsel._lib.checks import check_integer
from dynsel.samplers.choosing import Chooser
from dynsel.samplers.driver import Driver
from dynsel.samplers.epochs import Epochs
from dynsel.samplers.findings import Evidence
from dynsel.samplers.findings.excluded import check_exclude
from dynsel.samplers.ranks import num_ranks, this_rank
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.sharded import ShardedEpochs
from dynsel.samplers.sharded.epochs import ShardedChooser
from dynsel.samplers.sharded.sampler import sharded_sampler_for
from dynsel.samplers.users_loader import sampler_for
from dynsel.selectors import Selector
from dynsel.selectors.sharding import check_fits_shards, fits_shards
from dynsel.selectors.shards import default_shards

__all__ = ["Sharding"]

# Samples from which on choosing among all of them in one process takes the better part of a minute.
MANY = 50_000_000


class Sharding:
    """Makes a selection's parts, for all samples or for shards of them.

    Args:
        sharded: Whether each process knows its own shards only; a number is that of the shards.
        selector: What decides.
        findings: Whether evidence of the labels is asked for, None = if it costs nothing.
        exclude: Samples that are never fed, as `kept_indices` takes them; None = none.

    Attributes:
        on: Whether it is so.

    Raises:
        TypeError: If `sharded` is neither, or `exclude` can't say which samples.
        ValueError: If it is below 1, or what is asked for can't be had from shards.
    """

    def __init__(
        self, sharded: bool | int, selector: Selector, *, findings: bool | None = None, exclude: Any = None
    ) -> None:
        self.on = sharded is not False
        why = "True, or a number of shards"
        self._number = None if isinstance(sharded, bool) else check_integer("sharded", sharded, at_least=1, why=why)
        self._fits = fits_shards(selector)
        self._told = False
        if self.on:
            check_fits_shards(selector)
            if findings:
                raise ValueError("`findings` compares all samples, 36 bytes of each: leave it out with `sharded`")
            if exclude is not None:
                raise ValueError("`exclude` can't be had with `sharded`: leave those samples out of the data set")
        self._exclude = check_exclude(exclude)

    def chooser(self, *parts: Any) -> Chooser:
        """What lets the selector choose, of the parts that `Chooser` takes."""
        return ShardedChooser(*parts) if self.on else Chooser(*parts)

    def epochs(self, chooser: Chooser, driver: Driver, evidence: Evidence | None) -> Epochs:
        """What has samples chosen and counted.

        Args:
            chooser: Of this selection.
            driver: Whoever trains at first.
            evidence: What training says of the labels, which is taken down without shards only.
        """
        return ShardedEpochs(chooser, driver) if self.on else Epochs(chooser, driver, evidence)

    def epochs_of(self, epochs: Epochs) -> ShardedEpochs:
        """The same, known to be of shards.

        Raises:
            TypeError: If they aren't.
        """
        if not isinstance(epochs, ShardedEpochs):
            raise TypeError("this selection has no shards; it is made by `sharded=True`")
        return epochs

    def sampler(
        self,
        loader: DataLoader[Any],
        epochs: Epochs,
        *,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool | None = None,
    ) -> SelectionSampler:
        """The sampler of the user's loader.

        Args:
            loader: The user's.
            epochs: Of this selection.
            num_replicas: Number of processes that share the samples; default: those of torch.distributed.
            rank: This one, from 0; None asks torch.distributed.
            shuffle: Whether several processes permute; default: if the loader shuffles.

        Raises:
            TypeError: If the loader's samples can't be selected by index.
            ValueError: If the processes can't share shards.
        """
        num_replicas = num_ranks() if num_replicas is None else num_replicas
        rank = this_rank() if rank is None and num_replicas > 1 else rank or 0
        if not self.on:
            shared = num_ranks() > 1
            sampler = sampler_for(
                loader, num_replicas=num_replicas, rank=rank, shuffle=shuffle, shared=shared, exclude=self._exclude
            )
            self._suggest(sampler.num_total, rank)
            return sampler
        if num_replicas != num_ranks():
            raise ValueError(
                f"`sharded` needs every process to feed samples of its own, and {num_ranks()} processes feed those of "
                f"{num_replicas}: leave it out with tensor parallelism or without a process group"
            )
        number = self.epochs_of(epochs).shards_before() or self._number or default_shards(num_replicas)
        return sharded_sampler_for(loader, number, num_replicas=num_replicas, rank=rank)

    def check_whole(self, name: str) -> None:
        """Refuse what shows all samples.

        Args:
            name: What was asked for.

        Raises:
            RuntimeError: If this process has some of them only.
        """
        if self.on:
            raise RuntimeError(
                f"`{name}` shows every sample, and with `sharded` no process knows all of them; what one knows is "
                "`selector.usage` at the data set indices `sampler.whole.dataset_indices(torch.arange(n))`"
            )

    def _suggest(self, samples: int, rank: int) -> None:
        if samples >= MANY and self._fits and not rank and not self._told:
            self._told = True
            warnings.warn(
                f"{samples:,} samples are chosen from and counted by every process: `sharded=True` leaves each its own "
                "part, so that choosing takes seconds and checkpoints stay small (docs/scale.md)",
                stacklevel=4,
            )
