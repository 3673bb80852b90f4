"""Templates that extend the base, whose insertions are escaped."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from dynsel._lib.pages import data_uri, render


def test_a_page_has_the_frame_and_its_own_content() -> None:
    page = render(
        "dynsel.samplers.findings", "page.html.jinja", title="<x>", summary=["a & b"], sections=[], command=""
    )
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>&lt;x&gt;</title>" in page
    assert "a &amp; b" in page
    assert "Written by dynsel findings." in page


def test_what_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="undefined"):
        render("dynsel.samplers.findings", "page.html.jinja", title="x")


def test_files_as_addresses() -> None:
    assert data_uri("ab", "text/plain") == data_uri(b"ab", "text/plain") == "data:text/plain;base64,YWI="
