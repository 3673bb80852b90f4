"""`dynsel findings` after a training, from its YAML file or a folder of images; and training without the suspects."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dynsel.commands.main import main

CONFIG = {
    "seed_everything": 0,
    "threads": 1,
    "model": {
        "class_path": "dynsel.models.ImageClassifier",
        "init_args": {"architecture": "small_cnn", "num_classes": 10, "in_channels": 1, "width": 8, "lr": 0.1},
    },
    "data": {"class_path": "dynsel.data.DigitsDataModule", "init_args": {"batch_size": 32}},
    "trainer": {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 6,
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Folder with the YAML file of a training on noisy labels, and its last checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    saver = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint"}
    saver["init_args"] = {"dirpath": str(folder), "save_last": True}
    config = {**CONFIG, "trainer": {**CONFIG["trainer"], "callbacks": [saver], "default_root_dir": str(folder)}}
    (folder / "training.yaml").write_text(yaml.safe_dump(config))
    (folder / "noise.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"label_noise": 0.2}}}))
    assert main(["fit", *configs(folder)]) == 0
    return folder


def configs(folder: Path) -> list[str]:
    return ["--config", str(folder / "training.yaml"), "--config", str(folder / "noise.yaml")]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def noisy_labels() -> torch.Tensor:
    from dynsel.data import DigitsDataModule

    data = DigitsDataModule(label_noise=0.2)
    data.setup("fit")
    return data.train_set.wrong


def test_a_training_is_looked_at_and_goes_on_without_what_it_suspects(trained, tmp_path, capsys) -> None:
    out = tmp_path / "found"
    assert main(["findings", str(trained / "last.ckpt"), *configs(trained), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    suspects = [int(row["index"]) for row in rows(out / "suspects.csv")]
    assert f"suspected wrong labels: {len(suspects)}; about" in said
    assert f"--exclude {out / 'suspects.csv'}" in said
    wrong = noisy_labels()
    first = suspects[: len(suspects) // 4]
    assert float(wrong[first].float().mean()) > 0.8, "of a short training those that come first"
    assert float(wrong[suspects].sum() / wrong.sum()) > 0.8
    page = (out / "findings.html").read_text()
    assert page.count('src="data:image/png;base64,') > 50
    assert f'id="wrong_label-{suspects[0]}"' in page
    options = ["--exclude", str(out / "suspects.csv"), "--trainer.max_epochs", "1"]
    assert main(["fit", *configs(trained), *options, "--trainer.callbacks", "null"]) == 0


def test_a_comparison_leaves_them_out_as_well(trained, tmp_path) -> None:
    (tmp_path / "suspects.csv").write_text("index\n" + "\n".join(map(str, range(0, 1347, 3))))
    options = ["--selectors", "full", "--seeds", "1", "--exclude", str(tmp_path / "suspects.csv")]
    options += ["--trainer.max_epochs", "1", "--out", str(tmp_path / "out")]
    assert main(["compare", *configs(trained), *options]) == 0
    [row] = rows(tmp_path / "out" / "results.csv")
    assert float(row["samples"]) == 898


def test_data_as_a_class_and_exports(trained, tmp_path, capsys) -> None:
    data = ["--data", "dynsel.data.DigitsDataModule", "--data.init_args.label_noise", "0.2"]
    options = ["--out", str(tmp_path), "--export", "[cleanlab]", "--limit", "2"]
    assert main(["findings", str(trained / "last.ckpt"), *data, *options]) == 0
    assert len(rows(tmp_path / "cleanlab.csv")) == 1347
    assert "--config TRAINING.yaml --exclude" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--export", "[excel]"], "`export` must be 'cleanlab' or 'fiftyone' or 'label-studio', got 'excel'"),
        (["--export", "[fiftyone]"], "FiftyOne wants to know where images are"),
        (["--limit", "0"], "`limit` must be at least 1, got 0"),
        (["--table", "no.csv"], "there is no table no.csv"),
        (["--data.init_args.test_share", "0.9"], "is about 1347 samples, and the data set has 179: it is another one"),
        (["--config", "no.yaml"], "`--config`: there is no file no.yaml"),
        (["--split", "trian"], "`split` must be one of train, val, test, predict, got 'trian'"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, monkeypatch, capsys, options: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["findings", str(trained / "last.ckpt"), *configs(trained), *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_table_in_another_order_is_refused(trained, tmp_path, capsys) -> None:
    from dynsel.data import DigitsDataModule

    data = DigitsDataModule(label_noise=0.2)
    data.setup("fit")
    labels = data.train_set.targets[torch.randperm(1347, generator=torch.Generator().manual_seed(0))]
    (tmp_path / "table.csv").write_text("label\n" + "\n".join(map(str, labels.tolist())))
    options = ["--table", str(tmp_path / "table.csv"), "--out", str(tmp_path / "out")]
    assert main(["findings", str(trained / "last.ckpt"), *configs(trained), *options]) == 2
    assert "the labels are not those of the training" in capsys.readouterr().err


def test_another_split_of_as_many_samples_is_refused(trained, tmp_path, monkeypatch, capsys) -> None:
    from dynsel._lib.images import TensorImages
    from dynsel.data import DigitsDataModule

    load = DigitsDataModule.load

    def shuffled(self: DigitsDataModule) -> tuple[TensorImages, TensorImages]:
        train, val = load(self)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        return TensorImages(train.images[order], train.targets[order], train.classes), val

    monkeypatch.setattr(DigitsDataModule, "load", shuffled)
    options = ["--out", str(tmp_path / "out")]
    assert main(["findings", str(trained / "last.ckpt"), *configs(trained), *options]) == 2
    assert "give the data set of the training, in its order" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_yaml_file_without_data(trained, tmp_path, capsys) -> None:
    (tmp_path / "empty.yaml").write_text("trainer: {}\n")
    assert main(["findings", str(trained / "last.ckpt"), "--config", str(tmp_path / "empty.yaml")]) == 2
    assert "has no data with a `class_path`; give the training set by --data" in capsys.readouterr().err


def test_a_folder_of_images_has_paths(tmp_path, capsys) -> None:
    """Labels and paths of an ImageFolder; a table says other ones."""
    pytest.importorskip("torchvision")
    from PIL import Image

    from dynsel import SelectionController

    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((8, 8, 3), 80 * i + (name == "dog"), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    from torchvision.datasets import ImageFolder

    selection = SelectionController("random", 0.5, max_epochs=2)
    loader = selection.wrap(torch.utils.data.DataLoader(ImageFolder(tmp_path / "images"), 2, collate_fn=list))
    loader.sampler.set_epoch(0)
    list(loader)
    torch.save(selection.state_dict(), tmp_path / "state.ckpt")
    folder = ["--data", str(tmp_path / "images"), "--out", str(tmp_path / "out"), "--export", "[fiftyone]"]
    assert main(["findings", str(tmp_path / "state.ckpt"), *folder]) == 0
    found = rows(tmp_path / "out" / "fiftyone.csv")
    assert found[0]["filepath"] == str(tmp_path / "images" / "cat" / "0.png")
    assert "suspected wrong labels: not known" in capsys.readouterr().out
