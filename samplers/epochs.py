"""When epochs and rounds begin and end, and what of them a restart needs."""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import Tensor
from torch.utils.data import DataLoader

from dynsel._lib.checks import check_integer, check_keys
from dynsel.samplers.choosing import Chooser
from dynsel.samplers.driver import Driver
from dynsel.samplers.epoch_record import EpochRecord
from dynsel.samplers.feedback import EpochFeedback
from dynsel.samplers.findings.evidence import Evidence
from dynsel.samplers.ranks import decide_once, gather
from dynsel.samplers.rng import RandomStates
from dynsel.samplers.selection_sampler import SelectionSampler
from dynsel.samplers.stage import Phase
from dynsel.selection import class_balance
from dynsel.selectors.population import Population

__all__ = ["Epochs", "Round"]

T = TypeVar("T")

# Keys of the selection's state; with shards there is one more.
_STATE = ("epoch", "selector", "sampler", "books", "sources", "rng", "round", "rest")
_SHARDS = "shards"


def _nothing() -> None:
    return None


def _wrapped(part: T | None) -> T:
    if part is None:
        raise RuntimeError("no loader yet: call `wrap(loader)` first; under Lightning, ask after `trainer.fit`")
    return part


def _warn_of_exchange(previous: SelectionSampler, sampler: SelectionSampler) -> None:
    if sampler.rank == 0:
        counts = f"{sampler.num_total:,} samples after {previous.num_total:,}"
        warnings.warn(
            f"the train loader has other data now ({counts}): what is known of the former samples (uses, scores, "
            "features) is forgotten, and the selection starts afresh. To keep it, let one data set hold all samples "
            "and the loader's sampler yield those of the moment, or give each data set a controller of its own",
            stacklevel=2,
        )


class Round(NamedTuple):
    """The selection at hand.

    Attributes:
        keep_ratio: The share of the data asked for, in (0, 1].
        share: Share of the data that is selected, in (0, 1].
        balance: How alike its class shares are to those of the data, in [0, 1]; NaN where that isn't known.
    """

    keep_ratio: float = math.nan
    share: float = math.nan
    balance: float = math.nan


class Epochs:
    """Has the samples of each epoch chosen at the right time, and what was trained on counted.

    It is the loader's `Follower`: it is told when batches are about to be fetched.

    Args:
        chooser: Chooses, by its selector, sources and sizes.
        driver: Driver of the training until another one is attached; a copy goes back to this one.

    Attributes:
        epoch: The current one, from 0; -1 before the first.
        driver: Whoever trains.
        round: The selection at hand.
        evidence: What training says of the labels; None = it isn't asked.
        in_shards: Whether every rank knows its own samples only.
    """

    in_shards: ClassVar[bool] = False

    def __init__(self, chooser: Chooser, driver: Driver, evidence: Evidence | None = None) -> None:
        self.chooser, self.selector, self.books = chooser, chooser.selector, chooser.books
        self.driver = self._first_driver = driver
        self.evidence = evidence
        self.forget()
        self._restart()

    def _restart(self, *, keep_books: bool = False) -> None:
        self.epoch = -1
        if not keep_books:
            self.books.clear()
        self._rng = RandomStates()
        self.round = Round()
        self.chooser.sizes.restart()

    def forget(self) -> None:
        """Start afresh with the next loader."""
        self._sampler: SelectionSampler | None = None
        self._feedback: EpochFeedback | None = None
        # Weak: workers of a loader that is part of a cycle take five seconds to stop when it is collected.
        self._loader: Callable[[], Any] = _nothing
        self._state_to_load: dict[str, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = {**vars(self), "driver": self._first_driver, "_loader": _nothing}
        if self._sampler is not None and self._feedback is not None:
            trained = self.driver.batches_trained(self._sampler.stage.delivered)
            sampler = self._sampler.without_data(trained)
            state |= {"_sampler": sampler, "_feedback": self._feedback.of(sampler)}
        return state

    # ---------------------------------------------------------------- driver and loader
    @property
    def is_bound(self) -> bool:
        """Whether there is a sampler."""
        return self._sampler is not None

    @property
    def sampler(self) -> SelectionSampler:
        """The sampler of the wrapped loader.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        return _wrapped(self._sampler)

    @property
    def feedback(self) -> EpochFeedback:
        """What the batches of the current epoch held, and what was told of them.

        Raises:
            RuntimeError: If no loader was wrapped yet.
        """
        return _wrapped(self._feedback)

    @property
    def phase(self) -> Phase:
        """Where the epoch stands."""
        if self._sampler is not None:
            return self._sampler.stage.phase
        return Phase.OFF if self.driver.announces_epochs else Phase.AWAITED

    def attach(self, driver: Driver) -> None:
        """Be driven by someone else.

        Args:
            driver: Driver of the training; one that announces epochs has to call `begin_training` first.
        """
        self.driver = driver
        if self._sampler is not None and driver.announces_epochs:
            self._sampler.stage.enter(Phase.OFF)

    def follow(self, sampler: SelectionSampler, seed: int | None) -> None:
        """Go on with this sampler: from the same place if it is of the same data set, from the start otherwise.

        In the midst of a training another data set has no use for what is known of the former's samples. That is
        forgotten, but said; the records of former epochs stay.

        Args:
            sampler: Sampler of a loader that is about to be wrapped.
            seed: Seed of order and selector; None = the sampler's.

        Raises:
            ValueError: If features or labels don't fit the data set.
        """
        # A state that waits to be loaded takes the place of whatever was before.
        previous = self._sampler if self._state_to_load is None else None
        is_same = previous is not None and self._is_same_data(previous, sampler)
        is_exchanged = previous is not None and not is_same and self.epoch >= 0 and self.phase.selects
        if is_exchanged:
            self.finish()
            _warn_of_exchange(self.sampler, sampler)
        counted = 0 if self._feedback is None else self._feedback.counted
        self._sampler, self._feedback = sampler, self._feedback_of(sampler)
        if previous is None or not is_same:
            self._restart(keep_books=is_exchanged)
            self._bind(sampler, seed)
        else:
            self._feedback.begin(counted)
            if previous is not sampler:
                sampler.load_state_dict(previous.state_dict(counted))
        sampler.follow(self._told_epoch)

    def _is_same_data(self, previous: SelectionSampler, sampler: SelectionSampler) -> bool:
        if not previous.whole.is_alike(sampler.whole):
            return False
        same = previous.dataset is sampler.dataset
        return same or not self.chooser.sources.are_others(sampler.dataset, sampler.whole.pool)

    def _bind(self, sampler: SelectionSampler, seed: int | None) -> None:
        # Reading labels and making features is part of the price of choosing: the first epoch's record bears it.
        with self.books.preparing():
            # The order's seed must be the same on every rank, whatever each was seeded with.
            seed = decide_once(lambda: sampler.whole.seed if seed is None else seed)
            sampler.whole.reseed(seed)
            self._bind_sources(sampler, seed)
            if self.evidence is not None:
                self.evidence.bind(self.selector.num_samples)
        if self._state_to_load is not None:
            state, self._state_to_load = self._state_to_load, None
            self._load(state)

    def _feedback_of(self, sampler: SelectionSampler) -> EpochFeedback:
        return EpochFeedback(sampler)

    def _bind_sources(self, sampler: SelectionSampler, seed: int) -> None:
        # A selector that chose from shards before has all samples now.
        self.selector.population = Population()
        self.chooser.sources.bind(sampler.dataset, sampler.whole.pool, seed)

    def feed(self, loader: DataLoader[Any], before: Phase) -> None:
        """Feed through this loader, which has the sampler.

        Args:
            loader: The wrapped loader.
            before: Where the epoch stood before there was this sampler.
        """
        if self.driver.announces_epochs:
            self.sampler.stage.enter(Phase.AWAITED if before.selects else Phase.OFF)
        elif self.epoch < 0:
            self.sampler.stage.enter(Phase.AWAITED)
        self._loader = weakref.ref(loader)

    # ---------------------------------------------------------------- epochs
    def begin_training(self) -> None:
        """From here on epochs are decided."""
        self.sampler.stage.enter(Phase.AWAITED)

    def end_training(self) -> None:
        """Count what was trained on; no epoch begins after this."""
        self.flush()
        if self.phase.selects:
            self.sampler.stage.enter(Phase.OVER)

    def ensure(self, epoch: int) -> None:
        """Choose the samples of an epoch, unless that is done already.

        Args:
            epoch: Number of the epoch, from 0.
        """
        sampler, stage = self.sampler, self.sampler.stage
        awaited = stage.phase is Phase.AWAITED
        if epoch != self.epoch:
            self.finish()
            self._rng.restore(self._loader())
            self._start(epoch)
        else:
            if awaited:
                stage.enter(Phase.DECIDED)
            if not 0 < self.driver.batches_trained(stage.delivered) < sampler.num_batches():
                self._rng.restore(self._loader())
            elif not awaited:
                return
        self.driver.epoch_decided()

    def begin_next(self) -> None:
        """Begin the epoch that whoever loops over the loader without a word about epochs must mean.

        It is the one at hand if none of its batches was fetched since it was decided or resumed and there is one left,
        else the next.
        """
        if self.epoch < 0:
            self.ensure(0)
            return
        sampler = self.sampler
        is_begun = sampler.stage.phase in (Phase.RUNNING, Phase.ENDED)
        is_over = is_begun or sampler.first_batch >= sampler.num_batches()
        self.ensure(self.epoch + is_over)

    def _start(self, epoch: int) -> None:
        with self.books.preparing():
            counted = self.feedback.counted
            if self.chooser.sizes.rounds is not None and self.epoch >= 0 and self.sampler.has_left(counted):
                self.sampler.go_on(epoch, counted)
            else:
                self._choose(epoch, self.epoch)
            self.epoch = epoch
            self.feedback.begin()
        self.books.open(epoch, self.round.share, self.round.balance)

    def _choose(self, epoch: int, last: int, batch: int = 0) -> None:
        chooser, sampler = self.chooser, self.sampler
        chosen = chooser.choose(epoch, last, sampler, self.driver, self._loader(), batch)
        chooser.sources.selected()
        ratio = chooser.sizes.keep_ratio(chooser.sizes.progress(epoch, batch, self.driver))
        if chooser.cuts_batches:
            self.round = Round(ratio, ratio)
            return
        codes = chooser.sources.codes
        balance = math.nan if codes is None else class_balance(codes, chosen.indices)
        self.round = Round(ratio, sampler.count / sampler.offered, balance)

    def finish(self) -> EpochRecord | None:
        """Close the books of the current epoch; calling it again changes nothing.

        Returns:
            The record of the epoch, or None before the first one.
        """
        self.flush()
        if self.books.record is not None:
            return self.books.close(self.selector.usage, self.selector.population)
        return self.books.history[-1] if self.books.history else None

    @property
    def wants(self) -> frozenset[str]:
        """Parts of the feedback that somebody makes use of."""
        return self.selector.wants if self.evidence is None else self.selector.wants | self.evidence.wants

    def flush(self) -> None:
        """Hand everything trained on since the last flush to the selector, all ranks together."""
        if self.epoch < 0 or self._sampler is None:
            return
        done = self.driver.batches_trained(self._sampler.stage.delivered)
        if done > self.feedback.counted:
            feedback = self.feedback.collect(done, self.wants)
            self.books.add_trained(len(feedback.indices))
            if self.evidence is not None:
                self.evidence.learn(feedback)
            self.selector.observe(feedback.only(self.selector.wants))
        if self.chooser.sources.capture is not None:
            self.chooser.sources.capture.merge(gather)

    def told(self, batch_idx: int) -> None:
        """A batch of the epoch was told of; what was told is handed on by `flush`.

        Args:
            batch_idx: Its number.
        """

    # ---------------------------------------------------------------- what the loader tells
    def _told_epoch(self, epoch: int) -> None:
        if self.phase is Phase.PINNED or self.driver.too_early:
            return
        if self.phase.selects:
            self.ensure(epoch)
        else:
            self.sampler.begin(epoch)

    def before_first_batch(self) -> None:
        """The loader starts: its epoch must be decided by now."""
        if self.phase is Phase.AWAITED:
            self.ensure(self.sampler.epoch)
        if self.phase is Phase.ENDED:
            self.flush()
            self.feedback.leave_order()
            self.sampler.repeat()
        self._rng.hand_over(self._loader())
        self.driver.before_first_batch()

    def next_round(self) -> None:
        """The epoch goes on after its selection is used up: choose the next one, from all that was trained before."""
        self.flush()
        with self.books.preparing():
            self.feedback.leave_order()
            self._choose(self.epoch, self.epoch - 1, self.sampler.stage.delivered)
            # Now, whatever the workers: it may be drawn from the global generator.
            self.sampler.draw()
        self.books.add_round(self.round.share, self.round.balance)

    def waited(self, seconds: float) -> None:
        """Enter time for which training waited for data.

        Args:
            seconds: Wall-clock time on this rank.
        """
        self.books.add_waiting(seconds)

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly; loads with `weights_only=True`. To be called on every rank."""
        if self._sampler is None or self.epoch < 0:
            return {}
        self.flush()
        return self._state_of(self.selector.state_dict())

    def _state_of(self, selector: dict[str, Any]) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "selector": selector,
            "sampler": self.sampler.state_dict(self.feedback.counted),
            "books": self.books.state_dict(),
            "sources": self.chooser.sources.state_dict(),
            "rng": self._rng.state_dict(self._loader()),
            "round": list(self.round),
            "rest": self.chooser.sizes.rest,
            **({} if self.evidence is None else {"evidence": self._evidence_state(self.sampler.whole.pool)}),
        }

    def _evidence_state(self, pool: Tensor | None) -> dict[str, Tensor]:
        """What training said, and of which samples: whoever reads a checkpoint has no loader to ask."""
        assert self.evidence is not None
        return self.evidence.state_dict() | ({} if pool is None else {"pool": pool.clone()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint; takes effect when a loader is wrapped, if that is still to come.

        Args:
            state: What `state_dict` gave; an empty one changes nothing.

        Raises:
            ValueError: If it is of another selector, of one with other arguments, of another data set, or of another
                version of dynsel.
        """
        if not state:
            return
        if (_SHARDS in state) != self.in_shards:
            raise ValueError(
                "the state is of a sharded selection: resume with `sharded=True`"
                if _SHARDS in state
                else "the state is of a selection without shards: resume without `sharded`"
            )
        if self._loader() is None:
            self._state_to_load = state
        else:
            self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        keys = (*_STATE, _SHARDS) if self.in_shards else _STATE
        check_keys("the selection", state, keys, optional=("evidence",))
        try:
            check_integer("epoch", state["epoch"], at_least=0)
            self._take(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
            raise ValueError(f"the state of the selection can't be read, the checkpoint is damaged: {error}") from error

    def _take(self, state: dict[str, Any]) -> None:
        # The selector first: it knows best what is wrong.
        self.selector.load_state_dict(state["selector"])
        self.sampler.load_state_dict(state["sampler"])
        self.books.load_state_dict(state["books"])
        self.chooser.sources.load_state_dict(state["sources"])
        self.epoch = state["epoch"]
        self.feedback.begin(state["sampler"]["batches"])
        self._rng.load_state_dict(state["rng"])
        self.round = Round(*state["round"])
        self.chooser.sizes.take_up(state["rest"])
        # A run that asks for findings may go on with one that didn't, and the other way round.
        if self.evidence is not None and "evidence" in state:
            told = {name: numbers for name, numbers in state["evidence"].items() if name != "pool"}
            self.evidence.load_state_dict(told)
