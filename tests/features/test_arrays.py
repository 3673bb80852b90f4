from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from dynsel.features import load_features, save_features

X = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float16)
LABELS = torch.arange(10) % 3


def dataset(labels=LABELS):
    return TensorDataset(torch.from_numpy(X), labels)


def test_arrays_tensors_and_files_give_the_same(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "one.npz", anything=X, labels=LABELS.numpy())
    np.savez(tmp_path / "two.npz", train_features=X, test_features=X[:5])
    np.savez(tmp_path / "named.npz", features=X, other=X)
    sources = [X, torch.from_numpy(X), tmp_path / "x.npy", str(tmp_path / "one.npz"), tmp_path / "named.npz"]
    for source in [*sources, f"{tmp_path}/two.npz:train_features"]:
        np.testing.assert_array_equal(np.asarray(load_features(source, num_samples=10)), X)


def test_npy_is_memory_mapped(tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert isinstance(load_features(tmp_path / "x.npy"), np.memmap)


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        (X[:9], ValueError, "features have 9 rows but the data set has 10 samples; row i must describe sample i"),
        (X.astype(np.int32), TypeError, "must be of a floating-point dtype, got int32"),
        (X[None], ValueError, r"must have shape \(samples, dimensions\), got \(1, 10, 3\)"),
        (np.where(np.arange(10)[:, None] == 4, np.inf, X), ValueError, "NaN or infinity in 1 rows: 4"),
        ("nowhere.npy", FileNotFoundError, "no feature file .*nowhere.npy"),
    ],
)
def test_bad_sources(source, error, text):
    with pytest.raises(error, match=text):
        load_features(source, num_samples=10)


def test_bad_files(tmp_path):
    np.savez(tmp_path / "two.npz", a=X, b=X)
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"must hold one matrix, or one called 'features'; it has a, b: name one, as in"
    ):
        load_features(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="has no array 'c', it has a, b"):
        load_features(f"{tmp_path}/two.npz:c")
    with pytest.raises(ValueError, match=r"must end in \.npy or \.npz, got x\.pt"):
        load_features(tmp_path / "x.pt")


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is no matrix of numbers"):
        load_features(tmp_path / "x.npy")


def test_file_of_another_data_set(tmp_path):
    save_features(tmp_path / "x.npy", X, dataset())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "x.npy.json"]
    load_features(tmp_path / "x.npy", dataset=dataset())
    with pytest.raises(ValueError, match=r"of another data set: the labels or their order and the samples .* differ"):
        load_features(tmp_path / "x.npy", dataset=dataset(LABELS.flip(0)))


def test_labels_in_the_file_in_another_order(tmp_path):
    np.savez(tmp_path / "x.npz", train_features=X, train_labels=LABELS.numpy(), test_features=X.astype(np.float64)[0])
    load_features(tmp_path / "x.npz", labels=LABELS)
    with pytest.raises(ValueError, match=r"differ .* first in row 1 \(class 1 in the file, 2 in the data set\)"):
        load_features(tmp_path / "x.npz", labels=torch.tensor([0, 2, 2, 0, 1, 2, 0, 1, 2, 0]))
