"""A model of one's own: what a layer takes in, its weights, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from features.extractors.conftest import features, picture
from safetensors.torch import save_file
from support import relative_error
from torch import nn

from dynsel.features.extractors import (
    ModuleInput,
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.body = nn.ModuleDict({"a": nn.Linear(4, 5), "b": nn.Linear(5, 2)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body["b"](self.body["a"](self.stem(x).mean((2, 3))).relu())


def test_module_takes_weights_layer_and_normalization(tmp_path: Path) -> None:
    net, other = Net(), Net()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    extractor = ModuleInput(other, str(tmp_path / "w.safetensors"), "body.a", mean, std)
    pixels = torch.from_numpy(np.asarray(picture()).copy()).permute(2, 0, 1)
    normal = (pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.inference_mode():
        expected = net.stem(normal[None]).mean((2, 3))
    # A processor may round products to bfloat16; another network or preprocessing is wrong by as much as there is.
    assert relative_error(features(extractor, picture()), expected) < 0.05
    assert relative_error(features(extractor, pixels), expected) < 0.05
    assert features(ModuleInput(net), normal).shape == (1, 5)  # the last linear layer's input


def test_what_does_not_fit_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the model has no submodule 'body\.c'; did you mean 'body\.b'"):
        ModuleInput(Net(), layer="body.c")
    with pytest.raises(ValueError, match=r"`mean` and `std` go together, got \[0.5\] and None"):
        ModuleInput(Net(), mean=[0.5])
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights must be a .safetensors file, got w.pt: pickled files can run code"):
        ModuleInput(Net(), str(tmp_path / "w.pt"))
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"w.safetensors is no safetensors file, or a damaged one"):
        ModuleInput(Net(), str(tmp_path / "w.safetensors"))
    unused = nn.ModuleDict({"used": nn.Linear(3, 2), "not": nn.Linear(3, 2)})
    unused.forward = lambda x: unused["used"](x)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="not must be called once a batch, with a tensor; it was called 0 times"):
        features(ModuleInput(unused, layer="not"), torch.ones(3))
