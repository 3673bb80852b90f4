"""mosaicml's streaming data set, selected from by index through a view: the library itself, where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kinds.table import Module, load
from support import trainer
from torch import Tensor

from dynsel import DynamicSelection
from dynsel.samplers import IndexedView

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


@pytest.mark.filterwarnings("ignore")
def test_samples_of_a_mosaicml_stream_are_told_their_own_losses(tmp_path: Path) -> None:
    streaming = pytest.importorskip("streaming")

    def step(m: Any, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(m.net(batch["x"]), batch["y"])

    with streaming.MDSWriter(out=str(tmp_path), columns={"x": "ndarray:float32:4", "y": "int"}) as writer:
        for x, y in zip(X.numpy(), Y.tolist(), strict=True):
            writer.write({"x": np.ascontiguousarray(x), "y": y})
    stream = streaming.StreamingDataset(local=str(tmp_path), shuffle=False, batch_size=8)
    selection, module = DynamicSelection("loss", keep_ratio=0.5), Module(step, net=torch.nn.Linear(4, 2), lr=0.0)
    trainer(selection, max_epochs=3).fit(module, load(IndexedView(stream)))
    told = selection.selector.average
    known = told.isfinite()
    assert known.sum() >= 32
    truth = F.cross_entropy(module.net(X), Y, reduction="none").detach()
    assert torch.allclose(told[known], truth[known], atol=1e-4)
