"""The command `dynsel sae`: fit a sparse autoencoder to features, and say what one is."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsel.commands._arguments import Parser, run_command

if TYPE_CHECKING:
    import argparse

    from dynsel.sae import SAEFit, SparseCodes

__all__ = ["run_sae"]

HELP = """\
usage: dynsel sae <command> [options]

A sparse autoencoder finds the factors that features are made of: each row as a sum of a few of many directions.

commands:
  fit    train one:       dynsel sae fit --features clip.npy --out sae.safetensors --plot
  info   say what it is:  dynsel sae info sae.safetensors

`dynsel sae fit --help` lists the options.
"""


def run_sae(args: list[str]) -> int:
    """Run `dynsel sae`.

    Args:
        args: Command and its options.

    Returns:
        Exit code: 0, or 130 if interrupted.
    """
    commands = {"fit": _fit, "info": _info}
    return run_command("dynsel sae", commands, HELP, args)


def _parse(args: list[str]) -> argparse.Namespace:
    parser = Parser("dynsel sae fit", "Fit a sparse autoencoder to features.")
    parser.add_argument("--features", required=True, metavar="FILE", help="feature store, .npy, or .npz:KEY")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="to write, ending in .safetensors")
    parser.add_argument("--factors", type=int, metavar="M", help="number of factors (default: 8 d, at most 4,096)")
    parser.add_argument("--k", type=int, default=32, help="active factors a row (default: 32)")
    parser.add_argument("--epochs", type=int, help="passes over the rows (default: 1,000 steps, within 3 .. 50)")
    parser.add_argument("--batch-size", type=int, help="rows a step (default: N / 16, within 32 .. 1,024)")
    parser.add_argument("--lr", type=float, default=3e-3, help="learning rate (default: 0.003)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--devices", type=int, default=1, help="processes or GPUs that share every batch")
    parser.add_argument("--num-nodes", type=int, default=1, help="machines, likewise")
    parser.add_argument("--precision", default="32-true", help="of the Trainer, as in bf16-mixed")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--codes", type=Path, metavar="FILE", help="write the sparse codes too, ending in .json")
    parser.add_argument("--plot", action="store_true", help="draw how often the factors occur, beside --out")
    options = parser.parse_args(args)
    for name, suffix in (("out", ".safetensors"), ("codes", ".json")):
        given = getattr(options, name)
        if given is not None and given.suffix != suffix:
            raise ValueError(f"`--{name}` must end in {suffix}, got {given.name!r}")
    if options.codes is not None and options.codes == options.out.with_suffix(".json"):
        raise ValueError(f"`--codes` must be another file than {options.codes}, which describes the autoencoder")
    return options


def _fit(args: list[str]) -> int:
    options = _parse(args)
    import torch
    from lightning.fabric.utilities.rank_zero import _get_rank
    from rich.console import Console

    from dynsel._lib.files import write_atomically
    from dynsel.features import load_features
    from dynsel.sae import encode, fit_sae, save_sae

    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console()
    features = load_features(options.features)
    try:
        fit = fit_sae(
            features,
            num_factors=options.factors,
            k=options.k,
            epochs=options.epochs,
            batch_size=options.batch_size,
            lr=options.lr,
            seed=options.seed,
            device=options.device,
            devices=options.devices,
            num_nodes=options.num_nodes,
            precision=options.precision,
            mask=_mask(options.features),
            progress_bar=console.is_terminal,
        )
    except SystemExit:  # what Lightning makes of Ctrl-C
        console.print("interrupted; nothing was written", style="bold")
        return 130
    if _get_rank():
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_sae(fit.sae, options.out)
    if options.codes is None:
        codes = encode(fit.sae, features)
    else:
        codes = _written_codes(options.codes, fit, features, options.features, console.is_terminal)
    facts = _facts(options, args, fit, codes)
    write_atomically(options.out.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
    console.print(
        f"{options.out}: {facts['num_factors']:,} factors, k = {facts['k']}, fraction of variance unexplained "
        f"{fit.fvu:.4f}, dead {100 * fit.dead_share:.1f} %, {fit.seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    if options.plot:
        from dynsel.compare.report.factors import frequency_figure
        from dynsel.compare.report.style import DPI

        path = options.out.with_suffix(".png")
        frequency_figure(codes.frequency(), fvu=fit.fvu).savefig(path, dpi=DPI)
        console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def _mask(source: str) -> Any:
    """Which rows of a store are features, or None where all are."""
    import torch

    from dynsel.features.layout import manifest_path
    from dynsel.features.store import find_store, open_store

    if ".npz" in source or not manifest_path(find_store(source)).is_file():
        return None
    store = open_store(source, check_blocks=False)
    return torch.from_numpy(store.mask) if store.skipped else None


def _written_codes(path: Path, fit: SAEFit, features: Any, source: str, progress_bar: bool) -> SparseCodes:
    from dynsel.sae import load_codes, save_codes

    path.parent.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"source": os.path.abspath(source), "fvu": fit.fvu}
    return load_codes(save_codes(path, fit.sae, features, progress_bar=progress_bar, **facts))


def _facts(options: argparse.Namespace, args: list[str], fit: SAEFit, codes: SparseCodes) -> dict[str, Any]:
    import torch

    import dynsel
    from dynsel.compare.facts import hardware, today

    frequency = codes.frequency()
    quantiles = torch.quantile(frequency, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64))
    return {
        "format": "dynsel.sae.facts",
        "dim": fit.sae.dim,
        "num_factors": fit.sae.num_factors,
        "k": fit.sae.k,
        "fvu": fit.fvu,
        "dead_share": fit.dead_share,
        "frequency_quartiles": [round(value, 6) for value in quantiles.tolist()],
        "rows": len(codes),
        "features": os.path.abspath(options.features),
        "seed": options.seed,
        "precision": options.precision,
        "devices": options.devices * options.num_nodes,
        "seconds": round(fit.seconds, 3),
        "command": shlex.join(["dynsel", "sae", "fit", *args]),
        "versions": {"dynsel": dynsel.__version__, "torch": torch.__version__},
        "hardware": hardware(),
        "date": today(),
    }


def _info(args: list[str]) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dynsel.sae import load_sae

    parser = Parser("dynsel sae info", "What an autoencoder is and how it was made.")
    parser.add_argument("file", type=Path, help=".safetensors file")
    path = parser.parse_args(args).file
    if not path.is_file():
        raise FileNotFoundError(f"there is no autoencoder {path}")
    sae = load_sae(path)
    beside = path.with_suffix(".json")
    facts = {"dim": sae.dim, "num_factors": sae.num_factors, "k": sae.k}
    if beside.is_file():
        facts = {**json.loads(beside.read_text()), **facts}
    table = Table(box=box.SIMPLE, show_header=False)
    for name, value in facts.items():
        if name != "format":
            table.add_row(name, str(value))
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)
    return 0
