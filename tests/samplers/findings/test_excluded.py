"""Samples to leave out, by numbers and by files; and what is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from dynsel import DynamicSelection
from dynsel.samplers.findings import Findings, kept_indices


class Files(Dataset):
    def __init__(self) -> None:
        self.samples = [(f"{i}.png", 0) for i in range(5)]

    def __len__(self) -> int:
        return 5


@pytest.mark.parametrize("exclude", [[1, 3, 3], (3, 1), torch.tensor([1, 3]), np.array([3, 1], dtype=np.int32)])
def test_numbers(exclude) -> None:
    assert kept_indices(exclude, range(5)).tolist() == [0, 2, 4]


def test_nothing_to_leave_out() -> None:
    assert kept_indices([], range(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "index,path\n1,1.png\n3,3.png\n",
        "path\n1.png\n3.png\n",
        "finding,index\na,1\na,3\n",
        "finding,index\na,1\n,3\n",
        "index,path\n1,\n3,\n",
    ],
)
def test_tables(text: str, tmp_path) -> None:
    (tmp_path / "suspects.csv").write_text(text)
    assert kept_indices(tmp_path / "suspects.csv", Files()).tolist() == [0, 2, 4]


@pytest.mark.parametrize("columns", ["index,path", "path"])
@pytest.mark.parametrize("absolute", ["file", "data set", "both", "neither"])
def test_a_file_is_the_same_by_its_absolute_and_its_relative_path(
    columns: str, absolute: str, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = Files()
    if absolute in ("data set", "both"):
        data.samples = [(str(tmp_path / name), code) for name, code in data.samples]
    named = {i: str(tmp_path / f"{i}.png") if absolute in ("file", "both") else f"{i}.png" for i in (1, 3)}
    lines = [f"{i},{path}" if columns == "index,path" else path for i, path in named.items()]
    (tmp_path / "suspects.csv").write_text("\n".join([columns, *lines]) + "\n")
    assert kept_indices(tmp_path / "suspects.csv", data).tolist() == [0, 2, 4]


def test_findings_of_several_kinds_are_refused(found: Findings, tmp_path) -> None:
    found.to_csv(tmp_path / "findings.csv")
    message = r"must have findings of one kind, got wrong_label, duplicate, hard, never_used: .* take suspects.csv"
    with pytest.raises(ValueError, match=message):
        kept_indices(tmp_path / "findings.csv", range(14))
    found.to_csv(tmp_path / "suspects.csv", kinds=["wrong_label"])
    assert sorted(set(range(14)) - set(kept_indices(tmp_path / "suspects.csv", range(14)).tolist())) == [10, 12]


def test_arrays_in_files(tmp_path) -> None:
    np.save(tmp_path / "rows.npy", np.array([0]))
    assert kept_indices(str(tmp_path / "rows.npy"), range(3)).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,path\n1,2.png\n", "says that sample 1 is 2.png, in the data set it is 1.png: leave out the column"),
        ("path\n9.png\n", "names '9.png', which isn't among the paths of the data set"),
        ("number\n1\n", "must have a column `index`, got number"),
        ("", "must have a column `index`, got nothing"),
        ("index\none\n", "must have whole numbers in its column `index`, got 'one'"),
        ("index\n7\n", r"`exclude` must name samples in 0 .. 4, got 7 .. 7: it is about another data set"),
    ],
)
def test_tables_of_something_else(text: str, message: str, tmp_path) -> None:
    (tmp_path / "suspects.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        kept_indices(tmp_path / "suspects.csv", Files())


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        ([0.5], r"`exclude` must be whole numbers, got shape \(1,\) of torch.float32"),
        ([[1]], r"`exclude` must be whole numbers, got shape \(1, 1\)"),
        ([-1], r"`exclude` must name samples in 0 .. 2, got -1 .. -1"),
        ([0, 1, 2], "`exclude` names all 3 samples, so that nothing is left to train on"),
    ],
)
def test_numbers_of_something_else(exclude, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kept_indices(exclude, range(3))


def test_what_is_not_there(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="`exclude`: there is no file"):
        kept_indices(tmp_path / "no.csv", range(3))
    with pytest.raises(TypeError, match="`exclude` must be indices of samples"):
        kept_indices({1}, range(3))


@pytest.mark.parametrize("exclude", [3, {1}, {"index": [1]}, 0.5, True])
def test_what_can_be_none_is_refused_at_construction(exclude) -> None:
    with pytest.raises(TypeError, match="`exclude` must be indices of samples, a .csv file, or an .npy file"):  # noqa: RUF043
        DynamicSelection(exclude=exclude)
