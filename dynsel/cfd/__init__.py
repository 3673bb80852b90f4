"""Empirical characteristic functions: how far a subset is from the whole set, and which samples bring it nearer.

The characteristic function of samples x with weights w at a frequency t is φ(t) = Σ w e^{i t·x} / Σ w. The
characteristic function distance (CFD) of two sets is the mean of |φ_a - φ_b|² over frequencies; with t drawn from
N(0, s² I) it is the squared maximum mean discrepancy under the kernel exp(-s² ‖x - y‖² / 2).

`characteristic_function` is differentiable, for the few points inside an optimisation; `characteristic_sums` goes
over any number of rows.
"""

from dynsel.cfd.distances import (
    amplitude_phase,
    cfd,
    characteristic_function,
    discrepancy,
    phase_decoupled,
    random_floor,
)
from dynsel.cfd.frequencies import (
    anisotropic_frequencies,
    curriculum_limit,
    frequency_bands,
    gaussian_frequencies,
    median_scale,
    progressive_draw,
)
from dynsel.cfd.neural import FrequencyNetwork, Mode, NeuralCFD, fit_frequencies, neural_cfd
from dynsel.cfd.sums import CharacteristicSums, characteristic_sums, random_distances, subset_distances, subset_values
from dynsel.cfd.witness import witness

__all__ = [
    "CharacteristicSums",
    "FrequencyNetwork",
    "Mode",
    "NeuralCFD",
    "amplitude_phase",
    "anisotropic_frequencies",
    "cfd",
    "characteristic_function",
    "characteristic_sums",
    "curriculum_limit",
    "discrepancy",
    "fit_frequencies",
    "frequency_bands",
    "gaussian_frequencies",
    "median_scale",
    "neural_cfd",
    "phase_decoupled",
    "progressive_draw",
    "random_distances",
    "random_floor",
    "subset_distances",
    "subset_values",
    "witness",
]
