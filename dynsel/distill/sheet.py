"""Pictures of the synthetic images, one row per class, while they come about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dynsel._lib.checks import check_integer, check_path
from dynsel._lib.files import write_atomically
from dynsel.distill.ncfm import NCFM

__all__ = ["Sheet", "draw_sheet"]

_MOST_ROWS, _MOST_COLUMNS = 20, 12


class Sheet(pl.Callback):
    """Writes `step-NNNNNN.png`, the images as they are stored, and `over-training.png`, the first of each class.

    Args:
        folder: Folder that the pictures are written into; made if need be.
        every: Number of steps between two pictures; one is also drawn before the first step and after the last.

    Raises:
        ValueError: If `every` is below 1.
    """

    def __init__(self, folder: str | Path, every: int = 1000) -> None:
        self.folder, self.every = check_path("folder", folder), check_integer("every", every, at_least=1)
        self.history: dict[int, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the images before the first step.

        Args:
            trainer: Lightning's Trainer.
            pl_module: The distillation.
        """
        if trainer.global_step == 0:
            self._draw(pl_module, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw the images after every so many steps.

        Args:
            trainer: Lightning's Trainer.
            pl_module: The distillation.
            outputs: What the step returned; not used.
            batch: Number of the step; not used.
            batch_idx: The same number; not used.
        """
        if trainer.global_step % self.every == 0:
            self._draw(pl_module, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the images after the last step.

        Args:
            trainer: Lightning's Trainer.
            pl_module: The distillation.
        """
        if trainer.global_step not in self.history:
            self._draw(pl_module, trainer.global_step)

    def _draw(self, module: pl.LightningModule, step: int) -> None:
        assert isinstance(module, NCFM)
        self.history[step] = module.images.detach()[:_MOST_ROWS, 0].half().cpu()
        if module.global_rank:
            return
        classes = list(module.data.classes)
        rows = module.images.detach()[:_MOST_ROWS, :_MOST_COLUMNS].cpu()
        draw_sheet(rows, self.folder / f"step-{step:06d}.png", classes, [""] * rows.shape[1], f"step {step}")
        steps = sorted(self.history)
        # Evenly over the training, with the first and the last.
        shown = [
            steps[i * (len(steps) - 1) // max(1, min(len(steps), _MOST_COLUMNS) - 1)]
            for i in range(min(len(steps), _MOST_COLUMNS))
        ]
        over = torch.stack([self.history[s] for s in shown], 1)
        draw_sheet(over, self.folder / "over-training.png", classes, [str(s) for s in shown], "first image, by step")

    def state_dict(self) -> dict[str, Any]:
        """The first image of each class after the steps drawn so far, for a checkpoint."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Args:
            state_dict: As `state_dict` gave it.
        """
        self.history = dict(state_dict["history"])


def draw_sheet(images: Tensor, path: Path, rows: list[str], columns: list[str], title: str) -> None:
    """Draw images in a grid with names of rows and columns.

    Args:
        images: (R, K, C, H, W) in [0, 1], one channel or three.
        path: PNG file to write; its folder is made if need be.
        rows: Names of the rows, at least R of them.
        columns: Names of the K columns.
        title: Line above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from dynsel._lib.figures import plain_text

    count, width, channels, h, w = images.shape
    # A frame of one pixel, white, about each.
    grid = torch.ones(count * (h + 1), width * (w + 1), 3)
    for r in range(count):
        for k in range(width):
            pixels = images[r, k].float().clamp(0, 1).expand(3, h, w) if channels == 1 else images[r, k, :3].float()
            grid[r * (h + 1) : r * (h + 1) + h, k * (w + 1) : k * (w + 1) + w] = pixels.permute(1, 2, 0)
    figure = Figure(figsize=(1.3 + 0.62 * width, 0.5 + 0.62 * count * h / w), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(grid.numpy(), interpolation="nearest")
    axes.set_yticks([r * (h + 1) + h / 2 for r in range(count)], [plain_text(row) for row in rows[:count]], fontsize=8)
    axes.set_xticks([k * (w + 1) + w / 2 for k in range(width)], columns, fontsize=8)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))
