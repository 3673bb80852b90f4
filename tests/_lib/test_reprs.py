"""Objects as the call that makes them."""

from __future__ import annotations

from dynsel._lib.reprs import call_text, differing_arguments


class Thing:
    def __init__(self, size: int, name: str = "x", *, rate: float = 0.5, hidden: int = 3) -> None:
        self.size, self.name, self.rate, self.kept_elsewhere = size, name, rate, hidden


def test_what_is_the_default_is_left_out() -> None:
    assert differing_arguments(Thing(3)) == {"size": 3}
    assert differing_arguments(Thing(3, "y", rate=0.1, hidden=9)) == {"size": 3, "name": "y", "rate": 0.1}
    assert differing_arguments(Thing(3), lambda value: f"<{value}>")["size"] == "<3>"


def test_long_values_say_what_they_are() -> None:
    assert call_text("Thing", {}) == "Thing()"
    assert call_text("Thing", {"size": 3, "name": "y"}) == "Thing(size=3, name='y')"
    assert call_text("Thing", {"size": list(range(100))}) == "Thing(size=<list>)"
