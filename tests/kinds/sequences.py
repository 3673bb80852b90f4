"""Sequences without a library: recurrent and convolutional networks, padding, packing, time first, CTC, forecasts."""

from __future__ import annotations

from typing import Any

import torch
from kinds.table import BATCH, LOSSES, REDUCTIONS, ROWS, Module, Training, classes, kind, load, mlp
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import TensorDataset

N, VOCABULARY = 40, 11


def tokens(length: int = 6) -> Tensor:
    return torch.randint(1, VOCABULARY, (N, length))


def lengths(longest: int = 6) -> Tensor:
    return torch.randint(2, longest + 1, (N,))


def padded(ids: Tensor, valid: Tensor, fill: int = -100) -> Tensor:
    return ids.masked_fill(torch.arange(ids.shape[1]) >= valid[:, None], fill)


class Tagger(nn.Module):
    """A recurrent network with an output a step, batch or time first."""

    def __init__(self, outputs: int = VOCABULARY, batch_first: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.rnn = nn.GRU(8, 12, batch_first=batch_first)
        self.head = nn.Linear(12, outputs)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(ids))[0])


@kind(LOSSES, hears="cross_entropy", also=("random", "el2n"))
def recurrent_classifier() -> Training:
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0])[:, -1], b[1]), net=Tagger(3)), load(tokens(), classes())
    )


@kind(ROWS, hears="cross_entropy", resumes=True, classifies=True)
def tags_flattened() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        logits = m(batch[0])
        return F.cross_entropy(logits.reshape(-1, VOCABULARY), batch[1].reshape(-1))

    return Training(Module(step, net=Tagger()), load(tokens(), padded(tokens(), lengths())))


@kind(LOSSES, hears="cross_entropy", classifies=True)
def tags_with_classes_in_the_second_dimension() -> Training:
    return Training(
        Module(lambda m, b: F.cross_entropy(m(b[0]).transpose(1, 2), b[1], ignore_index=0), net=Tagger()),
        load(tokens(), padded(tokens(), lengths(), 0)),
    )


@kind(ROWS, hears="cross_entropy")
def tags_with_class_weights_and_smoothing() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        logits = m(batch[0]).flatten(0, 1)
        return F.cross_entropy(logits, batch[1].flatten(), m.weight, label_smoothing=0.1)

    return Training(
        Module(step, net=Tagger(), weight=torch.rand(VOCABULARY) + 0.5),
        load(tokens(), padded(tokens(), lengths())),
    )


def _time_first(length: int) -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        logits = m(batch[0].t())
        return F.cross_entropy(logits.reshape(-1, VOCABULARY), batch[1].t().reshape(-1))

    return Training(
        Module(step, net=Tagger(batch_first=False)),
        load(tokens(length), padded(tokens(length), lengths(length))),
    )


@kind(ROWS, hears="cross_entropy", classifies=True)
def time_first() -> Training:
    return _time_first(6)


@kind(ROWS, hears="cross_entropy", classifies=True)
def time_first_with_as_many_steps_as_samples() -> Training:
    return _time_first(BATCH)


@kind(ROWS, hears="cross_entropy")
def time_first_from_the_collate() -> Training:
    """Batches are (T, B) from the loader on, with T = B in most of them."""

    def collate(items: list[Any]) -> list[Tensor]:
        return [pad_sequence(column, padding_value=0) for column in zip(*items, strict=True)]

    def step(m: Any, batch: Any) -> Tensor:
        return F.cross_entropy(m(batch[0]).flatten(0, 1), batch[1].flatten(), ignore_index=0)

    sizes = torch.randint(3, BATCH + 1, (N,)).tolist()
    rows = [(torch.randint(1, VOCABULARY, (n,)), torch.randint(1, VOCABULARY, (n,))) for n in sizes]
    return Training(Module(step, net=Tagger(batch_first=False)), load(rows, collate_fn=collate))


def _stacked_time_first(items: list[Any]) -> list[Tensor]:
    return [torch.stack(column, -1) for column in zip(*items, strict=True)]


@kind(ROWS, hears="cross_entropy", classifies=True)
def time_first_from_the_collate_with_as_many_steps_as_samples() -> Training:
    """Nothing is padded, so that only what the collate function does tells which dimension is which."""

    def step(m: Any, batch: Any) -> Tensor:
        return F.cross_entropy(m(batch[0]).flatten(0, 1), batch[1].flatten())

    rows = TensorDataset(tokens(BATCH), tokens(BATCH))
    return Training(
        Module(step, net=Tagger(batch_first=False)), load(rows, collate_fn=_stacked_time_first, drop_last=True), slack=4
    )


@kind(LOSSES, hears="cross_entropy", classifies=True)
def time_first_from_the_collate_with_one_label_each() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        return F.cross_entropy(m(batch[0])[-1], batch[1])

    rows = TensorDataset(tokens(BATCH), classes())
    return Training(
        Module(step, net=Tagger(3, batch_first=False)),
        load(rows, collate_fn=_stacked_time_first, drop_last=True),
        slack=4,
    )


@kind(ROWS, hears="cross_entropy", classifies=True)
def batch_first_with_as_many_steps_as_samples() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        return F.cross_entropy(m(batch[0]).flatten(0, 1), batch[1].flatten())

    loader = load(tokens(BATCH), tokens(BATCH), drop_last=True)
    return Training(Module(step, net=Tagger()), loader, slack=4)


@kind(LOSSES, hears="cross_entropy")
def packed_classifier() -> Training:
    """Padded by the collate function, packed for the network, the last state classified."""

    def collate(items: list[Any]) -> tuple[Tensor, Tensor, Tensor]:
        ids, labels = zip(*items, strict=True)
        return pad_sequence(ids, batch_first=True), torch.tensor([len(row) for row in ids]), torch.tensor(labels)

    def step(m: Any, batch: Any) -> Tensor:
        ids, sizes, labels = batch
        packed = pack_padded_sequence(m.net.embed(ids), sizes, batch_first=True, enforce_sorted=False)
        return F.cross_entropy(m.net.head(m.net.rnn(packed)[1][-1]), labels)

    rows = [(torch.randint(1, VOCABULARY, (n,)), i % 3) for i, n in enumerate(torch.randint(2, 9, (N,)).tolist())]
    return Training(Module(step, net=Tagger(3)), load(rows, collate_fn=collate))


@kind(ROWS, hears="cross_entropy", classifies=True)
def packed_and_padded_again() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        ids, targets, sizes = batch
        packed = pack_padded_sequence(m.net.embed(ids), sizes, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(m.net.rnn(packed)[0], batch_first=True, total_length=6)
        return F.cross_entropy(m.net.head(states).view(-1, VOCABULARY), targets.view(-1))

    sizes = lengths()
    return Training(Module(step, net=Tagger()), load(tokens(), padded(tokens(), sizes), sizes))


def _packed_truth(m: Any, batch: Any) -> Tensor:
    ids, targets = batch
    losses = [F.cross_entropy(m(row[None])[0], goal) for row, goal in zip(ids, targets, strict=True)]
    return torch.stack(losses)


@kind(ROWS, truth=_packed_truth, replays=False)
def packed_rows_all_the_way() -> Training:
    """The head sees the packed rows, sorted by length and time first; targets are packed likewise."""

    def step(m: Any, batch: Any) -> Tensor:
        ids, targets = batch
        packed = pack_sequence([m.net.embed(row) for row in ids], enforce_sorted=False)
        goals = pack_sequence(targets, enforce_sorted=False)
        return F.cross_entropy(m.net.head(m.net.rnn(packed)[0].data), goals.data)

    sizes = lengths(8).tolist()
    rows = [(torch.randint(1, VOCABULARY, (n,)), torch.randint(1, VOCABULARY, (n,))) for n in sizes]
    return Training(Module(step, net=Tagger()), load(rows, collate_fn=lambda items: tuple(zip(*items, strict=True))))


@kind(ROWS, hears="cross_entropy", classifies=True)
def valid_rows_selected_before_the_head() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        ids, targets = batch
        valid = targets != -100
        states, _ = m.net.rnn(m.net.embed(ids))
        return F.cross_entropy(m.net.head(states[valid]), targets[valid])

    return Training(Module(step, net=Tagger()), load(tokens(), padded(tokens(), lengths())))


@kind(LOSSES, hears="cross_entropy")
def a_loss_for_each_step_of_a_loop() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        ids, targets = batch
        state, loss = torch.zeros(len(ids), 12), torch.zeros(())
        for t in range(ids.shape[1]):
            state = m.cell(m.embed(ids[:, t]), state)
            loss = loss + F.cross_entropy(m.head(state), targets[:, t])
        return loss / ids.shape[1]

    parts = {"embed": nn.Embedding(VOCABULARY, 8), "cell": nn.GRUCell(8, 12), "head": nn.Linear(12, VOCABULARY)}
    return Training(Module(step, **parts), load(tokens(), tokens()))


@kind(REDUCTIONS)
def masked_mean_by_hand() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        ids, targets, mask = batch
        losses = F.cross_entropy(m(ids).transpose(1, 2), targets, reduction="none")
        return (losses * mask).sum() / mask.sum()

    mask = (torch.arange(6) < lengths()[:, None]).float()
    return Training(Module(step, net=Tagger()), load(tokens(), tokens(), mask))


@kind(REDUCTIONS)
def mean_of_the_valid_by_a_mask() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        ids, targets, mask = batch
        return F.cross_entropy(m(ids).transpose(1, 2), targets, reduction="none")[mask].mean()

    mask = torch.arange(6) < lengths()[:, None]
    return Training(Module(step, net=Tagger()), load(tokens(), tokens(), mask))


@kind(LOSSES, hears="cross_entropy")
def encoder_of_torch_with_a_padding_mask() -> Training:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
            self.embed, self.head = nn.Embedding(VOCABULARY, 16), nn.Linear(16, VOCABULARY)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            return self.head(self.encoder(self.embed(ids), src_key_padding_mask=mask))

    def step(m: Any, batch: Any) -> Tensor:
        ids, targets = batch
        logits = m(ids, targets == -100)
        return F.cross_entropy(logits.permute(0, 2, 1), targets)

    return Training(Module(step, net=Encoder()), load(tokens(), padded(tokens(), lengths())))


@kind(ROWS, hears="cross_entropy")
def translation_with_teacher_forcing() -> Training:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(VOCABULARY, 16), nn.Linear(16, VOCABULARY)
            self.transformer = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True)

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            mask = self.transformer.generate_square_subsequent_mask(target.shape[1])
            return self.head(self.transformer(self.embed(source), self.embed(target), tgt_mask=mask))

    def step(m: Any, batch: Any) -> Tensor:
        source, target = batch
        logits = m(source, target[:, :-1])
        return F.cross_entropy(logits.reshape(-1, VOCABULARY), target[:, 1:].reshape(-1), ignore_index=0)

    return Training(Module(step, net=Translator()), load(tokens(), padded(tokens(), lengths(), 0)))


class Speech(nn.Module):
    """(B, F, T) spectrograms to log-probabilities a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(5, 12, 3, padding=1)
        self.head = nn.Conv1d(12, VOCABULARY, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.convolution(x))).permute(2, 0, 1).log_softmax(2)


def _speech(reduction: str) -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        x, labels, sizes = batch
        frames = torch.full((len(x),), x.shape[2])
        loss = F.ctc_loss(m(x), labels, frames, sizes, reduction=reduction)
        return loss if loss.ndim == 0 else loss.mean()

    signal = torch.randn(N, 5, 20) * (0.5 + torch.rand(N, 1, 1))
    return Training(Module(step, net=Speech(), lr=0.01), load(signal, tokens(), lengths()))


@kind(LOSSES, hears="ctc_loss")
def speech_with_ctc() -> Training:
    return _speech("mean")


@kind(REDUCTIONS)
def speech_with_ctc_averaged_by_hand() -> Training:
    return _speech("none")


def _series() -> Tensor:
    steps = torch.arange(20) / 3 + torch.rand(N, 1) * 6
    return steps.sin() * (0.5 + torch.rand(N, 1)) + 0.3 * torch.rand(N, 1) * torch.randn(N, 20)


@kind(LOSSES, hears="mse_loss", also=("random",))
def forecast_of_a_horizon() -> Training:
    return Training(Module(lambda m, b: F.mse_loss(m(b[0][:, :14]), b[0][:, 14:]), net=mlp(14, 6)), load(_series()))


@kind(REDUCTIONS, hears="mean")
def forecast_of_quantiles() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        past, future = batch[0][:, :14], batch[0][:, 14:]
        levels = torch.tensor([0.1, 0.5, 0.9])
        error = future[..., None] - m(past).view(-1, 6, 3)
        return torch.max(levels * error, (levels - 1) * error).sum(-1).mean()

    return Training(Module(step, net=mlp(14, 18)), load(_series()))


@kind(REDUCTIONS)
def forecast_step_by_step_with_time_first() -> Training:
    """A recurrent network over (T, B, 1), its squared error summed over time and divided by T·B by hand."""

    def step(m: Any, batch: Any) -> Tensor:
        series = batch[0].t()[..., None]
        states, _ = m.rnn(series[:-1])
        return ((m.head(states) - series[1:]) ** 2).sum() / series[1:].numel()

    return Training(
        Module(step, rnn=nn.LSTM(1, 8), head=nn.Linear(8, 1)), load(torch.cat([_series(), torch.randn(N, 1)], 1))
    )
