"""`dynsel distill measure`: the report is that of `neural_cfd`, and selections that are none are named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dynsel.cfd import neural_cfd
from dynsel.commands._measure import measure

X = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
CHOSEN = list(range(0, 300, 2))


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "x.npy", X.numpy())
    (tmp_path / "s.json").write_text(json.dumps({"indices": CHOSEN}))
    return tmp_path


def run(files, *more: str) -> int:
    words = ["--features", str(files / "x.npy"), "--selection", str(files / "s.json"), "--steps", "3", *more]
    return measure(words)


def test_the_report_is_that_of_the_function(files, capsys):
    assert run(files, "--out", str(files / "r.json"), "--num_frequencies", "32") == 0
    report = json.loads((files / "r.json").read_text())
    weights = torch.zeros(300).index_fill(0, torch.tensor(CHOSEN), 1.0)
    wanted, _ = neural_cfd(X, weights, steps=3, num_frequencies=32)
    assert report["whole"]["distance"] == pytest.approx(wanted.distance, rel=1e-5)
    assert report["whole"]["z_score"] == pytest.approx(wanted.z_score, rel=1e-3)
    assert "all" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"must hold indices in \[0, 300\)"),
        ("[300]", r"must hold indices in \[0, 300\)"),
        ("{}", "must be JSON with a list of `indices`"),
        ("not JSON", "must be JSON with a list of `indices`"),
    ],
)
def test_what_is_no_selection(files, content, message):
    (files / "s.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        run(files)
