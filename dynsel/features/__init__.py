"""Features of the samples: from arrays and files, from raw inputs, or from the model in training."""

from dynsel.features.arrays import check_features, load_features, save_features
from dynsel.features.capture import CapturedFeatures
from dynsel.features.fingerprint import describe_difference, fingerprint
from dynsel.features.pixels import pixel_features

__all__ = [
    "CapturedFeatures",
    "check_features",
    "describe_difference",
    "fingerprint",
    "load_features",
    "pixel_features",
    "save_features",
]
