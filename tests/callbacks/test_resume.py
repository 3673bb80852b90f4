"""A run that is killed and resumed ends with the very weights of one that was not."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
from support import Module, SaveEvery, fit, same_weights, selection, train_loader


def sweep(tmp_path: Any, sizes: tuple[int, ...], hook: str = "on_train_batch_end", **options: Any) -> list[str]:
    """Names of the checkpoints from which the resumed run ended differently."""
    loader_options, every = options.pop("loader_options", {}), options.pop("every", 1)

    def run(*callbacks: Any, ckpt_path: Any = None, seed: int = 1) -> Module:
        module, _ = fit(
            selection(sizes),
            *callbacks,
            module=Module(noise=True),
            loader=train_loader(**loader_options),
            max_epochs=len(sizes),
            ckpt_path=ckpt_path,
            seed=seed,
            **options,
        )
        return module

    saver = SaveEvery(tmp_path, hook)
    whole = run(saver)
    assert len(saver.paths) >= len(sizes)
    # Another seed: what the checkpoint doesn't restore must not come out right by chance.
    return [path.name for path in saver.paths[::every] if not same_weights(whole, run(ckpt_path=path, seed=2))]


SIZES = [(20, 12, 40), (12, 40, 20), (20, 20, 20)]


@pytest.mark.parametrize("sizes", SIZES)
def test_every_step(tmp_path, sizes):
    assert sweep(tmp_path, sizes) == []


class Crash(Exception):
    pass


class CrashAfterStep(pl.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise Crash


def test_resumed_again_and_again(tmp_path):
    """One process a step: each resumes from the last one's checkpoint, trains one batch, saves and crashes."""

    def run(step: int, *callbacks: Any, ckpt_path: Any = None) -> Any:
        pl.seed_everything(step, verbose=False)
        return fit(
            selection((12, 40, 20)),
            *callbacks,
            module=Module(noise=True),
            max_epochs=3,
            ckpt_path=ckpt_path,
            seed=step,
        )[0]

    whole, path = run(1), None
    for step in range(1, 18):
        folder = tmp_path / str(step)
        folder.mkdir()
        with pytest.raises(Crash):
            run(step, SaveEvery(folder), CrashAfterStep(step), ckpt_path=path)
        (path,) = folder.iterdir()
    last = run(18, ckpt_path=path)
    assert last.batches() == [1]
    assert same_weights(whole, last)


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}])
def test_with_workers(tmp_path, options):
    # Batches 0, 4 (an epoch's last), 8, 12 and 16: every step takes minutes and is the long test below.
    assert sweep(tmp_path, SIZES[0], loader_options=options, every=4) == []


@pytest.mark.long
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("val", [True, False])
@pytest.mark.parametrize("persistent", [True, False])
def test_every_step_with_workers(tmp_path, sizes, val, persistent):
    options = {"num_workers": 2, "persistent_workers": persistent}
    assert sweep(tmp_path, sizes, val=val, loader_options=options) == []


@pytest.mark.parametrize("options", [{"accumulate_grad_batches": 2}, {"limit_train_batches": 4}])
def test_every_step_with(tmp_path, options):
    assert sweep(tmp_path, (20, 12, 40), **options) == []


@pytest.mark.parametrize(
    ("options", "batches"),
    [({}, [3, 10, 5]), ({"limit_train_batches": 3}, [3, 3, 3]), ({"num_workers": 2}, [3, 10, 5])],
)
def test_after_the_last_batch_comes_the_next_epoch(tmp_path, options, batches):
    """From a checkpoint of an epoch's last batch: the next one's own selection, from batch 0, in its own length."""
    workers = {"num_workers": options.pop("num_workers")} if "num_workers" in options else {}

    def run(*callbacks: Any, **more: Any) -> Module:
        arguments = {"loader": train_loader(**workers), "max_epochs": 3, **options, **more}
        return fit(selection((12, 40, 20)), *callbacks, **arguments)[0]

    saver = SaveEvery(tmp_path)
    whole = run(saver)
    assert whole.batches() == batches
    for epoch in (1, 2):
        resumed = run(ckpt_path=saver.paths[sum(batches[:epoch]) - 1], seed=2)
        assert dict(resumed.seen) == {e: whole.seen[e] for e in range(epoch, 3)}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_resumed_epoch_has_its_own_order(tmp_path, workers):
    """At keep ratio 1.0 only the order tells the epochs apart."""

    def run(*callbacks: Any, **more: Any) -> Module:
        return fit(selection((40, 40, 40)), *callbacks, loader=train_loader(num_workers=workers), max_epochs=3, **more)[
            0
        ]

    saver = SaveEvery(tmp_path, "on_train_epoch_end")
    whole = run(saver)
    orders = [whole.seen[epoch] for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    for epoch in (1, 2):
        resumed = run(ckpt_path=saver.paths[epoch - 1], seed=2)
        assert dict(resumed.seen) == {e: whole.seen[e] for e in range(epoch, 3)}


@pytest.mark.parametrize("hook", ["on_validation_end", "on_train_epoch_end"])
def test_other_save_points(tmp_path, hook):
    assert sweep(tmp_path, (12, 40, 20), hook) == []


def test_validation_within_the_epoch(tmp_path):
    assert sweep(tmp_path, (12, 40, 20), "on_validation_end", val_check_interval=0.5) == []
