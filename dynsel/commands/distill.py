"""`dynsel distill`: make a distilled set, evaluate it, export one from a checkpoint, measure a selection by NCFD."""

from __future__ import annotations

import json
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]
from jsonargparse.typing import PositiveInt
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from dynsel._lib.images import TensorImages
from dynsel.distill.dataset import DistilledDataset, save_distilled
from dynsel.distill.evaluate import Evaluation, Result, TrainingSet, herding_images, random_images
from dynsel.distill.ncfm import NCFM
from dynsel.distill.pool import Pool, one_hot
from dynsel.distill.sheet import Sheet

__all__ = ["distill"]

HELP = """\
usage: dynsel distill <command> [options]

Make a few synthetic images per class that train a network as the whole data set does (NCFM, arXiv:2502.20653).

commands:
  fit        train the pool of networks if need be, then the images; writes them, a manifest and pictures:
             dynsel distill fit --config recipes/digits_ncfm.yaml --distill.images_per_class 1
  evaluate   train fresh networks on the result, on random real images and on herding's, and tabulate:
             dynsel distill evaluate --config recipes/digits_ncfm.yaml --distill.images_per_class 1
  export     write the images of a checkpoint: dynsel distill export --ckpt_path last.ckpt --out folder
  measure    how far a selection is from the whole set at learned frequencies (NCFD):
             dynsel distill measure --features x.npz:KEY --selection subset.json

`dynsel distill fit --help` lists its options. An interrupted fit goes on with `--ckpt_path last`.
"""


def distill(args: list[str]) -> int:
    """Run `dynsel distill`.

    Args:
        args: Command and options.

    Returns:
        Exit code.
    """
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if args else 2
    from dynsel.commands.distill_measure import measure

    commands: dict[str, Callable[[list[str]], int]] = {
        "fit": fit,
        "evaluate": evaluate,
        "export": export,
        "measure": measure,
    }
    if args[0] not in commands:
        raise ValueError(f"unknown command 'distill {args[0]}'; it must be one of {', '.join(commands)}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            # The state after the step is what we want to go on from.
            warnings.filterwarnings("ignore", ".*ModelCheckpoint with manual optimization.*")
            return commands[args[0]](args[1:])
    except SystemExit as stop:  # --help
        return stop.code if isinstance(stop.code, int) else 0


def _parser(command: str) -> ArgumentParser:
    parser = ArgumentParser(f"dynsel distill {command}", exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with the options below")
    parser.add_argument("--out", type=str, required=True, help="folder of the results")
    parser.add_argument("--threads", type=PositiveInt | None, default=None, help="CPU threads of torch")
    parser.add_argument("--sheet_every", type=PositiveInt, default=1000, help="steps between two pictures")
    parser.add_argument("--checkpoint_every", type=PositiveInt, default=1000, help="steps between two checkpoints")
    parser.add_argument("--ckpt_path", type=str | None, default=None, help="go on from a checkpoint, or the `last`")
    parser.add_class_arguments(NCFM, "distill", skip={"data", "pool"}, instantiate=False)
    parser.add_class_arguments(Pool, "pool")
    parser.add_class_arguments(Evaluation, "evaluation")
    parser.add_subclass_arguments(pl.LightningDataModule, "data", required=True)
    parser.add_class_arguments(pl.Trainer, "trainer")
    # The command has a checkpoint callback of its own, in the folder of the results.
    parser.set_defaults({"trainer.enable_checkpointing": False})
    return parser


class _Run:
    """What the options stand for."""

    def __init__(self, command: str, args: list[str]) -> None:
        parser = _parser(command)
        self.given: Namespace = parser.parse_args(args)
        if self.given.threads:
            torch.set_num_threads(self.given.threads)
        self.made = parser.instantiate_classes(self.given)
        self.out = Path(self.given.out)
        self.trainer: pl.Trainer = self.made.trainer
        self.pool, self.evaluation = self.made.pool, self.made.evaluation
        self.made.data.prepare_data()
        self.made.data.setup("fit")
        self.train, self.val = (_images(self.made.data, name) for name in ("train_set", "val_set"))
        self.bf16 = str(self.trainer.precision).startswith("bf16")
        self.device = self.trainer.strategy.root_device
        self.console = _console()

    def prepare_pool(self) -> None:
        """Train the pool's missing networks; other ranks find them there."""
        # torchrun and Slurm start all ranks at once; the first one trains.
        while not self.trainer.is_global_zero and self.pool.missing(self.train):
            time.sleep(1.0)
        start, missing = time.perf_counter(), len(self.pool.missing(self.train))
        show = self.console.is_terminal
        accuracies = self.pool.prepare(self.train, self.val, self.device, bf16=self.bf16, progress=show)
        if self.trainer.is_global_zero:
            took = f" ({missing} trained in {time.perf_counter() - start:.0f} s)" if missing else ""
            mean = 100 * sum(accuracies) / len(accuracies)
            self.console.print(f"pool: {len(accuracies)} networks, accuracy {mean:.2f} %{took}", highlight=False)


def _images(data: pl.LightningDataModule, name: str) -> TensorImages:
    found = getattr(data, name, None)
    if not isinstance(found, TensorImages):
        raise ValueError(
            f"`data` must have its images in memory, as `{name}` of type TensorImages (dynsel.data.TensorDataModule), "
            f"got {type(data).__name__}"
        )
    return found


def fit(args: list[str]) -> int:
    """Make a distilled set.

    Args:
        args: Options.

    Returns:
        Exit code.
    """
    run = _Run("fit", args)
    options = dict(vars(run.made.distill))
    # Before the pool is trained, which takes long: most mistakes show here.
    module = NCFM(run.train, run.pool, **options)
    if run.trainer.max_steps < 1:
        raise ValueError("`trainer.max_steps` must be set: distillation has no epochs; the paper takes 20000")
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
        run.console.print(
            f"{len(images)} synthetic images after {trainer.global_step} steps, {seconds:.0f} s: {path}, pictures in "
            f"{run.out / 'sheets'}",
            highlight=False,
            soft_wrap=True,
        )
    return 0


def _interrupted(trainer: pl.Trainer, out: Path) -> int:
    last = out / "checkpoints" / "last.ckpt"
    way = "go on with the same command and `--ckpt_path last`" if last.is_file() else "no checkpoint was written yet"
    if trainer.is_global_zero:
        print(f"\ndynsel: interrupted after {trainer.global_step} steps; {way}.", file=sys.stderr)
    return 130


def evaluate(args: list[str]) -> int:
    """Train fresh networks on the distilled set and on real images of the same number.

    Args:
        args: Options.

    Returns:
        Exit code.
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
            with run.console.status(f"{network} on {name} …"):
                result = run.evaluation.run(name, images_of, network, run.pool, val, bf16=run.bf16)
            results.append(result)
    _report(run, args, results, per_class, time.perf_counter() - start, made.manifest)
    return 0


def _report(
    run: _Run, args: list[str], results: list[Result], per_class: int, seconds: float, manifest: dict[str, Any]
) -> None:
    from rich import box
    from rich.table import Table

    from dynsel._lib.files import write_atomically

    headings = ("trained on", "network", "images", "accuracy %, last epoch", "best epoch")
    table = Table(box=box.SIMPLE_HEAD)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    for result in results:
        table.add_row(*result.row())
    run.console.print(table)
    facts = _facts(["evaluate", *args], dict(vars(run.given.evaluation)), run.pool)
    facts |= {"images_per_class": per_class, "seconds": round(seconds, 1), "distilled": manifest["sha256"]}
    facts["results"] = [vars(result) for result in results]
    write_atomically(run.out / "evaluation.json", json.dumps(facts, indent=1) + "\n")
    lines = ["| " + " | ".join(row) + " |" for row in [headings, ("---", "---", "---:", "---:", "---:")]]
    lines += ["| " + " | ".join(result.row()) + " |" for result in results]
    head = f"{per_class} images a class, n = {run.evaluation.repeats} networks each, mean ± standard deviation.\n\n"
    write_atomically(run.out / "evaluation.md", head + "\n".join(lines) + "\n")
    run.console.print(f"{seconds:.0f} s; {run.out / 'evaluation.md'}", highlight=False, soft_wrap=True)


def export(args: list[str]) -> int:
    """Write the images of a checkpoint.

    Args:
        args: Options.

    Returns:
        Exit code: 0.
    """
    parser = ArgumentParser("dynsel distill export", exit_on_error=False)
    parser.add_argument("--ckpt_path", type=str, required=True, help="checkpoint of `dynsel distill fit`")
    parser.add_argument("--out", type=str, required=True, help="folder to write to")
    options = parser.parse_args(args)
    images, known, step = _from_checkpoint(Path(options.ckpt_path))
    targets = torch.arange(len(images)).repeat_interleave(images.shape[1])
    facts = {"command": shlex.join(["dynsel", "distill", "export", *args]), "steps": step}
    path = save_distilled(options.out, images.flatten(0, 1), targets, known["classes"], known["factor"], facts=facts)
    _console().print(f"{len(targets)} synthetic images after {step} steps: {path}", highlight=False, soft_wrap=True)
    return 0


def _from_checkpoint(path: Path) -> tuple[Tensor, dict[str, Any], int]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state["state_dict"]["images"], state["ncfm"], int(state["global_step"])
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint of `dynsel distill fit`, or a damaged one: {error}") from error


def _facts(args: list[str], options: dict[str, Any], pool: Pool) -> dict[str, Any]:
    from importlib.metadata import version

    import dynsel
    from dynsel.compare.facts import hardware, today

    return {
        "command": shlex.join(["dynsel", "distill", *args]),
        "options": {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()},
        "pool": {**vars(pool), "folder": str(pool.folder)},
        "versions": {"dynsel": dynsel.__version__, **{n: version(n) for n in ("torch", "lightning")}},
        "hardware": hardware(),
        "date": today(),
    }


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if Console().is_terminal else 120)
