"""Safetensors files: what fits is read, and what doesn't is named."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dynsel._lib.tensor_files import load_weights, read_header, read_tensors


@pytest.fixture
def path(tmp_path):
    save_file({"a": torch.ones(2, 3), "b": torch.zeros(4)}, tmp_path / "x.safetensors", {"made": "by hand"})
    return tmp_path / "x.safetensors"


def test_what_was_written_comes_back(path):
    assert read_header(path) == {"made": "by hand"}
    found = read_tensors(path, {"a": (2, 3), "b": (4,)})
    assert torch.equal(found["a"], torch.ones(2, 3))
    assert sorted(found) == ["a", "b"]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a": (2, 3), "b": (4,), "c": (1,)}, "doesn't fit this: 1 missing, first 'c'"),
        ({"a": (2, 3)}, "doesn't fit this: 1 unknown, first 'b'"),
        ({"a": (3, 2), "b": (4,)}, "doesn't fit this: 1 of another shape, first 'a'"),
        ({"c": (1,)}, "1 missing, first 'c'; 2 unknown, first 'a'"),
    ],
)
def test_what_does_not_fit_is_named(path, shapes, message):
    with pytest.raises(ValueError, match=f"x.safetensors .*{message}"):
        read_tensors(path, shapes, "this")


@pytest.mark.parametrize("read", [read_header, read_tensors])
def test_a_damaged_file_is_named_at_every_length(path, read, tmp_path):
    whole = path.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    for length in range(len(whole)):
        damaged.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"damaged.safetensors is no safetensors file, or a damaged one"):
            read(damaged)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no weights file .*none.safetensors"):
        load_weights(nn.Linear(1, 1), tmp_path / "none.safetensors")


def test_a_pickle_is_never_opened(tmp_path):
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"weights must be a .safetensors file, got w.pt: pickled files can run code"):
        load_weights(nn.Linear(1, 1), tmp_path / "w.pt")
    (tmp_path / "w.pt").rename(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_weights(nn.Linear(1, 1), tmp_path / "w.safetensors")


def test_counters_of_batch_norm_may_be_missing(tmp_path):
    norm = nn.BatchNorm1d(2)
    state = {name: value + 1 for name, value in norm.state_dict().items() if name != "num_batches_tracked"}
    save_file(state, tmp_path / "w.safetensors")
    load_weights(norm, tmp_path / "w.safetensors")
    assert norm.weight.tolist() == [2.0, 2.0]
