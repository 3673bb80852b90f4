"""What a data set holds, as far as it can be had at once, and which of its samples are the same."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Subset

from dynsel.graph import group_codes

__all__ = ["channels_first", "equal_groups", "float_blocks", "held_array", "held_texts", "thumbnails"]

_TEXTS = ("text", "texts", "sentence", "question", "content")
_ARRAYS = ("images", "data", "x")
# Unicode calls these punctuation as well, but "5%" isn't "5", nor "C#" "C".
_TELLING = "#%&*/@\\§‰′"
# Hints on how to join or show the characters around them.
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufe0e\ufe0f\ufeff"))
_SIDE = 8  # of a thumbnail, in pixels
_WIDTH = 64  # of its principal components
_BLOCK = 1024


def held_texts(dataset: Any) -> list[str] | None:
    """The texts of a data set that keeps them as a list or as a column; None if it doesn't.

    Args:
        dataset: Any map-style data set; a `Subset` is followed to what is underneath.
    """
    if isinstance(dataset, Subset):
        inner = held_texts(dataset.dataset)
        return None if inner is None else [inner[i] for i in dataset.indices]
    columns = getattr(dataset, "column_names", None)
    for name in _TEXTS:
        held = isinstance(columns, list) and name in columns
        # A column is a list, an array, or reads as it is iterated over, by the version of `datasets`.
        texts = list(dataset[name]) if held else getattr(dataset, name, None)
        if isinstance(texts, list | tuple) and len(texts) == len(dataset) and all(isinstance(t, str) for t in texts):
            return list(texts)
    return None


def held_array(dataset: Any) -> np.ndarray[Any, Any] | None:
    """The inputs of a data set that keeps them as one array or tensor; None if it doesn't.

    Args:
        dataset: Any map-style data set; a `Subset` is followed to what is underneath.

    Returns:
        (N, ...) numbers.
    """
    if isinstance(dataset, Subset):
        inner = held_array(dataset.dataset)
        return None if inner is None else inner[np.asarray(dataset.indices, dtype=np.int64)]
    tensors = getattr(dataset, "tensors", None)
    found = [tensors[0]] if isinstance(tensors, tuple) and tensors else []
    for values in [*found, *(getattr(dataset, name, None) for name in _ARRAYS)]:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        if isinstance(array, np.ndarray) and array.ndim > 1 and len(array) == len(dataset):
            return array if array.dtype.kind in "fiub" else None
    return None


def equal_groups(dataset: Any, texts: Iterable[str] | None = None, paths: Iterable[str] | None = None) -> Tensor | None:
    """Groups of samples whose inputs are equal: the same text but for case and punctuation, numbers, or file.

    Items aren't read: what has neither texts nor paths, and isn't held as numbers, can't be compared. Of texts letters
    with their marks, digits, symbols such as + < $ or an emoji, and dashes count; the marks of sentences, quotes and
    brackets don't, unless a text has nothing else.

    Args:
        dataset: Any map-style data set.
        texts: (N,) texts of the samples, where they are known.
        paths: (N,) files of the samples, where they are known.

    Returns:
        (N,) int64 group codes, or None.
    """
    if texts is not None:
        words = _Words()
        return group_codes([_text_key(text, words) for text in texts])
    array = held_array(dataset)
    if array is not None:
        return group_codes([hashlib.blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(array)])
    return None if paths is None else group_codes(_file_keys(list(paths)))


class _Words(dict[int, str | int]):
    """A table for `str.translate` that makes spaces of punctuation, by Unicode's categories."""

    def __missing__(self, code: int) -> str | int:
        kind = unicodedata.category(chr(code))
        dropped = kind in ("Ps", "Pe", "Pi", "Pf") or (kind == "Po" and chr(code) not in _TELLING)
        self[code] = " " if dropped else code
        return self[code]


def _text_key(text: str, words: _Words) -> str:
    """What texts share that are the same but for case, spaces and punctuation."""
    # Upper case, or a letter and its accent written as one, may come apart only as the case is folded.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_UNSEEN)
    return " ".join(folded.translate(words).split()) or folded.strip()


def _file_keys(paths: list[str]) -> list[object]:
    """What tells the files' contents apart; only files of equal size are read."""
    sizes = [os.path.getsize(path) if os.path.isfile(path) else -1 for path in paths]
    often = {size for size, count in Counter(sizes).items() if count > 1 and size >= 0}
    keys: list[object] = []
    for path, size in zip(paths, sizes, strict=True):
        if size not in often:
            keys.append(path)
            continue
        with open(path, "rb") as file:
            keys.append((size, hashlib.file_digest(file, "blake2b").digest()))
    return keys


def channels_first(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """A view of images as (N, C, H, W); None where an array holds none.

    Args:
        array: (N, C, H, W) or (N, H, W, C) with one to four channels, or (N, H, W).
    """
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or min(array.shape[1], array.shape[3]) > 4:
        return None
    return np.moveaxis(array, 3, 1) if array.shape[1] > 4 else array


def float_blocks(images: np.ndarray[Any, Any]) -> Iterator[Tensor]:
    """Images as floating-point tensors, a thousand at a time; what isn't finite is 0.

    Args:
        images: (N, C, H, W) numbers.
    """
    for start in range(0, len(images), _BLOCK):
        with np.errstate(over="ignore"):  # what float32 doesn't hold isn't finite
            block = torch.from_numpy(np.ascontiguousarray(images[start : start + _BLOCK], dtype=np.float32))
        yield block.nan_to_num(0, 0, 0) if images.dtype.kind == "f" else block


def thumbnails(images: np.ndarray[Any, Any]) -> Tensor:
    """Features of images that near-duplicates share: the principal components of their thumbnails.

    Args:
        images: (N, C, H, W) numbers (see `channels_first`).

    Returns:
        (N, 64 at most) float32; what isn't finite counts as 0.
    """
    side = min(_SIDE, *images.shape[2:])
    rows = torch.cat([F.adaptive_avg_pool2d(block, side).flatten(1) for block in float_blocks(images)])
    rows /= rows.abs().max().clamp_min(torch.finfo(torch.float32).tiny)  # whatever the unit, squares are finite
    rows -= rows.mean(0)
    values, vectors = torch.linalg.eigh((rows.T @ rows).double())
    components: Tensor = rows @ vectors[:, values.argsort(descending=True)[:_WIDTH]].float()
    return components
