"""Docstrings for the site: an example of one or several doctests is set as code."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Griffe knows the heading `Examples:` alone; ours is `Example:`."""

    def on_instance(self, *, obj: griffe.Object, **options: Any) -> None:
        """Change the heading before the docstring is parsed.

        Args:
            obj: Any definition.
            **options: Of no use here.
        """
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
