"""`dynsel findings`: what a training found out about its data, as tables and a page."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsel._lib.checks import check_choice, check_integer
from dynsel._lib.console import open_console, say, status
from dynsel._lib.messages import first_line
from dynsel._lib.outputs import check_output_folder
from dynsel._lib.parsers import instantiate
from dynsel.commands._arguments import CommandParser
from dynsel.commands._data import add_data, data_words, find_dataset

if TYPE_CHECKING:
    from dynsel.samplers.findings import Evidence, Findings

__all__ = ["findings"]


def findings(args: list[str]) -> int:
    """Run `dynsel findings`.

    Args:
        args: Options as they stand on the command line.

    Returns:
        Exit code: 0.

    Raises:
        ValueError: If neither a configuration nor data are given.
    """
    configs, words = _without_configs(args)
    parser = CommandParser("dynsel findings")
    names = parser.add_signature(_look, "dataset", "configs", positional=True)
    add_data(parser, required=False)
    parser.add_argument("--config", "-c", type=str, help="YAML file of the training, whose data are taken; may repeat")
    options = parser.parse_args([*_data_of(configs), *words])
    if options.data is None:
        raise ValueError(
            "the training set is needed: give --config TRAINING.yaml, or --data with a folder or class path"
        )
    made = instantiate(parser, options)
    dataset = find_dataset(made.data, options.split)
    _look(dataset=dataset, configs=configs, **{name: options[name] for name in names})
    return 0


def _look(
    checkpoint: Path,
    *,
    dataset: Any,
    configs: list[str],
    out: Path = Path("findings"),
    features: str | None = None,
    table: Path | None = None,
    export: list[str] | str | None = None,
    limit: int = 60,
) -> None:
    """List suspected wrong labels, duplicates, rare and hard samples, and write them.

    Args:
        checkpoint: Checkpoint of a training with DynamicSelection.
        dataset: The training set.
        configs: YAML files of the training.
        out: Folder to write to.
        features: Features for duplicates and rare samples: "pixels", feature store, .npy, or .npz:KEY.
        table: CSV file with a row per sample: label, path, text.
        export: Other tools to write for, with commas between: cleanlab, fiftyone, label-studio.
        limit: Number of samples of each kind that the page shows.
    """
    from torch.utils.data import Subset

    from dynsel.samplers.findings.export import EXPORTS
    from dynsel.samplers.findings.files import read_checkpoint, read_table, write_findings
    from dynsel.samplers.findings.find import find
    from dynsel.samplers.sources import features_from

    check_output_folder("--out", out)
    limit = check_integer("limit", limit, at_least=1)
    names = export.split(",") if isinstance(export, str) else export or ()
    exports = tuple(check_choice("export", name.strip(), tuple(EXPORTS)) for name in names)
    console, start = open_console(), time.perf_counter()
    told = read_checkpoint(checkpoint)
    named = _Named(dataset)
    known: dict[str, Any] = {} if table is None else read_table(table)
    with status(open_console(stderr=True), "looking …"):
        source = named if features == "pixels" else dataset
        rows = None if features is None else features_from(features, source, told.pool)
        found = find(told.evidence, told.usage, dataset, told.pool, features=rows, **known)
        if told.evidence is not None and "wrong_label" not in found.unknown:
            _check_data(told.evidence, dataset if told.pool is None else Subset(dataset, told.pool.tolist()))
        command = _command(configs, out)
        title = f"Findings of {checkpoint.name}"
        written = write_findings(found, named, out, title=title, command=command, exports=exports, limit=limit)
    _print(found, written, out, command, time.perf_counter() - start, console)


class _Named:
    """The items of a data set; one that can't be read is named in the error."""

    def __init__(self, dataset: Any) -> None:
        self._items = dataset

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        from dynsel.samplers.frame import declared_paths

        try:
            return self._items[index]
        except (EOFError, OSError, SyntaxError, ValueError) as error:  # a broken PNG is a SyntaxError for PIL
            paths = declared_paths(self._items)
            where = "" if paths is None else f", {paths[index]},"
            raise ValueError(
                f"sample {index}{where} can't be read ({first_line(error)}); mend or replace it"
            ) from error


def _check_data(evidence: Evidence, dataset: Any) -> None:
    """Refuse a data set, or a split of it, whose labels are others than the training's, where it tells any."""
    from dynsel.labels import declared_labels, encode_labels
    from dynsel.samplers.findings.find import check_labels_agree

    labels = declared_labels(dataset)
    try:
        codes = None if labels is None else encode_labels(labels)[0].tolist()
    except (TypeError, ValueError):
        return  # not one class per sample
    if codes is not None:
        check_labels_agree(evidence, codes)


def _print(found: Findings, written: list[Path], out: Path, command: str, seconds: float, console: Any) -> None:
    say(console, str(found))
    say(console, f"{', '.join(map(str, written))}; {seconds:.1f} s")
    if len(found.suspects):
        say(console, f"look at {written[0]}, delete from suspects.csv what is right, then: {command}")
    if len(found.copies):
        say(console, f"without the {len(found.copies):,} copies: the same with --exclude {out / 'copies.csv'}")


def _command(configs: list[str], out: Path) -> str:
    given = [word for config in configs or ["TRAINING.yaml"] for word in ("--config", config)]
    return shlex.join(["dynsel", "fit", *given, "--exclude", str(out / "suspects.csv")])


def _without_configs(args: list[str]) -> tuple[list[str], list[str]]:
    """The files of `--config`, and all other words, a folder behind `--data` as the data set that it is."""
    configs, rest = [], []
    words = iter([part for word in args for part in (word.split("=", 1) if word.startswith("--") else [word])])
    for word in words:
        if word in ("--config", "-c"):
            configs.append(next(words, ""))
        elif word == "--data":
            rest += [word, *data_words(next(words, ""))]
        else:
            rest.append(word)
    return configs, rest


def _data_of(configs: list[str]) -> list[str]:
    """`--data` as the YAML files of a training have it, later ones over earlier ones.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML file, or none of them has data.
    """
    import yaml  # type: ignore[import-untyped,unused-ignore]

    data: dict[str, Any] = {}
    for config in configs:
        if not Path(config).is_file():
            raise FileNotFoundError(f"`--config`: there is no file {config}")
        try:
            tree = yaml.safe_load(Path(config).read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"`--config`: {config} is no YAML file: {error}") from error
        given = tree.get("data") if isinstance(tree, dict) else None
        if isinstance(given, str):
            given = {"class_path": given}
        if isinstance(given, dict):
            arguments = {**data.get("init_args", {}), **(given.get("init_args") or {})}
            data = {**data, **given, "init_args": arguments}
    if configs and "class_path" not in data:
        raise ValueError(f"`--config`: {configs[0]} has no data with a `class_path`; give the training set by --data")
    return ["--data", json.dumps(data)] if data else []
