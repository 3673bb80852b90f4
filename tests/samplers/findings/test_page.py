"""The page of findings: complete, escaped, in a real browser where there is one."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from dynsel._lib.images import TensorImages
from dynsel.samplers.findings import Findings
from dynsel.samplers.findings.page import findings_html

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Tags(HTMLParser):
    """Complains about tags that don't match; keeps ids and links."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def without_texts(found: Findings) -> Findings:
    return replace(found, samples={name: column for name, column in found.samples.items() if name != "text"})


def images() -> TensorImages:
    pixels = torch.arange(14 * 3 * 8 * 8, dtype=torch.uint8).reshape(14, 3, 8, 8)
    return TensorImages(pixels, torch.arange(14) % 2, ["cat", "dog"])


def test_texts_are_shown_and_escaped(found: Findings) -> None:
    page = findings_html(found, range(14), title="<i>mine</i>", command="dynsel fit --exclude 'a&b.csv'")
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &#34;quoted&#34;" in page
    assert "<b>bold" not in page
    assert "&lt;i&gt;mine" in page
    assert "--exclude &#39;a&amp;b.csv&#39;" in page
    assert "<img" not in page


def test_each_sample_has_a_place_to_link_to(found: Findings) -> None:
    tags = Tags(findings_html(found, range(14), title="t"))
    assert {"wrong_label-12", "wrong_label-10", "duplicate-11", "never_used-13"} <= set(tags.ids)
    assert len(tags.ids) == len(set(tags.ids))
    assert all(link[1:] in tags.ids for link in tags.links if link.startswith("#"))
    assert not [link for link in tags.links if not link.startswith("#")]


def test_images_are_inside_the_page(found: Findings) -> None:
    page = findings_html(without_texts(found), images(), title="t")
    assert page.count('src="data:image/png;base64,') == 6
    assert "a/0.png" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<script" not in page


class Items:
    """A data set of the same item over and over."""

    def __init__(self, item: object) -> None:
        self.item = item

    def __getitem__(self, index: int) -> object:
        return self.item

    def __len__(self) -> int:
        return 14


BYTES = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
ITEMS = {
    "a dictionary with a picture": {"label": 1, "image": Image.fromarray(BYTES)},
    "a dictionary with a tensor": {"pixel_values": torch.from_numpy(BYTES).movedim(2, 0) / 255, "labels": 1},
    "an array, channels last": (BYTES, 1),
    "an array that is read-only": (np.frombuffer(BYTES.tobytes(), np.uint8).reshape(6, 5, 3), 1),
    "an array, channels first, normalised": (np.moveaxis(BYTES, 2, 0) / 40 - 1, 1),
    "a grey array": (BYTES[..., 0], 1),
    "a grey array of 16 bits": (BYTES[..., 0].astype(np.uint16) * 257, 1),
    "an array of 16 bits": (BYTES.astype(">u2") * 257, 1),
    "a picture of 16 bits": (Image.fromarray(BYTES[..., 0].astype(np.uint16) * 257), 1),
    "with a channel of transparency": (np.zeros((6, 5, 4), dtype=np.uint8), 1),
    "an array alone": BYTES,
    "a picture behind its number": (7, Image.fromarray(BYTES), 1),
}
NO_IMAGES = {
    "features": (torch.randn(9), 1),
    "a matrix of features": (np.random.default_rng(0).normal(size=(6, 5)), 1),
    "tokens": {"input_ids": torch.arange(9), "attention_mask": torch.ones(9)},
    "many channels": (np.zeros((6, 5, 7)), 1),
    "whole numbers": (np.zeros((3, 6, 5), dtype=np.int64), 1),
    "no number": (np.full((3, 6, 5), np.nan), 1),
    "nothing": (),
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_images_of_any_kind_are_shown(found: Findings, item: object) -> None:
    page = findings_html(without_texts(found), Items(item), title="t")
    shown = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(shown) == 6
    with Image.open(io.BytesIO(base64.b64decode(shown[0]))) as picture:
        assert picture.size == (5, 6)


@pytest.mark.parametrize("kind", ["a grey array of 16 bits", "a picture of 16 bits"])
def test_images_of_16_bits_are_not_white(found: Findings, kind: str) -> None:
    page = findings_html(without_texts(found), Items(ITEMS[kind]), title="t")
    shown = re.search(r'src="data:image/png;base64,([^"]+)"', page).group(1)
    with Image.open(io.BytesIO(base64.b64decode(shown))) as picture:
        np.testing.assert_array_equal(np.asarray(picture)[..., 0], BYTES[..., 0])


@pytest.mark.parametrize("item", NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_is_not_shown(found: Findings, item: object) -> None:
    assert "<img" not in findings_html(without_texts(found), Items(item), title="t")


@pytest.mark.parametrize(
    ("limit", "headings"),
    [
        (9, ["3 samples alike, with different labels", "2 samples alike"]),
        (4, ["3 samples alike, with different labels", "2 samples alike, 1 shown"]),
    ],
)
def test_a_group_is_as_large_as_it_is_whatever_is_shown(found: Findings, limit: int, headings: list[str]) -> None:
    samples = {name: np.resize(column, 5) for name, column in found.samples.items()}
    samples |= {"index": np.arange(5), "group": np.array([0, 1, 0, 1, 0])}
    samples["given"] = np.array(["cat", "dog", "dog", "dog", "cat"], dtype=object)
    none = dict.fromkeys(found.kinds, np.zeros(0, dtype=np.int64))
    several = replace(found, samples=samples, kinds=none | {"duplicate": np.array([0, 2, 4, 1, 3])})
    page = findings_html(several, range(5), title="t", limit=limit)
    assert re.findall(r"<h3>(.*)</h3>", page) == headings


def test_a_chance_is_said_to_be_an_estimate(found: Findings) -> None:
    assert "of labels as suspicious 50 % are wrong by a rough estimate" in findings_html(found, range(14), title="t")


def test_of_many_only_the_first_are_shown(found: Findings) -> None:
    page = findings_html(found, range(14), title="t", limit=1)
    assert "The first 1 of 2; all are in findings.csv." in page
    assert 'id="wrong_label-10"' not in page


def test_no_command_where_nobody_is_suspected(found: Findings) -> None:
    none = replace(found, kinds={**found.kinds, "wrong_label": np.zeros(0, dtype=np.int64)})
    assert "dynsel fit" not in findings_html(none, range(14), title="t", command="dynsel fit")


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no browser")
@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_the_width_of_the_screen(found: Findings, width: int, tmp_path) -> None:
    long = replace(found, samples={**found.samples, "path": found.samples["path"] + "x" * 200})
    page = findings_html(without_texts(long), images(), title="t" * 60, command="dynsel fit " + "x" * 300)
    probe = "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script></body>"
    (tmp_path / "page.html").write_text(page.replace("</body>", probe))
    # A window can't be as narrow as a telephone; a frame can.
    (tmp_path / "frame.html").write_text(
        "<script>onmessage = e => { document.title = 'needs ' + e.data }</script>"
        f"<iframe src='page.html' style='border:0;width:{width}px;height:900px'></iframe>"
    )
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1600,1000", "--dump-dom"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", str(tmp_path / "frame.html")]
    shown = subprocess.run([browser, *options], capture_output=True, text=True, timeout=120)
    assert int(re.search(r"<title>needs (\d+)</title>", shown.stdout).group(1)) <= width
