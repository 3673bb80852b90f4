"""open_clip's models, against the library's own way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from features.extractors.conftest import features, picture
from safetensors.torch import save_file
from support import relative_error

from dynsel.features.extractors import (
    OpenCLIP,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: Any) -> str:
    """A CLIP small enough to make in a moment, known to open_clip by name."""
    import open_clip

    folder = tmp_path_factory.mktemp("configs")
    config = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (folder / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "tiny-clip.json")
    return "tiny-clip"


def test_open_clip_with_its_own_preprocessing(tiny: str, tmp_path: Path) -> None:
    import open_clip

    extractor = OpenCLIP(tiny, pretrained=None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, _, transform = open_clip.create_model_and_transforms(tiny)
    model.eval()
    with torch.inference_mode():
        expected = model.encode_image(transform(picture())[None], normalize=True)
    # A processor may round products to bfloat16; another network or preprocessing is wrong by as much as there is.
    assert relative_error(features(extractor, picture()), expected) < 0.05
    torch.testing.assert_close(features(extractor, picture(), picture("L")).norm(dim=1), torch.ones(2))
    # From a local file, whatever the seed.
    save_file(model.state_dict(), tmp_path / "clip.safetensors")
    local = OpenCLIP(tiny, pretrained=str(tmp_path / "clip.safetensors"), seed=5)
    assert relative_error(features(local, picture()), expected) < 0.05
    assert local.describe()["pretrained"] == "clip.safetensors"
    assert local.describe()["weights"] == extractor.describe()["weights"]
    assert "Resize" in local.describe()["preprocessing"]
    assert json.loads(json.dumps(local.describe())) == local.describe()
    assert " at 0x" not in str(local.describe())


def test_seeds_are_checked() -> None:
    with pytest.raises(ValueError, match="`seed` must be in"):
        OpenCLIP(seed=-1)
    with pytest.raises(TypeError, match=r"`seed` must be a whole number, got 0.5"):
        OpenCLIP(seed=0.5)  # type: ignore[arg-type]


def test_unknown_names_bring_near_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="open_clip has no model 'ViT-B32'; did you mean 'ViT-B-32'"):
        OpenCLIP("ViT-B32")
    with pytest.raises(ValueError, match="open_clip has no weights 'opnai' for ViT-B-32; did you mean 'openai'"):
        OpenCLIP("ViT-B-32", "opnai")
    with pytest.raises(FileNotFoundError, match=r"there is no weights file .*x.safetensors"):
        OpenCLIP("ViT-B-32", str(tmp_path / "x.safetensors"))
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must be a .safetensors file, got .*x.pt: pickled files can run code"):
        OpenCLIP("ViT-B-32", str(tmp_path / "x.pt"))


def test_open_clip_without_network(no_network: Path) -> None:
    """In a process of its own, for the hub's package reads the environment once."""
    program = "from dynsel.features.extractors import OpenCLIP; OpenCLIP('ViT-B-32', 'laion400m_e31')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(no_network)},
        check=False,
    )
    assert (
        "RuntimeError: the weights 'laion400m_e31' of ViT-B-32 are neither in the cache nor could they be"
        in done.stderr
    )
    assert "Without a network copy the model's open_clip_model.safetensors here and name it" in done.stderr
