"""BANKING77: customers' questions to a bank, 77 intents, as numbers for a small classifier trained from scratch."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynsel._lib.checks import check_integer, check_path, check_tensor
from dynsel._lib.images import TensorImages

__all__ = ["Banking77DataModule", "TokenTexts"]

# As the archive names them, and as here.
FILES = {"train": ("banking77-train.csv", "train.csv"), "test": ("banking77-test.csv", "test.csv")}
SOURCE = "https://github.com/PolyAI-LDN/task-specific-datasets/tree/master/banking_data"


class TokenTexts(Dataset[tuple[Tensor, int]]):
    """Texts as rows of token numbers; the texts themselves are kept in `texts`, for an encoder of sentences.

    Args:
        texts: The N texts, in the order of the rows.
        tokens: (N, L) int64 token numbers, 0 = nothing.
        targets: (N,) int64 class of each text, in [0, len(classes)).
        classes: Name of each of the C classes, in the order of the targets.

    Raises:
        ValueError: If texts, tokens and targets differ in number.
    """

    def __init__(self, texts: Sequence[str], tokens: Tensor, targets: Tensor, classes: Sequence[str]) -> None:
        for name, values in (("texts", texts), ("classes", classes)):
            if not isinstance(values, list | tuple):
                raise TypeError(f"`{name}` must be a list of texts, got {values!r}")
        check_tensor("tokens", tokens)
        check_tensor("targets", targets)
        if not tokens.ndim or not targets.ndim or not len(texts) == len(tokens) == len(targets):
            raise ValueError(
                f"`texts`, `tokens` and `targets` must have a row for each text, got {len(texts)} texts, "
                f"{tuple(tokens.shape)} tokens and {tuple(targets.shape)} targets"
            )
        self.texts, self.tokens, self.targets, self.classes = list(texts), tokens, targets, list(classes)
        # What a fingerprint looks at: the texts, whatever the vocabulary.
        self.data = np.array(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.tokens[index], int(self.targets[index])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The finished batch of these rows.

        Args:
            indices: Rows to fetch, each in [0, N).
        """
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return self.tokens[rows], self.targets[rows]


class Banking77DataModule(pl.LightningDataModule):
    """10,003 training and 3,080 test questions in 77 classes; the test set validates.

    Tokens are the words and pairs of neighbouring words that occur most in the training set.

    Args:
        root: Folder with `banking77-train.csv` and `banking77-test.csv` (or `train.csv` and `test.csv`), columns
            `text,category`.
        batch_size: Questions in a training batch.
        vocabulary: Number of tokens to know.
        max_length: Tokens of a question; further ones are left out.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Casanueva, Temčinas, Gerz, Henderson, Vulić (2020), Efficient intent detection with dual sentence encoders,
        arXiv:2003.04807 (CC BY 4.0).
    """

    def __init__(
        self, root: str | Path = "data/banking77", batch_size: int = 64, vocabulary: int = 8000, max_length: int = 64
    ) -> None:
        super().__init__()
        self.root = check_path("root", root)
        self.batch_size = check_integer("batch_size", batch_size, at_least=1)
        self.vocabulary = check_integer("vocabulary", vocabulary, at_least=1)
        self.max_length = check_integer("max_length", max_length, at_least=1)
        self._sets: tuple[TokenTexts, TokenTexts] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read the files.

        Args:
            stage: Ignored; every stage needs the same two sets.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file has other columns or is empty.
        """
        if self._sets is not None:
            return
        train, test = (self._read(split) for split in FILES)
        classes = sorted({label for _, label in train})
        counts = Counter(token for text, _ in train for token in tokens_of(text))
        # By count, then by name: the same numbers every time.
        known = sorted(counts, key=lambda token: (-counts[token], token))[: self.vocabulary]
        numbers = {token: number for number, token in enumerate(known, start=1)}
        self._sets = self._numbered(train, classes, numbers), self._numbered(test, classes, numbers)

    def _read(self, split: str) -> list[tuple[str, str]]:
        path = next((self.root / name for name in FILES[split] if (self.root / name).is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"`root` must hold {' or '.join(FILES[split])}, but {self.root} doesn't: copy both files from {SOURCE} "
                "there, or point `root` (--data.init_args.root) to them"
            )
        try:
            with open(path, encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                columns = list(reader.fieldnames or ())
                known = {"text", "category"} <= set(columns)
                rows = [(row["text"].strip(), row["category"]) for row in reader] if known else []
        except (AttributeError, UnicodeDecodeError, csv.Error) as error:  # a row without text, no text at all
            raise ValueError(f"{path} is damaged, or no CSV file in UTF-8: {error}; copy it again") from error
        if not known:
            raise ValueError(f"{path} must have the columns text,category, got {','.join(columns)[:100]}")
        if missing := [i for i, (_, label) in enumerate(rows) if not label]:
            raise ValueError(f"{path} is damaged: question {missing[0]} has no category; copy it again")
        if not rows:
            raise ValueError(f"{path} must hold at least one question, got none")
        return rows

    def _numbered(self, rows: list[tuple[str, str]], classes: list[str], numbers: dict[str, int]) -> TokenTexts:
        place = {name: i for i, name in enumerate(classes)}
        unknown = {label for _, label in rows} - set(place)
        if unknown:
            raise ValueError(f"the test file has classes that the training file hasn't: {', '.join(sorted(unknown))}")
        tokens = torch.zeros(len(rows), self.max_length, dtype=torch.int64)
        for row, (text, _) in zip(tokens, rows, strict=True):
            found = [numbers[token] for token in tokens_of(text) if token in numbers][: self.max_length]
            row[: len(found)] = torch.tensor(found, dtype=torch.int64)
        targets = torch.tensor([place[label] for _, label in rows])
        return TokenTexts([text for text, _ in rows], tokens, targets, classes)

    @property
    def train_set(self) -> TokenTexts:
        """Training questions, row i = dataset index i."""
        return self._ready()[0]

    @property
    def val_set(self) -> TokenTexts:
        """Test questions."""
        return self._ready()[1]

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches; the last one may be short."""
        return DataLoader(self.train_set, self.batch_size, shuffle=True, collate_fn=TensorImages.collate)

    def val_dataloader(self) -> DataLoader[Any]:
        """The test set in order."""
        return DataLoader(self.val_set, 1024, collate_fn=TensorImages.collate)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test set: there is no third part."""
        return self.val_dataloader()

    def _ready(self) -> tuple[TokenTexts, TokenTexts]:
        if self._sets is None:
            raise RuntimeError('the data is not loaded yet: call `setup("fit")` first (a Trainer does it itself)')
        return self._sets


def tokens_of(text: str) -> list[str]:
    """Words and pairs of neighbouring words.

    Args:
        text: Any text; case and punctuation other than apostrophes are ignored.

    Example:
        >>> tokens_of("What's my PIN?")
        ["what's", 'my', 'pin', "what's my", 'my pin']
    """
    words = re.findall(r"[a-z0-9']+", text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]
