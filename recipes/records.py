"""The table of records, from the run files of comparisons.

    python recipes/records.py add runs/cifar10-fast --name cifar10-fast-8 --setting "CIFAR-10, fast.yaml, 8 epochs"
    python recipes/records.py add runs/cifar10-ncfm-10 --name ... --setting ...    # an evaluation of a distilled set
    python recipes/records.py                                     # writes recipes/RECORDS.md anew from recipes/records/

`add` takes from every finished run of a `dynsel compare --out FOLDER` (or from the evaluation.json of `dynsel distill
evaluate`) what the table needs, as a small file that is committed. What that file has of other seeds and methods stays,
if it was trained with the same settings: so a comparison grows from machine to machine. No figure of the table is typed
by hand.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from record_files import Comparison, as_comparison, content, one_each, read, write

from dynsel._lib.tables import markdown_table
from dynsel.compare.entry import RANDOM, Method, baselines_of, method_of
from dynsel.compare.record import RunRecord, by_selector
from dynsel.compare.stats import Difference, differences, half_width
from dynsel.compare.summary import Row, summarise
from dynsel.compare.worth import Worth, worths

HERE = Path(__file__).parent
LEVEL = 0.01  # a record is beaten where p is below this
HEAD = f"""# Records

Made by `python recipes/records.py` from the run files in [records/](records); no figure of a table is typed by hand.
Accuracies are those after the last optimiser step, never the best; ± is half the 95 % confidence interval over n seeds
(Student's t); "vs" is the paired difference of runs with the same seed, with the p-value of its t-test after Holm's
correction for the number of methods. Worth: full data reaches the same accuracy in so many times the steps; in
brackets its 95 % interval, uncorrected: all lengths that a paired t-test does not tell from it. Seconds are of training
and selection, without validation, on machines that mostly had other work.

In the commands `data` is any folder for CIFAR-10 (that of the recipes is data/cifar10). They give the same figures on
the same processor, at the commit that is named, and with the same `--evaluations`: another one draws otherwise, as
another seed would. A + after a commit says that tracked files had changed. From one processor to another a seed's
accuracy may move by a point, so the runs of a seed that are compared are of one kind of machine.

**The rule.** In each setting full data hold the first record, or random subsets where no comparison has full data;
without either nobody does. A method takes it if, in one comparison with the holder, it is better with p < {LEVEL:g}
after Holm's correction. A test needs two seeds, and so does a record. The correction counts the methods of that
comparison, so a wider one asks for more, and nothing is corrected for several comparisons of a setting. p doesn't know
of seeds that were added after a look at the first; the pages that tell of a result say where that was done. Methods
without a record are listed too.

**What speaks against.** Full data's epochs end in a short batch where the data set is no multiple of it (80 images
instead of 256 in small.yaml); rounds have whole batches. Without short ones full data gained 0.2 points on CIFAR-10,
random subsets 0.2 and Hybrid 0.05 (two seeds,
[here](cifar10/history.md#an-epoch-is-one-selection-1176-steps-keep-ratio-05)): some of what stands here may be that.
Gains shrink as schedules get longer: look at one network at several lengths. At equal time and with a full decay of the
learning rate, choosing inside the batch may gain nothing (No Train No Gain, arXiv:2307.06440). Random subsets are hard
to beat (DeepCore, arXiv:2204.08499), and at scale many selectors lose to them (RDS+, arXiv:2503.01807).
"""
STANDING = """## Hybrid, setting by setting

Hybrid at its defaults beside random subsets and full data, at equal steps, wherever the three have seeds in common:
means of these seeds, of all comparisons of a setting together (a seed that several have is that of the largest). "vs"
is the paired difference ± half its 95 % confidence interval, which is of that setting alone; p is corrected by Holm for
the settings that have one, each column by itself. Time is the median over seeds of the time for training and selection
over full data's: it takes in what listening costs, and what else the machine had to do.

"""
STANDING_HEADINGS = (
    "setting",
    "steps",
    "n",
    "full %",
    "random %",
    "Hybrid %",
    "vs random",
    "p",
    "vs full",
    "p",
    "time ×",
)


@dataclass(frozen=True)
class Record:
    """Who held the record of a setting, from when on, and what it beat there, by its name in that comparison."""

    comparison: Comparison
    selector: str
    beaten: str = ""
    difference: Difference | None = None


def records_of(comparisons: Sequence[Comparison]) -> list[Record]:
    """The holders of one setting's record, one after the other; none where no comparison has a first one.

    Args:
        comparisons: All comparisons of the setting, the oldest first.
    """
    held: list[Record] = []
    full = any(_held_by_nobody(comparison)[0] for comparison in comparisons)
    for comparison in comparisons:
        values = {name: {r.seed: r.value for r in runs} for name, runs in by_selector(comparison.runs).items()}
        holder = _named_here(held[-1], comparison) if held else _first_holder(comparison, full)
        if holder is None:
            continue
        held = held or [Record(comparison, holder)]
        against = differences(values, holder)
        better = {n: d for n, d in against.items() if d.mean > 0 and d.p_holm is not None and d.p_holm < LEVEL}
        if better:
            best = max(better, key=lambda name: better[name].mean)
            held.append(Record(comparison, best, holder, better[best]))
    return held


def _held_by_nobody(comparison: Comparison) -> tuple[list[str], list[str]]:
    """What full data and random subsets are called, if they have two seeds."""
    names = [name for name, runs in by_selector(comparison.runs).items() if len(runs) > 1]
    full = list(baselines_of(names, "full", comparison.configured).values())
    return full, [name for name in names if method_of(name, comparison.configured).selector in RANDOM]


def _first_holder(comparison: Comparison, full: bool) -> str | None:
    """Full data if a comparison of the setting has them, or else random subsets."""
    return next(iter(_held_by_nobody(comparison)[0 if full else 1]), None)


def _named_here(record: Record, comparison: Comparison) -> str | None:
    """What a comparison calls the method that holds a record, if it has it."""
    holder = method_of(record.selector, record.comparison.configured)
    names = by_selector(comparison.runs)
    return next((name for name in names if method_of(name, comparison.configured) == holder), None)


# What stands side by side; the last is compared to the others.
BESIDE = ("full", "random", "hybrid")


def standing(comparisons: Sequence[Comparison]) -> dict[int, dict[str, RunRecord]]:
    """Full data, random subsets and Hybrid by their names, for each seed that one comparison has of all three.

    Args:
        comparisons: All comparisons of one setting.

    Raises:
        ValueError: If they differ in their steps, their training, or in what Hybrid's arguments are.
    """
    files = ", ".join(f"{comparison.name}.json" for comparison in comparisons)
    if len(lengths := {comparison.steps for comparison in comparisons}) > 1:
        raise ValueError(
            f"{comparisons[0].setting!r} has comparisons of {sorted(lengths)} steps ({files}); give each a --setting"
        )
    if len({comparison.training for comparison in comparisons} - {""}) > 1:
        raise ValueError(
            f"{comparisons[0].setting!r} has comparisons of several models, data or Trainers ({files}); give each a "
            "--setting"
        )
    made_by = (("hybrid", comparison.made_by.get("hybrid", {})) for comparison in comparisons)
    one_each(made_by, f"give each of {files} a --setting")
    parts = []
    for comparison in comparisons:
        of = [{run.seed: run for run in _runs_of(comparison, method_of(name))} for name in BESIDE]
        seeds = set.intersection(*map(set, of))
        parts.append({seed: dict(zip(BESIDE, (runs[seed] for runs in of), strict=True)) for seed in sorted(seeds)})
    found: dict[int, dict[str, RunRecord]] = {}
    for part in sorted(parts, key=len, reverse=True):
        found = part | found
    return found


def _runs_of(comparison: Comparison, method: Method) -> list[RunRecord]:
    """The runs of a method, under whatever names, made with the defaults of its class."""
    return [
        run
        for run in comparison.runs
        if method_of(run.selector, comparison.configured) == method and _by_default(comparison, run.selector, method)
    ]


def _by_default(comparison: Comparison, name: str, method: Method) -> bool:
    """Whether a configuration gave the method no arguments of its own, as far as the file tells."""
    made_by = comparison.made_by.get(name, {})
    usual = json.loads(json.dumps(method.selector()._arguments)) if isinstance(method.selector, type) else {}
    return all(made_by[key] == usual[key] for key in made_by.keys() & usual.keys())


def standing_rows(settings: Mapping[str, Sequence[Comparison]]) -> list[list[str]]:
    """A row of the table for each setting in which `standing` finds a seed.

    Args:
        settings: All comparisons by their setting.
    """
    runs = {setting: found for setting, group in settings.items() if (found := standing(group))}
    values = {
        name: {setting: {seed: beside[name].value for seed, beside in found.items()} for setting, found in runs.items()}
        for name in BESIDE
    }
    rows = [
        [
            setting,
            f"{settings[setting][0].steps:,}",
            str(len(found)),
            *(f"{100 * fmean(values[name][setting].values()):.2f}" for name in BESIDE),
        ]
        for setting, found in runs.items()
    ]
    for name in ("random", "full"):
        bases = {f"{setting}, {name}": found for setting, found in values[name].items()}
        versus = differences(values["hybrid"] | bases, {setting: f"{setting}, {name}" for setting in runs})
        for row, difference in zip(rows, versus.values(), strict=True):
            row += [_difference(difference), _p(difference.p_holm)]
    for row, found in zip(rows, runs.values(), strict=True):
        ratios = [
            beside["hybrid"].seconds / beside["full"].seconds for beside in found.values() if beside["full"].seconds
        ]
        row.append(f"{median(ratios):.2f}" if ratios else "")
    return rows


# ---------------------------------------------------------------- the page
def page(comparisons: Sequence[Comparison], records: str = "records") -> str:
    """RECORDS.md.

    Args:
        comparisons: All of them, the oldest first.
        records: Their folder, as the page links to it.
    """
    settings: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        settings.setdefault(comparison.setting, []).append(comparison)
    head = HEAD.replace("[records/](records)", f"[{records}/]({records})")
    parts = [head]
    if not settings:
        return head + "\nNothing is recorded yet.\n"
    rows = [_record_row(record) for group in settings.values() for record in records_of(group)]
    headings = ("setting", "record", "accuracy %", "steps", "seconds", "n", "over", "by", "p", "date", "commit")
    parts.append("## Who holds the record\n\n" + markdown_table(headings, rows, left=2) + "\n")
    if stands := standing_rows(settings):
        parts.append(STANDING + markdown_table(STANDING_HEADINGS, stands) + "\n")
    for setting, group in settings.items():
        parts.append(f"## {setting}\n")
        parts += [_section(comparison, records) for comparison in group]
    return "\n".join(parts)


def _record_row(record: Record) -> list[str]:
    found = by_selector(record.comparison.runs)
    runs, difference, over = found[record.selector], record.difference, ""
    if record.beaten:
        both = {run.seed for run in runs} & {run.seed for run in found[record.beaten]}
        runs = [run for run in runs if run.seed in both]
        over = f"`{record.beaten}`, {_percent([run.value for run in found[record.beaten] if run.seed in both])}"
    return [
        record.comparison.setting,
        f"`{record.selector}`",
        _percent([run.value for run in runs]),
        f"{runs[0].steps:,}",
        f"{fmean(run.seconds for run in runs):,.0f}",
        str(len(runs)),
        over,
        "" if difference is None else _difference(difference),
        "" if difference is None else _p(difference.p_holm),
        ", ".join(record.comparison.origin["date"]),
        ", ".join(record.comparison.origin["commit"]) or "unknown",
    ]


def _section(comparison: Comparison, records: str) -> str:
    rows = summarise(comparison.runs, metric=comparison.metric, configured=comparison.configured)
    lengths = {run.steps for run in comparison.full}
    known: Mapping[str, Worth] = {}
    if len(lengths) > 1:
        known = worths(rows, comparison.runs, comparison.full, comparison.steps, "steps", comparison.metric).of
    flips = any("val_accuracy_flips" in run.logged for run in comparison.runs)
    headings = ["method", "accuracy %", "n", "vs random", "p", "", "vs full", "p", "steps", "seconds", "selection s"]
    headings += ["with test-time flips %"] * flips + ["worth"] * bool(known)
    cells = []
    # Means of different seeds don't compare; what is above random subsets of the same seeds does.
    means = {row.selector: row.mean or 0.0 for row in rows}
    random = baselines_of(list(means), "random", comparison.configured)

    def place(row: Row) -> float:
        versus = row.versus.get("random")
        return means[row.selector] if versus is None else means[random[row.selector]] + versus.mean

    for row in sorted(rows, key=place, reverse=True):
        runs = [run for run in comparison.runs if run.selector == row.selector]
        cells.append(_method(row, runs))
        cells[-1] += [_percent([run.logged.get("val_accuracy_flips", float("nan")) for run in runs])] * flips
        cells[-1] += ([known[row.selector].text()] if row.selector in known else [""]) * bool(known)
    facts = [f"- {key}: {'; '.join(_fact(key, text) for text in said)}" for key, said in comparison.origin.items()]
    file = f"[{comparison.name}]({records}/{comparison.name}.json)\n"
    return "\n".join(
        [file, markdown_table(headings, cells), "", *(fact for fact in facts if not fact.endswith(": ")), ""]
    )


def _method(row: Row, runs: Sequence[RunRecord]) -> list[str]:
    cells = [f"`{row.selector}`", _percent([run.value for run in runs]), str(row.n)]
    for baseline in ("random", "full"):
        difference = row.versus.get(baseline)
        cells += ["", ""] if difference is None else [_difference(difference), _p(difference.p_holm)]
        cells += [row.verdict] * (baseline == "random")
    return [*cells, f"{row.steps:,}", f"{row.seconds:,.0f}", f"{row.selection_seconds:,.1f}"]


def _fact(key: str, text: str) -> str:
    return f"`{text}`" if key in ("command", "commit") else text


def _percent(values: Sequence[float]) -> str:
    width = half_width(values)
    return f"{100 * fmean(values):.2f}" + ("" if width is None else f" ± {100 * width:.2f}")


def _difference(difference: Difference) -> str:
    width = "" if difference.ci95 is None else f" ± {100 * difference.ci95:.2f}"
    return f"{100 * difference.mean:+.2f}{width}"


def _p(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def main(words: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        words: Command line without the program's name; None takes the process's own.
    """
    parser = argparse.ArgumentParser(
        prog="records.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, default=HERE / "records", help="folder of the small files")
    parser.add_argument("--page", type=Path, help="page to write; RECORDS.md beside --records if not given")
    commands = parser.add_subparsers(dest="command")
    adding = commands.add_parser("add", help="take the runs of a folder, then write the page")
    adding.add_argument("folder", type=Path, nargs="+", help="several are parts of one comparison, of other seeds")
    adding.add_argument("--name", required=True, help="of the file in --records, without its ending")
    adding.add_argument("--setting", required=True, help="data, network and length, in words")
    options = parser.parse_args(words)
    page_path = options.page or options.records.parent / "RECORDS.md"
    if page_path.is_dir() or not page_path.parent.is_dir():
        parser.error(f"--page must be a file in a folder that is there, got {page_path}")
    try:
        if not options.records.is_dir():
            raise FileNotFoundError(f"--records must be a folder that is there, got {options.records}")
        if page_path.is_file() and not page_path.read_text().startswith(HEAD.partition(" from the run files")[0]):
            raise ValueError(f"{page_path} is no page that this command made; name another one by --page")
        new = {}
        if options.command == "add":
            file, kept = content(options.folder, options.name, options.setting, options.records)
            new = {file: kept}
        # All are read before anything is written: what can't stand beside the others isn't left there.
        found = [read(path) for path in options.records.glob("*.json") if path not in new]
        found += [as_comparison(file.stem, kept) for file, kept in new.items()]
        found.sort(key=lambda comparison: (comparison.origin["date"][:1], comparison.name))
        text = page(found, os.path.relpath(options.records, page_path.parent))
        for file, kept in new.items():
            write(file, kept)
        page_path.write_text(text)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(*new, page_path, sep="\n")


if __name__ == "__main__":
    main()
