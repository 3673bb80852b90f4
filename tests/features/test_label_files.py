"""Labels in files: their codes, their key, and whose they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynsel.features.label_files import compare_labels, labels_beside, load_labels


@pytest.mark.parametrize("name", ["l.npy", "l.npz", "l.npz:labels"])
def test_labels_are_codes_whatever_the_file(tmp_path, name):
    labels = np.array(["b", "a", "b"])
    np.save(tmp_path / "l.npy", labels)
    np.savez(tmp_path / "l.npz", labels=labels)
    codes, classes = load_labels(str(tmp_path / name), 3)
    assert [classes[code] for code in codes.tolist()] == ["b", "a", "b"]
    with pytest.raises(ValueError, match=r"one entry per row of the features, \(4,\), got \(3,\)"):
        load_labels(str(tmp_path / name), 4)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no label file .*none.npy"):
        load_labels(str(tmp_path / "none.npy"), 3)


@pytest.mark.parametrize(
    ("key", "keys", "found"),
    [
        ("train_features", ["test_targets", "train_targets"], "train_targets"),
        ("x", ["x", "labels"], "labels"),
        ("labels", ["labels"], None),
        ("features", ["features"], None),
    ],
)
def test_the_labels_that_belong_to_features(key, keys, found):
    assert labels_beside(key, keys) == found


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (np.array([1, 2, 1]), torch.tensor([0, 1, 0])),
        (np.array(["cat", "dog", "cat"]), [1, 0, 1]),
        (np.array([0.5, 0.1, 0.2]), [0, 1, 2]),
        (np.array([0, 1]), [0, 1, 2]),
    ],
)
def test_the_same_labels_by_other_names(theirs, ours):
    compare_labels(theirs, ours)


@pytest.mark.parametrize(
    ("theirs", "ours", "row"), [([0, 1, 1], [0, 1, 0], 2), (["a", "b", "b"], [0, 1, 0], 2), ([2, 0, 1], [0, 1, 2], 0)]
)
def test_the_first_row_that_differs_is_named(theirs, ours, row):
    with pytest.raises(ValueError, match=rf"row {row} has label .* of another data set or in another order"):
        compare_labels(np.array(theirs), ours)
