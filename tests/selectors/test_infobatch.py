"""InfoBatch: every sample counts 1 on average, and the end of training uses everything."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support import Indexed, Module, N, SaveEvery, fit, same_weights
from torch import Tensor

from dynsel.callbacks import DynamicSelection
from dynsel.selectors import Feedback, InfoBatch


def told(loss: Tensor | list[float], **options: Any) -> InfoBatch:
    """InfoBatch that knows these losses."""
    loss = torch.as_tensor(loss)
    selector = InfoBatch(**{"seed": 0, **options})
    selector.bind(len(loss))
    selector.observe(Feedback(torch.arange(len(loss)), per_sample_loss=loss))
    return selector


def weights(selector: InfoBatch, progress: float = 0.0) -> Tensor:
    """(N,) loss weight of every sample; 0 for those left out."""
    n = selector.num_samples
    selection = selector.select(progress, n)
    result = torch.zeros(n)
    result[selection.indices] = torch.ones(len(selection)) if selection.weights is None else selection.weights
    return result


# ---------------------------------------------------------------- weights
@pytest.mark.parametrize("drop", [0.25, 0.5, 0.8])
def test_easy_samples_are_dropped_and_weighed_up_the_others_kept(drop):
    loss = torch.rand(1000, generator=torch.Generator().manual_seed(7)).exp()
    got = weights(told(loss, drop_probability=drop))
    easy = loss < loss.double().mean()
    assert got[~easy].tolist() == [1.0] * int((~easy).sum())
    assert set(got[easy].tolist()) == {0.0, float(np.float32(1 / (1 - drop)))}
    kept = int((got[easy] > 0).sum())
    assert 0.001 < stats.binom.cdf(kept, int(easy.sum()), 1 - drop) < 0.999


@pytest.mark.parametrize("drop", [0.3, 0.5])
def test_expected_weights_sum_to_n(drop):
    """P(kept) = 1 - r and the weight of the kept is 1 / (1 - r): 1 for every sample, also in a pool of three.

    The published code would keep one of the three for r = 0.5, a weight of 2/3 on average.
    """
    runs = 4000
    selector = told([0.1, 0.2, 0.3, 5.0, 4.0], drop_probability=drop)
    drawn = torch.stack([weights(selector) for _ in range(runs)]).double()
    assert torch.equal(drawn[:, 3:], torch.ones(runs, 2).double())
    error = (drop / (1 - drop) / runs) ** 0.5  # of a mean of weights of variance r / (1 - r)
    assert float((drawn[:, :3].mean(0) - 1).abs().max()) < 4 * error
    assert float(drawn.sum(1).mean()) == pytest.approx(5, abs=4 * error * 3**0.5)
    pairs = torch.corrcoef(drawn[:, :3].T) - torch.eye(3)
    assert float(pairs.abs().max()) < 4 / runs**0.5  # each is drawn by itself


def test_expected_weights_sum_to_n_over_a_stream_of_losses():
    """Losses that fall as training goes on, each epoch's told only for what it trained on."""
    n, epochs = 2000, 40
    generator = torch.Generator().manual_seed(1)
    hardness = torch.rand(n, generator=generator).exp()
    selector = told(hardness, anneal=0.0)
    sums = []
    for epoch in range(epochs):
        selection = selector.select(epoch / epochs, n)
        sums.append(float(selection.weights.sum()))
        loss = hardness * 0.95**epoch + 0.1 * torch.rand(n, generator=generator)
        selector.observe(Feedback(selection.indices, per_sample_loss=loss[selection.indices]))
    assert len(selection) < n
    # Each sum has at most n variances r / (1 - r) = 1.
    assert float(np.mean(sums)) == pytest.approx(n, abs=4 * (n / epochs) ** 0.5)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.1, 0.7, 3.0, float("nan"), float("inf")]), min_size=1), st.floats(0, 0.99))
def test_what_is_hard_or_unknown_is_never_dropped(losses, drop):
    loss = torch.tensor(losses)
    got = weights(told(loss, drop_probability=drop))
    known = loss[loss.isfinite()]
    easy = loss < (known.double().mean() if len(known) else -torch.inf)
    assert got[~easy].tolist() == [1.0] * int((~easy).sum())
    assert bool(torch.isfinite(got).all())


def test_unknown_losses_are_no_part_of_the_mean():
    """Mean 2 of the known: with a zero for the unknown the 1.9 would be above it."""
    selector = told([1.9, 2.1, torch.nan, torch.nan])
    drawn = torch.stack([weights(selector) for _ in range(50)])
    assert set(drawn[:, 0].tolist()) == {0.0, 2.0}
    assert bool((drawn[:, 1:] == 1).all())


@pytest.mark.parametrize(("loss", "drop"), [([0.5] * 7, 0.5), ([0.1] * 3, 0.9), ([0.0, 1.0], 0.0), ([torch.nan], 0.5)])
def test_where_nothing_is_to_be_dropped_all_count_alike(loss, drop):
    selection = told(loss, drop_probability=drop).select(0.0, 1)
    assert selection.indices.tolist() == list(range(len(loss)))
    assert selection.weights is None


def test_the_last_finite_loss_counts():
    selector = told([0.0, 4.0, 4.0])
    selector.observe(Feedback(torch.tensor([0, 1, 2]), per_sample_loss=torch.tensor([8.0, torch.nan, 1.0])))
    assert selector.average.tolist() == [8.0, 4.0, 1.0]
    selector.observe(Feedback(torch.tensor([0, 1])))
    assert selector.average.tolist() == [8.0, 4.0, 1.0]
    assert selector.usage.tolist() == [3, 3, 2]


# ---------------------------------------------------------------- annealing
@pytest.mark.parametrize(("epochs", "anneal", "last"), [(8, 0.125, 1), (10, 0.3, 3), (200, 0.125, 25), (7, 0.2, 1)])
def test_the_last_epochs_train_on_everything_without_weights(epochs, anneal, last):
    selector = told(torch.rand(100).tolist(), anneal=anneal)
    full = [selector.select(epoch / epochs, 50).weights is None for epoch in range(epochs)]
    assert full == [False] * (epochs - last) + [True] * last
    assert len(selector.select((epochs - last) / epochs, 50)) == 100


def test_annealing_all_or_nothing():
    loss = torch.arange(100.0)
    assert told(loss, anneal=1.0).select(0.0, 1).weights is None
    assert told(loss, anneal=0.0).select(0.99, 1).weights is not None


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"drop_probability": 1.0},
            r"`drop_probability` must be in \[0, 1\), got 1.0; it is the probability of leaving out a sample",
        ),
        ({"drop_probability": -0.1}, r"`drop_probability` must be in \[0, 1\), got -0.1"),
        ({"drop_probability": float("nan")}, r"`drop_probability` must be in \[0, 1\), got nan"),
        ({"anneal": 1.1}, r"`anneal` must be in \[0, 1\], got 1.1; it is a share of training, 0.125 by default"),
        ({"anneal": -0.5}, r"`anneal` must be in \[0, 1\], got -0.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        InfoBatch(**options)


# ---------------------------------------------------------------- a real training
class Weighs(Module):
    """Notes in each step whether the loss is Σ w l / B, and the weights by index."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        super().__init__(dropout=0.0)
        self.ratios: list[float] = []
        self.weights: dict[int, dict[int, float]] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, i = batch
        z = self(x)
        loss = F.cross_entropy(z, y)
        weights = self.trainer.selection.weights(batch_idx)
        weights = torch.ones(len(i)) if weights is None else weights
        own = -z.detach().log_softmax(1)[torch.arange(len(y)), y]
        self.ratios.append(float(loss.detach() / ((weights * own).sum() / len(y))))
        self.weights.setdefault(self.current_epoch, {}).update(zip(i.tolist(), weights.tolist(), strict=True))
        return loss


def run(*callbacks: pl.Callback, **options: Any) -> tuple[Weighs, DynamicSelection]:
    selection = DynamicSelection(InfoBatch(drop_probability=0.5, anneal=0.25), keep_ratio=0.5)
    module, _ = fit(selection, *callbacks, module=Weighs(), max_epochs=4, val=False, **options)
    return module, selection


def test_weights_reach_the_loss_of_a_training():
    module, selection = run()
    assert module.ratios == pytest.approx([1.0] * len(module.ratios), rel=1e-5)
    sizes = [len(module.weights[epoch]) for epoch in range(4)]
    assert sizes[0] == sizes[3] == N
    assert sizes[1] < N
    assert sizes[2] < N
    values = [set(module.weights[epoch].values()) for epoch in range(4)]
    assert values == [{1.0}, {1.0, 2.0}, {1.0, 2.0}, {1.0}]
    assert [round(record.keep_ratio * N) for record in selection.history] == sizes


def test_a_training_drops_what_its_losses_say():
    """Before the second epoch: the losses of the first, told as they were before any weights."""
    losses: dict[int, float] = {}

    class Notes(Weighs):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if self.current_epoch == 0:
                with torch.no_grad():
                    values = F.cross_entropy(self(batch[0]), batch[1], reduction="none")
                losses.update(zip(batch[2].tolist(), values.tolist(), strict=True))
            return super().training_step(batch, batch_idx)

    module = Notes()
    fit(DynamicSelection(InfoBatch(), keep_ratio=0.5), module=module, max_epochs=2, val=False)
    mean = float(np.mean(list(losses.values())))
    second = module.weights[1]
    assert {i for i, weight in second.items() if weight == 2.0} == {i for i in second if losses[i] < mean}
    assert all(losses[i] < mean for i in range(len(Indexed())) if i not in second)


def test_a_resumed_training_ends_with_the_same_weights(tmp_path):
    saver = SaveEvery(tmp_path)
    whole, _ = run(saver)
    for path in saver.paths[4::9]:
        assert same_weights(run(ckpt_path=path, seed=2)[0], whole)
