"""What a training found out about its data: one ranked list for each kind of finding."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynsel._lib.checks import check_choice, check_path
from dynsel._lib.files import write_atomically
from dynsel._lib.tables import csv_table

__all__ = ["KINDS", "Findings", "absolute", "plain"]

Array = NDArray[Any]

# Each kind of finding, and what it is called.
KINDS = {
    "wrong_label": "Suspected wrong labels",
    "duplicate": "Duplicates",
    "rare": "Rare samples",
    "hard": "Hard samples",
    "never_learned": "Never learned",
    "never_used": "Never used",
}
# What `exclude` takes besides: the duplicates but one of each group.
_COPY = "copy"
_SHOWN = 5  # classes in the summary
_COLUMNS = ("path", "text", "given", "predicted", "confidence", "own", "margin", "seen", "uses", "chance_wrong")
_WORDS = ("text", "given", "predicted")  # columns that may hold what a spreadsheet takes for a formula


@dataclass(frozen=True, repr=False)
class Findings:
    """Ranked lists of samples, by kind, with what is known of each sample.

    Attributes:
        samples: What is known, by column, with an entry per sample: `index` in the data set; `path` and `text` where
            they are known; `given`, the label, and `predicted`, the class that the model says; `own`, the mean
            probability of the label over the uses, and `confidence`, that of what the model says: of the label, or of
            the most probable other class of each use; `margin`, the mean of the label's logit minus the highest other
            one; `seen`, uses that were told of, and `uses`, all of them; `chance_wrong`, the
            estimated share of wrong labels among those at least as suspicious, NaN where that isn't known; `given_code`
            and `predicted_code`, classes as numbers; `group` of duplicates. Where training told no logits, what comes
            of them is missing.
        kinds: (n,) positions in `samples` for each kind of finding (see `KINDS`), the foremost first.
        unknown: Why a kind of finding, or a column, isn't known, by its name.
        expected_wrong: How many of the suspected labels are wrong, by estimate; None = not known.
        not_judged: Classes whose labels aren't suspected, right or wrong, for the model hardly ever says them.
        num_samples: Number of samples of the data set, of which `samples` may be a part; None = not known.
    """

    samples: dict[str, Array]
    kinds: dict[str, Array]
    unknown: dict[str, str] = field(default_factory=dict)
    expected_wrong: float | None = None
    num_samples: int | None = None
    not_judged: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.kinds.values()))

    @property
    def suspects(self) -> Array:
        """(n,) int64 data set indices of the samples whose labels look wrong, the most suspicious first."""
        return np.asarray(self.samples["index"][self._positions("wrong_label")])

    @property
    def copies(self) -> Array:
        """(n,) int64 data set indices of the duplicates but one of each group, the one whose label fits best."""
        return np.asarray(self.samples["index"][self._positions(_COPY)])

    def _positions(self, kind: str) -> Array:
        """Positions of the samples of a kind, the foremost first."""
        if kind != _COPY:
            return self.kinds.get(kind, np.zeros(0, dtype=np.int64))
        found = self._positions("duplicate")
        if not len(found):
            return found
        # Which sample of a group stays: of the highest margin, where that is known, else the first.
        margin = self.samples.get("margin", np.zeros(len(self.samples["index"])))[found]
        order = np.lexsort((found, -np.nan_to_num(margin, nan=-np.inf), self.samples["group"][found]))
        groups = self.samples["group"][found][order]
        first = np.append(True, groups[1:] != groups[:-1])
        stays = np.zeros(len(found), dtype=bool)
        stays[order[first]] = True
        return found[~stays]

    def rows(self, kinds: Sequence[str] = tuple(KINDS)) -> Iterator[dict[str, Any]]:
        """One row for each finding, as the CSV file has it.

        Args:
            kinds: Kinds of finding, in the order wanted; "copy" are the duplicates but one of each group.

        Raises:
            TypeError: If `kinds` is no list.
            ValueError: If there is no such kind, or it is empty.
        """
        if isinstance(kinds, str) or not isinstance(kinds, Sequence):
            raise TypeError(f"`kinds` must be a list of kinds, such as ['wrong_label'], got {kinds!r}")
        if not kinds:
            raise ValueError("`kinds` must name at least one kind, such as ['wrong_label'], got none")
        kinds = [check_choice("kinds", kind, (*KINDS, _COPY)) for kind in kinds]
        known = [name for name in _COLUMNS if name in self.samples]
        for kind in kinds:
            for rank, position in enumerate(self._positions(kind), start=1):
                row = {"finding": kind, "rank": rank, "index": int(self.samples["index"][position])}
                row |= {name: plain(self.samples[name][position]) for name in known}
                row["group"] = int(self.samples["group"][position]) if kind in ("duplicate", _COPY) else None
                yield row

    def columns(self) -> list[str]:
        """Headings of the rows."""
        return ["finding", "rank", "index", *(name for name in _COLUMNS if name in self.samples), "group"]

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame, or where pandas isn't installed as a list of dictionaries."""
        try:
            import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError:
            return list(self.rows())
        return pd.DataFrame(list(self.rows()), columns=self.columns())

    def to_csv(self, path: str | Path, kinds: Sequence[str] = tuple(KINDS)) -> None:
        """Write the rows. A list of suspects alone, `kinds=["wrong_label"]`, is what `exclude=` takes, or `["copy"]`.

        A text, a label or a class that a spreadsheet would take for a formula gets a `'` in front; paths stay as they
        are, for `exclude` goes by them.

        Args:
            path: File to write.
            kinds: Kinds of finding, in the order wanted.

        Raises:
            TypeError: If `kinds` is a text instead of a list.
            ValueError: If there is no such kind.
        """
        rows = [row | {name: _harmless(row[name]) for name in _WORDS if name in row} for row in self.rows(kinds)]
        write_atomically(check_path("path", path), csv_table(rows, self.columns()))

    def to_parquet(self, path: str | Path) -> None:
        """Write the rows as Parquet.

        Args:
            path: File to write.

        Raises:
            ImportError: If pandas or pyarrow isn't installed.
        """
        try:
            import pandas as pd
            import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
        except ImportError as error:
            raise ImportError("Parquet needs two packages: pip install pandas pyarrow; `to_csv` needs none") from error
        frame = pd.DataFrame(list(self.rows()), columns=self.columns())
        # Labels may be numbers and texts side by side, which a column can't.
        for name in ("given", "predicted"):
            if name in frame and frame[name].dtype == object:
                frame[name] = frame[name].astype("string")
        stream = io.BytesIO()
        frame.to_parquet(stream, index=False)
        write_atomically(check_path("path", path), stream.getvalue())

    def summary(self) -> list[str]:
        """What was found, a line for each kind."""
        lines = []
        for kind, title in KINDS.items():
            if kind in self.unknown:
                lines.append(f"{title.lower()}: not known, {self.unknown[kind]}")
                continue
            text = f"{title.lower()}: {len(self.kinds[kind]):,}"
            if kind == "duplicate" and len(self.kinds[kind]):
                groups = len(np.unique(self.samples["group"][self.kinds[kind]]))
                text += f" samples in {groups:,} group{'s' if groups > 1 else ''}"
                if differ := len(self.contradictions()):
                    text += f", {differ:,} of them with different labels"
            if kind == "wrong_label" and len(self.kinds[kind]):
                text += f"; {self.estimate()}"
            if kind == "wrong_label" and self.not_judged:
                text += f"; not judged, for the model hardly ever says them: {_some(self.not_judged)}"
            lines.append(text)
        return lines

    def contradictions(self) -> Array:
        """(n,) int64 groups of duplicates whose labels differ, so that some of these are wrong."""
        found = self._positions("duplicate")
        if "given" not in self.samples or not len(found):
            return np.zeros(0, dtype=np.int64)
        labels: dict[int, set[Any]] = {}
        for group, label in zip(self.samples["group"][found].tolist(), self.samples["given"][found], strict=True):
            labels.setdefault(group, set()).add(label)
        return np.array([group for group, given in labels.items() if len(given - {None}) > 1], dtype=np.int64)

    def estimate(self) -> str:
        """How many of the suspected labels are wrong, in words."""
        if self.expected_wrong is None:
            return "how many of them are wrong is not known"
        share = self.expected_wrong / max(1, len(self.suspects))
        return f"about {100 * share:.0f} % of them are wrong by a rough estimate"

    def __repr__(self) -> str:
        return "\n".join([f"Findings on {len(self.samples['index']):,} samples", *self.summary()])


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def plain(value: Any) -> Any:
    """A number or text as Python has it, floats with four decimals; None for what isn't known.

    Args:
        value: An entry of a column.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 4)
    return value


def absolute(path: str) -> str:
    """A path that is the same from any folder; an address with `://` stays as it is.

    Args:
        path: Path of a file, absolute or relative to the working folder.
    """
    return path if "://" in path else os.path.abspath(path)


def _harmless(text: Any) -> Any:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if isinstance(text, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
