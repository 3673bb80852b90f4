"""Epochs of a selection whose state is in shards: bound, counted, saved and read by each rank for its own."""

from __future__ import annotations

import uuid
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel.labels import dataset_labels, encode_labels
from dynsel.samplers.choosing import Chooser
from dynsel.samplers.epochs import Epochs
from dynsel.samplers.ranks import Reduction, decide_once, gather, together
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.sharded.feedback import ShardedFeedback
from dynsel.samplers.sharded.files import read_shards, write_shards
from dynsel.samplers.sharded.sampler import ShardedSampler
from dynsel.selection import Selection
from dynsel.selectors.notes import NoNotes
from dynsel.selectors.sharded import ShardedPopulation

__all__ = ["ShardedChooser", "ShardedEpochs"]

# Batches after which what was told is handed on, so that no epoch's worth of it piles up.
HAND_ON_EVERY = 256
MOST_USES = 32_000


class ShardedChooser(Chooser):
    """Lets the selector of each rank choose from its own shards, as many samples in each."""

    def _from_all(self, epoch: int, last: int, progress: float, sampler: SelectionSampler) -> Selection:
        shards = _shards(sampler)
        if self.selector.population.largest(self.selector.usage) >= MOST_USES:
            raise ValueError(
                f"a sample was used {MOST_USES:,} times, more than sharded selection can count: start a new run from "
                "the weights"
            )
        quota = shards.quota(self.sizes.fed(progress, sampler).samples)
        chosen = self.selector.select(progress, quota * len(shards.own))
        sampler.select(chosen)
        return chosen


class ShardedEpochs(Epochs):
    """What `Epochs` does, where each rank knows its own samples only.

    The state has two parts: numbers that are the same on all ranks, and tensors in files, one a shard, which
    `write` and `load_state_dict` move.

    Attributes:
        folder: Where the shards of the state to load are.
    """

    in_shards = True
    folder: Path | None = None
    _saved: tuple[str, dict[str, Tensor]] | None = None

    # ---------------------------------------------------------------- binding
    def shards_before(self) -> int | None:
        """Number of shards of the state that waits to be loaded, which can't be changed; None without one."""
        number = (self._state_to_load or {}).get("sampler", {}).get("num_shards")
        return number if isinstance(number, int) else None

    def _feedback_of(self, sampler: SelectionSampler) -> ShardedFeedback:
        return ShardedFeedback(sampler)

    def _bind_sources(self, sampler: SelectionSampler, seed: int) -> None:
        told = self._state_to_load or {}
        if isinstance(before := told.get("sampler", {}).get("seed"), int):
            sampler.whole.reseed(before)
        shards, selector = _shards(sampler), self.selector
        population = ShardedPopulation(shards, Reduction())
        selector.population = population
        selector.shrink_state()
        selector.restrict(None, shards.num_samples)
        labels = None
        if selector.needs_labels:
            labels, classes = _own_labels(self.chooser.sources.labels, sampler)
            population.count_classes(labels, classes)
        selector.bind(shards.num_own, labels, seed=seed)
        selector.notes = NoNotes(shards.num_own)

    # ---------------------------------------------------------------- counting
    def flush(self) -> None:
        """Hand what this rank trained on since the last flush to its selector."""
        if self.epoch < 0 or self._sampler is None:
            return
        done = self.driver.batches_trained(self._sampler.stage.delivered)
        if done > self.feedback.counted:
            feedback = self.feedback.collect(done, self.selector.wants)
            self.books.add_trained(len(feedback.indices) * self._sampler.num_replicas)
            self.selector.observe(feedback)

    def told(self, batch_idx: int) -> None:
        """A batch was told of: now and then everything is handed on."""
        if batch_idx - self.feedback.counted >= HAND_ON_EVERY:
            self.flush()

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """What is the same on all ranks; with it `write` the shards, before training goes on. A collective."""
        if self._sampler is None or self.epoch < 0:
            return {}
        self.flush()
        own = self.selector.state_dict()
        save_id = decide_once(lambda: uuid.uuid4().hex)
        by_sample = {name: value for name, value in own.items() if self._is_by_sample(name, value)}
        self._saved = save_id, by_sample
        state = self._state_of({name: value for name, value in own.items() if name not in by_sample})
        return {**state, "shards": save_id}

    def _is_by_sample(self, name: str, value: Tensor) -> bool:
        size = self.selector.num_samples
        return name not in ("generator", "made_by") and value.ndim > 0 and len(value) == size

    @property
    def pending(self) -> str | None:
        """Name of the save whose shards are still to be written; None if there is none."""
        return None if self._saved is None else self._saved[0]

    def write(self, folder: Path) -> None:
        """Write this rank's shards of the state that was asked for last; every rank must. A collective.

        Args:
            folder: Beside the file that has the rest of that state.

        Raises:
            RuntimeError: If no state was asked for, or a disk is full.
        """
        if self._saved is None:
            raise RuntimeError("there is no state to write the shards of: call `state_dict()` first")
        (save_id, tensors), sampler = self._saved, self.sampler
        self._saved = None
        mask = sampler._order.mask  # type: ignore[attr-defined]
        together(lambda: write_shards(folder, save_id, _shards(sampler), tensors, mask))

    def _take(self, state: dict[str, Any]) -> None:
        sampler = self.sampler
        assert isinstance(sampler, ShardedSampler)
        if self.folder is None:
            raise ValueError(
                "the state of a sharded selection is read with its shards: say where they are, "
                "`load_state_dict(state, folder)`"
            )
        folder, shards = self.folder, sampler.whole.shards
        told = state["sampler"]
        if (told["num_shards"], told["seed"]) != (shards.num_shards, sampler.whole.seed):
            raise ValueError(
                f"the state is of {told['num_shards']} shards by seed {told['seed']}, and the loader was wrapped for "
                f"{shards.num_shards} by seed {sampler.whole.seed}: load the state before wrapping the loader"
            )
        tensors, mask = together(lambda: read_shards(folder, state["shards"], shards))
        sampler._order.mask = mask
        super()._take({**state, "selector": {**state["selector"], **tensors}})


def _shards(sampler: SelectionSampler) -> Any:
    assert isinstance(sampler, ShardedSampler)
    return sampler.whole.shards


def _own_labels(given: Any, sampler: SelectionSampler) -> tuple[Tensor, int]:
    """(N,) class codes of this rank's samples, and the number of classes of all."""
    shards = _shards(sampler)
    labels = dataset_labels(sampler.dataset) if given is None else given
    own = shards.indices(np.arange(shards.num_own))
    if isinstance(labels, Tensor):
        mine: Any = labels[torch.from_numpy(own)]
    else:
        mine = labels[own] if isinstance(labels, np.ndarray) else [labels[i] for i in own.tolist()]
    codes, names = encode_labels(mine)
    everyone: set[Hashable] = set().union(*gather(names))
    classes = sorted(everyone, key=lambda name: (str(type(name)), name))
    place = {name: number for number, name in enumerate(classes)}
    table = torch.tensor([place[name] for name in names], dtype=codes.dtype)
    return table[codes.long()], len(classes)
