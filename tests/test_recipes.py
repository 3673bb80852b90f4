"""Every recipe is read by today's command, and builds its model and selector; stress settings change what they say."""

from __future__ import annotations

import re
import runpy
import warnings
from pathlib import Path

import pytest
import torch
import yaml

from dynsel import DynamicSelection
from dynsel.compare.run import Comparison
from dynsel.compare.store import flatten

ROOT = Path(__file__).parent.parent / "recipes"
STRESS = sorted((ROOT / "stress").glob("*.yaml"))
RECIPES = sorted(path for path in ROOT.rglob("*.yaml") if path not in STRESS)


def read(*files: Path) -> Comparison:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Comparison([word for file in files for word in ("--config", str(file))], "val_accuracy")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_builds_its_parts(path: Path) -> None:
    if "distill" in path.read_text():
        pytest.skip("a recipe of another command")
    comparison = read(path)
    comparison.make(comparison.own.class_path if comparison.own else "random", 0, [], accelerator="cpu", precision=32)
    assert comparison.model is not None
    assert comparison.datamodule is not None


@pytest.mark.parametrize("path", STRESS, ids=lambda path: path.stem)
def test_a_stress_setting_changes_one_thing(path: Path) -> None:
    recipe = ROOT / "cifar10" / ("resnet18.yaml" if "GPU" in path.read_text() else "small.yaml")
    plain, other = (flatten(read(*files).settings()) for files in ((recipe,), (recipe, path)))
    changed = {key for key in {**plain, **other} if plain.get(key) != other.get(key)}
    # A network that has no width says so by an argument less.
    width = {"model.init_args.width"}
    assert changed | width == {*flatten(yaml.safe_load(path.read_text()))} | width
    assert changed - width


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 3
    assert len(STRESS) >= 13


def test_the_language_models_recipe_trains_and_is_listened_to(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers comes with the extra `kinds`")
    recipe = runpy.run_path(str(ROOT / "language_model.py"))
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog; " * 200)
    rows = recipe["pieces"](text)
    selection = DynamicSelection(keep_ratio=0.5)
    loss, seconds = recipe["bits"](rows, selection, steps=6, seed=0)
    assert 0 < loss < 8.5  # a byte that nothing is known of has 8 bits
    assert seconds > 0
    assert "cross_entropy" in str(selection.listening)


def test_class_shares_of_what_stays_are_told_for_every_rule() -> None:
    recipe = runpy.run_path(str(ROOT / "cifar10/class_shares.py"))
    labels = torch.arange(80) % 4
    features = torch.nn.functional.one_hot(labels).float() + 0.05 * torch.randn(
        80, 4, generator=torch.Generator().manual_seed(0)
    )
    lines = recipe["table"](features, labels, 40, 20, 2).splitlines()[2:]
    rows = {
        cells[0]: [float(cell) for cell in cells[1:]] for cells in (re.split(r"\s*\|\s*", line)[1:-1] for line in lines)
    }
    assert list(rows) == ["random", "extremes", "magnitude", "boundary", "top", "spread"]
    assert all(sum(row[:4]) == pytest.approx(100, abs=0.3) for row in rows.values())
    assert rows["top"][4] > 20 > rows["spread"][4]  # whole classes stay or go; spread keeps a part of each
