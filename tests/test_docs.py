"""Every snippet of the pages in docs/ runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from snippets import python_blocks, run_snippets

from dynsel.distill.dataset import save_distilled

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md") if python_blocks(page))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES)
def test_every_snippet_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_distilled(tmp_path / "runs/digits-ncfm", torch.rand(10, 1, 8, 8), torch.arange(10), list("0123456789"))
    run_snippets(DOCS / page, tmp_path, monkeypatch)


def test_a_snippet_that_fails_is_told_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nx = 1\n```\n\nText\n\n```python\nassert x == 1\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as error:
        run_snippets(page, tmp_path, monkeypatch)
    assert error.traceback[-1].lineno + 1 == 11
