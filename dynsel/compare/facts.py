"""Under what a table was measured: hardware, versions, date."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

import dynsel

__all__ = ["hardware", "today", "versions"]


def hardware() -> str:
    """GPU if there is one, CPU model and number of threads."""
    threads = torch.get_num_threads()
    cpu = f"{_cpu_model()}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{torch.cuda.get_device_name()}; {cpu}" if torch.cuda.is_available() else cpu


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions() -> str:
    """Of what decides the numbers."""
    return f"dynsel {dynsel.__version__}, torch {torch.__version__}, lightning {version('lightning')}"


def today() -> str:
    """Date in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")
