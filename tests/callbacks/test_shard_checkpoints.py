"""Where shards lie beside checkpoints, and what of a process that was killed is left; trainings: `test_sharded.py`."""

from __future__ import annotations

import pytest
from support import fit

from dynsel.callbacks import DynamicSelection
from dynsel.callbacks.shard_checkpoints import folder_of


def test_the_strategy_is_left_as_it_was():
    _, trainer = fit(DynamicSelection("random", sharded=4), max_epochs=1)
    assert not {"save_checkpoint", "remove_checkpoint"} & set(vars(trainer.strategy))


def test_shards_need_a_file_system():
    with pytest.raises(ValueError, match=r"s3://bucket/a\.ckpt is no path of a file system"):
        folder_of("s3://bucket/a.ckpt")


def test_a_link_leads_to_the_shards_of_its_checkpoint(tmp_path):
    (tmp_path / "best.ckpt").touch()
    (tmp_path / "last.ckpt").symlink_to("best.ckpt")
    assert folder_of(tmp_path / "last.ckpt") == tmp_path / "best.ckpt.dynsel"
    assert folder_of(tmp_path / "best.ckpt") == tmp_path / "best.ckpt.dynsel"
    assert folder_of(f"{tmp_path}/sharded/") == tmp_path / "sharded.dynsel"


class Killed(BaseException):
    """Nothing in the Trainer catches it."""


@pytest.mark.parametrize("where", ["shards", "checkpoint", "leftovers"])
def test_a_process_killed_while_it_saves_leaves_a_checkpoint_with_its_shards(tmp_path, monkeypatch, where):
    """Killed in its second save of the same file: what is there then goes on, from the first or the second."""
    path, calls = tmp_path / "last.ckpt", []
    name = {
        "shards": "dynsel.samplers.sharded.files.write_atomically",
        "checkpoint": "lightning.fabric.plugins.io.torch_io._atomic_save",
        "leftovers": "dynsel.callbacks.shard_checkpoints.remove_other_saves",
    }[where]
    module, attribute = name.rsplit(".", 1)
    real = getattr(__import__(module, fromlist=["_"]), attribute)

    def kills(*args, **kwargs):
        calls.append(1)
        if len(calls) == (6 if where == "shards" else 2):
            raise Killed
        return real(*args, **kwargs)

    from lightning.pytorch.callbacks import ModelCheckpoint

    saving = ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=2, enable_version_counter=False)
    monkeypatch.setattr(name, kills)
    with pytest.raises(Killed):
        fit(DynamicSelection("random", sharded=4), saving, max_epochs=2, enable_checkpointing=True)
    monkeypatch.undo()
    saves = sorted((tmp_path / "last.ckpt.dynsel").iterdir())
    assert len(saves) == 2
    module, trainer = fit(DynamicSelection("random", sharded=4), ckpt_path=path, max_epochs=2)
    assert trainer.global_step == 20
    assert sum(len(batches) for batches in module.seen.values()) == (16 if where == "leftovers" else 18)
