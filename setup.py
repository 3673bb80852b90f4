"""What pyproject.toml can't say of the build: where the packages stand, and that the wheel carries the recipes.

`callbacks/` and `samplers/` are top-level folders that install inside the package, and the links `dynsel/callbacks` and
`dynsel/samplers` make a checkout importable in the same way. With the links all packages stand in one tree, so that an
editable install is a plain path, which pyright, mypy and editors follow. Without them (a clone on Windows, a zip, a
source distribution) the folders are named one by one.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FOLDERS = {"dynsel": "dynsel", "dynsel.callbacks": "callbacks", "dynsel.samplers": "samplers"}
LINKED = all((ROOT / package.replace(".", "/")).is_dir() for package in FOLDERS)


class BuildWithRecipes(build_py):
    """Copies the recipes' YAML files into the package, as `dynsel/recipes/`."""

    def run(self) -> None:
        """Build the package as ever; an editable install reads the recipes where they are."""
        super().run()
        if not self.editable_mode:
            for recipe, copy in self._recipes().items():
                copy.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(recipe), str(copy))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """All files of the build, the recipes included.

        Args:
            include_bytecode: Whether compiled modules count.
        """
        copies = [] if self.editable_mode else map(str, self._recipes().values())
        return [*super().get_outputs(include_bytecode), *copies]

    def _recipes(self) -> dict[Path, Path]:
        folder = Path(self.build_lib) / "dynsel/recipes"
        return {path: folder / path.relative_to(ROOT / "recipes") for path in (ROOT / "recipes").rglob("*.yaml")}


setup(package_dir={"": "."} if LINKED else FOLDERS, cmdclass={"build_py": BuildWithRecipes})
