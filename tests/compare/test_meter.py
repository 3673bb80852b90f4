"""The clock of a comparison's runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dynsel.compare.meter import Meter
from dynsel.compare.record import CurvePoint


def test_validation_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3.0, 4.0, 9.0, 10.0, 12.0])
    monkeypatch.setattr("dynsel.compare.meter._now", lambda: next(times))
    trainer: Any = type("T", (), {"state": type("S", (), {"fn": "fit"}), "callback_metrics": {"a": torch.tensor(0.5)}})
    trainer.global_step = 7
    seen: list[CurvePoint] = []
    meter = Meter("a", seen.append)
    books = type("B", (), {"samples_trained": 70})
    meter.controller = type("C", (), {"flush": lambda self: None, "books": books})()  # type: ignore[assignment]
    module: Any = None
    meter.setup(trainer, module, "fit")
    meter.on_validation_start(trainer, module)
    meter.on_validation_end(trainer, module)
    meter.on_train_end(trainer, module)
    assert seen == [CurvePoint(7, 70, 3.0, 0.5)]
    assert meter.seconds == 5.0
    assert meter.evaluation_seconds == 5.0
