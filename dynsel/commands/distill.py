"""`dynsel distill`: make a distilled set, evaluate it, export one from a checkpoint."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from dynsel._lib.console import open_console, say, status, value_table
from dynsel._lib.files import write_atomically
from dynsel._lib.images import TensorImages
from dynsel._lib.outputs import check_output_folder
from dynsel._lib.parsers import instantiate, integers_first
from dynsel._lib.provenance import command_line, provenance
from dynsel._lib.tables import markdown_table
from dynsel._lib.threads import set_threads
from dynsel._lib.trainers import check_processes
from dynsel.commands._arguments import CommandParser
from dynsel.distill.dataset import DistilledDataset, save_distilled
from dynsel.distill.evaluate import Evaluation, Result, TrainingSet, herding_images, random_images
from dynsel.distill.ncfm import NCFM, check_precision
from dynsel.distill.pool import Pool, one_hot
from dynsel.distill.sheet import Sheet
from dynsel.distill.step_bar import show_steps

__all__ = ["evaluate", "export", "fit"]


def _parser(command: str) -> CommandParser:
    parser = CommandParser(f"dynsel distill {command}")
    parser.add_argument("--config", action="config", help="YAML file with the options below")
    parser.add_signature(_begin)
    parser.add_class_arguments(NCFM, "distill", skip={"data", "pool"}, instantiate=False)
    parser.add_class_arguments(Pool, "pool")
    parser.add_class_arguments(Evaluation, "evaluation")
    parser.add_subclass_arguments(pl.LightningDataModule, "data", required=True)
    integers_first(pl.Trainer)
    parser.add_class_arguments(pl.Trainer, "trainer")
    # The command has a checkpoint callback of its own, in the folder of the results.
    parser.set_defaults({"trainer.enable_checkpointing": False})
    return parser


def _begin(
    out: Path,
    threads: int | None = None,
    sheet_every: PositiveInt = 1000,
    checkpoint_every: PositiveInt = 1000,
    ckpt_path: str | None = None,
) -> None:
    """Settings of the command itself.

    Args:
        out: Folder that the results are written to.
        threads: Number of CPU threads of torch.
        sheet_every: Number of steps between two pictures.
        checkpoint_every: Number of steps between two checkpoints.
        ckpt_path: Checkpoint to go on from; `last` is the newest one in `out`.
    """
    set_threads(threads)
    check_output_folder("--out", out)


@contextmanager
def _without_advice() -> Iterator[None]:
    """While this lasts Lightning doesn't advise on workers and on how to save."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # The state after the step is what we want to go on from.
        warnings.filterwarnings("ignore", ".*ModelCheckpoint with manual optimization.*")
        yield


class _Run:
    """What the options stand for."""

    def __init__(self, command: str, args: list[str]) -> None:
        parser = _parser(command)
        self.given: Namespace = parser.parse_args(args)
        _begin(self.given.out, self.given.threads)
        self.made = instantiate(parser, self.given)
        self.out: Path = self.given.out
        self.trainer: pl.Trainer = self.made.trainer
        check_processes(self.trainer, "trainer.devices")
        self.pool, self.evaluation = self.made.pool, self.made.evaluation
        self.made.data.prepare_data()
        self.made.data.setup("fit")
        self.train, self.val = (_images(self.made.data, name) for name in ("train_set", "val_set"))
        self.bf16 = str(self.trainer.precision).startswith("bf16")
        self.device = self.trainer.strategy.root_device
        self.console = open_console()

    def prepare_pool(self) -> None:
        """Train the pool's missing networks; other ranks find them there."""
        # torchrun and Slurm start all ranks at once; the first one trains.
        while not self.trainer.is_global_zero and self.pool.missing(self.train):
            time.sleep(1.0)
        start, missing = time.perf_counter(), len(self.pool.missing(self.train))
        if missing:
            check_output_folder("--pool.folder", self.pool.folder)
        show = self.console.is_terminal
        accuracies = self.pool.prepare(self.train, self.val, self.device, bf16=self.bf16, progress=show)
        if self.trainer.is_global_zero:
            took = f" ({missing} trained in {time.perf_counter() - start:.0f} s)" if missing else ""
            mean = 100 * sum(accuracies) / len(accuracies)
            say(self.console, f"pool: {len(accuracies)} networks, accuracy {mean:.2f} %{took}")


def _images(data: pl.LightningDataModule, name: str) -> TensorImages:
    found = getattr(data, name, None)
    if not isinstance(found, TensorImages):
        raise ValueError(
            f"`data` must have its images in memory, as `{name}` of type TensorImages (dynsel.data.TensorDataModule), "
            f"got {type(data).__name__}"
        )
    return found


@_without_advice()
def fit(args: list[str]) -> int:
    """Run `dynsel distill fit`.

    Args:
        args: Command line after the command's name.

    Returns:
        Exit code: 0, or 130 if interrupted.

    Raises:
        FileNotFoundError: If `--ckpt_path last` is asked for and there is no such checkpoint.
        ValueError: If an option is wrong, or `trainer.max_steps` isn't set.
    """
    run = _Run("fit", args)
    options = dict(vars(run.made.distill))
    # Before the pool is trained, which takes long: most mistakes show here.
    module = NCFM(run.train, run.pool, **options)
    if run.trainer.max_steps < 1:
        raise ValueError("`trainer.max_steps` must be set: distillation has no epochs; the paper takes 20000")
    check_precision(run.trainer)
    run.prepare_pool()
    trainer, every = run.trainer, run.given.checkpoint_every
    trainer.callbacks += [  # type: ignore[attr-defined]
        Sheet(run.out / "sheets", run.given.sheet_every),
        ModelCheckpoint(run.out / "checkpoints", save_last=True, save_top_k=0, every_n_train_steps=every),
    ]
    ckpt_path = run.given.ckpt_path
    if ckpt_path == "last":
        ckpt_path = str(run.out / "checkpoints" / "last.ckpt")
        if not Path(ckpt_path).is_file():
            raise FileNotFoundError(f"there is no checkpoint {ckpt_path} to go on from; leave `--ckpt_path` out")
    show_steps(trainer)
    start = time.perf_counter()
    try:
        trainer.fit(module, ckpt_path=ckpt_path)
    except SystemExit:  # what Lightning makes of Ctrl-C
        return _interrupted(trainer, run.out)
    seconds = time.perf_counter() - start
    if trainer.global_step < trainer.max_steps:
        return _interrupted(trainer, run.out)
    soft = module.soft_targets() if module.soft_labels else None
    if trainer.is_global_zero:
        facts = _facts(["fit", *args], options, run.pool) | {"steps": trainer.global_step, "seconds": round(seconds, 1)}
        images, targets = module.stored()
        path = save_distilled(run.out, images, targets, run.train.classes, module.factor, soft, facts)
        made = f"{len(images)} synthetic images after {trainer.global_step} steps, {seconds:.0f} s"
        say(run.console, f"{made}: {path}, pictures in {run.out / 'sheets'}")
    return 0


def _interrupted(trainer: pl.Trainer, out: Path) -> int:
    last = out / "checkpoints" / "last.ckpt"
    way = "go on with the same command and `--ckpt_path last`" if last.is_file() else "no checkpoint was written yet"
    if trainer.is_global_zero:
        print(f"\ndynsel: interrupted after {trainer.global_step} steps; {way}.", file=sys.stderr)
    return 130


@_without_advice()
def evaluate(args: list[str]) -> int:
    """Run `dynsel distill evaluate`: train fresh networks on the distilled set and on as many real images.

    Args:
        args: Command line after the command's name.

    Returns:
        Exit code: 0.

    Raises:
        FileNotFoundError: If `out` holds no distilled set.
        ValueError: If an option is wrong, or the set was made from other classes or images of another size.
    """
    run = _Run("evaluate", args)
    made = DistilledDataset(run.out)
    if made.classes != list(run.train.classes) or made.image_shape != run.train.image_shape:
        raise ValueError(
            f"`out` must hold a set made from this data, got images of {made.image_shape} and classes "
            f"{', '.join(made.classes[:3])} … in {run.out}"
        )
    per_class = max(made.manifest["per_class"])
    run.prepare_pool()
    train, val = run.train.to(run.device), run.val.to(run.device)
    targets = one_hot(made.targets, len(made.classes)) if made.soft_targets is None else made.soft_targets
    found = (made.images.to(run.device), targets.to(run.device))
    sets: dict[str, TrainingSet] = {
        "random real": random_images(train, per_class, run.evaluation.seed),
        "herding": herding_images(train, per_class, run.pool),
        "distilled": lambda repeat: found,
    }
    start, results = time.perf_counter(), []
    for network in run.evaluation.networks:
        for name, images_of in sets.items():
            with status(run.console, f"{network} on {name} …"):
                result = run.evaluation.run(name, images_of, network, run.pool, val, bf16=run.bf16)
            results.append(result)
    _report(run, args, results, per_class, time.perf_counter() - start, made.manifest)
    return 0


def _report(
    run: _Run, args: list[str], results: list[Result], per_class: int, seconds: float, manifest: dict[str, Any]
) -> None:
    headings = ("trained on", "network", "images", "accuracy %, last epoch", "best epoch")
    rows = [result.row() for result in results]
    run.console.print(value_table(headings, rows, left=2))
    facts = _facts(["evaluate", *args], dict(vars(run.given.evaluation)), run.pool)
    facts |= {"images_per_class": per_class, "seconds": round(seconds, 1), "distilled": manifest["sha256"]}
    facts["results"] = [vars(result) for result in results]
    write_atomically(run.out / "evaluation.json", json.dumps(facts, indent=1) + "\n")
    head = f"{per_class} images a class, n = {run.evaluation.repeats} networks each, mean ± standard deviation.\n\n"
    write_atomically(run.out / "evaluation.md", head + markdown_table(headings, rows, left=2) + "\n")
    say(run.console, f"{seconds:.0f} s; {run.out / 'evaluation.md'}")


def export(args: list[str]) -> int:
    """Run `dynsel distill export`.

    Args:
        args: Command line after the command's name.

    Returns:
        Exit code: 0.
    """
    parser = CommandParser("dynsel distill export")
    parser.add_signature(_export, "args")
    _export(**vars(parser.parse_args(args)), args=args)
    return 0


def _export(ckpt_path: Path, out: Path, *, args: list[str]) -> None:
    """Write the images of a checkpoint.

    Args:
        ckpt_path: Checkpoint of `dynsel distill fit`.
        out: Folder that the images and their manifest are written to.
        args: The command line, to be written down.
    """
    check_output_folder("--out", out)
    images, known, step = _from_checkpoint(ckpt_path)
    targets = torch.arange(len(images)).repeat_interleave(images.shape[1])
    facts = {"command": command_line(["distill", "export", *args]), "steps": step}
    path = save_distilled(out, images.flatten(0, 1), targets, known["classes"], known["factor"], facts=facts)
    say(open_console(), f"{len(targets)} synthetic images after {step} steps: {path}")


def _from_checkpoint(path: Path) -> tuple[Tensor, dict[str, Any], int]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state["state_dict"]["images"], state["ncfm"], int(state["global_step"])
    except Exception as error:
        # Not torch's text: it advises to load by pickle.
        kind = type(error).__name__
        raise ValueError(f"{path} is no checkpoint of `dynsel distill fit`, or a damaged one ({kind})") from error


def _facts(args: list[str], options: dict[str, Any], pool: Pool) -> dict[str, Any]:
    return {
        "options": {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()},
        "pool": {**vars(pool), "folder": str(pool.folder)},
        **provenance(["distill", *args]),
    }
