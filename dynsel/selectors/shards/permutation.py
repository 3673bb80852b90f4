"""A shuffle that is computed instead of stored: a keyed permutation of 0 .. n-1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["Permutation", "mixed_key"]

Integers = np.ndarray[Any, np.dtype[Any]]

# Below this length four rounds of a network are not even enough, and a table costs little.
TABLE_UNTIL = 1 << 16
ROUNDS = 4
_GOLDEN = 0x9E3779B97F4A7C15
_64_BITS = (1 << 64) - 1


def mixed_key(*parts: int) -> int:
    """One 64-bit number from several; each part changes all of its bits (splitmix64).

    Args:
        parts: Whole numbers, negative ones too; what counts are their lowest 64 bits, and their order.
    """
    state = 0
    for part in parts:
        state = (state + _GOLDEN) ^ (part & _64_BITS)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _64_BITS
        state ^= state >> 31
    return state


class Permutation:
    """A permutation of 0 .. n-1 that follows from a key: any place of it can be asked for, and nothing is stored.

    From 2^16 on it is a Feistel network of four rounds on the next even number of bits; what it sends beyond n - 1 is
    sent on until it falls inside (cycle walking), less than four times on average. Below, it is a table.

    Args:
        size: n, at least 1 and at most 2^62.
        key: Whole numbers that name the permutation.

    Raises:
        ValueError: If `size` is out of range.

    Reference:
        Luby and Rackoff (1988), How to construct pseudorandom permutations from pseudorandom functions; Black and
        Rogaway (2002), Ciphers with arbitrary finite domains (cycle walking).

    Example:
        >>> shuffle = Permutation(10, 7)
        >>> sorted(shuffle(np.arange(10)).tolist()) == list(range(10))
        True
        >>> shuffle.inverse(shuffle(np.array([3, 1]))).tolist()
        [3, 1]
    """

    def __init__(self, size: int, *key: int) -> None:
        if not 1 <= size <= 1 << 62:
            raise ValueError(f"`size` must be in 1 .. 2^62, got {size}")
        self.size = size
        self._table: Integers | None = None
        self._back: Integers | None = None
        if size < TABLE_UNTIL:
            generator = torch.Generator().manual_seed(mixed_key(*key) >> 1)
            self._table = torch.randperm(size, generator=generator).numpy().astype(np.int32)
            return
        self._half = ((size - 1).bit_length() + 1) // 2
        # A half always fits 32 bits, the two together perhaps not.
        self._type: Any = np.uint32 if 2 * self._half <= 32 else np.uint64
        self._keys = [np.uint32(mixed_key(*key, number) >> 32) for number in range(ROUNDS)]

    def __call__(self, places: Integers) -> Integers:
        """(n,) int64: what stands at these places, (n,) whole numbers in 0 .. size - 1."""
        if self._table is not None:
            return self._table[places].astype(np.int64)
        return self._walked(places, self._forwards)

    def inverse(self, values: Integers) -> Integers:
        """(n,) int64: the places at which these values stand."""
        if self._table is None:
            return self._walked(values, self._backwards)
        if self._back is None:
            self._back = np.empty_like(self._table)
            self._back[self._table] = np.arange(self.size, dtype=np.int32)
        return self._back[values].astype(np.int64)

    def _walked(self, numbers: Integers, once: Any) -> Integers:
        found: Integers = once(numbers.astype(self._type))
        outside = np.flatnonzero(found >= self.size)
        while len(outside):
            found[outside] = moved = once(found[outside])
            outside = outside[moved >= self.size]
        return found.astype(np.int64, copy=False)

    def _split(self, joined: Integers) -> tuple[Integers, Integers]:
        half = self._type(self._half)
        return (joined >> half).astype(np.uint32), (joined & self._type((1 << self._half) - 1)).astype(np.uint32)

    def _joined(self, left: Integers, right: Integers) -> Integers:
        joined: Integers = (left.astype(self._type) << self._type(self._half)) | right
        return joined

    def _forwards(self, numbers: Integers) -> Integers:
        left, right = self._split(numbers)
        for key in self._keys:
            left, right = right, left ^ self._scrambled(right, key)
        return self._joined(left, right)

    def _backwards(self, numbers: Integers) -> Integers:
        left, right = self._split(numbers)
        for key in reversed(self._keys):
            left, right = right ^ self._scrambled(left, key), left
        return self._joined(left, right)

    def _scrambled(self, half: Integers, key: Any) -> Integers:
        """Half as many bits as a number has, from half a number and a key; multiplication wraps around."""
        f: Integers = half * np.uint32(0x9E3779B1) + key
        f ^= f >> np.uint32(15)
        f *= np.uint32(0x85EBCA6B)
        f ^= f >> np.uint32(13)
        f *= np.uint32(0xC2B2AE35)
        f ^= f >> np.uint32(16)
        f &= np.uint32((1 << self._half) - 1)
        return f
