"""Which runs of a comparison are missing, and training them, beside other processes that do the same."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import BaseFileLock, FileLock, Timeout

from dynsel._lib.console import say, status
from dynsel._lib.files import write_atomically
from dynsel.compare.record import CurvePoint, RunRecord
from dynsel.compare.store import Store
from dynsel.compare.table import value_text

if TYPE_CHECKING:
    from rich.console import Console

    from dynsel.compare.run import Comparison

__all__ = ["EQUAL", "Queue", "Run", "equal_lengths"]

# What is equal for all runs, and how the head of the table says it.
EQUAL = {
    "steps": "{steps:,} optimiser steps",
    "samples": "as many samples trained on as by the selector that takes most in {steps:,} optimiser steps",
    "seconds": "as long as {steps:,} optimiser steps take without selection: a selector that takes the share s of its "
    "time at equal steps gets (1 - s) of the steps, so that a busy machine changes nothing; a share below 1 %, which "
    "clocks don't repeat, counts as none; choosing that doesn't get shorter with training, as of one coreset, may "
    "still take longer: see 'of time allowed'",
}
# A selector that takes a smaller share of its time than this isn't trained again for equal seconds.
NOTICEABLE = 0.01


class Run(NamedTuple):
    """One run to be done: a selector, a seed and its optimiser steps."""

    selector: str
    seed: int
    steps: int


def equal_lengths(records: Sequence[RunRecord], equal: str) -> dict[str, int]:
    """Optimiser steps of each selector at which they are equal in another respect.

    The first finished seed decides, so that more seeds can be added without changing the steps.

    Args:
        records: Runs at equal optimiser steps.
        equal: "samples" or "seconds" (see `EQUAL`).

    Returns:
        Number of steps, at least 1, for each selector that finished a run.

    Example:
        >>> plain = RunRecord("a", 0, steps=100, seconds=50.0)
        >>> slow = RunRecord("b", 0, steps=100, seconds=80.0, selection_seconds=20.0)
        >>> equal_lengths([plain, slow], "seconds")
        {'a': 100, 'b': 75}
    """
    first: dict[str, RunRecord] = {}
    for record in records:
        if record.error is None:
            first.setdefault(record.selector, record)
    most = max((record.samples for record in first.values()), default=0)

    def factor(record: RunRecord) -> float:
        if equal == "samples":
            return most / record.samples
        share = record.selection_seconds / record.seconds
        return 1 - share if share >= NOTICEABLE else 1.0

    return {name: max(1, round(factor(record) * record.steps)) for name, record in first.items()}


@dataclass
class Queue:
    """Trains what is missing.

    Several processes may work on one folder: each takes the runs that no other is at, and waits for the others' at
    the end. A lock goes with its process, however that ends.

    Args:
        store: Folder that keeps finished runs.
        comparison: What makes and trains runs.
        console: Where to say how it goes.
        metric: Name of the metric that is compared.
    """

    store: Store
    comparison: Comparison
    console: Console
    metric: str

    def __post_init__(self) -> None:
        # Failed runs aren't kept on disk: they are tried again by the next call, but not by this one.
        self._failed: dict[Run, RunRecord] = {}

    def records(self, runs: Sequence[Run]) -> list[RunRecord]:
        """The runs' records in order, after training those that are missing.

        Args:
            runs: Runs that are wanted, each at most once.
        """
        found = {run: self._known(run) for run in runs}
        missing = [run for run, record in found.items() if record is None]
        if missing:
            kept = f", {len(runs) - len(missing)} of them kept from before" if len(missing) < len(runs) else ""
            lengths = sorted({run.steps for run in runs})
            steps = f"{lengths[0]:,}" + (f" to {lengths[-1]:,}" if len(lengths) > 1 else "")
            many = len(runs) > 1
            text = f"{len(runs)} run{'s' * many} of {steps} optimiser steps{' each' * many}{kept}"
            say(self.console, text)
            found.update(self._train(missing))
        return [record for record in found.values() if record is not None]

    def _known(self, run: Run) -> RunRecord | None:
        return self._failed.get(run) or self.store.load(*run, self.comparison.made_by(run.selector))

    def _train(self, missing: Sequence[Run]) -> Mapping[Run, RunRecord]:
        done: dict[Run, RunRecord] = {}
        start, own = time.monotonic(), 0
        while rest := [run for run in missing if run not in done]:
            run, lock = self._take(rest)
            try:
                # Another process may have finished it since.
                if (record := self._known(run)) is None:
                    length = f", {run.steps:,} steps" if len({one.steps for one in missing}) > 1 else ""
                    label = f"[{len(done) + 1}/{len(missing)}] {run.selector}, seed {run.seed}{length}"
                    record = self._attempt(run, label)
                    own += 1
                    self._report(label, record, time.monotonic() - start, own, len(rest) - 1)
                # Whoever waits for the file that this removes finds the record.
                Path(lock.lock_file).unlink(missing_ok=True)
            finally:
                lock.release()
            done[run] = record
        return done

    def _take(self, runs: Sequence[Run]) -> tuple[Run, BaseFileLock]:
        """The first run that no other process is at, and its lock; waits until there is one."""
        told = False
        while True:
            for run in runs:
                path = self.store.path(*run).with_suffix(".lock")
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = FileLock(path)
                with suppress(Timeout):
                    lock.acquire(timeout=0)
                    return run, lock
            if not told:
                say(self.console, f"other processes are at the last {len(runs)} runs; waiting for them")
                told = True
            time.sleep(1)

    def _attempt(self, run: Run, label: str) -> RunRecord:
        errors = self.store.path(*run).with_suffix(".error.txt")
        try:
            with self._status(label, run.steps) as progress:
                record = self.comparison.train(run.selector, run.seed, run.steps, progress)
        except Exception as error:
            # The other runs go on; this one isn't kept, and so is tried again next time.
            write_atomically(errors, traceback.format_exc())
            said = (str(error).strip() or "no message").splitlines()[0]
            self._failed[run] = RunRecord(run.selector, run.seed, error=f"{type(error).__name__}: {said}")
            return self._failed[run]
        errors.unlink(missing_ok=True)
        self.store.save(record, run.steps)
        return record

    @contextmanager
    def _status(self, label: str, steps: int) -> Iterator[Any]:
        """On a terminal a line that lives while the run does."""
        from rich.text import Text  # text as it stands: an update would take [x] in a selector's name for markup

        with status(self.console, f"{label}: training …") as line:

            def progress(point: CurvePoint) -> None:
                value = value_text(point.value, self.metric)
                line.update(Text(f"{label}: step {point.step:,} of {steps:,}, {self.metric} {value}"))

            yield progress

    def _report(self, label: str, record: RunRecord, elapsed: float, own: int, left: int) -> None:
        value = value_text(record.value, self.metric)
        result = record.error or f"{self.metric} {value}, {record.seconds:.1f} s of training"
        say(
            self.console,
            f"{label}: {result}; elapsed {_clock(elapsed)}, remaining about {_clock(elapsed / own * left)}",
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
