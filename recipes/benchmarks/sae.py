"""The sparse autoencoder on a store of 1,000,000 x 512: seconds, growth from 100,000 rows, and peak memory.

    python recipes/benchmarks/sae.py

Rows are sums of sixteen of 1,024 random directions and noise, in float16, written block by block. One pass of training,
then encoding to disk. Peak memory is the process's own (anonymous pages), without the page cache that a memory map is.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from dynsel.features import StoreWriter, load_features
from dynsel.sae import fit_sae, save_codes

BLOCK = 10_000


def write(path: Path, rows: int, width: int) -> None:
    generator = np.random.default_rng(0)
    atoms = generator.standard_normal((1024, width)).astype(np.float32)
    StoreWriter.begin(path, {"N": rows, "d": width, "dtype": "float16", "block_rows": BLOCK})
    writer = StoreWriter(path)
    for block in writer.missing():
        chosen = generator.integers(1024, size=(BLOCK, 16))
        values = generator.random((BLOCK, 16), dtype=np.float32)
        made = sum(values[:, i, None] * atoms[chosen[:, i]] for i in range(16))
        made = made + 0.1 * generator.standard_normal((BLOCK, width)).astype(np.float32)
        part = writer.rows(block)
        writer.write(block, made[: part.stop - part.start].astype(np.float16))
    writer.finish()


class PeakMemory(threading.Thread):
    """Looks at the process's anonymous memory every 20 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.done = 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    self.peak = max(self.peak, int(line.split()[1]) * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--factors", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="for the stores (1.1 GB), removed afterwards")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = []
    with tempfile.TemporaryDirectory(prefix="dynsel-sae-", dir=options.folder) as name:
        for rows in options.rows:
            path = Path(name) / f"{rows}.npy"
            write(path, rows, options.width)
            watch = PeakMemory()
            watch.start()
            features = load_features(path)
            start, worked = time.perf_counter(), time.process_time()
            fit = fit_sae(features, num_factors=options.factors, k=16, epochs=1, device="cpu")
            trained, fit_work = time.perf_counter(), time.process_time() - worked
            save_codes(Path(name) / "codes.json", fit.sae, features)
            end, encode_work = time.perf_counter(), time.process_time() - worked - fit_work
            watch.done.set()
            seconds.append((fit_work, encode_work))
            clock = f"on the clock {trained - start:.1f} and {end - trained:.1f} s"
            print(
                f"{rows:,} x {options.width}: fit {fit_work:.1f} s of processor time, encode {encode_work:.1f} s "
                f"({clock}), peak memory {watch.peak / 2**30:.2f} GiB, fvu {fit.fvu:.3f}, dead {fit.dead_share:.3f}",
                flush=True,
            )
    if len(seconds) > 1:
        growth = options.rows[-1] / options.rows[0]
        fit_growth, encode_growth = (seconds[-1][i] / seconds[0][i] for i in (0, 1))
        print(
            f"{growth:.0f} times the rows: fit {fit_growth:.1f} times the processor time, encode {encode_growth:.1f} "
            f"({options.factors} factors, k 16, one pass, {options.threads} threads)"
        )


if __name__ == "__main__":
    main()
