"""Options of the command line that nobody means: exit code 0, or 2 and one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynsel.commands.main import main

CONFIG = str(Path(__file__).parents[2] / "recipes" / "digits.yaml")
FIT = ["fit", "--config", CONFIG, "--trainer.logger", "false"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--trainer.strategy", "foo"], "strategy='foo'"),
        (["--trainer.devices", "x"], "`devices`"),
        (["--trainer.devices", "9999"], "`trainer.devices` must be at most"),
        (["--trainer.max_epochs", "0"], "`trainer.max_epochs` must be at least 1"),
        (["--trainer.max_epochs", "x"], "max_epochs"),
        (["--seed_everything", "-1"], "`seed_everything` must be in"),
        (["--seed_everything", "100000000000"], "`seed_everything` must be in"),
        (["--ckpt_path", CONFIG], "`ckpt_path` must be a checkpoint"),
        (["--threads", "0"], "threads"),
        (["--selection.keep_ratio", "Infinity"], "keep_ratio"),
        (["--selection.keep_ratio", "nan"], "keep_ratio"),
        (["--selection.selector", "rrd:gamma=Infinity"], "gamma"),
        (["--selection.selector", "fast:swaps=maybe"], "swaps"),
        (["--selection.selector", "random:class_balance=perhaps"], "class_balance"),
        (["--selection.loader", "x", "--trainer.fast_dev_run", "1"], "no train loader 'x'"),
        (["--data.batch_size", "0"], "batch_size"),
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
