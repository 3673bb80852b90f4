"""A selector looks the same everywhere."""

from __future__ import annotations

from reports import MANY

from dynsel.compare.report import (
    selector_style,
)


def test_a_selector_looks_the_same_everywhere() -> None:
    few, many = ["rrd", "zeta"], ["alpha", "full", "random", "rrd", "zeta"]
    assert selector_style("rrd", few) == selector_style("rrd", many)
    styles = [selector_style(name, many) for name in many]
    assert len({style["color"] for style in styles}) == len({style["marker"] for style in styles}) == len(many)
    assert len({tuple(selector_style(name, MANY).items()) for name in MANY}) == len(MANY)
