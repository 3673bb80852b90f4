"""The site: every method and example has its page, and where mkdocs is installed all is built without a warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dynsel.selectors import SELECTORS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    sys.path.insert(0, str(ROOT / "docs/_site"))
    try:
        import pages as made  # the file of the site

        return dict(made.generated(ROOT))
    finally:
        sys.path.remove(str(ROOT / "docs/_site"))


@pytest.mark.parametrize("name", SELECTORS)
def test_every_method_has_a_page_made_from_its_row_and_class(name: str, pages: dict[str, str]) -> None:
    page = pages[f"methods/{name}.md"]
    assert f"::: dynsel.selectors.{SELECTORS[name].__name__}" in page
    assert "- **Needs**: " in page
    assert "- **Costs**: " in page
    assert f"[`{name}`]({name}.md)" in pages["methods/index.md"]


def test_measured_rows_are_those_of_the_results(pages: dict[str, str]) -> None:
    results = "".join((ROOT / f"recipes/{name}.md").read_text() for name in ("RECORDS", "RESULTS"))
    rows = [line for line in pages["methods/hybrid.md"].splitlines() if line.startswith("| CIFAR-10")]
    assert rows
    for row in rows:
        _, _, method, value, difference, _, _ = (cell.strip() for cell in row.split("|"))
        assert any(method in line and value in line and difference in line for line in results.splitlines())
    assert "It stands in no comparison yet." in pages["methods/pfb.md"] or "| setting |" in pages["methods/pfb.md"]


def test_every_example_has_a_page(pages: dict[str, str]) -> None:
    for path in (ROOT / "examples").glob("*.py"):
        page = pages[f"examples/{path.stem}.md"]
        assert page.count("```") == 2
        assert '__name__ == "__main__"' in page


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for name in ("mkdocs", "material", "mkdocstrings_handlers"):
        pytest.importorskip(name, reason="the site comes with the extra `docs`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    settings = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for page in ("index.html", "methods/rrd/index.html", "api/samplers/index.html", "recipes/RESULTS/index.html"):
        assert (tmp_path / page).is_file()
