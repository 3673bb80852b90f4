"""Features of any torchvision classification model, at a named node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynsel._lib.checks import check_seed
from dynsel._lib.messages import suggest
from dynsel._lib.rgb import as_rgb
from dynsel._lib.tensor_files import load_weights
from dynsel.features.extractors.base import Extractor, weights_hash

__all__ = ["Torchvision"]

# Their pretrained weights were ported from TensorFlow and expect other inputs.
_PORTED = ("googlenet", "inception_v3")


class Torchvision(Extractor):
    """A node of a torchvision model, through torchvision's feature extraction, with the weights' own preprocessing.

    Where a node gives a map or a row of tokens, its positions are averaged.

    Args:
        model: Name, one of `torchvision.models.list_models(torchvision.models)`.
        weights: "DEFAULT" or another name of the model's weights, as in "IMAGENET1K_V1"; or the path of a
            `.safetensors` file for them. None = random weights from `seed`, for tests.
        node: Name of the node; None = what the last linear layer takes in.
        seed: Seed for random weights, where `weights` is None.

    Raises:
        FileNotFoundError: If a local file isn't there.
        ImportError: If torchvision isn't installed.
        RuntimeError: If the weights can't be downloaded.
        ValueError: If model, weights or node are unknown; suggests near names.
    """

    def __init__(
        self, model: str = "resnet50", weights: str | None = "DEFAULT", node: str | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        seed = check_seed("seed", seed)
        try:
            from torchvision import models  # type: ignore[import-untyped]
            from torchvision.models.feature_extraction import (  # type: ignore[import-untyped]
                create_feature_extractor,
            )
        except ImportError as error:
            raise ImportError("features of torchvision models need torchvision: pip install torchvision") from error
        known = models.list_models(models)
        if model not in known:
            raise ValueError(f"torchvision has no classification model {model!r}{suggest(model, known)}")
        choices = models.get_model_weights(model)
        local = weights is not None and (weights.endswith(".safetensors") or "/" in weights)
        chosen = None if weights is None else choices.DEFAULT if local else _named(choices, weights, model)
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would reach the GPUs' generators too, which are not put back.
            torch.default_generator.manual_seed(seed)
            ported = {"transform_input": True, "init_weights": False} if model in _PORTED and chosen else {}
            net = models.get_model(model, weights=None, **ported)
        if chosen is not None:
            load_weights(net, str(weights)) if local else net.load_state_dict(_fetch(chosen, model))
        self.name, self.weights = model, chosen.name if chosen and not local else weights
        self.node = _node(net.eval(), node, model)
        self.net = create_feature_extractor(net, {self.node: "features"})
        self.transform = (chosen or choices.DEFAULT).transforms()

    def prepare(self, value: Any) -> Any:
        """The weights' own preprocessing of one image of any kind.

        Args:
            value: An image of any kind, see `as_rgb`.
        """
        return self.transform(as_rgb(value))

    def forward(self, batch: Any) -> Tensor:
        """(B, d) features at the node.

        Args:
            batch: (B, 3, H, W) floats, preprocessed.
        """
        features: Tensor = self.net(batch)["features"]
        if features.ndim == 4:
            return features.mean((2, 3))
        return features.mean(1) if features.ndim == 3 else features

    def describe(self) -> dict[str, Any]:
        """Model, weights, node and preprocessing."""
        return {
            "name": "torchvision",
            "model": self.name,
            "pretrained": Path(self.weights).name if self.weights else None,
            "weights": weights_hash(self.net),
            "node": self.node,
            "preprocessing": " ".join(repr(self.transform).split()),
        }


def _named(choices: Any, name: str, model: str) -> Any:
    names = ["DEFAULT", *(entry.name for entry in choices)]
    if name not in names:
        raise ValueError(f"torchvision has no weights {name!r} for {model}{suggest(name, names)}")
    return choices.DEFAULT if name == "DEFAULT" else choices[name]


def _fetch(weights: Any, model: str) -> Any:
    try:
        # Without `weights_only` torch.hub would unpickle what it downloaded.
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise RuntimeError(
            f"the weights {weights.name} of {model} are not in {folder} and could not be downloaded from {weights.url} "
            f"({error}). Without a network copy {weights.url.rsplit('/', 1)[-1]} into that folder, or "
            "give a .safetensors file of them: weights=FILE"
        ) from error


def _node(net: nn.Module, node: str | None, model: str) -> str:
    from torchvision.models.feature_extraction import get_graph_node_names

    nodes = get_graph_node_names(net)[1]
    if node is not None:
        # A module's name stands for its last node.
        if node not in nodes and not any(name.startswith(f"{node}.") for name in nodes):
            raise ValueError(f"{model} has no node {node!r}{suggest(node, reversed(nodes))}")
        return node
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear) and name in nodes]
    if not linear:
        raise ValueError(f"{model} has no linear layer to take the input of; name a node; the last ones: {nodes[-5:]}")
    return str(nodes[nodes.index(linear[-1]) - 1])
