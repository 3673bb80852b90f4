"""Counts the kinds of training that work: `python tests/kinds/census.py [NAME ...]`.

    right    trains on the samples that the selection names; what is told is the truth, by the rule to be expected
    partly   trains likewise, and is told the truth by a rule further down the chain, or the line lacks a word
    refused  dynsel says why it can't
    failed   an error from somewhere else
    wrong    trains on other samples than it says, or is told what isn't true

Names choose kinds or rooms; none is all.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import conftest  # noqa: F401 - quiet Lightning
from kinds import harness
from kinds.table import Kind, kinds


def examine(kind: Kind) -> tuple[str, str]:
    """Verdict on a kind, and why."""
    try:
        for selector in (None, *kind.also):
            faults = harness.check_training(kind, selector)
            if faults:
                return "wrong", f"{selector or 'default'}: {'; '.join(faults)}"
        faults = harness.check_values(kind) if kind.classifies else []
        if faults:
            return "wrong", "; ".join(faults)
        report = harness.listen(kind)
    except AssertionError as error:
        return "wrong", str(error)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = any(Path(frame.filename).parent.name in {"callbacks", "samplers", "listening"} for frame in frames[-1:])
        return ("refused" if own else "failed"), f"{type(error).__name__}: {str(error).strip()[:150]}"
    numbers = f"{report.claim}, r {report.pearson:.3f}, ranks {report.spearman:.3f}"
    if harness.false_claims(kind, report):
        return "wrong", numbers
    faults = harness.faults_of_listening(kind, report)
    return ("partly", f"{numbers}; {'; '.join(faults)}") if faults else ("right", f"{numbers}; {report.line}")


def main() -> None:
    logging.disable(logging.INFO)
    chosen = set(sys.argv[1:])
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    for kind in kinds():
        if chosen and not chosen & {kind.name, kind.room, *(rule.name for rule in kind.rules)}:
            continue
        missing = [library for library in kind.needs if find_spec(library) is None]
        began = time.perf_counter()
        verdict, why = ("absent", f"needs {', '.join(missing)}") if missing else examine(kind)
        counts[verdict] += 1
        why = " ".join(why.split())
        print(f"{verdict:8s} {kind.room:14s} {kind.name:48s} {time.perf_counter() - began:5.1f} s  {why}", flush=True)
    total = sum(counts.values())
    summary = ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
    print(f"{total} kinds in {time.perf_counter() - start:.0f} s: {summary}")


if __name__ == "__main__":
    main()
