"""Energy: what can't be read is not measured; what can be is what the counters say, read by zeus itself."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from dynsel.commands.main import main
from dynsel.compare import RunRecord, summarise
from dynsel.compare.energy import EnergyMeter, unreadable
from dynsel.compare.facts import not_measured
from dynsel.compare.results import results_csv
from dynsel.compare.table import tables

CPU = torch.device("cpu")
RAPL = Path("/sys/class/powercap/intel-rapl")
with_zeus = pytest.mark.skipif(find_spec("zeus") is None, reason="zeus is not installed")

CONFIG = """
seed_everything: 3
threads: 1
model:
  class_path: dynsel.models.ImageClassifier
  init_args: {architecture: small_cnn, in_channels: 1, width: 4, augment: false}
data:
  class_path: dynsel.data.DigitsDataModule
  init_args: {batch_size: 60, test_share: 0.8}
trainer: {max_epochs: 1, accelerator: cpu}
"""


@pytest.mark.skipif(RAPL.exists(), reason="this machine has energy counters")
def test_without_counters_the_column_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "digits.yaml").write_text(CONFIG)
    command = ["compare", "--config", str(tmp_path / "digits.yaml"), "--out", str(tmp_path / "out")]
    command += ["--selectors", "random", "--seeds", "1"]
    assert main([*command, "--energy"]) == 0
    said = capsys.readouterr()
    assert "not measured" in said.out
    assert said.err == ""
    table = (tmp_path / "out" / "table.md").read_text()
    why = f"{RAPL} is missing" if find_spec("zeus") else "the library zeus is missing"
    assert "- energy not measured: " in table
    assert why in table
    assert "| CPU J |" in table
    assert "GPU J" not in table
    (row,) = csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines())
    assert row["cpu_joules"] == row["gpu_joules"] == ""
    # Not asked for, not told; the run is kept.
    assert main(command) == 0
    assert "not measured" not in (tmp_path / "out" / "table.md").read_text()
    assert "not measured" not in (tmp_path / "out" / "report.html").read_text()


@with_zeus
@pytest.mark.skipif(RAPL.exists(), reason="this machine has energy counters")
def test_the_missing_file_is_named() -> None:
    assert f"CPU: {RAPL} is missing" in unreadable(CPU)
    assert "GPU 0: NVML" in unreadable(torch.device("cuda", 0)) or torch.cuda.is_available()
    meter = EnergyMeter(CPU)
    meter.start()
    meter.stop()
    assert meter.gpu is meter.cpu is None


# Counters as the kernel has them, two packages and a part of one; zeus names the folder in a constant.
PROGRAM = """
import sys, time, torch
from pathlib import Path
from zeus.device.cpu import rapl
from dynsel.compare.energy import EnergyMeter, unreadable

def main():
    folder = rapl.RAPL_DIR = sys.argv[1]
    meter = EnergyMeter(torch.device("cpu"))
    zones = [Path(folder) / f"intel-rapl:{i}" / "energy_uj" for i in range(2)]
    def count(*micro):
        for zone, value in zip(zones, micro):
            zone.write_text(f"{value}\\n")
    meter.start(); count(2_000_000, 500_000); meter.stop()
    count(9_000_000, 9_000_000)  # validation
    meter.start(); count(9_250_000, 9_000_000); meter.stop()
    print(meter.gpu, meter.cpu, repr(unreadable(torch.device("cpu"))))
    zones[0].unlink(); meter.start(); meter.stop()
    print(meter.gpu, meter.cpu)

if __name__ == "__main__":
    main()
"""


@with_zeus
def test_counters_are_read(tmp_path: Path) -> None:
    for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0/intel-rapl:0:0"):
        (tmp_path / "rapl" / zone).mkdir(parents=True)
        (tmp_path / "rapl" / zone / "name").write_text("core\n" if zone.count(":") > 2 else f"package-{zone[-1]}\n")
        (tmp_path / "rapl" / zone / "energy_uj").write_text("0\n")
        (tmp_path / "rapl" / zone / "max_energy_range_uj").write_text("262143328850\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "rapl")]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}, timeout=120)
    assert done.returncode == 0, done.stderr
    # 2 J and 0.5 J in the first window, 0.25 J in the second; a counter that vanishes leaves no half sum.
    assert done.stdout.splitlines() == ["None 2.75 ''", "None None"]


def test_the_columns() -> None:
    known = [RunRecord("full", seed, 0.5, gpu_joules=1200.0 + seed, cpu_joules=800.0) for seed in range(2)]
    half = [RunRecord("rrd", 0, 0.5, cpu_joules=800.0), RunRecord("rrd", 1, 0.5)]
    rows = summarise([*known, *half])
    times = tables(rows, 2, "val_accuracy", ["GPU", "CPU"])[2]
    assert (times.title, times.headings[-2:]) == ("time and energy: mean over seeds", ["GPU J", "CPU J"])
    assert [row[-2:] for row in times.rows] == [["1,200", "800"], ["not measured"] * 2]
    plain = tables(rows, 2, "val_accuracy")[2]
    assert (plain.title, plain.headings[-1]) == ("time: mean over seeds", "evaluation s")
    full, rrd = csv.DictReader(results_csv(rows, "val_accuracy").splitlines())
    assert (full["gpu_joules"], full["cpu_joules"], rrd["cpu_joules"]) == ("1200.5", "800.0", "")


def test_runs_from_before_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynsel.compare.facts.unreadable", lambda device: "")
    assert "made before without --energy; another --out" in not_measured(CPU)
