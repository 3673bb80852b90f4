"""Images that show the same once they are laid upon each other: moved a little, darker or brighter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dynsel.graph.duplicates import components
from dynsel.samplers.findings.inputs import float_blocks

__all__ = ["aligned_groups"]

_SIDE = 32  # of what is compared, in pixels
_REACH = 8  # images are moved by up to an eighth of their side
_LEVELS = ((4, 3.75), (2, 3.0))  # at a fourth of the side, and a half: pairs that are so many times too far apart pass
_PLAIN = 1e-5  # of the largest value: images that vary by less are of a single value
_BLOCK = 1024
_SOME = 500  # images that what is usual is known by


def aligned_groups(
    images: np.ndarray[Any, Any], distances: Tensor, indices: Tensor, closeness: float = 0.2
) -> Tensor | None:
    """Groups of images that are nearly the same where they lie best upon each other.

    Of each image and its neighbours the part that both show is compared, the one image being moved by up to an eighth
    of its side in each direction. Their distance is sqrt(1 - r), r being the highest correlation of all pixels in all
    channels, to which neither brightness nor contrast matters, and colour does. As for features, two images are the
    same if theirs is at most `closeness` times the usual one, the median of that to the last neighbour; so are, in
    turn, those that are the same as either. Images of a single value are like no other.

    Args:
        images: (N, C, H, W) numbers.
        distances: (N, k) distances to the nearest neighbours, ascending, by features that such copies are near by.
        indices: (N, k) int64, which they are.
        closeness: Share of the usual distance up to which two images are the same.

    Returns:
        (N,) int64 group codes; None where images are so small that a move of a pixel is more than an eighth.
    """
    side = min(_SIDE, *images.shape[2:])
    reach = side // _REACH
    if not reach:
        return None
    count, last = len(images), indices.shape[1] - 1
    some = torch.arange(0, count, -(-count // _SOME))
    far, _ = _apart(*_of_pairs(images, torch.stack([some, indices[some, last]]), side), reach)
    usual = far.median()
    # Farther neighbours than the usual last one are left out.
    rows = torch.arange(count)[:, None].expand_as(indices)
    near = distances <= distances[:, last].median()
    one, two = rows[near], indices[near]
    keys = torch.unique(torch.minimum(one, two) * count + torch.maximum(one, two))
    pairs = torch.stack([keys // count, keys % count])
    # From small to large: who is far apart at a glance isn't looked at closely, and who isn't only about the best move.
    moves, step = torch.zeros(pairs.shape[1], 2, dtype=torch.int64), 0
    halves = torch.cat([_pooled(block, side // 2).mean(1, keepdim=True) for block in float_blocks(images)])
    for finer, times in _LEVELS:
        if reach // finer:
            grey = torch.cat([_varying(_pooled(block, side // finer)) for block in torch.split(halves, _BLOCK)])
            far, moves = _apart_about(grey, pairs, moves * (step // finer), 1 if step else reach // finer)
            near, step = far <= times * closeness * usual, finer
            pairs, moves = pairs[:, near], moves[near]
    far, _ = _apart_about(*_of_pairs(images, pairs, side), moves * step, 1 if step else reach)
    same = pairs[:, far <= closeness * usual].numpy()
    return components(same[0], same[1], count)


def _of_pairs(images: np.ndarray[Any, Any], pairs: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """(M, C, side, side) the images that occur in pairs, and the pairs by their places there."""
    rows, places = torch.unique(pairs, return_inverse=True)
    if not len(rows):
        return torch.zeros(0, images.shape[1], side, side), places
    return torch.cat([_varying(_pooled(block, side)) for block in float_blocks(images[rows.numpy()])]), places


def _pooled(images: Tensor, side: int) -> Tensor:
    return F.adaptive_avg_pool2d(images, side)


def _varying(images: Tensor) -> Tensor:
    """Images less their mean, in units of their deviation; 0 for those of a single value."""
    flat = images.flatten(1).double()
    largest = flat.abs().amax(1, keepdim=True)
    flat -= flat.mean(1, keepdim=True)
    deviation = flat.square().mean(1, keepdim=True).sqrt()
    flat = torch.where(deviation > _PLAIN * largest, flat / deviation, 0.0)
    return flat.float().view_as(images)


def _apart_about(images: Tensor, pairs: Tensor, about: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """The same as `_apart`, up to `reach` pixels from a move for each pair, (P, 2)."""
    least, moves = torch.full((pairs.shape[1],), torch.inf), about.clone()
    for move in torch.unique(about, dim=0):
        of = (about == move).all(dim=1).nonzero()[:, 0]
        least[of], moves[of] = _apart(images, pairs[:, of], reach, (int(move[0]), int(move[1])))
    return least, moves


def _apart(images: Tensor, pairs: Tensor, reach: int, about: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """sqrt(1 - r) of each pair where it is least, and the moves, (P, 2), up to `reach` pixels from `about`."""
    count, around = pairs.shape[1], range(-reach, reach + 1)
    least, moves = torch.full((count,), torch.inf), torch.zeros(count, 2, dtype=torch.int64)
    for start in range(0, count, _BLOCK):
        part = slice(start, start + _BLOCK)
        first, second = images[pairs[0, part]], images[pairs[1, part]]
        for down, right in ((about[0] + a, about[1] + b) for a in around for b in around):
            one, other = _shown(first, down, right), _shown(second, -down, -right)
            scale = (one.square().sum((1, 2, 3)) * other.square().sum((1, 2, 3))).sqrt().clamp_min(1e-6)
            far = (1 - (one * other).sum((1, 2, 3)) / scale).clamp_min(0).sqrt()
            better = far < least[part]
            least[part] = torch.where(better, far, least[part])
            moves[part][better] = torch.tensor([down, right])
    return least, moves


def _shown(images: Tensor, down: int, right: int) -> Tensor:
    """What is still shown of images after a move by so many pixels."""
    height, width = images.shape[2:]
    return images[:, :, max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
