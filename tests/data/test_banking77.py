"""BANKING77: what is read, and what it says when something isn't there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from dynsel.data import Banking77DataModule, TokenTexts
from dynsel.features import describe_difference, fingerprint
from dynsel.models import TextClassifier

SHARED = Path(os.environ.get("DYNSEL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
TRAIN = 'text,category\nMy card is lost,lost_card\n"Lost, my card!",lost_card\nWhat is the rate?,exchange_rate\n'
TEST = "text,category\nis my card lost,lost_card\n"


def folder(root: Path, train: str = TRAIN, test: str = TEST, prefix: str = "banking77-") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{prefix}train.csv").write_text(train)
    (root / f"{prefix}test.csv").write_text(test)
    return root


@pytest.mark.parametrize("prefix", ["banking77-", ""])
def test_words_and_pairs_become_numbers(prefix: str, tmp_path: Path) -> None:
    data = Banking77DataModule(folder(tmp_path, prefix=prefix), vocabulary=5, max_length=6)
    with pytest.raises(RuntimeError, match="the data is not loaded yet"):
        _ = data.train_set
    data.setup("fit")
    train, val = data.train_set, data.val_set
    assert train.classes == ["exchange_rate", "lost_card"]
    assert train.targets.tolist() == [1, 1, 0]
    assert train.texts[1] == "Lost, my card!"
    # By count, then by name: card, is, lost, my, "my card".
    assert train.tokens.tolist() == [[4, 1, 2, 3, 5, 0], [3, 4, 1, 5, 0, 0], [2, 0, 0, 0, 0, 0]]
    assert val.tokens.tolist() == [[2, 4, 1, 3, 5, 0]]
    assert train[2][0].tolist() == train.tokens[2].tolist()
    batch = next(iter(data.val_dataloader()))
    assert [part.shape for part in batch] == [(1, 6), (1,)]


def test_the_fingerprint_is_of_the_texts(tmp_path: Path) -> None:
    """Features of the sentences fit whatever vocabulary the classifier has, and no other texts."""
    found = []
    for i, (text, size) in enumerate([(TRAIN, 5), (TRAIN, 2), (TRAIN.replace("rate?", "fee?"), 5)]):
        data = Banking77DataModule(folder(tmp_path / str(i), text), vocabulary=size)
        data.setup()
        found.append(fingerprint(data.train_set))
    assert describe_difference(found[0], found[1]) is None
    assert describe_difference(found[0], found[2]) == "sampled items (1 of 3 differ)"


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    text = r"`root` must hold banking77-train.csv or train.csv, but .* doesn't: copy both files from https://github.com"
    with pytest.raises(FileNotFoundError, match=text):
        Banking77DataModule(tmp_path / "none").setup()
    with pytest.raises(ValueError, match=r"train.csv must have the columns text,category, got a,b"):
        Banking77DataModule(folder(tmp_path / "a", "a,b\n1,2\n")).setup()
    with pytest.raises(ValueError, match=r"train.csv must hold at least one question, got none"):
        Banking77DataModule(folder(tmp_path / "b", "text,category\n")).setup()
    with pytest.raises(ValueError, match="the test file has classes that the training file hasn't: new"):
        Banking77DataModule(folder(tmp_path / "c", test="text,category\nhello,new\n")).setup()
    for name in ("batch_size", "vocabulary", "max_length"):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
            Banking77DataModule(tmp_path, **{name: 0})
    with pytest.raises(ValueError, match=r"a row for each text, got 1 texts, \(2, 3\) tokens and \(1,\)"):
        TokenTexts(["a"], torch.zeros(2, 3).long(), torch.zeros(1).long(), ["x"])


def learned(data: Any, epochs: int, **options: Any) -> float:
    pl.seed_everything(0, verbose=False)
    module = TextClassifier(**options)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", **quiet)
    trainer.fit(module, datamodule=data)
    return float(trainer.validate(module, datamodule=data, verbose=False)[0]["val_accuracy"])


def test_the_classifier_learns(tmp_path: Path) -> None:
    rows = "".join(f"{'my card is lost' if i % 2 else 'what is the rate'} {i},{'ab'[i % 2]}\n" for i in range(40))
    data = Banking77DataModule(
        folder(tmp_path, "text,category\n" + rows, "text,category\nlost card,b\nthe rate,a\n"), 8
    )
    assert learned(data, 10, num_classes=2, vocabulary=8000, width=16, dropout=0.1, lr=0.03) == 1.0


@pytest.mark.skipif(not (SHARED / "banking77-train.csv").is_file(), reason="the CSV files are not in ../shared/data")
def test_the_real_files() -> None:
    data = Banking77DataModule(SHARED)
    data.setup()
    assert (len(data.train_set), len(data.val_set), len(data.train_set.classes)) == (10003, 3080, 77)
    assert float((data.val_set.tokens > 0).any(1).float().mean()) > 0.999
