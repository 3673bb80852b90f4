"""The shards on disk: whole, of their save, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynsel.samplers.sharded.files import read_shards, remove_other_saves, write_shards
from dynsel.selectors.shards import Shards

SIZE = 50


def parts(ranks):
    return [Shards(SIZE, 4, num_ranks=ranks, rank=rank, seed=1) for rank in range(ranks)]


def state(shards):
    """What each sample's index says, so that it is known wherever it comes up again."""
    indices = shards.indices(np.arange(shards.num_own))
    tensors = {"usage": torch.from_numpy(indices.astype(np.int16)), "average": torch.from_numpy(indices / 7).float()}
    return tensors, indices % 3 == 0


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (1, 4), (4, 2)])
def test_any_number_of_ranks_reads_what_any_other_wrote(tmp_path, before, after):
    for shards in parts(before):
        write_shards(tmp_path, "a", shards, *state(shards))
    assert sorted(p.name for p in tmp_path.glob("a/*")) == [f"shard-{c:05d}.safetensors" for c in range(4)]
    for shards in parts(after):
        tensors, mask = read_shards(tmp_path, "a", shards)
        wanted, selected = state(shards)
        assert tensors.keys() == wanted.keys()
        assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
        assert np.array_equal(mask, selected)


def test_everything_selected_needs_no_mask(tmp_path):
    (shards,) = parts(1)
    write_shards(tmp_path, "a", shards, state(shards)[0], None)
    assert read_shards(tmp_path, "a", shards)[1] is None


def test_a_sample_takes_six_bytes(tmp_path):
    shards = Shards(400_000, 4)
    tensors = {"usage": torch.zeros(400_000, dtype=torch.int16), "average": torch.zeros(400_000)}
    write_shards(tmp_path, "a", shards, tensors, np.zeros(400_000, dtype=bool))
    assert sum(p.stat().st_size for p in tmp_path.glob("a/*")) / 400_000 == pytest.approx(6.125, abs=0.01)


def test_saves_do_not_touch_each_other(tmp_path):
    (shards,) = parts(1)
    for name in ("a", "b"):
        write_shards(tmp_path, name, shards, *state(shards))
    assert read_shards(tmp_path, "a", shards)
    remove_other_saves(tmp_path, ["b"])
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    with pytest.raises(FileNotFoundError, match="goes with its folder"):
        read_shards(tmp_path, "a", shards)
    remove_other_saves(tmp_path / "nowhere", [])


def test_a_file_of_another_save_or_data_set_is_refused(tmp_path):
    (shards,) = parts(1)
    write_shards(tmp_path, "a", shards, *state(shards))
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(ValueError, match="is of another save or another data set"):
        read_shards(tmp_path, "b", shards)
    (tmp_path / "b").rename(tmp_path / "a")
    with pytest.raises(ValueError, match="is of another save or another data set"):
        read_shards(tmp_path, "a", Shards(SIZE + 1, 4))


def test_a_damaged_file_is_refused(tmp_path):
    (shards,) = parts(1)
    write_shards(tmp_path, "a", shards, *state(shards))
    path = tmp_path / "a" / "shard-00002.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"shard-00002\.safetensors"):
        read_shards(tmp_path, "a", shards)
