"""What a full disk, two writers and many epochs do: nothing is lost, nothing half is taken for whole, nothing grows.

    mkdir /mnt/small && mount -t tmpfs -o size=2m tmpfs /mnt/small
    python recipes/benchmarks/faults.py full --small /mnt/small
    python recipes/benchmarks/faults.py writers
    python recipes/benchmarks/faults.py leaks --epochs 500

`full` runs commands whose output doesn't fit into a small file system: each must end with code 2 and one line, and
leave no file that looks whole. `writers` starts four extractions into one store, and four comparisons into one folder,
at the same moment: what is there afterwards must be whole, and those that lost must say so in one line. `leaks` trains
for many epochs and compares the memory that Python and the process hold after a fifth of them and at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from dynsel.callbacks import DynamicSelection

COMMAND = (sys.executable, "-m", "dynsel")
DIGITS = Path(__file__).parents[1] / "digits.yaml"
PIXELS = ("features", "extract", "--data", "dynsel.data.DigitsDataModule", "--extractor", "pixels")
EXTRACT = (*PIXELS, "--extractor.components", "32", "--accelerator", "cpu", "--batch_size", "16", "--block_rows", "16")
SHORT = ("--trainer.max_epochs", "1", "--selectors", "full", "random", "--seeds", "1")


def full(small: Path) -> bool:
    """Commands whose output is larger than a file system."""
    source = Path(tempfile.mkdtemp()) / "f.npy"
    np.save(source, np.random.default_rng(0).normal(size=(60_000, 8)).astype(np.float32))
    # Without its own callback, whose checkpoints go elsewhere.
    fit = ("fit", "--config", str(DIGITS), "--trainer.max_epochs", "1", "--trainer.callbacks", "null")
    sae = ("sae", "fit", "--features", str(source), "--epochs", "1", "--num_factors", "64", "--k", "16")
    commands = {
        "features extract": (*PIXELS, "--dtype", "float32", "--out", str(small / "f.npy")),
        "sae fit --codes": (*sae, "--out", str(source.with_name("s.safetensors")), "--codes", str(small / "c.json")),
        "fit": (*fit, "--trainer.default_root_dir", str(small)),
        "select": (
            "select",
            "--features",
            str(source),
            "--keep_ratio",
            "0.9",
            "--selector",
            "random",
            "--out",
            str(small / "s.json"),
        ),
        "compare": ("compare", "--config", str(DIGITS), *SHORT, "--out", str(small / "c")),
    }
    good = True
    for name, words in commands.items():
        for path in small.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        room = shutil.disk_usage(small).free - 50_000
        (small / "ballast").write_bytes(bytes(0 if name.startswith("sae") else max(0, room)))
        done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith("dynsel: error: ")]
        left = sorted(str(path.relative_to(small)) for path in small.rglob("*") if path.is_file())
        fine = done.returncode == 2 and len(lines) == 1 and "Traceback" not in done.stderr
        good &= fine
        print(f"{'ok ' if fine else 'NOT'} {name}: code {done.returncode}, {lines}, left: {left}", flush=True)
    return good


def together(words: tuple[str, ...], count: int = 4) -> list[tuple[int, str]]:
    """The same command several times at once: exit codes and what was said on the standard error."""
    made = [subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True) for _ in range(count)]
    said = [process.communicate()[1] for process in made]
    return [(process.returncode, text) for process, text in zip(made, said, strict=True)]


def writers() -> bool:
    """Several processes and one output."""
    folder = Path(tempfile.mkdtemp())
    found = together((*EXTRACT, "--out", str(folder / "f.npy")))
    codes = sorted(code for code, _ in found)
    lost = [[line for line in text.splitlines() if "dynsel: error" in line] for code, text in found if code]
    whole = subprocess.run([*COMMAND, "features", "verify", str(folder / "f.npy")], check=False).returncode == 0
    good = whole and 0 in codes and set(codes) <= {0, 2} and all(len(lines) == 1 for lines in lost)
    print(f"features extract: codes {codes}, store whole: {whole}, the others: {lost}", flush=True)
    found = together(("compare", "--config", str(DIGITS), *SHORT, "--seeds", "2", "--out", str(folder / "c")))
    runs = [json.loads(path.read_text()) for path in sorted((folder / "c" / "runs").glob("*.json"))]
    fine = len(runs) == 4 and all(code == 0 for code, _ in found)
    rest = [path.name for path in (folder / "c").rglob("*") if path.suffix in (".tmp", ".lock")]
    print(f"compare: codes {sorted(code for code, _ in found)}, {len(runs)} whole runs of 4, left over: {rest}")
    shutil.rmtree(folder)
    return good and fine


class Net(pl.LightningModule):
    """A linear layer that notes memory after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 2)
        self.held: list[tuple[float, int]] = []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def on_train_epoch_end(self) -> None:
        if self.current_epoch % 10 == 9:
            gc.collect()
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
            self.held.append((resident / 1e6, len(gc.get_objects())))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def leaks(epochs: int) -> bool:
    """Memory and objects of a long training, with budget rounds."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    data = TensorDataset(torch.randn(400, 8), torch.arange(400) % 2)
    callback, model = DynamicSelection("hybrid", keep_ratio=0.5, budget=1.0), Net()
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=[callback], enable_model_summary=False, **options
    )
    trainer.fit(model, DataLoader(data, 40, shuffle=True))
    early, late = model.held[len(model.held) // 5], model.held[-1]
    print(
        f"{epochs} epochs: resident {early[0]:.1f} MB after a fifth, {late[0]:.1f} MB at the end; "
        f"Python objects {early[1]:,} and {late[1]:,}"
    )
    return late[0] - early[0] < 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("full", "writers", "leaks"))
    parser.add_argument("--small", type=Path, help="folder in a file system of 2 MB, which is emptied")
    parser.add_argument("--epochs", type=int, default=500)
    options = parser.parse_args()
    if options.what == "full" and (options.small is None or shutil.disk_usage(options.small).total > 3e6):
        parser.error("`full` needs --small FOLDER, in a file system of 2 MB or so")
    good = {"full": lambda: full(options.small), "writers": writers, "leaks": lambda: leaks(options.epochs)}
    raise SystemExit(not good[options.what]())


if __name__ == "__main__":
    main()
