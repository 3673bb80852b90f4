"""The project's one reader of safetensors files: nothing is ever unpickled, and what doesn't fit is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["check_exists", "check_suffix", "load_weights", "read_header", "read_tensors"]


def read_header(path: str | Path, what: str = "tensors") -> dict[str, str]:
    """What a safetensors file says of itself; its tensors are not read.

    Args:
        path: Path of the file to read or write.
        what: How the messages call its content.

    Returns:
        The strings in its header by name; empty if there are none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no safetensors file.
    """
    with _explained(path, what), safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def read_tensors(
    path: str | Path, shapes: Mapping[str, Sequence[int]] | None = None, what: str = "tensors"
) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Args:
        path: Path of the file to read or write.
        shapes: Name and shape of every tensor that the file must hold, and no other; None = any.
        what: How the messages call its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no safetensors file, or a tensor is missing, unknown or of another shape; names the first.
    """
    with _explained(path, what):
        tensors = load_file(path)
    if shapes is not None:
        _check_fit(path, what, shapes, tensors)
    return tensors


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a safetensors file into a model.

    Args:
        model: What to fill. Counters of batch norm may be missing in the file, as they are in files in common use.
        path: Path of the file to read or write.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it isn't called .safetensors, is none, or doesn't fit the model; names what differs.
    """
    check_exists(path, "weights")
    check_suffix(path, "weights")
    tensors = read_tensors(path, what="weights")
    wanted = model.state_dict()
    shapes = {
        name: value.shape
        for name, value in wanted.items()
        if name in tensors or not name.endswith("num_batches_tracked")
    }
    _check_fit(path, type(model).__name__, shapes, tensors)
    model.load_state_dict(tensors, strict=False)


def check_exists(path: str | Path, what: str) -> None:
    """Check that there is a file.

    Args:
        path: Path of the file to read or write.
        what: How the message calls its content.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no {what} file {path}")


def check_suffix(path: str | Path, name: str) -> None:
    """Check that a file is called safetensors, before anything is read.

    Args:
        path: Path of the file to read or write.
        name: How the message calls it.

    Raises:
        ValueError: If it isn't.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(
            f"{name} must be a .safetensors file, got {Path(path).name}: pickled files can run code and are never "
            "opened; convert it where you trust it by safetensors.torch.save_file(state_dict, ...)"
        )


@contextmanager
def _explained(path: str | Path, what: str) -> Iterator[None]:
    check_exists(path, what)
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or a damaged one: {error}") from error


def _check_fit(path: str | Path, what: str, wanted: Mapping[str, Sequence[int]], tensors: Mapping[str, Tensor]) -> None:
    shared = [name for name in wanted if name in tensors]
    found = {
        "missing": [name for name in wanted if name not in tensors],
        "unknown": [name for name in tensors if name not in wanted],
        "of another shape": [name for name in shared if tuple(tensors[name].shape) != tuple(wanted[name])],
    }
    wrong = [f"{len(names)} {kind}, first {names[0]!r}" for kind, names in found.items() if names]
    if wrong:
        raise ValueError(f"{path} doesn't fit {what}: {'; '.join(wrong)}")
