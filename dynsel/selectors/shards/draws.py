"""Random numbers that belong to a sample: from a key and its index, whoever asks and in whatever company."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["uniform_at"]

# Numbers at a time, so that what comes in between stays in the cache.
CHUNK = 1 << 16


def uniform_at(indices: np.ndarray[Any, Any], key: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Uniform numbers in (0, 1), each of which depends on its index and the key alone (splitmix64).

    Args:
        indices: (n,) whole numbers, at least 0.
        key: 64 bits; another one gives other numbers.

    Returns:
        (n,) float32, of 23 bits each and neither 0 nor 1, so that a logarithm can be taken.

    Reference:
        Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators.
    """
    found = np.empty(len(indices), dtype=np.float32)
    for start in range(0, len(indices), CHUNK):
        x = indices[start : start + CHUNK].astype(np.uint64)
        x += np.uint64(1)
        x *= np.uint64(0x9E3779B97F4A7C15)
        x ^= np.uint64(key & ((1 << 64) - 1))
        x ^= x >> np.uint64(30)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(27)
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
        x >>= np.uint64(41)
        # The middle of a cell of 2^-23.
        found[start : start + CHUNK] = (x.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
    return found
