"""Energy of training and selection, as the counters of GPU and CPU tell it; nothing is estimated."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch

__all__ = ["EnergyMeter", "unreadable"]

WINDOW = "dynsel"


class EnergyMeter:
    """Adds up the energy between each `start` and `stop`, by zeus.

    Args:
        device: Device that trains. A GPU without a counter isn't measured: zeus would integrate samples of its power.

    Attributes:
        gpu: Joules of this GPU by the driver's counter (NVML); None = not measured.
        cpu: Joules of all CPU packages by RAPL; None = not measured.
    """

    def __init__(self, device: torch.device) -> None:
        self._monitor = None if _why_no_zeus() else _monitor(_gpu(device))
        self.gpu = 0.0 if self._monitor is not None and self._monitor.gpu_indices else None
        self.cpu = 0.0 if self._monitor is not None and self._monitor.cpu_indices else None

    def start(self) -> None:
        """Begin to count energy."""
        if self._monitor is not None:
            try:
                self._monitor.begin_window(WINDOW, restart=True)
            except Exception:
                self._give_up()

    def stop(self) -> None:
        """Add the energy since `start`."""
        if self._monitor is None:
            return
        try:
            with warnings.catch_warnings():
                # A window may end before the GPU's counter goes on: it does in the next one.
                warnings.simplefilter("ignore")
                found = self._monitor.end_window(WINDOW)
        except Exception:
            self._give_up()
            return
        self.gpu, self.cpu = _plus(self.gpu, found.gpu_energy), _plus(self.cpu, found.cpu_energy)

    def _give_up(self) -> None:
        """Whatever a driver says, training goes on; a part of the energy is no reading of the whole."""
        self._monitor = self.gpu = self.cpu = None


def _plus(before: float | None, joules: dict[int, float] | None) -> float | None:
    return None if before is None or not joules else before + sum(joules.values())


def unreadable(device: torch.device) -> str:
    """Why energy can't be read, and the way out; empty if that of the CPU, and of a GPU that trains, can.

    Args:
        device: Device that trains.
    """
    if why := _why_no_zeus():
        return why
    gpu = _gpu(device)
    reasons = ["" if gpu is None else _why_no_gpu(gpu), _why_no_cpu()]
    return "; ".join(filter(None, reasons))


def _gpu(device: torch.device) -> int | None:
    return device.index or 0 if device.type == "cuda" else None


@cache
def _monitor(gpu: int | None) -> Any:
    """One for all runs: RAPL counters, which overflow, are watched by a process of its own."""
    from zeus.monitor import ZeusMonitor

    gpus = [] if gpu is None or _why_no_gpu(gpu) else [gpu]
    return ZeusMonitor(gpu_indices=gpus, cpu_indices=[] if _why_no_cpu() else None)


@cache
def _why_no_zeus() -> str:
    try:
        import zeus.monitor  # noqa: F401
    except ImportError as error:
        return f"the library zeus is missing ({error}): `pip install zeus`"
    return ""


@cache
def _why_no_gpu(gpu: int) -> str:
    from zeus.device import get_gpus

    try:
        return "" if get_gpus().supports_get_total_energy_consumption(gpu) else f"GPU {gpu} has no energy counter"
    except Exception as error:
        return f"GPU {gpu}: {_line(error)}"


@cache
def _why_no_cpu() -> str:
    from zeus.device import get_cpus
    from zeus.device.cpu.rapl import RAPL_DIR, rapl_is_available

    if not rapl_is_available():
        return f"CPU: {RAPL_DIR} is missing, as in most virtual machines; on others `modprobe intel_rapl_msr` brings it"
    try:
        return "" if len(get_cpus()) else f"CPU: no package in {RAPL_DIR}"
    except Exception as error:
        return f"CPU: {_line(error)}; as root: `chmod -R a+r {RAPL_DIR}/`"


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
