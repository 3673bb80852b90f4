"""Whether a collate function keeps the samples' order, and batches that say which samples they hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support import Listening
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset, default_collate

from dynsel.samplers import SelectionController
from dynsel.samplers.collation import collation_of, keeps_order, read_indices

N = 40


def padded(items: list[Any]) -> tuple[Tensor, Tensor]:
    return pad_sequence([item[0] for item in items], batch_first=True), torch.tensor([item[1] for item in items])


def sorted_by_length(items: list[Any]) -> tuple[Tensor, Tensor]:
    return padded(sorted(items, key=lambda item: -len(item[0])))


def shuffled(items: list[Any]) -> tuple[Tensor, Tensor]:
    random.shuffle(items)
    return padded(items)


def permuted(items: list[Any]) -> tuple[Tensor, Tensor]:
    return padded([items[i] for i in torch.randperm(len(items))])


def shuffled_by_numpy(items: list[Any]) -> tuple[Tensor, Tensor]:
    return padded([items[i] for i in np.random.permutation(len(items))])  # noqa: NPY002


def mixed(items: list[Any]) -> tuple[Tensor, Tensor, Tensor]:
    x, y = padded(items)
    partner = torch.randperm(len(x))
    return 0.7 * x + 0.3 * x[partner], y, y[partner]


def noisy(items: list[Any]) -> tuple[Tensor, Tensor]:
    x, y = padded(items)
    return x + torch.randn_like(x), y


KEEP: dict[str, Callable[[list[Any]], Any]] = {
    "padded": padded,
    "lists": lambda items: [list(part) for part in zip(*items, strict=True)],
    "dict": lambda items: {"x": [item[0] for item in items], "y": torch.tensor([item[1] for item in items])},
    "arrays": lambda items: np.array([item[1] for item in items]),
    "time first": lambda items: (pad_sequence([item[0] for item in items]), 0),
    "noise": noisy,
    "mixup": mixed,
    "texts": lambda items: {"text": [str(item[1]) for item in items]},
}
MOVE: dict[str, Callable[[list[Any]], Any]] = {
    "sorted": sorted_by_length,
    "reversed": lambda items: padded(items[::-1]),
    "shuffled": shuffled,
    "permuted": permuted,
    "shuffled by numpy": shuffled_by_numpy,
}
UNKNOWN: dict[str, Callable[[list[Any]], Any]] = {
    "packed": lambda items: pack_sequence([item[0] for item in items], enforce_sorted=False).data,
    "joined": lambda items: torch.cat([item[0] for item in items]),
    "one number": lambda items: torch.tensor(len(items)),
}
ITEMS = [(torch.randn(3 + i % 4, 2), i) for i in range(4)]


@pytest.mark.parametrize("name", [*KEEP, *MOVE, *UNKNOWN])
def test_the_odd_item_tells_whether_the_order_stays(name):
    wanted = True if name in KEEP else False if name in MOVE else None
    collate = {**KEEP, **MOVE, **UNKNOWN}[name]
    assert keeps_order(collate, ITEMS) is wanted


def test_equal_items_tell_nothing():
    same = [(torch.zeros(3, 2), 1)] * 3
    assert keeps_order(padded, same) is None
    # Sorted by a length that is the same for all, they stay where they are.
    assert keeps_order(sorted_by_length, [(torch.randn(3, 2), i) for i in range(3)]) is True


@pytest.mark.parametrize("collate", [shuffled, permuted, shuffled_by_numpy, noisy])
def test_nothing_of_the_check_is_left_in_the_generators(collate):
    torch.manual_seed(0), random.seed(0), np.random.seed(0)  # noqa: NPY002
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    collation_of(DataLoader(ITEMS, 2, collate_fn=collate))
    after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_items_of_unlike_sizes_are_taken_from_the_part_that_is_sampled():
    class Reads:
        def __init__(self) -> None:
            self.read: list[int] = []

        def __len__(self) -> int:
            return 400

        def __getitem__(self, i: int) -> tuple[Tensor, int]:
            self.read.append(i)
            return torch.zeros(1 + (i == 398)), i

    data = Reads()
    loader = DataLoader(data, 2, collate_fn=sorted_by_length)
    found = collation_of(loader, torch.arange(0, 400, 2))
    assert found.keeps_order is False
    assert len(data.read) <= 8
    assert all(i % 2 == 0 for i in data.read)


def test_a_file_opened_at_the_first_read_is_not_opened_in_the_data_set_itself():
    class Opens(list[Any]):
        file: Any = None

        def __getitem__(self, i: int) -> Any:
            self.file = self.file or object()
            return super().__getitem__(i)

    data = Opens(ITEMS)
    assert collation_of(DataLoader(data, 2, collate_fn=padded)).keeps_order is True
    assert data.file is None


def test_a_collate_function_that_fails_on_such_lists_is_left_alone():
    def picky(items: list[Any]) -> Any:
        assert len({item[1] for item in items}) == len(items)
        return padded(items)

    assert collation_of(DataLoader(ITEMS, 2, collate_fn=picky)).keeps_order is None


def test_torchs_own_is_not_looked_at():
    class Unread(TensorDataset):
        def __getitem__(self, i: int) -> Any:
            raise AssertionError

    data = Unread(torch.zeros(4))
    assert collation_of(DataLoader(data, 2, collate_fn=default_collate)).keeps_order is True
    assert collation_of(DataLoader(data, None)).keeps_order is True


def test_the_rows_of_a_batch_are_counted():
    found = collation_of(DataLoader(ITEMS, 2, collate_fn=padded))
    assert found.fields == ((0,), (1,))
    assert found.rows(padded(ITEMS[:3])) == 3
    assert found.rows({"other": 1}) is None


def test_the_dimension_of_the_samples_is_the_one_that_follows_their_number():
    def collate(items: list[Any]) -> dict[str, Any]:
        x, y = zip(*items, strict=True)
        return {"x": torch.stack(x, 1), "y": torch.tensor(y), "table": torch.zeros(11, 2), "pair": [torch.stack(x)]}

    # As many steps as the copies that are looked at.
    items = [(torch.randn(11, 3), i) for i in range(8)]
    found = collation_of(DataLoader(items, 2, collate_fn=collate))
    assert found.axes == {("x",): 1, ("y",): 0, ("pair", 0): 0}
    assert found.axis(("table",)) is None
    # Of several loaders' batches the loader's key comes first.
    assert found.axis(("labelled", "x")) == 1
    assert collation_of(DataLoader(items, 2)).axis(("anything",)) == 0
    assert collation_of(DataLoader(items, 2, collate_fn=sorted_by_length), ordered=False).keeps_order is None


# ---------------------------------------------------------------- batches that say which samples they hold
ROWS = [(torch.randn(2 + i % 7, 3, generator=torch.Generator().manual_seed(i)), i) for i in range(N)]


def controller(**options: Any) -> SelectionController:
    return SelectionController(Listening(), 0.5, max_epochs=2, seed=0, **options)


def test_an_order_that_is_changed_is_refused_where_numbers_are_told():
    loader = DataLoader(ROWS, 4, shuffle=True, collate_fn=sorted_by_length)
    with pytest.raises(ValueError, match=r"collate function sorted_by_length puts .* say where by `indices=`"):
        controller().wrap(loader)
    # Whoever is told nothing doesn't mind.
    SelectionController("random", 0.5).wrap(loader)


@pytest.mark.parametrize("sampler", [None, SubsetRandomSampler(range(5, 35))])
@pytest.mark.parametrize("where", [1, lambda batch: batch[1]])
def test_batches_tell_which_samples_they_hold(sampler, where):
    selection = controller(indices=where)
    loader = selection.wrap(DataLoader(ROWS, 4, sampler=sampler, collate_fn=sorted_by_length))
    loader.sampler.set_epoch(0)
    for step, batch in enumerate(loader):
        selection.look_at(step, batch)
        assert selection.indices(step).tolist() == batch[1].tolist()
        selection.observe(step, per_sample_loss=10.0 * batch[1])
    selection.finish_epoch()
    [told] = selection.selector.heard
    indices = selection.sampler.whole.dataset_indices(told.indices)
    assert told.per_sample_loss.tolist() == (10.0 * indices).tolist()
    assert len(set(indices.tolist())) == (20 if sampler is None else 15)


def without_every_fifth(items: list[Any]) -> tuple[Tensor, Tensor]:
    """As a collate function that leaves out what couldn't be read."""
    return padded([item for item in items if item[1] % 5])


def test_samples_left_out_are_not_counted():
    selection = controller(indices=lambda batch: batch[1])
    loader = selection.wrap(DataLoader(ROWS, 8, shuffle=True, collate_fn=without_every_fifth))
    trained: list[int] = []
    loader.sampler.set_epoch(0)
    for step, batch in enumerate(loader):
        selection.look_at(step, batch)
        selection.observe(step, per_sample_loss=10.0 * batch[1])
        trained += batch[1].tolist()
    selection.finish_epoch()
    assert selection.selector.usage.tolist() == [int(i in trained) for i in range(N)]
    assert selection.books.samples_trained == len(trained)


def test_samples_left_out_without_a_word_are_one_clear_error():
    rows = [(torch.zeros(2), i) for i in range(N)]
    rows[::5] = [(torch.zeros(2), -1)] * 8

    def readable(items: list[Any]) -> tuple[Tensor, Tensor]:
        return padded([item for item in items if item[1] >= 0])

    selection = controller()
    loader = selection.wrap(DataLoader(rows[1:], 13, collate_fn=readable))
    loader.sampler.set_epoch(0)
    batch = next(iter(loader))
    with pytest.raises(ValueError, match=r"batch 0 holds \d+ samples, but 13 were fed: where a collate function"):
        selection.look_at(0, batch)


def test_samples_that_were_not_fed_are_refused():
    selection = controller(indices=lambda batch: torch.tensor([1, 2, 3, 3]))
    loader = selection.wrap(DataLoader(ROWS, 4, collate_fn=padded))
    loader.sampler.set_epoch(0)
    with pytest.raises(ValueError, match=r"batch 0 holds sample \d by its own account, which was not fed"):
        selection.look_at(0, next(iter(loader)))


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("idx", "finds nothing in a batch of type dict"),
        (lambda batch: batch["x"], "must give one whole number per sample, got torch.float32"),
        (lambda batch: torch.tensor([True]), "must give one whole number per sample, got torch.bool"),
        (lambda batch: torch.zeros(2, 2), "must give one number per sample, got shape"),
        (lambda batch: "abc", "finds nothing in a batch of type dict"),
    ],
)
def test_indices_that_are_none_are_refused(where, problem):
    with pytest.raises(ValueError, match=problem):
        read_indices(where, {"x": torch.zeros(4), "y": 1})


def test_indices_are_a_key_an_attribute_a_position_or_a_function():
    batches = ({"idx": [3, 1]}, SimpleNamespace(idx=[3, 1]), (torch.tensor([3, 1]), 0))
    for where, batch in zip(("idx", "idx", 0), batches, strict=True):
        assert read_indices(where, batch).tolist() == [3, 1]
