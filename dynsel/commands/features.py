"""`dynsel features`: extract a store, say what is in one, check it, draw an atlas."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dynsel._lib.console import facts_table, open_console, say, status
from dynsel._lib.files import write_atomically
from dynsel._lib.parsers import instantiate
from dynsel._lib.progress import track
from dynsel.commands._arguments import CommandParser
from dynsel.commands._data import add_data, data_words, find_dataset

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from rich.console import Console

__all__ = ["atlas", "extract", "info", "verify"]


# ---------------------------------------------------------------- extract
def extract(args: list[str]) -> int:
    """Run `dynsel features extract`.

    Args:
        args: Options of the command: extractor, data, and those of `dynsel.features.extract.extract`.

    Returns:
        Exit code: 0, or 130 if interrupted.
    """
    from lightning.fabric.utilities.rank_zero import _get_rank

    from dynsel._lib.threads import set_threads
    from dynsel.features.extract import check_place
    from dynsel.features.extract import extract as write_store
    from dynsel.features.extractors import Extractor

    parser = CommandParser("dynsel features extract")
    parser.add_argument("--config", action="config", help="YAML file of these options")
    parser.add_subclass_arguments(Extractor, "extractor", required=True, help="what makes the features")
    add_data(parser)
    parser.add_argument("--out", type=Path, required=True, help="store to write, ending in .npy")
    names = parser.add_signature(write_store, "dataset", "extractor", "path", "progress_bar", "callbacks")
    trainer = {"accelerator": str, "devices": int | str, "num_nodes": int, "strategy": str, "precision": str}
    for name, kind in trainer.items():
        parser.add_argument(f"--{name}", type=kind | None, default=None, help="as Lightning's Trainer takes it")
    _add_threads(parser)
    options = parser.parse_args(_expanded(args))
    set_threads(options.threads)
    check_place(options.out, "--out")
    given = {name: options[name] for name in trainer if options[name] is not None}
    extractor, dataset = _instantiated(parser, options)
    console = open_console()
    start = time.perf_counter()
    try:
        store = write_store(
            dataset,
            extractor,
            options.out,
            progress_bar=console.is_terminal,
            **{name: options[name] for name in names},
            **given,
        )
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        console.print("interrupted; the same command goes on where it was", style="bold")
        return 130
    if not _get_rank():  # None: Lightning started no other rank
        seconds = time.perf_counter() - start
        count, width = store.features.shape
        skipped = f", {len(store.skipped)} of them unreadable and masked" if store.skipped else ""
        say(console, f"{store.path}: {count:,} x {width} {store.features.dtype}{skipped}, {seconds:.1f} s")
    return 0


def _add_threads(parser: CommandParser) -> None:
    parser.add_argument("--threads", type=int | None, default=None, help="number of CPU threads of torch")


def _expanded(args: list[str]) -> list[str]:
    """Short names of extractors as class paths, and a folder as an ImageFolder."""
    from dynsel._lib.messages import suggest
    from dynsel.features.extractors import EXTRACTORS

    expanded: list[str] = []
    words = iter([part for word in args for part in (word.split("=", 1) if word.startswith("--") else [word])])
    for word in words:
        expanded.append(word)
        if word in ("--extractor", "--extractor.help"):
            name = next(words, "")
            if "." not in name and name not in EXTRACTORS:
                raise ValueError(f"there is no extractor {name!r}{suggest(name, EXTRACTORS)}")
            cls = EXTRACTORS.get(name)
            expanded.append(name if cls is None else f"{cls.__module__}.{cls.__qualname__}")
        elif word == "--data":
            expanded += data_words(next(words, ""))
    return expanded


def _instantiated(parser: CommandParser, options: Namespace) -> tuple[Any, Any]:
    """Extractor and data set, each None where there is none."""
    try:
        made = instantiate(parser, options)
    except ValueError as error:
        lines = str(error).splitlines()
        if not lines or not lines[0].startswith("Does not validate"):
            raise
        # Every type that was tried has its say; what the right one said is neither about types nor what was given.
        noise = ("- Import path", "- Expected a")
        said = [line.strip() for line in lines if line.startswith("  - ") and not line.strip().startswith(noise)]
        text = "; ".join(line.removeprefix("- ") for line in said) or " ".join(lines)
        raise ValueError(f"`--data` or `--extractor` can't be made: {text}") from error
    return made.get("extractor"), None if made.get("data") is None else find_dataset(made.data, options.split)


# ---------------------------------------------------------------- info, verify
def info(args: list[str]) -> int:
    """Run `dynsel features info`.

    Args:
        args: Command line after the command's name.

    Returns:
        Exit code: 0.
    """
    parser = CommandParser("dynsel features info")
    parser.add_signature(_show, positional=True)
    _show(**vars(parser.parse_args(args)))
    return 0


def _show(store: str) -> None:
    """Print what a feature store holds.

    Args:
        store: A .npy file, its manifest, or a folder that holds one.
    """
    from dynsel.features.store import open_store

    found = open_store(store)
    said = found.manifest
    facts: list[tuple[str, Any]] = [
        ("file", found.path),
        ("rows", f"{said['N']:,} x {said['d']} {said['dtype']}, {found.features.nbytes / 1e6:,.1f} MB"),
        ("blocks", f"{len(said.get('checksums', [])):,} of {said.get('block_rows', said['N']):,} rows"),
        *((f"extractor: {key}", value) for key, value in (said.get("extractor") or {}).items() if value is not None),
        *((f"data: {key}", _brief(value)) for key, value in (said.get("fingerprint") or {}).items()),
        ("unreadable items", _brief(found.skipped) if found.skipped else "none"),
        ("versions", ", ".join(f"{k} {v}" for k, v in (said.get("versions") or {}).items()) or said.get("dynsel")),
    ]
    open_console().print(facts_table(facts))


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return f"{', '.join(map(str, value[:4]))}{f', ... ({len(value)})' if len(value) > 4 else ''}"
    return str(value)


def verify(args: list[str]) -> int:
    """Run `dynsel features verify`.

    Args:
        args: Command line after the command's name.

    Returns:
        Exit code: 0, or 1 if the store is damaged.

    Raises:
        FileNotFoundError: If there is no such store.
        ValueError: If the store was written without checksums, or isn't of the data given.
    """
    from dynsel.features.layout import check_fingerprint
    from dynsel.features.store import open_store

    parser = CommandParser("dynsel features verify")
    parser.add_signature(_show, positional=True)
    parser.add_argument("--config", action="config", help="YAML file with the data")
    add_data(parser, required=False)
    options = parser.parse_args(_expanded(args))
    store = open_store(options.store, check_blocks=False)
    if options.get("data") is not None:
        check_fingerprint(store.path, store.manifest, _instantiated(parser, options)[1])
    checksums = store.manifest.get("checksums", [])
    if not checksums:
        raise ValueError(f"{store.path} was written without checksums; extract it again to have them")
    console = open_console()
    blocks = track(store.damaged_blocks(), "verifying", len(checksums), show=console.is_terminal)
    damaged = [rows for rows in blocks if rows is not None]
    for first, end in damaged:
        say(console, f"rows {first} to {end - 1} don't match their checksum")
    if damaged:
        broken = f"{len(damaged)} of {len(checksums)} blocks are damaged"
        say(console, f"{store.path}: {broken}; copy or extract it again")
        return 1
    same = "" if options.get("data") is None else ", and it is of this data set"
    say(console, f"{store.path}: all {len(checksums)} blocks are as they were written{same}")
    return 0


# ---------------------------------------------------------------- atlas
def atlas(args: list[str]) -> int:
    """Run `dynsel features atlas`.

    Args:
        args: Command line after the command's name.

    Returns:
        Exit code: 0.
    """
    from dynsel._lib.outputs import check_output_folder
    from dynsel._lib.threads import set_threads

    parser = CommandParser("dynsel features atlas")
    parser.add_argument("--config", action="config", help="YAML file of these options")
    names = parser.add_signature(_draw, "dataset")
    add_data(parser)
    _add_threads(parser)
    options = parser.parse_args(_expanded(args))
    set_threads(options.threads)
    check_output_folder("--out", options.out)
    _draw(_instantiated(parser, options)[1], **{name: options[name] for name in names})
    return 0


def _draw(
    dataset: Any,
    features: str,
    out: Path,
    sae: Path | None = None,
    usage: Path | None = None,
    rows: int = 8,
    columns: int = 10,
    map: Literal["tsne", "pca"] = "tsne",
    points: int = 4000,
    seed: int = 0,
) -> None:
    """Draw the factors, and a map of the samples.

    Args:
        dataset: Images that the features describe.
        features: Feature store, .npy, or .npz:KEY.
        out: Folder that the pictures are written to.
        sae: Autoencoder of `dynsel sae fit`; without it one is fitted.
        usage: Checkpoint (.ckpt), run of `dynsel compare` (.json), or .npy.
        rows: Number of factors of each kind.
        columns: Number of images of a factor.
        map: How samples get their places: t-SNE or principal components.
        points: Largest number of samples on the map.
        seed: Seed of the autoencoder and of the map.
    """
    from dynsel.compare.report.atlas import load_usage
    from dynsel.compare.report.atlas_page import factor_picture, map_picture
    from dynsel.compare.report.factors import Samples
    from dynsel.compare.report.page import page_html
    from dynsel.features.arrays import load_features
    from dynsel.samplers.frame import declared_paths

    console = open_console()
    found = load_features(features, dataset=dataset)
    counts = None if usage is None else load_usage(usage, len(found))
    samples = Samples(dataset, *_classes(dataset), counts, declared_paths(dataset))
    with status(console, "the factors …"):
        pictures = [factor_picture(_codes(sae, found, seed, console), samples, rows, columns)]
    with status(console, "the map …"):
        pictures.append(map_picture(found, samples, _sample(len(found), points), map, seed))
    written: dict[str, str | bytes] = {f"{picture.name}.png": picture.png for picture in pictures}
    title = f"Atlas of {len(found):,} samples"
    written["atlas.html"] = page_html(title, pictures=pictures, writer="dynsel features atlas")
    for name, content in written.items():
        write_atomically(out / name, content)
    say(console, ", ".join(str(out / name) for name in written))


def _codes(sae: Path | None, features: Any, seed: int, console: Console) -> Any:
    from dynsel.sae import encode, fit_sae, load_sae

    if sae is not None:
        return encode(load_sae(sae), features)
    fit = fit_sae(features, seed=seed)
    say(console, f"fitted an autoencoder: fraction of variance unexplained {fit.fvu:.4f}")
    return encode(fit.sae, features)


def _classes(dataset: Any) -> tuple[Any, list[str] | None]:
    """Class codes and names that the data set tells of itself, or None."""
    from dynsel._lib.sheets import class_name
    from dynsel.labels import declared_labels, encode_labels

    labels = declared_labels(dataset)
    if labels is None:
        return None, None
    codes, found = encode_labels(labels)
    return codes.numpy(), [class_name(dataset, label) for label in found]


def _sample(count: int, points: int) -> Any:
    import numpy as np

    rows = np.random.default_rng(0).permutation(count)[:points]
    return np.sort(rows)
