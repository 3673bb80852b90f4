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
LINK = re.compile(r"(\]\()([^)#\s]+)([^)]*\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation, in place of their folders."""
    made = pages.generated(ROOT)
    for entry in config.nav or []:
        ((title, content),) = entry.items()
        if isinstance(content, str) and content.endswith("/"):
            entry[title] = [name for name in made if name.startswith(content)]
    return config


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
        target = found[2]
        if re.match(r"[a-z]+:", target):
            return found[0]
        there = site_path(normpath((here / target).as_posix()))
        return found[1] + relpath(there, PurePosixPath(page.file.src_uri).parent.as_posix() or ".") + found[3]

    return LINK.sub(replaced, markdown)


def site_path(path: str) -> str:
    """Where a file of the repository is on the site."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def repository_path(uri: str) -> str:
    """Where a page of the site is in the repository."""
    if uri == "index.md":
        return "README.md"
    return uri if (ROOT / uri).exists() else f"docs/{uri}"
