"""An unknown name in a configuration: which was meant, and which there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynsel.commands._refusals import explained
from dynsel.commands.main import main

DIGITS = (Path(__file__).parents[2] / "recipes/digits.yaml").read_text()


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("selection:", "selecton:", "a configuration has no key 'selecton'; did you mean 'selection'"),
        (
            "keep_ratio: 0.5",
            "keep_rato: 0.5",
            "`selection`: DynamicSelection has no argument 'keep_rato'; did you mean",
        ),
        (
            "width: 8",
            "widht: 8",
            "`model`: ImageClassifier has no argument 'widht'; did you mean 'width'? It takes arch",
        ),
        ("max_epochs:", "max_epoch:", "`trainer`: Trainer has no argument 'max_epoch'; did you mean 'max_epochs'"),
        (
            "batch_size:",
            "batchsize:",
            "`data`: DigitsDataModule has no argument 'batchsize'; did you mean 'batch_size'?",
        ),
    ],
)
@pytest.mark.parametrize("command", [["fit"], ["compare", "--out", "out"]], ids=["fit", "compare"])
def test_a_wrong_key_of_a_training(
    command: list[str], right: str, wrong: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert right in DIGITS
    (tmp_path / "wrong.yaml").write_text(DIGITS.replace(right, wrong, 1))
    assert main([*command, "--config", str(tmp_path / "wrong.yaml")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dynsel: error:")]
    assert len(lines) == 1
    assert said in lines[0]


def test_all_arguments_of_a_class_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "digits.yaml").write_text(DIGITS)
    assert main(["fit", "--config", str(tmp_path / "digits.yaml"), "--data.init_args.batch", "3"]) == 2
    said = "? It takes batch_size, test_share, num_workers, seed, on_device, label_noise, imbalance"
    assert said in capsys.readouterr().err
    assert main(["fit", "--config", str(tmp_path / "digits.yaml"), "--selection.selector", "ucb:zzz=3"]) == 2
    assert "UCB has no argument 'zzz'; it takes " in capsys.readouterr().err


def test_a_key_that_is_near_to_none() -> None:
    said = explained("Subcommand 'fit' does not accept option 'xyz.a'")
    known = "model, data, trainer, selection, seed_everything, threads, ckpt_path"
    assert said == f"a configuration has no key 'xyz'; there are {known}"


def test_the_distillations_groups_are_known() -> None:
    said = explained("Group 'distill' does not accept option 'image_per_class'")
    assert said is not None
    assert said.startswith(
        "`distill`: NCFM has no argument 'image_per_class'; did you mean 'images_per_class'? It takes "
    )
    assert explained("Group 'other' does not accept option 'x'") == "`other` has no key 'x'"


def test_other_messages_are_left_alone() -> None:
    assert explained("`keep_ratio` must be in (0, 1], got 1.5") is None


@pytest.mark.parametrize("command", [["features", "extract", "--extractor", "pixels", "--out", "x.npy"], ["fit"]])
def test_data_that_are_neither_folder_nor_class(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--data", "typo"]) == 2
    assert capsys.readouterr().err == "dynsel: error: `data`: there is no folder and no class path 'typo'\n"
