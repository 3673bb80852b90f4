"""What is said around a table: under what it was measured, and what its columns mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dynsel._lib.provenance import origin
from dynsel.compare.energy import unreadable
from dynsel.compare.entry import RANDOM, Configured, baselines_of, method_of
from dynsel.compare.plan import Plan
from dynsel.compare.queue import EQUAL
from dynsel.compare.record import RunRecord, distinct_origins
from dynsel.compare.store import Store, differences
from dynsel.compare.summary import BASELINES, Row
from dynsel.compare.table import shortened
from dynsel.compare.worth import LENGTHS, UNITS
from dynsel.selectors import Full

if TYPE_CHECKING:
    import torch

__all__ = ["conditions", "energy_parts", "meanings", "not_measured"]

DIFFERENCE = (
    "mean difference of runs with the same seed, hence with the same initial weights, ± its 95 % confidence interval"
)
P_VALUE = (
    "two-sided paired t-test over these seeds, corrected by Holm's method for the number of selectors compared to the "
    "same one; – where there is no test: one seed, or the same difference for every seed"
)
VERDICT = "on the difference to random: better or worse where p < 0.05, else same, that is: no difference shown"
WORK = (
    "scored: samples passed forward through a network only to choose among them; TFLOP: 10¹² operations of networks, "
    "forward and backward, by torch's counter, and after the stroke those of choosing"
)
SPEED = (
    "first evaluation that reaches the target and after which none misses it, to the end of the run; nothing is "
    "interpolated, and a seed that never gets there counts as infinite"
)
TIME = (
    "training, selection and waiting for the data, without validation and the first loading of the data set; of which "
    "selection: choosing, of which fitting: making features and fitting autoencoder, graph or coreset to them; data: "
    "waiting for the loader, which may overlap with what a GPU still computes; evaluation: validation, on top"
)
ENERGY = (
    "joules in the wall-clock time: the GPU by the driver's counter, all CPU packages by RAPL, with whatever else ran "
    "on them; read by zeus, never estimated"
)
WORTH = (
    "took: {unit} in units of full data's configured training; full data takes: how many of these full data need for "
    "the same result, with a schedule of their own to the end; worth: the one over the other, "
    "by a monotone fit (isotonic regression) to trainings of other lengths, straight over the logarithm of the length "
    "between them; from and to: every length that the paired t-test over the seeds does not tell "
    "from the result (95 % interval); > and <: beyond the longest and the shortest length"
)
WRONG = "share of samples labelled wrongly on purpose among what was trained on, with repetition"


def conditions(
    plan: Plan, store: Store, rows: Sequence[Row], device: torch.device | None, runs: Sequence[RunRecord]
) -> list[tuple[str, str]]:
    """Under what the numbers were measured, as (heading, text); text in backquotes is code.

    Args:
        plan: What was compared.
        store: Folder of the comparison, with its settings and steps.
        rows: One for each selector.
        device: Device that trained, if energy was asked for; else None.
        runs: All runs of the tables. What one doesn't say of its origin is taken from this process.
    """
    seeds = f"{', '.join(map(str, plan.seeds))} (n = {len(plan.seeds)})"
    length = EQUAL[plan.equal].format(steps=store.steps)
    if plan.equal == "steps" and any(row.steps not in (None, store.steps) for row in rows):
        length += ", or its budget's share of them"
    here, beside = origin(plan.command), tuple(f"{folder.resolve().name}/" for folder in plan.beside)
    own = [run for run in runs if run.error is None and not run.selector.startswith(beside)]
    told = distinct_origins([here | run.origin for run in own] or [here])
    found = [
        ("command", _code(plan.command)),
        ("seeds", seeds),
        ("every run", f"{length}; evaluated after the last one, not at the best"),
        *((key, "; ".join(told[key])) for key in ("hardware", "versions", "date")),
        *_baselines([row.selector for row in rows if row.n], Configured.of(store.settings)),
    ]
    if plan.worth:
        lengths = ", ".join(f"{length:g}" for length in LENGTHS)
        found.insert(3, ("full data", f"also in {lengths} times the steps, each with its own schedule to the end"))
    for folder in plan.beside:
        other = differences(Store.stored(folder).settings, store.settings, shown=20) or "the same settings"
        found.append((folder.resolve().name, f"from {folder}, whose table.md says on what hardware; {other}"))
    parts = [f"{part.lower()}_joules" for part in energy_parts(rows, device)]
    if device is not None and any(getattr(row, part) is None for row in rows if row.n for part in parts):
        found.append(("energy not measured", not_measured(device)))
    return found + [(short, _code(name)) for name, short in shortened(rows).items()]


def _baselines(names: Sequence[str], configured: Configured) -> list[tuple[str, str]]:
    """What random subsets are where they have arguments, and which selectors have none to be compared to."""
    of = baselines_of(names, "random", configured)
    methods = {name: method_of(name, configured) for name in names}
    other = [name for name in dict.fromkeys(of.values()) if methods[name][:2] != (RANDOM[0], {})]
    alone = [name for name in names if name not in of and methods[name].selector not in (*RANDOM, Full)]
    found = [("random", ", ".join(map(_code, other)))] if other else []
    if alone:
        said = "no random subsets of the same budget and keep ratio are among the selectors"
        found.append(("not compared to random", f"{', '.join(map(_code, alone))}: {said}"))
    return found


def energy_parts(rows: Sequence[Row], device: torch.device | None) -> list[str]:
    """Whose energy the tables tell: any of "GPU" and "CPU".

    Args:
        rows: One for each selector.
        device: Device that trained, if energy was asked for; else None.
    """
    if device is None:
        return []
    gpu = device.type == "cuda" or any(row.gpu_joules is not None for row in rows)
    return ["GPU", "CPU"] if gpu else ["CPU"]


def meanings(plan: Plan, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The columns that don't explain themselves, as (heading, text).

    Args:
        plan: What was compared.
        rows: One for each selector.
    """
    compared = [name for name in BASELINES if any(name in row.versus for row in rows)]
    found = [(f"vs {', vs '.join(compared)}", DIFFERENCE), ("p", P_VALUE)] if compared else []
    found += [("verdict", VERDICT)] if "random" in compared else []
    found += [("worth", WORTH.format(unit=UNITS[plan.equal]))] if plan.worth else []
    found += [("cost", WORK), ("wall-clock", TIME)]
    found += [("energy", ENERGY)] if plan.energy else []
    found += [("wrong labels", WRONG)] if any(row.wrong_share is not None for row in rows) else []
    found += [("speed", SPEED)] if plan.target is not None else []
    return found


def not_measured(device: torch.device) -> str:
    """Why the energy of some or all runs isn't known.

    Args:
        device: Device that trained.
    """
    return unreadable(device) or "some runs were made before without --energy; another --out measures all of them"


def _code(text: str) -> str:
    """Text as code, unless a backquote in it would end that."""
    return text if "`" in text else f"`{text}`"
