"""What the site adds to docs/: files from elsewhere in the repository, pages of methods and examples, the API, links.

A page keeps the path that it has in the repository, but for the README, which is the first page, and for docs/, whose
pages stand at the top. Links are written for the repository, where GitHub shows them, and are turned into the site's.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

import pages

ROOT = Path(__file__).parents[2]
FROM_ELSEWHERE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md")
FIRST_PAGES = {"README.md": "index.md", "examples": "examples/index.md"}
LINK = re.compile(r"(?P<text>!?\[[^]]*\])\((?P<target>[^)#\s]+)(?P<rest>[^)]*)\)")
SHOWN = (".md", ".png", ".svg", ".yaml", ".py", ".ipynb")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation, in place of their folders, and pages that it forgot to `Use`."""
    recipes = sorted((path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").rglob("*.md")), key=_by_depth)
    made = [*pages.generated(ROOT), *recipes]
    for entry in config.nav or []:
        ((title, content),) = entry.items()
        if isinstance(content, str) and content.endswith("/"):
            entry[title] = [name for name in made if name.startswith(content)]
    named = {page for entry in config.nav or [] for pages in entry.values() for page in _listed(pages)}
    use = next(entry["Use"] for entry in config.nav or [] if "Use" in entry)
    use += sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    return config


def _listed(pages: str | list[str]) -> list[str]:
    return [pages] if isinstance(pages, str) else pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what stands outside docs/, and what is made here."""
    outside = [ROOT / name for name in FROM_ELSEWHERE]
    outside += [path for path in (ROOT / "recipes").rglob("*") if path.suffix in (".md", ".png", ".yaml", ".py")]
    for path in sorted(outside):
        files.append(File.generated(config, site_path(path.relative_to(ROOT).as_posix()), abs_src_path=str(path)))
    for name, text in pages.generated(ROOT).items():
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "assets/site.css", content=Path(__file__).with_name("site.css").read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    if page.file.src_uri.startswith(("methods/", "api/", "examples/")):
        return markdown  # written for the site
    here = PurePosixPath(repository_path(page.file.src_uri)).parent

    def replaced(found: re.Match[str]) -> str:
        target = found["target"]
        if re.match(r"[a-z]+:", target):
            return found[0]
        path = normpath((here / target).as_posix())
        there = site_path(path)
        if not there.endswith(SHOWN):
            return f"{found['text'][1:-1]} (`{path}`)"  # a folder, or a file that is in the repository only
        start = PurePosixPath(page.file.src_uri).parent.as_posix()
        return f"{found['text']}({relpath(there, start)}{found['rest']})"

    return LINK.sub(replaced, markdown)


def _by_depth(path: str) -> tuple[int, str]:
    """Pages of a folder before those of the folders in it."""
    return path.count("/"), path


def site_path(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path in FIRST_PAGES:
        return FIRST_PAGES[path]
    if path.startswith("examples/"):
        return PurePosixPath(path).with_suffix(".md").as_posix()
    return path.removeprefix("docs/")


def repository_path(uri: str) -> str:
    """Where a page of the site is in the repository."""
    if uri == "index.md":
        return "README.md"
    return uri if (ROOT / uri).exists() else f"docs/{uri}"
