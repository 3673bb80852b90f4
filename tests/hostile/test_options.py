"""Options of the command line that nobody means: exit code 0, or 2 and one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dynsel.commands.main import main

CONFIG = str(Path(__file__).parents[2] / "recipes" / "digits.yaml")
FIT = ["fit", "--config", CONFIG, "--trainer.logger", "false"]
PIXELS = ("features", "extract", "--data", "photos", "--extractor", "pixels", "--out", "x.npy", "--accelerator", "cpu")
SAE = ("sae", "fit", "--features", "f.npy", "--out", "s.safetensors", "--epochs", "1", "--device", "cpu")
SELECT = ("select", "--features", "f.npy", "--out", "x.json", "--keep_ratio")
Command = Callable[..., tuple[int, list[str], str]]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--trainer.strategy", "foo"], "strategy='foo'"),
        (["--trainer.devices", "x"], "`devices`"),
        (["--trainer.devices", "9999"], "`trainer.devices` must be at most"),
        (["--trainer.max_epochs", "0"], "`trainer.max_epochs` must be at least 1"),
        (["--trainer.max_epochs", "x"], "max_epochs"),
        (["--trainer.accelerator", "cuda"], "CUDAAccelerator"),
        (["--trainer.accumulate_grad_batches", "0"], "`trainer.accumulate_grad_batches` must be at least 1, got 0"),
        (["--trainer.val_check_interval", "99999"], "`val_check_interval` (99999)"),
        (["--seed_everything", "-1"], "`seed_everything` must be in"),
        (["--seed_everything", "100000000000"], "`seed_everything` must be in"),
        (["--ckpt_path", CONFIG], "`ckpt_path` must be a checkpoint"),
        (["--threads", "0"], "threads"),
        (["--threads", "99999999999"], "`threads` must be in [1, 1024]"),
        (["--selection.keep_ratio", "Infinity"], "keep_ratio"),
        (["--selection.keep_ratio", "nan"], "keep_ratio"),
        (["--selection.selector", "rrd:gamma=Infinity"], "gamma"),
        (["--selection.selector", "fast:swaps=maybe"], "swaps"),
        (["--selection.selector", "random:class_balance=perhaps"], "class_balance"),
        (["--selection.loader", "x", "--trainer.fast_dev_run", "1"], "no train loader 'x'"),
        (["--data.batch_size", "0"], "batch_size"),
        (["--data.test_share", "0.999"], "test_share"),
        (["--nothing"], "nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_training_that_cannot_be(
    options: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*FIT, *options]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("dynsel: error: ")]
    assert len(lines) == 1
    assert told in lines[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((*PIXELS, "--split", "foo"), "`split` must be one of train, val, test, predict, got 'foo'"),
        (
            (*PIXELS, "--split", "val"),
            "`split` is of a data module, got 'val' for a data set (ImageFolder): leave it out",
        ),
        ((*PIXELS, "--threads", "0"), "`--threads` must be in [1, 1024], got 0"),
        ((*PIXELS, "--devices", "x"), "Lightning's Trainer refuses its options: `devices`"),
        ((*PIXELS, "--devices", "9999"), "`devices` must be at most"),
        ((*PIXELS, "--strategy", "foo"), "strategy='foo'"),
        ((*PIXELS, "--precision", "foo"), "Precision 'foo' is invalid"),
        ((*PIXELS, "--dtype", "int8"), "`dtype` must be one of float16, float32, got 'int8'"),
        ((*PIXELS, "--batch_size", "0"), "`batch_size` and `block_rows` must be at least 1"),
        ((*SAE, "--num_factors", "8", "--k", "17"), "`--k` must be at most half of `--num_factors`, 4, got 17"),
        ((*SAE, "--threads", "0"), "`--threads` must be in [1, 1024], got 0"),
        ((*SAE, "--device", "cuda"), "`device` must be one that this machine has, got 'cuda'"),
        ((*SAE, "--lr", "inf"), "`lr`"),
        ((*SAE, "--seed", "-1"), "`seed` must be in"),
        ((*SELECT, "0.5", "--seed", "-1"), "`seed` must be in"),
        ((*SELECT, "nan"), "keep_ratio"),
        ((*SELECT, "0.5", "--selector", "loss"), "loss"),
        ((*SELECT, "0.5", "--features", "huge.npz:x"), "(1000000000000, 6)"),
        ((*SELECT, "0.5", "--features", "large.npy"), "must be at most 1e+15 in size"),
        (("sae", "info", "nowhere"), "there is no autoencoder nowhere"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else None,
)
def test_a_command_that_cannot_be(words: tuple[str, ...], told: str, here: Path, command: Command) -> None:
    np.save(here / "large.npy", np.full((40, 6), 1e30, np.float32))
    write_header_of_a_trillion_rows(here / "huge.npz")
    code, errors, said = command(*words)
    assert code == 2, said
    assert len(errors) == 1, said
    assert told in errors[0]


def write_header_of_a_trillion_rows(path: Path) -> None:
    import zipfile

    from dynsel._lib.files import array_header

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", array_header(np.dtype(np.float32), (10**12, 6)) + bytes(100))


def test_a_usual_k_with_few_factors_is_lowered_and_told(here: Path, command: Command) -> None:
    code, _, said = command(*SAE, "--num_factors", "8")
    assert code == 0
    assert "k lowered to 4: at most half of the factors" in said
    assert "s.safetensors: 8 factors, k = 4" in said


def test_aliases_that_stand_for_millions_of_values(here: Path, command: Command) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (here / "bomb.yaml").write_text("\n".join(lines))
    for words in (("fit", "-c"), ("compare", "--out", "c", "-c"), ("features", "extract", "--config")):
        code, errors, _ = command(*words, "bomb.yaml")
        assert code == 2
        assert "a configuration must hold at most 100,000 values: its aliases (&x, *x) stand for more" in errors[0]


def test_settings_whose_steps_are_others_than_its_runs(here: Path, command: Command) -> None:
    words = ("compare", "-c", "c.yaml", "--out", "c", "--selectors", "full", "--seeds", "1")
    assert command(*words)[0] == 0
    settings = json.loads((here / "c" / "settings.json").read_text())
    (here / "c" / "settings.json").write_text(json.dumps({**settings, "steps": 2}))
    code, errors, said = command(*words)
    assert code == 2, said
    assert "settings.json says 2 optimiser steps, its runs were given 4: one of the two was changed" in errors[0]
    (here / "c" / "settings.json").unlink()  # the way out that is told
    code, _, said = command(*words)
    assert code == 0, said
    assert "1 of them kept" not in said
    assert json.loads((here / "c" / "settings.json").read_text())["steps"] == 4
