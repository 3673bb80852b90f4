"""The findings as one page, with images or texts."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynsel._lib.pages import render
from dynsel._lib.sheets import pixels
from dynsel.samplers.findings.table import KINDS, Findings

__all__ = ["findings_html"]

_SIDE = 160  # of an image on the page, in pixels at most
_LETTERS = 400  # of a text
_PIXELS = (torch.uint8, torch.uint16)  # whole numbers that are an image's

_MEANINGS = {
    "wrong_label": "The model preferred another class over the whole of training, by the mean margin of the label; the "
    "most suspicious first. A rare or hard sample may look the same: look before you leave it out.",
    "duplicate": "Samples whose inputs are equal, or whose features are nearly so; those with different labels "
    "first, of which some must be wrong, then the largest groups.",
    "rare": "Samples that are farthest from all others, by their features.",
    "hard": "Labels that the model found least probable, of those that are not suspected.",
    "never_learned": "The label was never the model's first choice, and no other class was preferred clearly.",
    "never_used": "The training never saw them: a longer one, a larger keep ratio or a usage penalty would.",
}


def findings_html(findings: Findings, dataset: Any, *, title: str, command: str = "", limit: int = 60) -> str:
    """The page, for screens of any width, light or dark, and for print.

    Args:
        findings: What was found.
        dataset: The data set that it is about; only what is shown is read from it.
        title: Title of the page.
        command: How to train without the suspected labels; empty for no such line.
        limit: Number of samples of each kind that are shown.
    """
    sections = []
    for kind, heading in KINDS.items():
        positions = findings.kinds.get(kind, ())
        if len(positions):
            rows = [_card(findings, dataset, int(position), kind) for position in positions[:limit]]
            sections.append(
                {
                    "kind": kind,
                    "title": heading,
                    "meaning": _MEANINGS[kind],
                    "count": len(positions),
                    "shown": len(rows),
                    "groups": _groups(rows, findings) if kind == "duplicate" else [_group("", rows)],
                }
            )
    return render(
        "dynsel.samplers.findings",
        "page.html.jinja",
        title=title,
        summary=findings.summary(),
        sections=sections,
        command=command if len(findings.suspects) else "",
    )


def _groups(rows: list[dict[str, Any]], findings: Findings) -> list[dict[str, Any]]:
    sizes = Counter(findings.samples["group"][findings.kinds["duplicate"]].tolist())
    groups, differ = [], set(findings.contradictions().tolist())
    for code, shown in groupby(rows, key=lambda row: row["group"]):
        members, size = list(shown), sizes[code]
        rest = "" if len(members) == size else f", {len(members)} shown"
        labels = ", with different labels" if code in differ else ""
        groups.append(_group(f"{size} samples alike{labels}{rest}", members))
    return groups


def _group(title: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "rows": rows, "texts": any(row["text"] for row in rows)}


def _card(findings: Findings, dataset: Any, position: int, kind: str) -> dict[str, Any]:
    """What a card shows of a sample; None where it isn't known."""
    samples = findings.samples
    known = {name: column[position] for name, column in samples.items()}
    index = int(known["index"])
    text = known.get("text")
    chance = float(known.get("chance_wrong", float("nan")))
    return {
        "anchor": f"{kind}-{index}",
        "index": index,
        "group": int(known.get("group", -1)),
        "text": None if text is None else _cut(str(text)),
        "image": None if text is not None else _png(dataset, index),
        "given": _name(known.get("given")),
        "predicted": _name(known.get("predicted")),
        "confidence": f"{known.get('confidence', float('nan')):.2f}",
        "chance": f"{100 * chance:.0f} %" if kind == "wrong_label" and chance == chance else None,
        "uses": int(known["uses"]),
        "path": known.get("path"),
    }


def _name(label: Any) -> str | None:
    return None if label is None else str(label)


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"


def _png(dataset: Any, index: int) -> bytes | None:
    """The image of an item as a small PNG; None if it has none."""
    from PIL import Image

    item = dataset[index]
    parts = item.values() if isinstance(item, Mapping) else item if isinstance(item, tuple | list) else [item]
    image = next((image for part in parts if (image := _image(part)) is not None), None)
    if image is None:
        return None
    picture = Image.fromarray(pixels(image))
    picture.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _image(part: Any) -> Any:
    """A part of an item as an image: of PIL, or a tensor (C, H, W), (H, W, C) or grey (H, W); None if it is none."""
    from PIL import Image

    if isinstance(part, Image.Image):
        return part
    if isinstance(part, np.ndarray) and part.dtype.kind in "uf":
        part = torch.from_numpy(part.astype(part.dtype.newbyteorder("=")))
    if not isinstance(part, Tensor) or not (part.dtype in _PIXELS or part.is_floating_point()):
        return None
    # Matrices of other numbers are features rather.
    grey = part.ndim == 2 and part.dtype in _PIXELS
    is_image = grey or (part.ndim == 3 and 0 < min(part.shape[0], part.shape[2]) <= 4)
    return part if is_image and (part.dtype in _PIXELS or bool(torch.isfinite(part).all())) else None
