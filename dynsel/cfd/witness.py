"""Which samples bring a characteristic function nearer to its aim; public as `dynsel.cfd`."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel._lib.matrices import Matrix
from dynsel.cfd.sums import angles_of, check_shapes, explain

__all__ = ["witness"]


@torch.no_grad()
def witness(features: Matrix, frequencies: Tensor, gap: Tensor) -> Tensor:
    """For each sample, how much adding a little of it brings the characteristic function nearer to its aim.

    With a gap g = φ_aim - φ_now, adding a share ε of sample x changes the CFD by -2 ε (witness(x) - c) to first
    order, where the constant c = mean Re(ḡ φ_now) is the same for all samples.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        frequencies: (F, d) floating point, the frequencies t.
        gap: (F,) complex: of the whole set minus of what was trained on, for instance.

    Returns:
        (N,) float32 on the device of the features, the mean over t of Re(ḡ e^{i t·x}); higher = rather take it.

    Raises:
        TypeError: If the features aren't floating point.
        ValueError: If shapes don't fit, or the gap or a row isn't finite (the message names the rows).

    Reference:
        Jitkrittum et al. (2016), Interpretable Distribution Features with Maximum Testing Power,
        arXiv:1605.06796 (the witness function of two samples).
    """
    check_shapes(features, frequencies)
    if gap.shape != (len(frequencies),) or not gap.is_complex():
        raise ValueError(f"`gap` must be ({len(frequencies)},) complex, got {tuple(gap.shape)} {gap.dtype}")
    if not bool(torch.isfinite(gap).all()):
        raise ValueError("`gap` must be finite")
    place = features.device if isinstance(features, Tensor) else torch.device("cpu")
    size = (gap.abs() / len(gap)).to(place, torch.float32)
    # Re(ḡ e^{iθ}) = |g| cos(θ - arg g): one cosine instead of a cosine and a sine.
    shift = -gap.angle().to(place, torch.float32)
    scores = torch.empty(len(features), device=place)
    for rows, angles in angles_of(features, frequencies, shift):
        torch.mv(angles.cos_(), size, out=scores[rows])
    if not bool(torch.isfinite(scores).all()):
        explain(features)
    return scores
