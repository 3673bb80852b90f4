"""Features: an (N, d) matrix whose row i describes item i of the data set."""

from dynsel.features.arrays import load_features, save_features
from dynsel.features.capture import CapturedFeatures, find_module
from dynsel.features.fingerprint import describe_difference, fingerprint
from dynsel.features.pixels import pixel_features

__all__ = [
    "CapturedFeatures",
    "describe_difference",
    "find_module",
    "fingerprint",
    "load_features",
    "pixel_features",
    "save_features",
]
