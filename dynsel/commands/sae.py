"""`dynsel sae`: fit a sparse autoencoder to features, and say what one is."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsel._lib.console import facts_table, open_console, say
from dynsel._lib.files import write_atomically
from dynsel._lib.provenance import provenance
from dynsel.commands._arguments import CommandParser

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from rich.console import Console

    from dynsel.sae import SAEFit, SparseCodes

__all__ = ["fit", "info"]


def fit(args: list[str]) -> int:
    """Run `dynsel sae fit`.

    Args:
        args: Options of the command: those of `files` and `fit_sae`.

    Returns:
        Exit code: 0, or 130 if interrupted.
    """
    from dynsel.sae import fit_sae

    parser = CommandParser("dynsel sae fit")
    parser.add_signature(_files)
    training = parser.add_signature(fit_sae, "features", "mask", "progress_bar")
    options = parser.parse_args(args)
    _check_k(options, parser.get_default("k"))
    _files(**{name: options[name] for name in ("features", "out", "codes", "plot", "threads")})

    from lightning.fabric.utilities.rank_zero import _get_rank

    from dynsel.features import load_features
    from dynsel.sae import encode, save_sae

    console = open_console()
    features = load_features(options.features)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`k` = .* is lowered")  # said below
            found = fit_sae(
                features,
                mask=_mask(options.features),
                progress_bar=console.is_terminal,
                **{name: options[name] for name in training},
            )
    except SystemExit:  # what Lightning makes of Ctrl-C
        console.print("interrupted; nothing was written", style="bold")
        return 130
    if _get_rank():
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_sae(found.sae, options.out)
    if options.codes is None:
        codes = encode(found.sae, features)
    else:
        codes = _written_codes(options, found, features, console.is_terminal)
    facts = {**_facts(options, found, codes), **provenance(["sae", "fit", *args], ("torch",))}
    write_atomically(options.out.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
    _tell(options, found, codes, console)
    return 0


def _tell(options: Namespace, found: SAEFit, codes: SparseCodes, console: Console) -> None:
    """Say what came out, and draw it if that was asked for."""
    if found.sae.k < options.k:
        say(console, f"k lowered to {found.sae.k}: at most half of the factors")
    say(
        console,
        f"{options.out}: {found.sae.num_factors:,} factors, k = {found.sae.k}, fraction of variance unexplained "
        f"{found.fvu:.4f}, dead {100 * found.dead_share:.1f} %, {found.seconds:.1f} s",
    )
    if options.plot:
        from dynsel._lib.figures import DPI
        from dynsel.compare.report.factors import frequency_figure

        path = options.out.with_suffix(".png")
        figure = frequency_figure(codes.frequency(), fvu=found.fvu)
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=DPI))
        say(console, str(path))


def _check_k(options: Namespace, usual: int) -> None:
    """A k that was asked for is taken or refused, never another one instead."""
    most = None if options.num_factors is None else options.num_factors // 2
    if most is not None and options.k != usual and options.k > most >= 1:
        raise ValueError(
            f"`--k` must be at most half of `--num_factors`, {most}, got {options.k}: a code that uses most factors "
            "isn't sparse"
        )


def _files(features: str, out: Path, codes: Path | None = None, plot: bool = False, threads: int | None = None) -> None:
    """Check what is to be read and written.

    Args:
        features: Feature store, .npy, or .npz:KEY.
        out: File to write, ending in .safetensors; what is known of it goes beside it, as .json.
        codes: Write the sparse codes too, to a file ending in .json.
        plot: Draw how often the factors occur, beside `out`.
        threads: Number of CPU threads of torch.

    Raises:
        ValueError: If a file has another ending or can't be written, or two are the same.
    """
    from dynsel._lib.outputs import check_output
    from dynsel._lib.threads import set_threads

    for name, suffix, given in (("out", ".safetensors", out), ("codes", ".json", codes)):
        if given is not None and given.suffix != suffix:
            raise ValueError(f"`--{name}` must end in {suffix}, got {given.name!r}")
    if codes is not None and codes == out.with_suffix(".json"):
        raise ValueError(f"`--codes` must be another file than {codes}, which describes the autoencoder")
    for name, path in (("out", out), ("out", out.with_suffix(".json")), ("codes", codes)):
        if path is not None:
            check_output(f"--{name}", path)
    set_threads(threads)


def _mask(source: str) -> Any:
    """Which rows of a store are features, or None where all are."""
    import torch

    from dynsel.features.layout import manifest_path
    from dynsel.features.store import find_store, open_store

    if ".npz" in source or not manifest_path(find_store(source)).is_file():
        return None
    store = open_store(source, check_blocks=False)
    return torch.from_numpy(store.mask) if store.skipped else None


def _written_codes(options: Namespace, found: SAEFit, features: Any, progress_bar: bool) -> SparseCodes:
    from dynsel.sae import load_codes, save_codes

    options.codes.parent.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"source": os.path.abspath(options.features), "fvu": found.fvu}
    return load_codes(save_codes(options.codes, found.sae, features, progress_bar=progress_bar, **facts))


def _facts(options: Namespace, found: SAEFit, codes: SparseCodes) -> dict[str, Any]:
    import torch

    frequency = codes.frequency()
    quantiles = torch.quantile(frequency, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64))
    return {
        "format": "dynsel.sae.facts",
        "dim": found.sae.dim,
        "num_factors": found.sae.num_factors,
        "k": found.sae.k,
        "fvu": found.fvu,
        "dead_share": found.dead_share,
        "frequency_quartiles": [round(value, 6) for value in quantiles.tolist()],
        "rows": len(codes),
        "features": os.path.abspath(options.features),
        "seed": options.seed,
        "precision": options.precision,
        "devices": options.devices * options.num_nodes,
        "seconds": round(found.seconds, 3),
    }


def info(args: list[str]) -> int:
    """Run `dynsel sae info`.

    Args:
        args: Command line after the command's name.

    Returns:
        Exit code: 0.
    """
    parser = CommandParser("dynsel sae info")
    parser.add_signature(_show, positional=True)
    _show(**vars(parser.parse_args(args)))
    return 0


def _show(file: Path) -> None:
    """Print what an autoencoder is and how it was made.

    Args:
        file: Autoencoder, ending in .safetensors.

    Raises:
        FileNotFoundError: If there is no autoencoder of this name.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no autoencoder {file}")
    from dynsel.sae import load_sae

    sae = load_sae(file)
    known = _facts_beside(file)
    known |= {"dim": sae.dim, "num_factors": sae.num_factors, "k": sae.k}
    open_console().print(facts_table((name, value) for name, value in known.items() if name != "format"))


def _facts_beside(file: Path) -> dict[str, Any]:
    """What is known of an autoencoder from the file beside it; nothing if there is none."""
    beside = file.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        known = json.loads(beside.read_text(encoding="utf-8"))
        return dict(known)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{beside} is damaged; remove it, or fit the autoencoder again ({error})") from error
