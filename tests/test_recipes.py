"""Every recipe is read by today's command, and builds its model and selector; stress settings change what they say."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from dynsel.compare.run import Comparison

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
    plain, other = (read(*files).settings() for files in ((recipe,), (recipe, path)))
    for part in ("selection", "trainer"):
        assert other[part] == plain[part]
    changed = {
        f"{part}.{key}"
        for part in ("model", "data")
        for key in {**plain[part]["init_args"], **other[part]["init_args"]}
        if plain[part]["init_args"].get(key) != other[part]["init_args"].get(key)
    }
    written = {line.split(":")[0].strip() for line in path.read_text().splitlines() if line.startswith("    ")}
    assert {key.split(".")[1] for key in changed} | {"width"} == written | {"width"}
    assert changed


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 3
    assert len(STRESS) >= 9
