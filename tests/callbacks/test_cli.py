"""The selection as a key of LightningCLI."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynsel.callbacks.cli import SelectionCLI
from dynsel.selectors import RRD

CONFIG = """
model: {class_path: dynsel.models.ImageClassifier, init_args: {architecture: small_cnn, in_channels: 1, width: 4}}
data: dynsel.data.DigitsDataModule
trainer: {max_epochs: 1, accelerator: cpu, logger: false, enable_checkpointing: false}
"""


@pytest.mark.filterwarnings("ignore")
def test_a_selector_is_given_with_its_arguments_as_text(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(CONFIG)
    args = ["--config", str(tmp_path / "digits.yaml"), "--selection.selector", "rrd:k=8,gamma=0.5"]
    selector = SelectionCLI(args, run=False).config_init.selection.selector
    assert isinstance(selector, RRD)
    assert (selector.k, selector.gamma(0.0)) == (8, 0.5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("before", "after"), [("[", "]"), ("", "")], ids=["list", "single"])
def test_a_second_selection_among_the_callbacks_is_refused(tmp_path: Path, before: str, after: str) -> None:
    callback = "{class_path: dynsel.DynamicSelection, init_args: {keep_ratio: 0.3}}"
    (tmp_path / "digits.yaml").write_text(
        CONFIG.replace("max_epochs", f"callbacks: {before}{callback}{after}, max_epochs")
    )
    with pytest.raises(ValueError, match="put its arguments under `selection:`"):
        SelectionCLI(["--config", str(tmp_path / "digits.yaml")], run=False)
