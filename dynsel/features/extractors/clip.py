"""Image features of any CLIP model that the package `open_clip` knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from dynsel._lib.checks import check_seed
from dynsel._lib.messages import first_line, suggest
from dynsel._lib.rgb import as_rgb
from dynsel._lib.tensor_files import check_suffix
from dynsel.features.extractors.base import Extractor, weights_hash

__all__ = ["OpenCLIP"]


class OpenCLIP(Extractor):
    """The image tower of an `open_clip` model, with its own preprocessing.

    Args:
        model: Name, one of `open_clip.list_models()`; or `hf-hub:...` or `local-dir:...` as open_clip takes them.
        pretrained: Name of the weights, one of `open_clip.list_pretrained_tags_by_model(model)`, or the path of a
            local `.safetensors` file. None = weights at random from `seed`, for tests.
        normalize: Whether every row is brought to unit length, as CLIP compares them.
        seed: Seed for random weights, where `pretrained` is None.

    Raises:
        FileNotFoundError: If a local file isn't there.
        ImportError: If open_clip isn't installed.
        RuntimeError: If the weights can't be downloaded.
        ValueError: If model or weights are unknown; suggests near names.
    """

    def __init__(
        self, model: str = "ViT-B-32", pretrained: str | None = "openai", normalize: bool = True, seed: int = 0
    ) -> None:
        super().__init__()
        seed = check_seed("seed", seed)
        try:
            import open_clip
        except ImportError as error:
            raise ImportError("CLIP features need open_clip: pip install open_clip_torch") from error
        self.name, self.pretrained, self.normalize = model, pretrained, normalize
        _check_names(open_clip, model, pretrained)
        self.clip, self.transform = _create(open_clip, model, pretrained, seed)

    def prepare(self, value: Any) -> Any:
        """The model's own preprocessing of one image of any kind.

        Args:
            value: An image of any kind, see `as_rgb`.
        """
        return self.transform(as_rgb(value))

    def forward(self, batch: Any) -> Tensor:
        """The features of a batch, (B, d) floats.

        Args:
            batch: (B, 3, H, W) floats, preprocessed.
        """
        features: Tensor = self.clip.encode_image(batch, normalize=self.normalize)
        return features

    def describe(self) -> dict[str, Any]:
        """Model, weights, normalization and preprocessing."""
        return {
            "name": "open-clip",
            "model": self.name,
            "pretrained": Path(self.pretrained).name if self.pretrained else None,
            "weights": weights_hash(self.clip.visual),
            "normalize": self.normalize,
            "preprocessing": " ".join(repr(self.transform).split()).split("<function", 1)[0],
        }


def _check_names(open_clip: Any, model: str, pretrained: str | None) -> None:
    if ":" in model:  # a place, which open_clip looks into itself
        return
    if model not in open_clip.list_models():
        raise ValueError(f"open_clip has no model {model!r}{suggest(model, open_clip.list_models())}")
    if pretrained is None or os.path.isfile(pretrained):
        if pretrained is not None:
            check_suffix(pretrained, "`pretrained`")
        return
    if os.sep in pretrained or pretrained.endswith(".safetensors"):
        raise FileNotFoundError(f"there is no weights file {pretrained}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags:
        raise ValueError(f"open_clip has no weights {pretrained!r} for {model}{suggest(pretrained, tags)}")


def _create(open_clip: Any, model: str, pretrained: str | None, seed: int) -> tuple[Any, Any]:
    import torch

    try:
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would reach the GPUs' generators too, which are not put back.
            torch.default_generator.manual_seed(seed)
            clip, _, transform = open_clip.create_model_and_transforms(model, pretrained=pretrained)
    except Exception as error:  # of whatever library downloads
        if pretrained is None or os.path.isfile(pretrained):
            raise
        cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
        raise RuntimeError(
            f"the weights {pretrained!r} of {model} are neither in the cache nor could they be downloaded "
            f"({first_line(error)}). Looked in {cache}, in ~/.cache/clip and on "
            "the network. Without a network copy the model's open_clip_model.safetensors here and name it: "
            "pretrained=FILE"
        ) from error
    return clip, transform
