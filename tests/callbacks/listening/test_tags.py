"""Tags go with rows through the operations of a step: what the tag of a result says is held against the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence, pad_sequence

from dynsel.callbacks.listening.hearing import Effort, Hearing

B = 4


def numbered(*shape: int) -> Tensor:
    """Rows whose values are the number of their sample, so that shape operations show where it went."""
    return torch.arange(float(shape[0])).view(-1, *[1] * (len(shape) - 1)).expand(shape).clone()


def tag_of(operation: Callable[[Any], Tensor], batch: Any, effort: Effort = Effort.FULL, size: int = B) -> Any:
    """The tag of what the operation makes of a batch, with the result's shape; None without one."""
    hearing = Hearing(size, batch, effort)
    with hearing:
        result = operation(batch)
    assert hearing.tags is not None
    tag = hearing.tags.get(result)
    if isinstance(tag, int):
        return torch.full(result.shape, tag), result
    return (None if tag is None else tag.expand(result.shape)), result


MASK = torch.tensor([[True, False, True], [False, True, True], [True, True, True], [False, False, True]])
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda x: x.view(-1, 2),
    "transpose and reshape": lambda x: x.transpose(0, 1).reshape(-1, 2),
    "permute": lambda x: x.permute(2, 0, 1),
    "slice": lambda x: x[:, 1:],
    "reversed": lambda x: x.flip(0),
    "mask": lambda x: x[MASK],
    "rows by number": lambda x: x[torch.tensor([3, 0, 0])],
    "one sample": lambda x: x[2],
    "cat": lambda x: torch.cat([x, x]),
    "stack": lambda x: torch.stack([x, x], 1),
    "repeat": lambda x: x.repeat(2, 1, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 0),
    "chunks": lambda x: torch.cat(x.chunk(2)[::-1]),
    "unbind": lambda x: torch.stack(x.unbind(1)),
    "pad": lambda x: F.pad(x, (0, 0, 0, 1), value=-1.0),
    "flatten and unflatten": lambda x: x.flatten().unflatten(0, (4, 6)),
    "expand": lambda x: x.unsqueeze(1).expand(-1, 5, -1, -1),
    "index_select": lambda x: x.index_select(0, torch.tensor([1, 3])),
}


@pytest.mark.parametrize("effort", [Effort.LIGHT, Effort.FULL])
@pytest.mark.parametrize("name", SHAPES)
def test_shape_operations(name: str, effort: Effort) -> None:
    tag, result = tag_of(lambda batch: SHAPES[name](batch[0]), [numbered(B, 3, 2)], effort)
    assert tag is not None
    assert torch.equal(tag.float(), result)


@given(st.permutations(range(3)), st.booleans(), st.sampled_from([(-1,), (6, -1), (2, -1, 2)]))
def test_any_order_of_dimensions(order: list[int], turned: bool, shape: tuple[int, ...]) -> None:
    def operation(batch: list[Tensor]) -> Tensor:
        x = batch[0].permute(*order)
        return (x.flip(1) if turned else x).reshape(shape)

    tag, result = tag_of(operation, [numbered(B, 3, 2)])
    assert torch.equal(tag.float(), result)


lstm, conv, norm = nn.LSTM(2, 5), nn.Conv1d(3, 5, 1), nn.LayerNorm(2)
# Computations, with the dimension of the result that the samples are in.
COMPUTED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "linear": (lambda x: F.linear(x, torch.ones(7, 2)), 0),
    "convolution": (conv, 0),
    "norm and activation": (lambda x: norm(x).relu() * 2, 0),
    "mean over the time": (lambda x: x.mean(1), 0),
    "time first, mean over the time": (lambda x: x.transpose(0, 1).mean(0), 0),
    "recurrent": (lambda x: lstm(x.transpose(0, 1))[0], 1),
    "last state": (lambda x: lstm(x.transpose(0, 1))[1][0], 1),
    "similarities": (lambda x: x.flatten(1) @ x.flatten(1).T, 0),
    "einsum": (lambda x: torch.einsum("btd,btd->tb", x, x), 1),
    "log_softmax": (lambda x: x.log_softmax(1), 0),
    "compared with others": (lambda x: (x.flatten(1)[:, None] - x.flatten(1)[None]).norm(dim=2), 0),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_computations(name: str) -> None:
    operation, dim = COMPUTED[name]
    tag, result = tag_of(lambda batch: operation(batch[0]), [torch.randn(B, 3, 2)])
    assert tag is not None
    wanted = torch.arange(B).view([-1 if d == dim else 1 for d in range(result.ndim)]).expand(result.shape)
    assert torch.equal(tag, wanted)


def test_what_sums_up_the_samples_has_none() -> None:
    for operation in (lambda x: x.mean(0), lambda x: x.T @ x, lambda x: torch.einsum("bd,be->de", x, x)):
        tag, _ = tag_of(lambda batch: operation(batch[0]), [torch.randn(B, B)])  # noqa: B023
        assert tag is None


def test_sorted_rows_are_where_they_went() -> None:
    x = torch.tensor([3.0, 1.0, 2.0, 0.0])
    assert tag_of(lambda b: b[0].sort()[0], [x])[0].tolist() == [3, 1, 2, 0]
    assert tag_of(lambda b: b[0][b[0].argsort()], [x])[0].tolist() == [3, 1, 2, 0]
    # Of the highest alone nothing is said: the others have losses as well.
    assert tag_of(lambda b: b[0].topk(2)[0], [x])[0] is None


def _buffer(batch: Any) -> Tensor:
    x = torch.zeros(B, 3, 2)
    x[:, 1:] = batch[0][:, :2]
    return x


def _buffer_by_time(batch: Any) -> Tensor:
    x = torch.zeros(3, B, 2)
    x[1:] = batch[0].transpose(0, 1)[:2]
    return x


@pytest.mark.parametrize(("operation", "dim"), [(_buffer, 0), (_buffer_by_time, 1)])
def test_the_rest_of_a_buffer_goes_with_what_is_written_into_it(operation: Callable[[Any], Tensor], dim: int) -> None:
    tag, result = tag_of(operation, [torch.randn(B, 3, 2)])
    wanted = torch.arange(B).view([-1 if d == dim else 1 for d in range(3)]).expand(result.shape)
    assert torch.equal(tag, wanted)


ORDER = torch.tensor([2, 0, 3, 1])
MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "gather": lambda x: x.gather(0, ORDER),
    "take": lambda x: x.take(ORDER),
    "take_along_dim": lambda x: torch.take_along_dim(x, ORDER, 0),
    "index_put": lambda x: torch.zeros(B).index_put((ORDER,), x),
    "index_copy": lambda x: torch.zeros(B).index_copy(0, ORDER, x),
    "scatter": lambda x: torch.zeros(B).scatter(0, ORDER, x),
}


@pytest.mark.parametrize("name", MOVES)
def test_values_that_are_picked_or_put_elsewhere(name: str) -> None:
    tag, result = tag_of(lambda batch: MOVES[name](batch[0]), [numbered(B)])
    assert torch.equal(tag.float(), result)


def test_running_sums_over_the_samples_have_none() -> None:
    assert tag_of(lambda batch: batch[0].cumsum(0), [torch.randn(B)])[0] is None
    assert tag_of(lambda batch: batch[0].cumsum(1), [torch.randn(B, 3)])[0] is not None


def test_packed_sequences() -> None:
    lengths = torch.tensor([2, 3, 1, 3])
    padded = numbered(B, 3, 2)

    def packed(batch: Any) -> Any:
        return pack_padded_sequence(batch[0], lengths, batch_first=True, enforce_sorted=False)

    tag, result = tag_of(lambda batch: packed(batch).data, [padded])
    assert torch.equal(tag.float(), result)
    tag, result = tag_of(lambda b: pad_packed_sequence(packed(b), batch_first=True, padding_value=-1.0)[0], [padded])
    assert torch.equal(tag.float(), result)
    rows = [row[:n] for row, n in zip(padded, lengths.tolist(), strict=True)]
    tag, result = tag_of(lambda batch: pack_sequence(batch[0], enforce_sorted=False).data, (rows,))
    assert torch.equal(tag.float(), result)


# ---------------------------------------------------------------- what a batch holds
def tags_of_batch(batch: Any, size: int, *tensors: Tensor) -> list[Any]:
    tags = Hearing(size, batch, Effort.LIGHT).tags
    assert tags is not None
    found = [tags.get(tensor) for tensor in tensors]
    return [tag if tag is None or isinstance(tag, int) else (tuple(tag.shape), tag.flatten().tolist()) for tag in found]


def test_a_batch_of_tensors_and_of_dicts() -> None:
    x, y, other = torch.randn(3, 5), torch.randint(3, (3,)), torch.randn(7)
    first = ((3, 1), [0, 1, 2])
    assert tags_of_batch((x, {"y": y, "other": other}), 3, x, y, other) == [first, ((3,), [0, 1, 2]), None]


@pytest.mark.parametrize("size", [2, 3])
def test_a_list_of_samples_of_images_with_as_many_channels(size: int) -> None:
    images = [torch.randn(3, 4, 4) for _ in range(size)]
    targets = [{"boxes": torch.randn(k + 1, 4)} for k in range(size)]
    wanted = list(range(size))
    assert tags_of_batch((images, targets), size, *images) == wanted
    assert tags_of_batch((images, targets), size, *(t["boxes"] for t in targets)) == wanted


def test_a_list_of_views_where_the_labels_tell_the_batch_size() -> None:
    views, y = [torch.randn(2, 5), torch.randn(2, 5)], torch.tensor([0, 1])
    assert tags_of_batch((views, y), 2, *views) == [((2, 1), [0, 1])] * 2


def test_time_first_is_told_by_the_size_or_by_the_padding() -> None:
    long = torch.randn(5, 3)
    assert tags_of_batch([long], 3, long) == [((1, 3), [0, 1, 2])]
    columns = pad_sequence([torch.tensor([4, 5, 6]), torch.tensor([7]), torch.tensor([8, 9])])
    assert tags_of_batch([columns], 3, columns) == [((1, 3), [0, 1, 2])]
    rows = columns.T.contiguous()
    assert tags_of_batch([rows], 3, rows) == [((3, 1), [0, 1, 2])]


def test_nodes_and_edges_of_graphs() -> None:
    data = pytest.importorskip("torch_geometric.data")
    edges = torch.tensor([[0, 1], [1, 0]])
    graphs = [data.Data(x=torch.randn(k + 2, 3), edge_index=edges, edge_attr=torch.randn(2, 1), y=k) for k in range(3)]
    batch = data.Batch.from_data_list(graphs)
    nodes, ends, labels = tags_of_batch(batch, 3, batch.x, batch.edge_attr, batch.y)
    assert nodes == ((9, 1), [0, 0, 1, 1, 1, 2, 2, 2, 2])
    assert ends == ((6, 1), [0, 0, 1, 1, 2, 2])
    assert labels == ((3,), [0, 1, 2])
