"""What a comparison takes besides training, selection and evaluation: the goal is less than 3 % of the whole.

    python recipes/benchmarks/comparison.py --config recipes/cifar10/small.yaml --selectors full random hybrid --seeds 1

All arguments are those of `dynsel compare`, less `--out`: it runs in an empty folder, as a process of its own. The
whole is that process's time on the clock, from its start to its end: importing the libraries, counting the steps,
reading the data set anew for each run, keeping its record, and tables, pictures and page at the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL = 0.03


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dynsel", "compare", *arguments, "--out", folder]
        start = time.perf_counter()
        code = subprocess.run(command, check=False).returncode
        whole = time.perf_counter() - start
        runs = [json.loads(path.read_text()) for path in sorted(Path(folder, "runs").glob("*.json"))]
    if code or not runs:
        return code or 1
    parts = {
        "training": sum(run["seconds"] - run["selection_seconds"] for run in runs),
        "selection": sum(run["selection_seconds"] for run in runs),
        "evaluation": sum(run["evaluation_seconds"] for run in runs),
    }
    parts["all else"] = whole - sum(parts.values())
    print(f"\n{len(runs)} runs, {whole:.1f} s")
    for name, seconds in parts.items():
        print(f"{name:12}{seconds:9.1f} s  {seconds / whole:7.2%}")
    print(f"goal: all else below {GOAL:.0%}: {'met' if parts['all else'] < GOAL * whole else 'missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
