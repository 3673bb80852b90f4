"""Where an epoch stands, and how many of its batches were handed out."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["Phase", "Stage"]


class Phase(Enum):
    """Where the epoch of a sampler stands. `Stage.enter` allows these steps and no others:

    | phase   | what it means                                                  | goes on to           |
    |---------|----------------------------------------------------------------|----------------------|
    | OFF     | training hasn't begun: the whole data set is fed (to a tuner)  | AWAITED              |
    | AWAITED | training runs, the selection of its next epoch isn't decided   | DECIDED              |
    | DECIDED | the selection stands, none of its batches was fetched          | RUNNING, PINNED      |
    | PINNED  | as DECIDED; what a loader says of its epoch is passed over     | RUNNING              |
    | RUNNING | batches are being fetched                                      | ENDED, PINNED        |
    | ENDED   | the last batch was fetched; the next one begins a repetition   | RUNNING, PINNED      |
    | OVER    | training has ended; what was decided last still stands         | OFF                  |

    Where a selection stands (DECIDED, PINNED, RUNNING, ENDED), another may be decided (DECIDED) or another loader be
    wrapped (AWAITED). While training runs it may end (OVER) or break off (OFF). A step to the phase at hand changes
    nothing. While a phase is OFF or AWAITED, lengths are those of the whole data set: whoever asks for them then
    (checks at the start of a fit) must not take an epoch's for that of all.
    """

    OFF = auto()
    AWAITED = auto()
    DECIDED = auto()
    PINNED = auto()
    RUNNING = auto()
    ENDED = auto()
    OVER = auto()

    @property
    def selects(self) -> bool:
        """Whether training runs, so that epochs are decided and what is trained on counts."""
        return self not in (Phase.OFF, Phase.OVER)

    @property
    def is_undecided(self) -> bool:
        """Whether no epoch's selection stands, so that lengths are those of the whole data set."""
        return self in (Phase.OFF, Phase.AWAITED)

    def may_become(self, phase: Phase) -> bool:
        """Whether the table has a step from here to another phase; staying always counts.

        Args:
            phase: The phase that comes next.
        """
        return phase is self or phase in _STEPS[self]


_ENDS = {Phase.OVER, Phase.OFF}
_ANOTHER = {Phase.DECIDED, Phase.AWAITED} | _ENDS
_STEPS = {
    Phase.OFF: {Phase.AWAITED},
    Phase.AWAITED: {Phase.DECIDED} | _ENDS,
    Phase.DECIDED: {Phase.RUNNING, Phase.PINNED} | _ANOTHER,
    Phase.PINNED: {Phase.RUNNING} | _ANOTHER,
    Phase.RUNNING: {Phase.ENDED, Phase.PINNED} | _ANOTHER,
    Phase.ENDED: {Phase.RUNNING, Phase.PINNED} | _ANOTHER,
    Phase.OVER: {Phase.OFF},
}


class Stage:
    """How far a sampler's epoch has come.

    Attributes:
        phase: Phase where the epoch stands.
        delivered: Batches of it handed out so far, those before a resume included.
    """

    def __init__(self) -> None:
        self.phase = Phase.DECIDED
        self.delivered = 0

    def enter(self, phase: Phase) -> None:
        """Go on to another phase.

        Args:
            phase: The phase that comes next.

        Raises:
            RuntimeError: If the table of `Phase` has no such step.
        """
        if not self.phase.may_become(phase):
            raise RuntimeError(
                f"an epoch can't go from {self.phase.name} to {phase.name}; "
                "`set_epoch` and the loader do it in order, once training has begun"
            )
        self.phase = phase

    def stand_at(self, batch: int) -> None:
        """Count batches as handed out, whatever was fetched beyond them.

        Args:
            batch: Number of batches, that is of the one that comes next.
        """
        self.delivered = batch

    def start(self, batch: int) -> None:
        """Begin to fetch the epoch's batches.

        Args:
            batch: The first one; where an epoch is resumed, the one after the last that was trained on.
        """
        self.stand_at(batch)
        if self.phase.selects:
            self.enter(Phase.RUNNING)

    def deliver(self, batches: int = 1) -> None:
        """Count batches that were handed out.

        Args:
            batches: How many they are.
        """
        self.delivered += batches

    def end(self) -> None:
        """The loader has no batch left."""
        if self.phase.selects:
            self.enter(Phase.ENDED)
