"""Labels of any type as codes, against numpy and scikit-learn, and where a data set keeps them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import LabelEncoder
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from dynsel.labels import dataset_labels, declared_classes, declared_labels, encode_labels


@given(st.lists(st.integers(-5, 5), min_size=1) | st.lists(st.sampled_from(["cat", "dog", "ox"]), min_size=1))
def test_codes_are_scikit_learns(labels):
    encoder = LabelEncoder().fit(labels)
    codes, classes = encode_labels(labels)
    assert codes.tolist() == encoder.transform(labels).tolist()
    assert classes == encoder.classes_.tolist()
    assert codes.dtype == torch.int16


@pytest.mark.parametrize(
    ("labels", "codes", "classes"),
    [
        (torch.tensor([7, 3, 7]), [1, 0, 1], [3, 7]),
        (np.array(["b", "a"]), [1, 0], ["a", "b"]),
        (np.array(["b", "a"], dtype=object), [1, 0], ["a", "b"]),
        ([True, False, True], [1, 0, 1], [False, True]),
        ([1.0, 0.0, 1.0, 1.0], [1, 0, 1, 1], [0.0, 1.0]),
        ([(1, 2), (0, 5), (1, 2)], [1, 0, 1], [(0, 5), (1, 2)]),
        ([np.int64(4), np.int64(2), np.int64(4)], [1, 0, 1], [2, 4]),
        ([torch.tensor(4), torch.tensor(2), torch.tensor(4)], [1, 0, 1], [2, 4]),
        (["b", None, "a", None], [0, 1, 2, 1], ["b", None, "a"]),  # not sortable: order of appearance
        ([], [], []),
    ],
    ids=str,
)
def test_any_type(labels, codes, classes):
    found, names = encode_labels(labels)
    assert (found.tolist(), names) == (codes, classes)


def test_more_classes_than_int16_holds():
    codes, classes = encode_labels(np.arange(40_000).repeat(2))
    assert codes.dtype == torch.int32
    assert (int(codes.max()), len(classes)) == (39_999, 40_000)


def test_vectors_are_no_labels():
    with pytest.raises(ValueError, match=r"`labels` must be \(N,\), one per sample, got shape \(3, 2\)"):
        encode_labels(np.zeros((3, 2)))
    with pytest.raises(TypeError, match=r"`labels` must be hashable \(numbers, strings, tuples\), got list"):
        encode_labels([[1, 2], [3, 4]])


def test_regression_targets_are_no_labels():
    with pytest.raises(ValueError, match="labels look continuous: 100 different values in 100 samples; pass `class_b"):
        encode_labels(np.linspace(0, 1, 100))


# ---------------------------------------------------------------- where a data set keeps them
class Items(Dataset):
    """Pairs without any list of labels; counts how often it is read."""

    def __init__(self, labels, /, **attributes):
        self.values, self.read = labels, 0
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        self.read += 1
        return 0.0, self.values[i]


@pytest.mark.parametrize("name", ["targets", "labels"])
@pytest.mark.parametrize(
    "labels", [[2, 0, 1], np.array([2, 0, 1]), torch.tensor([2, 0, 1])], ids=lambda x: type(x).__name__
)
def test_declared_labels_are_taken_unread(name, labels):
    data = Items([9, 9, 9], **{name: labels})
    assert list(dataset_labels(data)) == [2, 0, 1]
    assert [int(y) for y in dataset_labels(Subset(data, [2, 0]))] == [1, 2]
    assert [int(y) for y in dataset_labels(Subset(Subset(data, [2, 0]), torch.tensor([1])))] == [2]
    assert data.read == 0


def test_tensor_dataset_has_its_last_tensor():
    data = TensorDataset(torch.rand(3, 2), torch.tensor([1, 0, 1]))
    assert declared_labels(data).tolist() == [1, 0, 1]
    assert declared_labels(TensorDataset(torch.rand(3, 2))) is None


@pytest.mark.parametrize("name", ["y", "_labels", "label", "target"])
def test_other_usual_names_are_taken_if_they_are_classes(name):
    data = Items([9] * 4)
    setattr(data, name, np.array([0, 1, 1, 0]))
    assert declared_labels(data).tolist() == [0, 1, 1, 0]
    assert declared_labels(Subset(data, [2, 0])).tolist() == [1, 0]
    setattr(data, name, np.array([0.1, 0.4, 1.2, 0.7]))
    assert declared_labels(data) is None
    setattr(data, name, "abcd")
    assert declared_labels(data) is None


class Columns(Dataset):
    """Behaves as a data set of Hugging Face does: a column by its name, an item by its number."""

    def __init__(self, name, labels, format="torch"):
        self.column_names, self.name, self.values, self.format = ["image", name], name, labels, format

    def __len__(self):
        return len(self.values)

    def __getitem__(self, key):
        if isinstance(key, int):
            return {"image": 0.0, self.name: self.values[key]}
        assert self.format is None, "every image would be decoded"
        assert key == self.name
        return iter(self.values)  # newer versions give a column that is no list

    def with_format(self, format):
        return Columns(self.name, self.values, format)


@pytest.mark.parametrize("name", ["label", "labels", "target", "fine_label"])
def test_columns_by_their_usual_names(name):
    assert declared_labels(Columns(name, [3, 1, 3])) == [3, 1, 3]
    assert declared_labels(Subset(Columns(name, [3, 1, 3]), [1, 2])) == [1, 3]
    assert declared_labels(Columns("caption", ["a", "b"])) is None


def test_items_that_are_dictionaries():
    class Dictionaries(Items):
        def __getitem__(self, i):
            return {"pixel_values": 0.0, "labels": torch.tensor(self.values[i])}

    assert dataset_labels(Dictionaries([5, 7, 5, 6]), progress_bar=False) == [5, 7, 5, 6]

    class Captioned(Items):
        def __getitem__(self, i):
            return {"pixel_values": 0.0, "caption": self.values[i]}

    with pytest.raises(ValueError, match=r"items of Captioned are no .* pairs, nor dictionaries with a key `label`;"):
        dataset_labels(Captioned(["a", "b"]))


def test_parts_of_a_whole_tell_theirs():
    parts = [Items([0, 0], targets=torch.tensor([1, 0])), Items([0], targets=["cat"])]
    assert declared_labels(ConcatDataset(parts)) == [1, 0, "cat"]
    assert declared_labels(ConcatDataset([parts[0], Items([4])])) is None


def test_labels_of_another_length_are_not_those_of_the_samples():
    assert declared_labels(Items([1, 2, 3], targets=["cat", "dog"])) is None


@pytest.mark.parametrize("progress_bar", [False, True])
def test_else_one_pass_over_the_items(progress_bar):
    data = Items([torch.tensor(3), 1, "x"])
    assert dataset_labels(data, progress_bar=progress_bar) == [3, 1, "x"]
    # The first one is read twice: once to see whether items are pairs at all.
    assert data.read == 4


def test_a_pass_goes_through_wrappers():
    assert dataset_labels(ConcatDataset([Items([1, 2]), Items([0])]), progress_bar=False) == [1, 2, 0]


def test_no_labels_anywhere():
    class Bare(Items):
        def __getitem__(self, i):
            return torch.zeros(3)

    with pytest.raises(
        ValueError, match=r"items of Bare are no \(input, label\) pairs, nor .*; give the data set .* `targets`"
    ):
        dataset_labels(Bare([0, 1]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"a": 0, "b": 1}, "got dict; pass its values as a list, in the order of the samples"),
        ({0: 1}.keys(), "got dict_keys; a set has no order"),
        ({0, 1}, "got set; a set has no order"),
        (frozenset({0, 1}), "got frozenset; a set has no order"),
        ("0110", "got str; a text's letters are no labels"),
        (b"0110", "got bytes; a text's letters are no labels"),
    ],
)
def test_what_has_no_order_is_no_labels(labels, message):
    with pytest.raises(TypeError, match=f"`labels` must be an array or a list, one per sample .*, {message}"):
        encode_labels(labels)


def test_masked_labels_are_named():
    labels = np.ma.masked_equal([3, 4, -1, 4, -1], -1)
    with pytest.raises(ValueError, match="`labels` must be known for every sample, got masked ones in rows 2, 4"):
        encode_labels(labels)
    assert encode_labels(np.ma.masked_array([3, 4]))[0].tolist() == [0, 1]


def test_the_last_tensor_that_can_be_classes_is_taken_and_named(caplog):
    """Numbers of samples, targets of a regression and pairs of numbers are none."""
    classes = torch.arange(40) % 3
    caplog.set_level("INFO", logger="dynsel")
    for others in ((torch.arange(40),), (torch.rand(40), torch.rand(40, 2)), (torch.randperm(40) // 1,)):
        caplog.clear()
        data = TensorDataset(torch.rand(40, 2), classes, *others)
        assert declared_labels(data) is classes
        assert dataset_labels(Subset(data, [3, 4])).tolist() == [0, 1]
        assert f"taken from its tensor 1 of {2 + len(others)}" in caplog.text
    caplog.clear()
    assert declared_labels(TensorDataset(torch.rand(40, 2), classes)) is classes
    assert caplog.text == ""


def test_as_many_classes_as_samples_are_none():
    data = TensorDataset(torch.rand(40, 2), torch.arange(40))
    assert declared_labels(data) is None
    with pytest.raises(ValueError, match="no classes: 40 different ones in 40 samples; give the data set an attribute"):
        dataset_labels(data)


class Named(Dataset):
    """Four samples, with these attributes."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index


ANIMALS = ["cat", "dog"]
CLASSES = SimpleNamespace(names=ANIMALS)


@pytest.mark.parametrize(
    "data",
    [
        Named(classes=ANIMALS),
        Named(classes=tuple(ANIMALS)),
        Named(features={"image": SimpleNamespace(), "label": CLASSES}),
        Named(features={"coarse_label": SimpleNamespace(names=["animal"]), "fine_label": CLASSES}),
    ],
)
def test_names_of_classes_are_found_under_any_subset(data):
    assert declared_classes(data) == ANIMALS
    assert declared_classes(Subset(Subset(data, [3, 1, 0]), [1])) == ANIMALS
    assert declared_classes(ConcatDataset([data, Subset(data, [0])])) == ANIMALS
    assert declared_classes(ConcatDataset([data, Named(classes=["dog", "cat"])])) is None


@pytest.mark.parametrize(
    "data",
    [
        Named(),
        Named(classes="cats"),
        Named(classes=2),
        Named(features=np.zeros((4, 2))),
        Named(features={"text": SimpleNamespace(dtype="string"), "label": SimpleNamespace(dtype="int64")}),
        TensorDataset(torch.arange(4)),
    ],
)
def test_where_classes_have_no_names(data):
    assert declared_classes(data) is None
    assert declared_classes(Subset(data, [0])) is None
