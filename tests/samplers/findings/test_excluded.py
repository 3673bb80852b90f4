"""Samples to leave out, by numbers and by files; and what is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from dynsel import DynamicSelection
from dynsel.samplers.findings import Findings, kept_indices


class Files(Dataset):
    def __init__(self, *paths: str) -> None:
        self.samples = [(path, 0) for path in paths or [f"{i}.png" for i in range(5)]]

    def __len__(self) -> int:
        return len(self.samples)


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


class Texts(Dataset):
    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def __len__(self) -> int:
        return len(self.texts)


WORDS = ["=1+1", "two\r\nlines ", "gr\udcfc", "café", "'quoted'"]


@pytest.mark.parametrize("number", range(5))
def test_texts_must_be_those_of_the_data_set(number: int, found: Findings, tmp_path) -> None:
    texts = np.array(WORDS, dtype=object)
    samples = {"index": np.arange(5), "text": texts, "uses": np.ones(5, dtype=np.int64)}
    Findings(samples, {"wrong_label": np.array([number])}).to_csv(tmp_path / "suspects.csv")
    kept = kept_indices(tmp_path / "suspects.csv", Texts(*WORDS))
    assert kept.tolist() == [i for i in range(5) if i != number]
    message = rf"says that sample {number} is .*, in the data set it is .*: it is another data set, or in another order"
    with pytest.raises(ValueError, match=message):
        kept_indices(tmp_path / "suspects.csv", Texts(*WORDS[1:], WORDS[0]))
    assert len(kept_indices(tmp_path / "suspects.csv", range(5))) == 4, "a data set that tells no texts"


def test_texts_in_a_message_are_short(tmp_path) -> None:
    (tmp_path / "suspects.csv").write_text("index,text\n0," + "x" * 500 + "\n")
    with pytest.raises(
        ValueError, match=r"is 'x{59}…', in the data set it is 'a b': .* delete the column `text` to go"
    ):
        kept_indices(tmp_path / "suspects.csv", Texts("a\nb", "c"))


def test_a_text_whose_letters_can_not_be_told_stops_nobody(tmp_path) -> None:
    text = "index,text\n3,café\n1,\n"
    (tmp_path / "suspects.csv").write_bytes(text.encode("latin-1"))
    assert kept_indices(tmp_path / "suspects.csv", Texts("a", "b", "c", "café", "e")).tolist() == [0, 2, 4]


@pytest.mark.parametrize("text", ["index,path\n0,café.png\n", "path\ncafé.png\n", "index,größe\n0,1\n"])
def test_other_letters_that_can_not_be_told_are_refused(text: str, tmp_path) -> None:
    (tmp_path / "suspects.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"`exclude`: .*suspects.csv isn't UTF-8: save it as UTF-8, in a spreadsheet as"
    ):
        kept_indices(tmp_path / "suspects.csv", Files("café.png", "b.png"))


@pytest.mark.parametrize("columns", ["index,path", "path"])
@pytest.mark.parametrize("written", [b"gr\xfc.png", rb"gr\udcfc.png"], ids=["as it is", "by to_csv"])
def test_files_whose_names_are_not_utf8(columns: str, written: bytes, tmp_path) -> None:
    row = b"1," + written if "index" in columns else written
    (tmp_path / "list.csv").write_bytes(columns.encode() + b"\n" + row + b"\n")
    assert kept_indices(tmp_path / "list.csv", Files("a.png", "gr\udcfc.png")).tolist() == [0]


HELD = ["data/cat/0.png", "data/dog/0.png", "data/dog/1.png"]


@pytest.mark.parametrize("columns", ["index,path", "path"])
@pytest.mark.parametrize(
    ("told", "folder"),
    [
        ("dog/0.png", ""),
        ("./dog/0.png", ""),
        ("../../data/dog/0.png", ""),
        ("mine/data/dog/0.png", ""),
        ("/mine/data/dog/0.png", ""),
        ("dog/0.png", "/mine/"),
        ("data/dog/0.png", "/mine/"),
        ("../dog/0.png", "/mine/"),
        ("data/dog/0.png", "../"),
    ],
)
def test_paths_relative_to_another_folder_are_of_the_same_file(
    columns: str, told: str, folder: str, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text(f"{columns}\n{told if columns == 'path' else f'1,{told}'}\n")
    assert kept_indices(tmp_path / "list.csv", Files(*(folder + path for path in HELD))).tolist() == [0, 2]


@pytest.mark.parametrize("columns", ["index,path", "path"])
@pytest.mark.parametrize(
    ("told", "folder"),
    [
        ("og/0.png", ""),
        ("cow/0.png", ""),
        ("/dog/0.png", ""),
        ("/yours/data/dog/0.png", "/mine/"),
        ("s3://yours/data/dog/0.png", "s3://mine/"),
        ("dog/0.png", "s3://mine/"),
        ("..", ""),
    ],
)
def test_paths_of_other_files_are_refused(columns: str, told: str, folder: str, tmp_path) -> None:
    (tmp_path / "list.csv").write_text(f"{columns}\n{told if columns == 'path' else f'1,{told}'}\n")
    with pytest.raises(ValueError, match=r"says that sample 1 is|isn't among the paths of the data set"):
        kept_indices(tmp_path / "list.csv", Files(*(folder + path for path in HELD)))


def test_the_end_of_several_paths_says_nothing(tmp_path) -> None:
    (tmp_path / "list.csv").write_text("path\n0.png\n")
    message = "names '0.png', which may be '.*data/cat/0.png' or '.*data/dog/0.png': write more of the path"
    with pytest.raises(ValueError, match=message):
        kept_indices(tmp_path / "list.csv", Files(*HELD))
    (tmp_path / "list.csv").write_text("path\n1.png\n")
    assert kept_indices(tmp_path / "list.csv", Files(*HELD)).tolist() == [0, 1]


def test_whole_groups_of_duplicates_are_refused_and_copies_are_not(found: Findings, tmp_path) -> None:
    found.to_csv(tmp_path / "duplicates.csv", kinds=["duplicate"])
    message = r'has whole groups of duplicates, originals too, .* take copies.csv, .*kinds=\["copy"\]'
    with pytest.raises(ValueError, match=message):
        kept_indices(tmp_path / "duplicates.csv", range(14))
    text = (tmp_path / "duplicates.csv").read_text()
    (tmp_path / "copies.csv").write_text("\n".join(text.replace("duplicate", "copy").split("\n")[:2]))
    assert kept_indices(tmp_path / "copies.csv", range(14)).tolist() == [i for i in range(14) if i != 11]


def test_findings_of_several_kinds_are_refused(found: Findings, tmp_path) -> None:
    found.to_csv(tmp_path / "findings.csv")
    message = r"copies or both, got wrong_label, duplicate, hard, never_used: .* take suspects"
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
