"""The page: one file, complete, whatever users call their selectors; and in a real browser where there is one."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import matplotlib as mpl
import pytest
import torch
from matplotlib.image import imread
from reports import N, images, runs

from dynsel.compare import RunRecord, summarise
from dynsel.compare.report import write_report
from dynsel.compare.table import Table, tables
from dynsel.compare.worth import worths

EVIL = '<b onclick="alert(1)">&amp;{{ 7 * 7 }}</b>'
LONG = "hybrid:noise=0.1,refresh=2,sae_epochs=6"
SELECTORS = ("full", "random", "rrd", LONG, EVIL)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
FACTS = [("command", f"`dynsel compare --selectors '{EVIL}'`"), ("energy", "missing: `pip install it`, or not")]

VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Every element with its attributes and text; complains about tags that don't match."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[dict[str, Any]] = []
        self.elements: list[dict[str, Any]] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "text": "", "inside": [e["tag"] for e in self.open], **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [element for element in self.elements if element["tag"] == tag]


def decoded(uri: str, kind: str) -> bytes:
    head, content = uri.split(",", 1)
    assert head == f"data:{kind};base64"
    return base64.b64decode(content, validate=True)


def noisy() -> Any:
    dataset: Any = images()
    dataset.wrong = torch.arange(N) < 12
    return dataset


@pytest.fixture(scope="module")
def found() -> list[Table]:
    return tables(summarise(records(), target=0.5), 2, "val_accuracy", ["GPU", "CPU"])


def records() -> list[RunRecord]:
    failed = [RunRecord("loss", seed, error=f"RuntimeError: {EVIL} " + "on and on " * 20) for seed in range(2)]
    return [*runs(SELECTORS, 2, wrong_share=0.2), *failed]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, found: list[Table]) -> Path:
    path = tmp_path_factory.mktemp("report") / "new"
    before = dict(mpl.rcParams)
    full = [
        RunRecord("full", seed, 0.5 + length / 4, steps=round(120 * length), samples=7200)
        for length in (0.4, 1.0, 1.4)
        for seed in range(2)
    ]
    known = worths(summarise(records()), records(), full, 120, "steps", "val_accuracy")
    written = write_report(
        records(),
        path,
        dataset=noisy(),
        tables=found,
        facts=FACTS,
        meanings=[("wall-clock", "seconds")],
        worths=known,
        summary=known.sentence("validation accuracy", {name: name for name in SELECTORS}),
    )
    assert dict(mpl.rcParams) == before
    assert all(file.exists() for file in written)
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_every_picture_lies_beside_the_page_with_its_numbers(folder: Path) -> None:
    plots = {
        "ranking",
        "worth",
        "accuracy",
        "accuracy_seconds",
        "time",
        "usage",
        "class_balance",
        "overlap",
        "wrong_labels",
    }
    names = {path.name for path in folder.iterdir()}
    # Full and random use all samples alike: there is no most used one to show.
    sheets = {path.stem for path in folder.glob("images-*.png")}
    assert len(sheets) == 3
    assert "images-rrd" in sheets
    assert names == {"report.html"} | {f"{name}.{kind}" for name in plots | sheets for kind in ("png", "csv")}
    for path in folder.glob("*.png"):
        picture = imread(path)
        if path.stem != "overlap":
            assert picture.shape[1] == 1125
        assert picture.shape[0] >= 300
        assert picture[..., :3].var() > 0.005


def test_the_page_needs_nothing_else(page: Page) -> None:
    assert page.all("script") == []
    for element in page.elements:
        assert not any(name.startswith("on") for name in element)
        for name in ("src", "srcset", "href", "data", "action"):
            address = element.get(name, "data:")
            assert address.startswith(("data:", "#")), address
    style = page.all("style")[0]["text"]
    assert "url(" not in style
    assert "@import" not in style


def test_pictures_are_those_beside_the_page(page: Page, folder: Path) -> None:
    shown = [decoded(image["src"], "image/png") for image in page.all("img")]
    links = [a for a in page.all("a") if not a["href"].startswith("#")]
    pngs, csvs = links[::2], links[1::2]
    assert len(shown) == len(pngs) == len(csvs) == len(list(folder.glob("*.png")))
    for content, png, data in zip(shown, pngs, csvs, strict=True):
        # The page may be sent alone: its links carry what they lead to.
        assert content == decoded(png["href"], "image/png") == (folder / png["download"]).read_bytes()
        assert imread(io.BytesIO(content)).size
        text = decoded(data["href"], "text/csv;charset=utf-8")
        assert text == (folder / data["download"]).read_bytes()
        assert len(list(csv.DictReader(text.decode().splitlines()))) > 1


def test_each_image_of_a_sheet_leads_to_its_row(page: Page) -> None:
    rows = {e["id"]: e for e in page.all("tr") if "id" in e}
    places = [a for a in page.all("a") if "svg" in a["inside"]]
    assert len(places) == len(rows) == 3 * 40
    assert all(re.fullmatch(r"images-.*-\d+", unquote(a["href"][1:])) for a in places)
    assert {unquote(a["href"][1:]) for a in places} == set(rows)
    boxes = page.all("rect")
    assert all(0 <= float(b["x"]) < float(b["x"]) + float(b["width"]) <= 1 for b in boxes)
    assert all(0 <= float(b["y"]) < float(b["y"]) + float(b["height"]) <= 1 for b in boxes)
    assert float(boxes[0]["y"]) < 0.4 < float(boxes[39]["y"]), "the most used ones stand above"


def test_headings_and_words(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("title")[0]["text"] == page.all("h1")[0]["text"] == "Data selection compared: validation accuracy"
    assert page.all("meta")[1]["name"] == "viewport"
    ids = [element["id"] for element in page.elements if "id" in element]
    assert len(set(ids)) == len(ids)
    assert {unquote(a["href"][1:]) for a in page.all("a") if a["href"].startswith("#")} <= set(ids)
    assert all(len(image["alt"]) > 40 for image in page.all("img"))
    assert "training 3.5 s, waiting for data 0.5 s, selection 0.8 s, fitting 0.2 s" in page.all("img")[4]["alt"]
    assert page.all("p")[0]["text"].startswith("Validation accuracy in optimiser steps of full data: ")
    assert page.all("img")[1]["alt"].startswith("Validation accuracy in optimiser steps of full data: ")
    assert [code["text"] for code in page.all("code")] == [FACTS[0][1].strip("`"), "pip install it"]


def test_tables_are_complete(page: Page, found: list[Table]) -> None:
    captions = [caption["text"] for caption in page.all("caption")]
    assert captions[:4] == [table.title for table in found]
    assert captions[4].startswith("use of the samples")
    cells = [e["text"] for e in page.elements if e["tag"] in ("th", "td")]
    wanted = [table for table in found for table in (table.headings, *table.rows)]
    # A row of nothing but an error has one cell for it.
    wanted = [cell for row in wanted for cell in (row if any(row[2:]) else row[:2])]
    assert cells[: len(wanted)] == wanted
    scopes = [(e["scope"], e["inside"][-2]) for e in page.all("th")]
    assert set(scopes) == {("col", "thead"), ("row", "tbody")}
    assert "verdict" in wanted
    assert "not measured" in wanted


def test_names_and_errors_are_escaped(page: Page, folder: Path) -> None:
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert EVIL not in source
    assert html.escape(EVIL) in source or html.escape(EVIL).replace("&quot;", "&#34;") in source
    assert page.all("b") == []
    assert any(f"RuntimeError: {EVIL}" in cell["text"] for cell in page.all("td"))


def test_without_images_labels_and_noise(tmp_path: Path) -> None:
    rows = torch.utils.data.TensorDataset(torch.zeros(N, 4), torch.zeros(N))
    bare = [RunRecord("rrd", 0, 0.5, curve=runs()[0].curve)]
    names = [path.name for path in write_report(bare, tmp_path, dataset=rows)]
    assert names == ["report.html", "ranking.png", "accuracy.png", "accuracy_seconds.png", "time.png"]


def test_failures_alone_make_a_page_without_pictures(tmp_path: Path) -> None:
    failed = [RunRecord("rrd", 0, error="RuntimeError: no")]
    written = write_report(failed, tmp_path, tables=tables(summarise(failed), 1, "val_accuracy"))
    assert [path.name for path in written] == ["report.html"]
    assert "RuntimeError: no" in (tmp_path / "report.html").read_text()
    assert write_report([], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


# -------------------------------------------------------------------- in a browser
# The page in a frame of the width asked for: a browser's own window has a least width.
FRAME = """<!DOCTYPE html><title>frame</title><body><pre id="seen"></pre>
<iframe id="frame" style="width: {width}px; height: 900px; border: 0" srcdoc="{source}"></iframe>
<script>
addEventListener("load", () => {{
  const page = document.getElementById("frame").contentDocument, root = page.documentElement;
  const images = [...page.images];
  const tables = [...page.querySelectorAll("table")], style = e => page.defaultView.getComputedStyle(e);
  document.getElementById("seen").textContent = JSON.stringify({{
    view: root.clientWidth, page: root.scrollWidth, images: images.map(image => image.naturalWidth),
    boxes: tables.map(t => t.parentElement.getBoundingClientRect().right),
    letters: [...page.querySelectorAll("td, th, p, dd, figcaption")].map(e => parseFloat(style(e).fontSize)),
    shown: images.map(image => image.getBoundingClientRect().width),
  }});
}});
</script>"""


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no headless browser is installed")
@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser(folder: Path, page: Page, tmp_path: Path, width: int) -> None:
    source = (folder / "report.html").read_text(encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width, source=html.escape(source)), encoding="utf-8")
    for address in (frame.as_uri(), (folder / "report.html").as_uri()):
        done = browse(address, tmp_path / "profile")
        assert re.findall(r"CONSOLE.*", done.stderr) == []
        assert done.returncode == 0
        if address == frame.as_uri():
            seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)[1]))
    assert seen["view"] == width
    assert seen["page"] == width, "the page scrolls sideways"
    assert len(seen["images"]) == len(page.all("img"))
    assert min(seen["images"]) > 0
    assert len(seen["boxes"]) == 8  # three of them of images, closed
    assert max(seen["boxes"]) <= width, "a table leaves its box"
    assert min(seen["letters"]) >= 12
    # Letters of 10 points, at 150 dots an inch: of one size in all pictures, at least 10 pixels high.
    scales = [shown / pixels for shown, pixels in zip(seen["shown"], seen["images"], strict=True)]
    assert max(scales) == pytest.approx(min(scales), rel=0.01)
    assert min(scales) * 10 * 150 / 72 >= 10


def browse(address: str, profile: Path) -> subprocess.CompletedProcess[str]:
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
    ]
    command = [browser, *options, "--virtual-time-budget=5000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)
