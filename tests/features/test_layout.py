"""What a store is on disk: blocks that cover the rows, checksums of bytes, journals that a kill cut short."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsel.features.layout import (
    block_rows,
    check_fingerprint,
    checksum,
    manifest_path,
    part_path,
    plan_difference,
    read_journals,
)


@given(st.integers(1, 200), st.integers(1, 50))
def test_blocks_cover_every_row_once(count, size):
    plan = {"N": count, "block_rows": size}
    blocks = [block_rows(plan, block) for block in range(-(-count // size))]
    assert [row for block in blocks for row in range(count)[block]] == list(range(count))


def test_names_lie_beside_the_array():
    path = Path("a/x.npy")
    assert (manifest_path(path), part_path(path)) == (Path("a/x.npy.json"), Path("a/x.npy.part"))


def test_checksums_are_of_the_bytes_in_order():
    rows = np.arange(12, dtype=np.float16).reshape(3, 4)
    assert checksum(rows) == hashlib.sha256(rows.tobytes()).hexdigest()[:32]
    assert checksum(rows[:, ::2]) == checksum(rows[:, ::2].copy())
    assert checksum(rows) != checksum(rows.astype(np.float32))


def test_only_whole_entries_of_journals_count(tmp_path):
    whole = '{"block": 0, "sha256": "ab", "skipped": [3]}'
    lines = [whole, '{"block": 1, "sha2', '{"block": -1, "sha256": "x", "skipped": []}', "[1]", '{"block": 2}', ""]
    (tmp_path / "journal-0.jsonl").write_text("\n".join(lines))
    (tmp_path / "journal-1.jsonl").write_text('\n{"block": 5, "sha256": "cd", "skipped": []}\n')
    found = read_journals(tmp_path)
    assert sorted(found) == [0, 5]
    assert found[0]["skipped"] == [3]


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ({"N": 5}, None),
        ({"N": 6}, "N (5 there, 6 now)"),
        (
            {"extractor": {"model": "b", "layer": 1}},
            "extractor's layer (None there, 1 now); extractor's model (a",
        ),
    ],
)
def test_plans_differ_in_words(ours, said):
    found = plan_difference({"N": 5, "extractor": {"model": "a"}}, {"extractor": {"model": "a"}, **ours})
    assert found is None if said is None else found.startswith(said)


def test_without_a_fingerprint_there_is_nothing_to_compare():
    check_fingerprint(Path("x.npy"), {}, [1, 2, 3])
