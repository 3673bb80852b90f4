"""The command `dynsel`, run in this process on the digits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dynsel.commands._errors import explain
from dynsel.commands.main import main

CONFIG = """
seed_everything: 0
threads: 1
model:
  class_path: dynsel.models.ImageClassifier
  init_args: {architecture: small_cnn, in_channels: 1, width: 4, augment: false}
data:
  class_path: dynsel.data.DigitsDataModule
  init_args: {batch_size: 60, test_share: 0.8}
selection:
  selector: random
  keep_ratio: 0.5
trainer:
  max_epochs: 3
  accelerator: cpu
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {dirpath: checkpoints, save_last: true}
"""


pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "digits.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(*options: str) -> int:
    return main(["fit", "--config", "digits.yaml", *options])


def last(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def selection_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return next(state for key, state in checkpoint["callbacks"].items() if "DynamicSelection" in key)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from dynsel.commands.main import main; code = main(['--help']); "
        "heavy = {'torch', 'lightning', 'jsonargparse', 'matplotlib'} & set(sys.modules); sys.exit(code or len(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "dynsel compare --config" in result.stdout


@pytest.mark.parametrize("words", [["--version"], ["compare", "--version"], ["sae", "fit", "--version"]])
def test_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("dynsel 0.")


def test_nothing_given_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: dynsel" in capsys.readouterr().out


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    assert "--selection.keep_ratio" in capsys.readouterr().out


def test_fit_trains_on_the_selection(folder: Path) -> None:
    assert fit() == 0
    checkpoint = last(folder)
    # 359 images, half of them each epoch, in batches of 60.
    assert checkpoint["global_step"] == 3 * 3
    assert selection_state(checkpoint)["books"]["samples"][0] == 3 * 180
    assert checkpoint["hyper_parameters"]["width"] == 4


@pytest.mark.parametrize(
    ("selector", "samples"),
    [("dynsel.selectors.Random", 72), ("dynsel.selectors.Full", 359), ("full", 359)],
)
def test_selection_from_the_command_line(folder: Path, selector: str, samples: int) -> None:
    assert fit("--selection.selector", selector, "--selection.keep_ratio", "0.2", "--trainer.max_epochs", "1") == 0
    assert selection_state(last(folder))["books"]["samples"][0] == samples


def test_schedule_by_class_path(folder: Path) -> None:
    ratio = "{class_path: dynsel.schedules.Step, init_args: {values: [1.0, 0.5], milestones: [0.5]}}"
    assert fit("--selection.keep_ratio", ratio, "--trainer.max_epochs", "2") == 0
    assert selection_state(last(folder))["books"]["samples"][0] == 359 + 180


def test_selector_arguments(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        fit("--selection.selector", "dynsel.selectors.RRD", "--selection.selector.gamma", "0.3", "--print_config") == 0
    )
    assert "gamma: 0.3" in capsys.readouterr().out


def test_validate_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--trainer.max_epochs", "1") == 0
    assert main(["validate", "--config", "digits.yaml", "--ckpt_path", "checkpoints/last.ckpt"]) == 0
    assert "val_accuracy" in capsys.readouterr().out


def test_interrupt_tells_how_to_resume(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dynsel.models import ImageClassifier

    assert fit() == 0
    undisturbed = last(folder)["state_dict"]
    for file in (folder / "checkpoints").iterdir():
        file.unlink()

    def interrupt(self: Any) -> None:
        if self.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ImageClassifier, "on_train_epoch_start", interrupt)
        assert fit() == 130
    assert "Resume with the same command and `--ckpt_path last`." in capsys.readouterr().err
    assert last(folder)["epoch"] == 1
    assert fit("--ckpt_path", "last") == 0
    resumed = last(folder)["state_dict"]
    assert all(torch.equal(resumed[name], weights) for name, weights in undisturbed.items())


def test_interrupt_before_any_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dynsel.models import ImageClassifier

    def interrupt(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageClassifier, "on_train_epoch_start", interrupt)
    assert fit() == 130
    assert "No checkpoint was written yet" in capsys.readouterr().err


def test_interrupt_while_features_are_fitted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The autoencoder has a Trainer of its own, which turns Ctrl-C into an exit."""
    from dynsel.sae import training

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.SAETraining, "training_step", interrupt)
    assert fit("--selection.selector", "rrd", "--selection.features", "pixels") == 130
    assert "dynsel: interrupted. No checkpoint was written yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["fit", "--config", "nowhere.yaml"], "`config`: File does not exist"),
        (["fit"], "`dynsel fit` needs a model, at least: give --config FILE"),
        (["fit", "--keep_ratio", "0.3"], "unrecognized arguments: --keep_ratio 0.3; did you mean '--selection.keep_r"),
        (["fit", "--keep-ratio=0.3"], "did you mean .--selection.keep_ratio.\\?$"),
        (["fit", "--config", "digits.yaml", "--max_epochs=3"], "did you mean '--trainer.max_epochs'"),
        (["fit", "--config", "digits.yaml", "--ckpt_path", "last"], "`ckpt_path`: there is no last checkpoint to go "),
        (["fti"], "unknown command 'fti'; did you mean 'fit'"),
        (["fit", "--config", "digits.yaml", "--selection.selector", "randm"], "did you mean 'random'?"),
        (
            ["fit", "--config", "digits.yaml", "--selection.selector", "dynsel.selectors.Randm"],
            "unknown selector 'dynsel.selectors.Randm'.*did you mean 'Random'",
        ),
        (
            ["fit", "--config", "digits.yaml", "--selection.selector", "torch.nn.Linear"],
            "'torch.nn.Linear' is no selector",
        ),
        (
            ["fit", "--config", "digits.yaml", "--selection.keep_ratio", "1.5"],
            r"`keep_ratio` must be in \(0, 1\], got 1.5; it is the share",
        ),
        (["fit", "--config", "digits.yaml", "--trainer.max_epochs", "x"], "`trainer.max_epochs`: .*int.*x"),
        (["fit", "--config", "digits.yaml", "--selection.prune_ratio", "0.5"], "unrecognized arguments"),
        (
            ["fit", "--config", "digits.yaml", "--data.init_args.test_share", "2"],
            "`test_share` must be in .0.006, 0.994., got 2.0",
        ),
        (["fit", "--config", "digits.yaml", "--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt"),
        (
            ["fit", "--config", "digits.yaml", "--selection.selector", "rrd", "--selection.features", "nowhere.npy"],
            "nowhere.npy",
        ),
        (["compare", "--out", "x"], "the following arguments are required: --config"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    import re

    assert main(options) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dynsel: error:")]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]


def test_a_mistake_in_a_program_keeps_its_traceback() -> None:
    with pytest.raises(ValueError) as caught:
        int("x")
    assert explain(caught.value) is None
    assert explain(KeyError("x")) is None


def test_debugging_shows_every_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNSEL_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown command"):
        main(["fti"])
