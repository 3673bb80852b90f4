"""Autoencoders on disk, as safetensors; public as `dynsel.sae`."""

from __future__ import annotations

from pathlib import Path

import torch

from dynsel._lib.files import write_atomically
from dynsel._lib.tensor_files import read_header, read_tensors
from dynsel.sae.model import TopKSAE

__all__ = ["load_sae", "save_sae"]

_FORMAT = "dynsel.sae"


def save_sae(sae: TopKSAE, path: str | Path) -> None:
    """Write an autoencoder as safetensors, its sizes in the header; the file appears whole or not at all.

    Args:
        sae: Autoencoder to write, on any device.
        path: File to write, in a folder that exists.
    """
    from safetensors.torch import save

    path = Path(path)
    sizes = {"dim": sae.dim, "num_factors": sae.num_factors, "k": sae.k}
    tensors = {name: value.detach().cpu().contiguous() for name, value in sae.state_dict().items()}
    write_atomically(path, save(tensors, {"format": _FORMAT, **{name: str(size) for name, size in sizes.items()}}))


def load_sae(path: str | Path, device: str | torch.device = "cpu") -> TopKSAE:
    """Read what `save_sae` wrote; ready to encode, not to be trained on.

    Args:
        path: The safetensors file that `save_sae` wrote.
        device: Device that the autoencoder is put on.

    Returns:
        The autoencoder in eval mode, without gradients.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not of `save_sae`.
    """
    header = read_header(path, "autoencoder")
    sizes = [header.get(name, "") for name in ("dim", "num_factors", "k")]
    if header.get("format") != _FORMAT or not all(size.isdecimal() for size in sizes):
        raise ValueError(f"{path} holds no autoencoder written by `save_sae`; it has {sorted(read_tensors(path))[:5]}")
    sae = TopKSAE(*map(int, sizes))
    sae.load_state_dict(read_tensors(path, {n: v.shape for n, v in sae.state_dict().items()}, "its own header"))
    return sae.to(device).eval().requires_grad_(False)
