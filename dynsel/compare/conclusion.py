"""What a comparison shows, in a few sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dynsel.compare.stats import Difference, lower_is_better, verdict
from dynsel.compare.summary import BASELINES, Row
from dynsel.compare.table import is_share, value_text

__all__ = ["conclusion"]


def conclusion(rows: Sequence[Row], metric: str, words: str, names: Mapping[str, str]) -> str:
    """Who is best and by how much, and which differences to random subsets the seeds show.

    Unless the metric is a share, such as an accuracy, a last sentence says which way was taken for better.

    Args:
        rows: One for each selector.
        metric: Name of the metric.
        words: The metric in words.
        names: What the tables call each selector.

    Returns:
        The sentences; empty without a finished run.
    """
    lower = lower_is_better(metric)
    means = {row.selector: row.mean for row in rows if row.mean is not None and math.isfinite(row.mean)}
    if not means:
        return ""
    done = [row for row in rows if row.selector in means]
    best = min(done, key=lambda row: means[row.selector] if lower else -means[row.selector])
    seeds = "one seed" if best.n == 1 else f"mean of {best.n} seeds"
    said = f"{names[best.selector]} ends best, with a {words} of {value_text(means[best.selector], metric)} ({seeds})"
    against = {name: best.versus[name] for name in BASELINES if name in best.versus}
    beside = [_beside(found, name, metric) for name, found in against.items() if math.isfinite(found.mean)]
    way = "" if is_share(metric) else f"Of {metric} {'lower' if lower else 'higher'} values count as better."
    sentences = (f"{said}{': ' if beside else ''}{', '.join(beside)}.", _shown(done, lower, names), way)
    return " ".join(sentence for sentence in sentences if sentence)


def _beside(difference: Difference, baseline: str, metric: str) -> str:
    """As in `1.90 ± 0.68 points above random (p 0.004)`."""
    scale, digits, unit = (100, 2, " points") if is_share(metric) else (1, 4, "")
    interval = "" if difference.ci95 is None else f" ± {scale * difference.ci95:.{digits}f}"
    side = "above" if difference.mean >= 0 else "below"
    size = f"{scale * abs(difference.mean):.{digits}f}{interval}{unit} {side} {baseline}"
    if difference.p_holm is None:
        return size
    return f"{size} (p {'< 0.001' if difference.p_holm < 0.001 else f'{difference.p_holm:.3f}'})"


def _shown(rows: Sequence[Row], lower: bool, names: Mapping[str, str]) -> str:
    """Whose differences to random subsets are settled."""
    compared = [row for row in rows if BASELINES[0] in row.versus]
    if not compared:
        return ""
    if all(row.versus[BASELINES[0]].n < 2 for row in compared):
        return "One seed shows no difference: give --seeds 3 or more."
    found = {
        word: [names[row.selector] for row in compared if verdict(row.versus[BASELINES[0]], lower=lower) == word]
        for word in ("better", "worse")
    }
    parts = [f"{word} than random: {', '.join(who)}" for word, who in found.items() if who]
    if not parts:
        return "No difference to random is shown."
    rest = "" if len(compared) == sum(map(len, found.values())) else "; no other difference to random is shown"
    return f"Shown to be {'; '.join(parts)}{rest}."
