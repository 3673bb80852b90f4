"""The command `dynsel features`: extract a store, say what is in one, check it, draw an atlas."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsel.commands._arguments import Parser, run_command

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["find_dataset", "run_features"]

MAPS = {"tsne": "t-SNE", "pca": "principal components"}
HELP = """\
usage: dynsel features <command> [options]

Features of a data set, extracted once and reused by later runs.

commands:
  extract    write a store; interrupted, the same command goes on:
             dynsel features extract --data photos/ --extractor open-clip --extractor.model ViT-B-32 --out clip.npy
  info       what a store holds:            dynsel features info clip.npy
  verify     check every block of a store:  dynsel features verify clip.npy
  atlas      pictures of what the features find in the images:
             dynsel features atlas --features clip.npy --data photos/ --out atlas/

`dynsel features extract --help` and so on list the options. A store is a .npy file with its manifest, x.npy.json;
use it by `--selection.features x.npy` or `features="x.npy"`.
"""
EPILOG = """\
extractors: minilm, module, open-clip, pixels, text, torchvision; or the path of a class of your own. Their arguments:
--extractor.model resnet18 and so on; `--extractor.help torchvision` lists them.
data: a folder of class folders, or the path of a data set's or LightningDataModule's class with its arguments, as in
--data dynsel.data.CIFAR10DataModule --data.root data/cifar10. Training data need to come without random augmentation.
All of it can stand in a YAML file: --config FILE.
"""


def run_features(args: list[str]) -> int:
    """Run `dynsel features`.

    Args:
        args: Command and its options.

    Returns:
        Exit code: 0, 1 if a store is damaged, 130 if interrupted.
    """
    commands = {"extract": _extract, "info": _info, "verify": _verify, "atlas": _atlas}
    return run_command("dynsel features", commands, HELP, args)


# ---------------------------------------------------------------- extract
def _extract(args: list[str]) -> int:
    from lightning.fabric.utilities.rank_zero import _get_rank

    from dynsel.features.extract import extract

    config = _extract_parser().parse_args(_expanded(args))
    console = _console()
    options = {name: config[name] for name in ("batch_size", "block_rows", "num_workers", "dtype", "skip_unreadable")}
    trainer = {name: config[name] for name in ("accelerator", "devices", "num_nodes", "strategy", "precision")}
    if config.threads:
        import torch

        torch.set_num_threads(config.threads)
    extractor, dataset = _instantiated(_extract_parser(), config)
    start = time.perf_counter()
    try:
        store = extract(
            dataset,
            extractor,
            config.out,
            progress_bar=console.is_terminal,
            **options,
            **{name: value for name, value in trainer.items() if value is not None},
        )
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        console.print("interrupted; the same command goes on where it was", style="bold")
        return 130
    if not _get_rank():  # None: Lightning started no other rank
        seconds = time.perf_counter() - start
        count, width = store.features.shape
        skipped = f", {len(store.skipped)} of them unreadable and masked" if store.skipped else ""
        console.print(
            f"{store.path}: {count:,} x {width} {store.features.dtype}{skipped}, {seconds:.1f} s",
            soft_wrap=True,
            highlight=False,
        )
    return 0


def _extract_parser() -> Any:
    from jsonargparse import ArgumentParser
    from jsonargparse.typing import NonNegativeInt, PositiveInt

    from dynsel.features.extractors import Extractor

    parser = ArgumentParser(
        "dynsel features extract",
        description="Write the features of every item of a data set into a store.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file of these options")
    parser.add_subclass_arguments(Extractor, "extractor", required=True, help="what makes the features")
    _add_data(parser)
    parser.add_argument("--out", type=Path, required=True, help="file to write, ending in .npy")
    parser.add_argument("--batch_size", type=PositiveInt, default=256, help="items at a time")
    parser.add_argument("--block_rows", type=PositiveInt | None, default=None, help="rows of a block (about 4,096)")
    parser.add_argument("--num_workers", type=NonNegativeInt, default=0, help="processes that read and prepare items")
    parser.add_argument("--dtype", type=str, default="float16", help="float16 or float32")
    parser.add_argument(
        "--skip_unreadable", "--skip-unreadable", action="store_true", help="zeros for items that can't be read"
    )
    parser.add_argument("--threads", type=PositiveInt | None, default=None, help="CPU threads of torch")
    parser.add_argument("--accelerator", type=str, default="auto", help="of Lightning's Trainer, as are the next four")
    parser.add_argument("--devices", type=int | str, default=1)
    parser.add_argument("--num_nodes", type=PositiveInt, default=1)
    parser.add_argument("--strategy", type=str, default="auto")
    parser.add_argument("--precision", type=str | None, default=None)
    return parser


def _add_data(parser: Any, required: bool = True) -> None:
    from lightning.pytorch import LightningDataModule
    from torch.utils.data import Dataset

    parser.add_subclass_arguments((LightningDataModule, Dataset), "data", required=required, help="what to describe")
    parser.add_argument("--split", type=str, default="train", help="of a data module: train, val, test or predict")


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
            name = next(words, "")
            if os.path.isdir(name):
                expanded += ["torchvision.datasets.ImageFolder", "--data.root", name]
            elif os.sep in name:
                raise FileNotFoundError(f"there is no data folder {name}")
            else:
                expanded.append(name)
    return expanded


def _instantiated(parser: Any, config: Any) -> tuple[Any, Any]:
    made = parser.instantiate_classes(config)
    return made.get("extractor"), None if made.get("data") is None else find_dataset(made.data, config.split)


def find_dataset(data: Any, split: str = "train") -> Any:
    """The data set itself, or that of a data module's loader.

    Args:
        data: Data set or LightningDataModule.
        split: Which of its loaders: "train", "val", "test" or "predict".

    Raises:
        ValueError: If it has no such loader, or several.
    """
    from lightning.pytorch import LightningDataModule

    if not isinstance(data, LightningDataModule):
        return data
    stages = {"train": "fit", "val": "fit", "test": "test", "predict": "predict"}
    if split not in stages:
        raise ValueError(f"`split` must be one of {', '.join(stages)}, got {split!r}")
    data.prepare_data()
    data.setup(stages[split])
    dataset = getattr(getattr(data, f"{split}_dataloader")(), "dataset", None)
    if dataset is None:
        raise ValueError(f"{type(data).__name__}.{split}_dataloader() must return one DataLoader with a data set")
    return dataset


# ---------------------------------------------------------------- info, verify
def _info(args: list[str]) -> int:
    from rich import box
    from rich.table import Table

    from dynsel.features.store import open_store

    parser = Parser("dynsel features info", "What a feature store holds.")
    parser.add_argument("store", help=".npy file, its manifest, or a folder that holds one")
    store = open_store(parser.parse_args(args).store)
    said = store.manifest
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows: list[tuple[str, Any]] = [
        ("file", store.path),
        ("rows", f"{said['N']:,} x {said['d']} {said['dtype']}, {store.features.nbytes / 1e6:,.1f} MB"),
        ("blocks", f"{len(said.get('checksums', [])):,} of {said.get('block_rows', said['N']):,} rows"),
        *((f"extractor: {key}", value) for key, value in (said.get("extractor") or {}).items() if value is not None),
        *((f"data: {key}", _brief(value)) for key, value in (said.get("fingerprint") or {}).items()),
        ("unreadable items", _brief(store.skipped) if store.skipped else "none"),
        ("versions", ", ".join(f"{k} {v}" for k, v in (said.get("versions") or {}).items()) or said.get("dynsel")),
    ]
    for name, value in rows:
        table.add_row(name, str(value), style=None)
    table.box = box.SIMPLE
    _console().print(table)
    return 0


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return f"{', '.join(map(str, value[:4]))}{f', ... ({len(value)})' if len(value) > 4 else ''}"
    return str(value)


def _verify(args: list[str]) -> int:
    from rich.progress import track

    from dynsel.features.layout import check_fingerprint
    from dynsel.features.store import open_store

    parser = _verify_parser()
    config = parser.parse_args(_expanded(args))
    console = _console()
    store = open_store(config.store, check_blocks=False)
    if config.get("data") is not None:
        check_fingerprint(store.path, store.manifest, _instantiated(parser, config)[1])
    checksums = store.manifest.get("checksums", [])
    if not checksums:
        raise ValueError(f"{store.path} was written without checksums; extract it again to have them")
    found = track(store.damaged_blocks(), "verifying", len(checksums), console=console, transient=True)
    damaged = [rows for rows in found if rows is not None]
    for first, end in damaged:
        console.print(f"rows {first} to {end - 1} don't match their checksum", highlight=False)
    if damaged:
        console.print(
            f"{store.path}: {len(damaged)} of {len(checksums)} blocks are damaged; copy or extract it again",
            soft_wrap=True,
        )
        return 1
    same = "" if config.get("data") is None else ", and it is of this data set"
    console.print(
        f"{store.path}: all {len(checksums)} blocks are as they were written{same}", soft_wrap=True, highlight=False
    )
    return 0


def _verify_parser() -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        "dynsel features verify",
        description="Check every block of a store, and that it is of a data set.",
        exit_on_error=False,
    )
    parser.add_argument("store", type=str, help=".npy file, its manifest, or a folder that holds one")
    parser.add_argument("--config", action="config", help="YAML file with the data")
    _add_data(parser, required=False)
    return parser


# ---------------------------------------------------------------- atlas
def _atlas(args: list[str]) -> int:
    import torch

    from dynsel.compare.report.atlas import embed, load_usage, map_figure
    from dynsel.compare.report.factors import factor_figure
    from dynsel.compare.report.style import DPI
    from dynsel.features.arrays import load_features

    parser = _atlas_parser()
    config = parser.parse_args(_expanded(args))
    if config.map not in MAPS:
        raise ValueError(f"the map must be {' or '.join(map(repr, MAPS))}, got {config.map!r}")
    console = _console()
    if config.threads:
        torch.set_num_threads(config.threads)
    dataset = _instantiated(parser, config)[1]
    features = load_features(config.features, dataset=dataset)
    usage = None if config.usage is None else load_usage(config.usage, len(features))
    labels, classes = _classes(dataset)
    with console.status("the factors …"):
        codes = _codes(config, features, console)
    written = {"factors.png": factor_figure(codes, dataset, labels, classes, rows=config.rows, columns=config.columns)}
    with console.status("the map …"):
        rows = _sample(len(features), config.points)
        places = embed(features, rows, config.map, config.seed)
    title = (
        f"{config.map}-map of {len(rows):,} of {len(features):,} samples by their features (d = {features.shape[1]})"
    )
    chosen = [None if values is None else values[rows] for values in (labels, usage)]
    written["map.png"] = map_figure(places, chosen[0], classes, chosen[1], title=title)
    config.out.mkdir(parents=True, exist_ok=True)
    for name, figure in written.items():
        figure.savefig(config.out / name, dpi=DPI)
    console.print(", ".join(str(config.out / name) for name in written), soft_wrap=True, highlight=False)
    return 0


def _atlas_parser() -> Any:
    from jsonargparse import ArgumentParser
    from jsonargparse.typing import PositiveInt

    parser = ArgumentParser(
        "dynsel features atlas",
        description="Pictures of what the features find in the images: the factors by the images that activate them "
        "most (factors.png), and a map coloured by class and by usage (map.png).",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file of these options")
    parser.add_argument("--features", type=str, required=True, help="feature store, .npy, or .npz:KEY")
    _add_data(parser)
    parser.add_argument(
        "--sae", type=Path | None, default=None, help="autoencoder of `dynsel sae fit`; else one is fitted"
    )
    parser.add_argument(
        "--usage", type=Path | None, default=None, help=".ckpt, run of `dynsel compare` (.json), or .npy"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--rows", type=PositiveInt, default=8, help="factors of each kind")
    parser.add_argument("--columns", type=PositiveInt, default=10, help="images of a factor")
    parser.add_argument("--map", type=str, default="tsne", help="tsne or pca")
    parser.add_argument("--points", type=PositiveInt, default=4000, help="samples on the map")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=PositiveInt | None, default=None, help="CPU threads of torch")
    return parser


def _codes(config: Any, features: Any, console: Console) -> Any:
    from dynsel.sae import encode, fit_sae, load_sae

    if config.sae is not None:
        return encode(load_sae(config.sae), features)
    fit = fit_sae(features, seed=config.seed)
    console.print(f"fitted an autoencoder: fraction of variance unexplained {fit.fvu:.4f}", highlight=False)
    return encode(fit.sae, features)


def _classes(dataset: Any) -> tuple[Any, list[str] | None]:
    """Class codes and names that the data set tells of itself, or None."""
    from dynsel.labels import declared_labels, encode_labels

    labels = declared_labels(dataset)
    if labels is None:
        return None, None
    codes, found = encode_labels(labels)
    names = getattr(dataset, "classes", None)
    return codes.numpy(), [str(names[label] if names and isinstance(label, int) else label) for label in found]


def _sample(count: int, points: int) -> Any:
    import numpy as np

    rows = np.random.default_rng(0).permutation(count)[:points]
    return np.sort(rows)


def _console() -> Console:
    from rich.console import Console

    console = Console()
    # A file or pipe has no width of its own.
    return console if console.is_terminal else Console(width=120)
