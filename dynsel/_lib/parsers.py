"""What differs between versions of jsonargparse."""

from __future__ import annotations

from typing import Any

__all__ = ["instantiate"]


def instantiate(parser: Any, config: Any) -> Any:
    """Make the objects that a configuration describes.

    Args:
        parser: A jsonargparse parser: before 4.49 the method is called `instantiate_classes`, since then `instantiate`.
        config: Configuration that this parser parsed.

    Returns:
        The configuration, with objects in the places of their descriptions.
    """
    name = "instantiate" if hasattr(parser, "instantiate") else "instantiate_classes"
    return getattr(parser, name)(config)
