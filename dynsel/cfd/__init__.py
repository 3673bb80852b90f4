"""Empirical characteristic functions: how far a subset is from the whole set, and which samples bring it nearer."""

from dynsel.cfd.sums import (
    CharacteristicSums,
    amplitude_phase,
    anisotropic_frequencies,
    cfd,
    characteristic_function,
    characteristic_sums,
    curriculum_limit,
    frequency_bands,
    gaussian_frequencies,
    marginal_gain,
    median_scale,
    phase_decoupled,
    progressive_draw,
    random_floor,
    subset_distances,
    witness,
)

__all__ = [
    "CharacteristicSums",
    "amplitude_phase",
    "anisotropic_frequencies",
    "cfd",
    "characteristic_function",
    "characteristic_sums",
    "curriculum_limit",
    "frequency_bands",
    "gaussian_frequencies",
    "marginal_gain",
    "median_scale",
    "phase_decoupled",
    "progressive_draw",
    "random_floor",
    "subset_distances",
    "witness",
]
