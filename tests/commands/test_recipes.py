"""`dynsel recipes`, and recipes by name in place of a path."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dynsel.commands import recipes
from dynsel.commands.main import main
from dynsel.commands.recipes import recipe_names, recipe_path, with_recipes

ROOT = Path(__file__).parents[2] / "recipes"


def test_every_recipe_has_a_name() -> None:
    assert recipe_names() == sorted(str(path.relative_to(ROOT))[: -len(".yaml")] for path in ROOT.rglob("*.yaml"))
    assert {"digits", "cifar10/small", "stress/keep_01"} <= {*recipe_names()}


@pytest.mark.parametrize("name", ["digits", "digits.yaml", "cifar10/small"])
def test_a_name_leads_to_its_file(name: str) -> None:
    assert recipe_path(name).samefile(ROOT / f"{name.removesuffix('.yaml')}.yaml")


@pytest.mark.parametrize("name", ["digit", "../digits", "/etc/passwd", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"there is no recipe '{name}'.*`dynsel recipes list` names all"):
        recipe_path(name)


def test_the_wheels_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dynsel/recipes").mkdir(parents=True)
    (tmp_path / "dynsel/recipes/mine.yaml").write_text("# Mine: one line\n")
    monkeypatch.setattr(recipes, "__file__", str(tmp_path / "dynsel/commands/recipes.py"))
    assert recipe_names() == ["mine"]


def test_names_are_replaced_where_a_configuration_is_asked_for() -> None:
    path = str(recipe_path("digits"))
    assert with_recipes(["fit", "--config", "dynsel:digits", "-c", "dynsel:digits", "--config=dynsel:digits"]) == (
        ["fit", "--config", path, "-c", path, f"--config={path}"]
    )
    untouched = ["fit", "--config", "mine.yaml", "--out", "dynsel:digits", "--x=dynsel:digits"]
    assert with_recipes(untouched) == untouched


def test_a_recipe_by_name_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "dynsel:digits", "--print_config"]) == 0
    assert "architecture: small_cnn" in capsys.readouterr().out
    assert main(["fit", "--config", "dynsel:digts"]) == 2
    assert "did you mean 'digits'" in capsys.readouterr().err


def test_the_list_has_a_line_on_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"dynsel:{name}" for name in recipe_names()]
    assert all(len(line.split()) > 1 for line in lines)


def test_copies_are_the_files_and_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my recipes"
    assert main(["recipes", "copy", str(folder)]) == 0
    assert {path.relative_to(folder) for path in folder.rglob("*.yaml")} == {Path(f"{n}.yaml") for n in recipe_names()}
    (folder / "digits.yaml").write_text("changed: true\n")
    assert main(["recipes", "copy", str(folder)]) == 2
    assert "exists already; give another folder, or --force to overwrite" in capsys.readouterr().err
    assert main(["recipes", "copy", str(folder), "--force"]) == 0
    assert "model" in yaml.safe_load((folder / "digits.yaml").read_text())
