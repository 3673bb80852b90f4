"""Findings from a checkpoint, from a table, and in a folder."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import Indexed, N, SaveEvery, fit, train_loader

from dynsel import DynamicSelection
from dynsel.samplers.findings import Findings, kept_indices
from dynsel.samplers.findings.files import read_checkpoint, read_table, write_findings
from dynsel.samplers.findings.find import find


def saved(folder: Path, *callbacks: DynamicSelection) -> Path:
    """The last checkpoint of a training."""
    saver = SaveEvery(folder)
    fit(*callbacks, saver)
    return saver.paths[-1]


def test_a_checkpoint_tells_what_the_training_did(tmp_path) -> None:
    callback = DynamicSelection()
    told = read_checkpoint(saved(tmp_path, callback))
    assert told.pool is None
    assert torch.equal(told.usage, callback.selector.usage)
    for name, numbers in callback.controller.epochs.evidence.state_dict().items():
        assert torch.equal(told.evidence.state_dict()[name], numbers)
    assert str(find(told.evidence, told.usage, Indexed(), told.pool)) == str(callback.findings())


def test_a_checkpoint_knows_which_samples_were_left_out(tmp_path) -> None:
    path = saved(tmp_path, DynamicSelection(exclude=[0, 5]))
    told = read_checkpoint(path)
    assert told.pool.tolist() == [i for i in range(N) if i not in (0, 5)]
    assert len(told.evidence.seen) == N - 2
    fit(DynamicSelection(exclude=[0, 5]), ckpt_path=path)


def test_without_logits_there_are_uses_all_the_same(tmp_path) -> None:
    told = read_checkpoint(saved(tmp_path, DynamicSelection("random")))
    assert told.evidence is None
    assert int(told.usage.sum()) > 0


def test_what_is_no_checkpoint_of_a_selection(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt").write_text("nothing")
    with pytest.raises(ValueError, match="is no checkpoint of Lightning's, or damaged"):
        read_checkpoint(tmp_path / "last.ckpt")
    saver = SaveEvery(tmp_path)
    fit(saver, loader=train_loader())
    with pytest.raises(ValueError, match="is of no training with a selection: add DynamicSelection"):
        read_checkpoint(saver.paths[-1])


@pytest.mark.parametrize(
    ("value", "name"), [(Path("photos"), "pathlib.*PosixPath"), (torch.nn.Tanh, "torch.nn.modules.activation.Tanh")]
)
def test_a_sound_checkpoint_with_objects_is_not_called_damaged(value: object, name: str, tmp_path) -> None:
    path = saved(tmp_path, DynamicSelection())
    tree = torch.load(path, weights_only=False)
    torch.save({**tree, "hyper_parameters": {"value": value}}, path)
    with pytest.raises(ValueError, match=rf"has objects besides tensors and plain values \({name}\).*keep them out"):
        read_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="is no checkpoint of Lightning's, or damaged"):
        read_checkpoint(path)


def test_another_data_set_is_refused(tmp_path) -> None:
    told = read_checkpoint(saved(tmp_path, DynamicSelection()))
    with pytest.raises(ValueError, match="is about 40 samples, and the data set has 12: it is another one"):
        find(told.evidence, told.usage, Indexed(12))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("path,label\na.png,cat\nb.png,dog\n", {"labels": ["cat", "dog"], "paths": ["a.png", "b.png"]}),
        ('\ufefftext,category\n"a, b",x\n', {"labels": ["x"], "texts": ["a, b"]}),
        ("filename\na\n", {"paths": ["a"]}),
        ("Label, Text\nx,a b\n", {"labels": ["x"], "texts": ["a b"]}),
        ("PATH ,Category,label\na.png,no,x\n", {"paths": ["a.png"], "labels": ["x"]}),
        ("Label,label\nno,x\n", {"labels": ["x"]}),
        ("Label,LABEL\nx,no\n", {"labels": ["x"]}),
    ],
)
def test_tables_by_their_usual_headings(text: str, wanted: dict, tmp_path) -> None:
    (tmp_path / "table.csv").write_text(text)
    assert read_table(tmp_path / "table.csv") == wanted


def test_what_is_no_table(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no table"):
        read_table(tmp_path / "table.csv")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="must have a column label, path, text or the like, got a, b"):
        read_table(tmp_path / "table.csv")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_in_another_encoding_says_what_to_do(encoding: str, tmp_path) -> None:
    (tmp_path / "table.csv").write_bytes("path,label\ncafé.png,grün\n".encode(encoding))
    with pytest.raises(ValueError, match=r'table.csv isn\'t UTF-8: save it as UTF-8, in a spreadsheet as "CSV UTF-8"'):
        read_table(tmp_path / "table.csv")


def test_a_folder_of_files(found: Findings, tmp_path) -> None:
    written = write_findings(
        found, range(14), tmp_path / "new", title="t", exports=("cleanlab", "fiftyone", "label-studio")
    )
    assert all(path.is_file() for path in written)
    names = {path.name for path in written} - {"findings.parquet"}
    assert names == {
        "findings.html",
        "findings.csv",
        "suspects.csv",
        "copies.csv",
        "cleanlab.csv",
        "fiftyone.csv",
        "label_studio.json",
    }
    with open(tmp_path / "new" / "suspects.csv") as file:
        assert [row["index"] for row in csv.DictReader(file)] == ["12", "10"]
    with open(tmp_path / "new" / "copies.csv") as file:
        assert [row["index"] for row in csv.DictReader(file)] == ["13"]
    assert len(json.loads((tmp_path / "new" / "label_studio.json").read_text())) == 2
    with open(tmp_path / "new" / "cleanlab.csv") as file:
        assert len(list(csv.DictReader(file))) == 14, "a row for each sample of the data set"


def test_what_an_earlier_run_left_goes(found: Findings, tmp_path) -> None:
    every = ("cleanlab", "fiftyone", "label-studio")
    earlier = write_findings(found, range(14), tmp_path, title="t", exports=every)
    (tmp_path / "notes.csv").write_text("mine")
    (tmp_path / "more").mkdir()
    unknown = found.unknown | {"wrong_label": "no logits", "duplicate": "nothing to compare"}
    bare = replace(
        found, kinds={kind: found.kinds[kind] for kind in found.kinds if kind not in unknown}, unknown=unknown
    )
    later = write_findings(bare, range(14), tmp_path, title="t", exports=("fiftyone",))
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in later} | {"notes.csv", "more"}
    gone = {path.name for path in earlier} - {path.name for path in later}
    assert {"suspects.csv", "copies.csv", "cleanlab.csv", "label_studio.json"} <= gone


class Paths:
    """A data set of these files."""

    def __init__(self, paths: list[str]) -> None:
        self.samples = [(path, 0) for path in paths]

    def __len__(self) -> int:
        return len(self.samples)


@pytest.mark.parametrize("with_texts", [True, False])
def test_names_of_files_that_are_not_utf8_are_written_and_found_again(
    found: Findings, with_texts: bool, tmp_path
) -> None:
    paths, texts = found.samples["path"].copy(), found.samples["text"].copy()
    paths[2], texts[2] = "gr\udcfc.png", "half a pair: \ud83d"
    samples = found.samples | {"path": paths}
    if with_texts:
        samples["text"] = texts
    else:
        del samples["text"]
    written = write_findings(
        replace(found, samples=samples),
        range(14),
        tmp_path,
        title="Findings of \udcfc.ckpt",
        command="dynsel fit --exclude \udcfc/suspects.csv",
        exports=("cleanlab", "fiftyone", "label-studio"),
    )
    assert len(written) >= 6
    for path in written:
        assert path.suffix == ".parquet" or path.read_bytes().decode()
    assert r"gr\udcfc.png" in (tmp_path / "findings.html").read_text()
    data = Paths(["x.png"] * 10 + ["a/0.png", "y.png", "gr\udcfc.png", "z.png"])
    assert kept_indices(tmp_path / "suspects.csv", data).tolist() == [*range(10), 11, 13]


def test_an_export_that_can_not_be_leaves_nothing_behind(found: Findings, tmp_path) -> None:
    bare = Findings({name: found.samples[name] for name in ("index", "uses")}, {}, {"wrong_label": "no logits"})
    with pytest.raises(ValueError, match="cleanlab wants to know of labels: no logits"):
        write_findings(bare, range(14), tmp_path / "new", title="t", exports=("cleanlab",))
    assert not (tmp_path / "new").exists()
