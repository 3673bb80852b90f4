"""A controller in words: for the console and for notebooks."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

from dynsel._lib.reprs import call_text
from dynsel.schedules import Constant

if TYPE_CHECKING:
    from dynsel.samplers.controller import SelectionController

__all__ = ["facts", "figure_of", "html_text", "one_line"]


def one_line(controller: SelectionController, name: str) -> str:
    """As in "DynamicSelection(Random(), keep_ratio=0.5), epoch 3, 97.1 % of 50,000 samples used".

    Args:
        controller: What decides the selections.
        name: Name of the class.
    """
    given = call_text("", _arguments(controller))[1:-1]
    return ", ".join([f"{name}({controller.selector!r}, {given})", *_progress(controller)])


def facts(controller: SelectionController) -> dict[str, str]:
    """What there is to say, by heading.

    Args:
        controller: What decides the selections.
    """
    said = {"selector": repr(controller.selector)}
    said |= {key: repr(value) for key, value in _arguments(controller).items()}
    said |= {"needs": ", ".join(controller.selector.needs) or "nothing but the number of samples"}
    if controller.epochs.is_bound and controller.selector.num_samples:
        said |= {"samples": f"{controller.sampler.num_total:,}"}
    if controller.history:
        record = controller.history[-1]
        said |= {
            "epochs": f"{record.epoch + 1}",
            "coverage": f"{100 * record.coverage:.1f} %",
            "Gini coefficient of uses": f"{record.usage_gini:.3f}",
            "samples trained on": f"{record.samples_trained:,}",
        }
    return said


def html_text(controller: SelectionController, name: str) -> str:
    """A table of the facts, and once an epoch is finished the picture of `plot()`.

    Args:
        controller: What decides the selections.
        name: Name of the class.
    """
    left = ' style="text-align:left"'
    rows = "".join(
        f"<tr><th{left}>{html.escape(key)}</th><td{left}>{html.escape(value)}</td></tr>"
        for key, value in facts(controller).items()
    )
    table = f"<table><caption>{html.escape(name)}</caption><tbody>{rows}</tbody></table>"
    if not controller.history or controller.epochs.in_shards:
        return table
    stream = io.BytesIO()
    controller.plot().savefig(stream, format="png", dpi=80)
    image = base64.b64encode(stream.getvalue()).decode()
    return f'{table}<img alt="uses, coverage and scores" src="data:image/png;base64,{image}">'


def figure_of(controller: SelectionController) -> Any:
    """Uses of the samples, coverage over the epochs and the last scores, as a matplotlib Figure.

    Args:
        controller: What decides the selections, all that was trained on counted.
    """
    from dynsel.samplers.pictures import selection_figure  # a second that training shouldn't take

    selector = controller.selector
    title = f"{selector!r}: {controller.sampler.num_total:,} samples"
    scores = selector.notes.last_score
    return selection_figure(
        selector.usage.numpy(), controller.history, None if scores is None else scores.numpy(), title
    )


def _arguments(controller: SelectionController) -> dict[str, Any]:
    ratio = controller.keep_ratio
    found: dict[str, Any] = {"keep_ratio": ratio.value if isinstance(ratio, Constant) else ratio}
    if controller.budget is not None:
        found["budget"] = controller.budget
    return found if controller.seed is None else {**found, "seed": controller.seed}


def _progress(controller: SelectionController) -> list[str]:
    if not controller.epochs.is_bound or not controller.selector.num_samples:
        return []
    count = controller.sampler.num_total
    if not controller.history:
        return [f"{count:,} samples"]
    record = controller.history[-1]
    return [f"{record.epoch + 1} epochs", f"{100 * record.coverage:.1f} % of {count:,} samples used"]
