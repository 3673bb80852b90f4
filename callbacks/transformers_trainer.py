"""Selections in Hugging Face transformers' Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from dynsel._lib.files import write_atomically
from dynsel.callbacks.batch_loss import loss_if_asked
from dynsel.callbacks.listening import Listener
from dynsel.callbacks.transformers_driver import TransformersDriver
from dynsel.samplers.controller import SelectionController

__all__ = ["Selecting"]

# Beside the Trainer's own files in a checkpoint's folder.
FILE = "dynsel.pt"


class Selecting:
    """Mixed into transformers' Trainer, has it train on selections: `class MyTrainer(Selecting, Trainer): ...`.

    Losses and logits are heard as they are computed; `training_step` and the model stay as they are. Checkpoints hold
    the selection's state; to resume from one set `ignore_data_skip=True`, for the selection goes on by itself.

    Args:
        *args: The Trainer's.
        selection: A controller with a budget (the default), so that epochs have one length.
        **kwargs: The Trainer's.

    Raises:
        ValueError: If the selection has no budget, or cuts batches once they are loaded.

    Example:
        >>> from transformers import Trainer
        >>> class SelectingTrainer(Selecting, Trainer):
        ...     pass
        >>> # SelectingTrainer(model, arguments, train_dataset=data, selection=SelectionController()).train()
    """

    def __init__(self, *args: Any, selection: SelectionController, **kwargs: Any) -> None:
        if selection.budget is None:
            raise ValueError(
                "transformers' Trainer plans its steps by one length of an epoch: give the selection a `budget`, the "
                "share of the full training's steps to spend"
            )
        if selection.cuts_batches:
            raise ValueError(
                f"{type(selection.selector).__name__} cuts batches once they are loaded, which transformers' Trainer "
                "has no place for; take a selector that chooses before"
            )
        super().__init__(*args, **kwargs)
        self.selection, self._in_step = selection, False
        self._listener: Listener | None = None
        self._driver = TransformersDriver(self, selection)
        selection.attach(self._driver)
        self.add_callback(_saver(selection))  # type: ignore[attr-defined]

    def get_train_dataloader(self) -> Any:
        """The Trainer's own loader, of which the selection is fed."""
        loader: Any = super().get_train_dataloader()  # type: ignore[misc]
        batches = getattr(loader.batch_sampler, "batch_sampler", loader.batch_sampler)
        names = ("collate_fn", "num_workers", "pin_memory", "worker_init_fn", "multiprocessing_context", "generator")
        options = {name: getattr(loader, name) for name in (*names, "persistent_workers", "prefetch_factor")}
        plain: Any = DataLoader(loader.dataset, batch_sampler=batches, **options)
        return self.selection.wrap(plain, accelerator=self.accelerator)  # type: ignore[attr-defined]

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As the Trainer does, with the selection of the checkpoint if one is given.

        Args:
            resume_from_checkpoint: A checkpoint's folder, or True for the last one.
            *args: The Trainer's.
            **kwargs: The Trainer's.

        Raises:
            ValueError: If the Trainer would skip batches that the selection has left behind by itself, or there is no
                checkpoint.
        """
        if resume_from_checkpoint:
            arguments = self.args  # type: ignore[attr-defined]
            if not arguments.ignore_data_skip:
                raise ValueError(
                    "the selection goes on by itself where the checkpoint was saved, and no batch may be skipped: "
                    "resume with TrainingArguments(ignore_data_skip=True)"
                )
            folder = resume_from_checkpoint
            if folder is True:
                from transformers.trainer_utils import get_last_checkpoint

                folder = get_last_checkpoint(arguments.output_dir)  # type: ignore[no-untyped-call,unused-ignore]
                if folder is None:
                    raise ValueError(f"{arguments.output_dir} holds no checkpoint to resume from")
            self.selection.load_state_dict(torch.load(Path(folder) / FILE, weights_only=True))
        try:
            return super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]
        finally:
            self.selection.finish_epoch()
            if self._listener is not None:
                self._listener.close()
                self._listener = None

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """A step of the Trainer, listened to."""
        number, selection = self._driver.trained, self.selection
        if self._listener is None:
            self._listener = Listener(
                selection.selector,
                model,
                # By which the Trainer, or the model, has divided the loss.
                scale=lambda: float(self.current_gradient_accumulation_steps),  # type: ignore[attr-defined]
                epochs=self._driver.max_epochs,
                capture=selection.sources.capture,
            )
        listener, size = self._listener, len(selection.feedback.positions(number))
        listener.begin_batch(number, size, selection.weights(number), inputs)
        self._in_step = True
        try:
            loss = super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        finally:
            self._in_step = False
        told = listener.end_batch({"loss": loss}, inputs)
        # Of this window, which is shorter at the end of an epoch.
        divided_by = self.current_gradient_accumulation_steps  # type: ignore[attr-defined]
        mean = loss_if_asked(selection.selector, told, loss, divided_by)
        selection.observe(number, **told._asdict(), batch_loss=mean)
        self._driver.step_taken()
        return loss

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's loss; of a training step, what is about to be differentiated."""
        found = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        if self._in_step and self._listener is not None:
            self._listener.before_backward(found[0] if isinstance(found, tuple) else found)
        return found


def _saver(selection: SelectionController) -> Any:
    from transformers import TrainerCallback
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

    class Saver(TrainerCallback):  # type: ignore[misc,unused-ignore]
        """Puts the selection's state beside each checkpoint."""

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            saved = selection.state_dict()  # on every process
            if state.is_world_process_zero:
                folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
                write_atomically(folder / FILE, lambda file: torch.save(saved, file))

    return Saver()
