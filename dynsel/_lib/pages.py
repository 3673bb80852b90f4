"""Pages that need nothing else: no script, no style sheet, no picture from anywhere."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

__all__ = ["data_uri", "render"]


def render(package: str, template: str, **values: Any) -> str:
    """A page from a template, in which whatever is inserted is escaped.

    Args:
        package: Package that holds the template, which may extend `base.html.jinja`.
        template: Name of its file.
        **values: What the template inserts.
    """
    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("dynsel._lib", ".")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"data_uri": data_uri, "inches": _inches, "parts": _parts}
    return environment.get_template(template).render(values)


def data_uri(content: str | bytes, kind: str) -> str:
    """A file as an address that holds it.

    Args:
        content: What the file holds.
        kind: Its media type, as in "image/png".
    """
    raw = content if isinstance(content, bytes) else content.encode()
    return f"data:{kind};base64,{b64encode(raw).decode()}"


def _inches(png: bytes) -> float:
    """Width of a picture, which its header has in pixels."""
    from dynsel._lib.figures import DPI  # with matplotlib, which a page without pictures doesn't need

    return round(int.from_bytes(png[16:20]) / DPI, 3)


def _parts(text: str) -> list[str]:
    """Text, code, text, and so on."""
    if len(text) > 1 and text.startswith("`") and text.endswith("`"):
        return ["", text[1:-1]]  # a command may have backquotes of its own
    return text.split("`") if text.count("`") % 2 == 0 else [text]
