"""What may have been meant, and errors of others in one line."""

from __future__ import annotations

import pytest

from dynsel._lib.messages import first_line, suggest


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("randm", ["random", "full"], "; did you mean 'random'?"),
        ("rrd1", ["rrd2", "rrd3", "full"], "; did you mean 'rrd3' or 'rrd2'?"),
        ("zzz", ["a", "b"], "; there are a, b"),
        ("zzz", list("abcdefg"), "; there are a, b, c, d, e, ..."),
        ("zzz", [], ""),
    ],
)
def test_near_names_come_first(name, known, said):
    assert suggest(name, known) == said


def test_without_a_near_one_nothing_may_be_said():
    assert suggest("zzz", ["a"], others=False) == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (OSError(), "OSError: no message"),
        (KeyError("  \n"), "KeyError: '  \\n'"),
    ],
)
def test_an_error_is_told_in_its_first_line(error, line):
    assert first_line(error) == line
