"""Encoders that turn items into rows of features: one file per library, none of them imported before it is used."""

from dynsel.features.extractors.base import Extractor
from dynsel.features.extractors.clip import OpenCLIP
from dynsel.features.extractors.module import ModuleInput
from dynsel.features.extractors.pca import PixelPCA
from dynsel.features.extractors.sentences import MiniLM, SentenceTransformerText
from dynsel.features.extractors.vision import Torchvision

__all__ = [
    "EXTRACTORS",
    "Extractor",
    "MiniLM",
    "ModuleInput",
    "OpenCLIP",
    "PixelPCA",
    "SentenceTransformerText",
    "Torchvision",
]

EXTRACTORS: dict[str, type[Extractor]] = {
    "minilm": MiniLM,
    "module": ModuleInput,
    "open-clip": OpenCLIP,
    "pixels": PixelPCA,
    "text": SentenceTransformerText,
    "torchvision": Torchvision,
}
