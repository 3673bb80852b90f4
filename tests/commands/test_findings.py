"""`dynsel findings` after a training, from its YAML file or a folder of images; and training without the suspects."""

from __future__ import annotations

import csv
import shlex
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
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dynsel.callbacks.showing.rank_zero_info", said.append)
        patch.setattr("dynsel.callbacks.showing.suspects_in_words", lambda evidence: "some labels look wrong")
        assert main(["fit", *configs(folder)]) == 0
    (folder / "said.txt").write_text("\n".join(said))
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


def test_the_end_of_a_training_names_its_files(trained) -> None:
    command = shlex.join(["dynsel", "findings", str(trained / "last.ckpt"), *configs(trained)])
    assert f"`{command}` writes a page" in (trained / "said.txt").read_text()


def test_a_comparison_leaves_them_out_as_well(trained, tmp_path) -> None:
    (tmp_path / "suspects.csv").write_text("index\n" + "\n".join(map(str, range(0, 1347, 3))))
    options = ["--selectors", "full", "--seeds", "1", "--exclude", str(tmp_path / "suspects.csv")]
    options += ["--trainer.max_epochs", "1", "--out", str(tmp_path / "out")]
    assert main(["compare", *configs(trained), *options]) == 0
    [row] = rows(tmp_path / "out" / "results.csv")
    assert float(row["samples"]) == 898


@pytest.mark.parametrize("export", ["cleanlab", "[cleanlab]"])
def test_data_as_a_class_and_exports(trained, tmp_path, capsys, export: str) -> None:
    data = ["--data", "dynsel.data.DigitsDataModule", "--data.init_args.label_noise", "0.2"]
    options = ["--out", str(tmp_path), "--export", export, "--limit", "2"]
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
        (["--export", "cleanlab,excel"], "`export` must be 'cleanlab' or 'fiftyone' or 'label-studio', got 'excel'"),
        (["--export", "fiftyone"], "FiftyOne wants to know where images are"),
        (["--features", "pixls"], "or a path (.npy, .npz, .npz:KEY, a folder), got 'pixls'; did you mean 'pixels'?"),
        (["--features", "no.npy"], "there is no feature file no.npy"),
        (["--data", "typo"], "error: `data`: there is no folder and no class path 'typo'\n"),
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


def test_without_data_both_ways_are_named(trained, capsys) -> None:
    assert main(["findings", str(trained / "last.ckpt")]) == 2
    said = capsys.readouterr().err
    assert "give --config TRAINING.yaml, or --data with a folder or class path" in said


def test_a_training_that_goes_on_with_others_left_out_has_a_way_out(trained, tmp_path, capsys) -> None:
    (tmp_path / "suspects.csv").write_text("index\n3\n8\n")
    options = ["--ckpt_path", str(trained / "last.ckpt"), "--exclude", str(tmp_path / "suspects.csv")]
    options += ["--trainer.callbacks", "null", "--trainer.max_epochs", "7"]
    assert main(["fit", *configs(trained), *options]) == 2
    said = capsys.readouterr().err
    assert "of a data set of 1347 samples, this one has 1345: go on with the data, and the `exclude`, of that" in said


def test_a_yaml_file_without_data(trained, tmp_path, capsys) -> None:
    (tmp_path / "empty.yaml").write_text("trainer: {}\n")
    assert main(["findings", str(trained / "last.ckpt"), "--config", str(tmp_path / "empty.yaml")]) == 2
    assert "has no data with a `class_path`; give the training set by --data" in capsys.readouterr().err


def test_a_folder_of_images_has_paths(tmp_path, capsys) -> None:
    """Labels and paths of an ImageFolder; a table says other ones."""
    pytest.importorskip("torchvision")
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((8, 8, 3), 80 * i + (name == "dog"), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    train_on(tmp_path / "images", tmp_path / "state.ckpt")
    folder = ["--data", str(tmp_path / "images"), "--out", str(tmp_path / "out"), "--export", "[fiftyone]"]
    assert main(["findings", str(tmp_path / "state.ckpt"), *folder]) == 0
    found = rows(tmp_path / "out" / "fiftyone.csv")
    assert found[0]["filepath"] == str(tmp_path / "images" / "cat" / "0.png")
    assert "suspected wrong labels: not known" in capsys.readouterr().out


def train_on(folder: Path, checkpoint: Path, exclude: list[int] | None = None) -> None:
    """An epoch of a selection from a folder of images, without a model."""
    from torchvision.datasets import ImageFolder

    from dynsel import SelectionController

    selection = SelectionController("random", 0.5, max_epochs=2, exclude=exclude)
    loader = selection.wrap(torch.utils.data.DataLoader(ImageFolder(folder), 2, collate_fn=list))
    loader.sampler.set_epoch(0)
    list(loader)
    torch.save(selection.state_dict(), checkpoint)


def make_photos(folder: Path, classes: int = 2, each: int = 20) -> None:
    """Smooth random images as PNG; a JPEG of image 3 of each class beside it."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for k in range(classes):
        (folder / str(k)).mkdir(parents=True)
        for i in range(each):
            coarse = Image.fromarray(rng.integers(0, 255, (5, 5, 3), dtype=np.uint8))
            image = coarse.resize((32, 32), Image.Resampling.BICUBIC)
            image.save(folder / str(k) / f"{i:02}.png")
            if i == 3:
                image.save(folder / str(k) / f"{i:02}-again.jpg", quality=90)


def test_copies_that_were_encoded_again_are_found_by_pixels(tmp_path) -> None:
    pytest.importorskip("torchvision")
    make_photos(tmp_path / "photos")
    train_on(tmp_path / "photos", tmp_path / "state.ckpt")
    options = ["--data", str(tmp_path / "photos"), "--out", str(tmp_path / "out")]
    found = []
    for more in ([], ["--features", "pixels"]):
        assert main(["findings", str(tmp_path / "state.ckpt"), *options, *more]) == 0
        copies = [row for row in rows(tmp_path / "out" / "findings.csv") if row["finding"] == "duplicate"]
        found.append(sorted(Path(row["path"]).relative_to(tmp_path / "photos").as_posix() for row in copies))
    assert found == [[], ["0/03-again.jpg", "0/03.png", "1/03-again.jpg", "1/03.png"]]


@pytest.mark.parametrize("features", [[], ["--features", "pixels"]], ids=["page", "pixels"])
def test_an_image_that_is_broken_is_named(features: list[str], tmp_path, capsys) -> None:
    pytest.importorskip("torchvision")
    make_photos(tmp_path / "photos", each=4)
    train_on(tmp_path / "photos", tmp_path / "state.ckpt")
    broken = tmp_path / "photos" / "1" / "01.png"
    broken.write_text("no image")
    options = ["--data", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), *features]
    assert main(["findings", str(tmp_path / "state.ckpt"), *options]) == 2
    said = capsys.readouterr().err
    assert f"sample 6, {broken}, can't be read (UnidentifiedImageError" in said
    assert len(said.splitlines()) == 1
