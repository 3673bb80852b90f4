"""Every snippet of the README and of the pages in docs/ runs; the README stays short, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from snippets import python_blocks, run_snippets

from dynsel.distill.dataset import save_distilled
from dynsel.selectors.terms import TERMS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = sorted({*PAGES, *ROOT.glob("*.md"), *(ROOT / "recipes").rglob("*.md")})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=lambda page: page.stem)
def test_every_snippet_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_distilled(tmp_path / "runs/digits-ncfm", torch.rand(10, 1, 8, 8), torch.arange(10), list("0123456789"))
    run_snippets(page, tmp_path, monkeypatch)


def test_a_snippet_that_fails_is_told_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nx = 1\n```\n\nText\n\n```python\nassert x == 1\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as error:
        run_snippets(page, tmp_path, monkeypatch)
    assert error.traceback[-1].lineno + 1 == 11


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)", page.read_text())
    lost = []
    for target in targets:
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not target.startswith(("http://", "https://", "mailto:")):
            lost += [target] * (not file.exists() or (bool(anchor) and anchor not in anchors(file)))
    assert lost == []


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def first_cells(page: Path) -> list[str]:
    """Code in the first cells of a page's tables."""
    return re.findall(r"^\| `([^`]+)` \|", page.read_text(), re.MULTILINE)


def test_every_term_of_hybrid_is_in_its_table() -> None:
    assert sorted(first_cells(ROOT / "docs/terms.md")) == sorted(TERMS)


def test_every_room_is_on_the_map() -> None:
    ours = [
        path for path in (ROOT / "dynsel").iterdir() if not path.name.startswith("__") and path.suffix in ("", ".py")
    ]
    rooms = {f"dynsel/{path.name}" + "/" * path.is_dir() for path in ours if not path.is_symlink()}
    rooms |= {"callbacks/", "samplers/", "recipes/", "tests/"}
    assert set(first_cells(ROOT / "docs/house.md")) - {"callbacks/listening/"} == rooms
