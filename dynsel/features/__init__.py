"""Features: an (N, d) matrix whose row i describes item i of the data set."""

from dynsel.features.arrays import load_features, save_features
from dynsel.features.capture import CapturedFeatures, find_module
from dynsel.features.fingerprint import describe_difference, fingerprint
from dynsel.features.pixels import pixel_features
from dynsel.features.store import FeatureStore, open_store
from dynsel.features.writing import StoreWriter

__all__ = [
    "CapturedFeatures",
    "FeatureStore",
    "StoreWriter",
    "describe_difference",
    "find_module",
    "fingerprint",
    "load_features",
    "open_store",
    "pixel_features",
    "save_features",
]
