"""Proxy: the small network learns on the stream and keeps what it finds hard; copies, state, bad input."""

from __future__ import annotations

import copy
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsel.samplers.batch import keep_in_batches
from dynsel.selectors import Proxy
from dynsel.selectors.proxy import Stream

N = 64
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()
WRONG = [3, 17, 40, 59]
LINEAR = {"model": "torch.nn.Linear", "arguments": {"in_features": 3, "out_features": 2}}


def make(until: float = 0.1, x: Tensor = X, **options: Any) -> Proxy:
    selector = Proxy(**{**LINEAR, "seed": 0, **options})
    selector.bind(N)
    y = Y.clone()
    y[WRONG] = 1 - y[WRONG]
    selector.stream = Stream(lambda batches: ((x[i], y[i]) for i in batches), torch.device("cpu"), until=until)
    return selector


def epoch(selector: Proxy, number: int, size: int = 32, batch: int = 8, epochs: int = 20) -> Tensor:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(number))
    selector.stream.until = (number + 1) / epochs
    return order[keep_in_batches(selector, order, size, batch, number / epochs)]


def test_what_it_finds_hardest_stays():
    selector = make()
    for number in range(10):
        kept = epoch(selector, number)
    assert set(WRONG) <= set(kept.tolist())


def test_a_step_is_that_of_sgd_on_what_stays():
    """One batch by hand: hardest half by the first weights, one-cycle's first rate, Nesterov, no decay of the bias."""
    selector = make(lr=0.5, weight_decay=0.1)
    mine = copy.deepcopy(selector.network)
    rows = torch.arange(8)
    (kept,) = selector.select_batches([rows], [4], 0.0)
    losses = F.cross_entropy(mine(X[rows]), selector_targets(rows), reduction="none")
    assert kept.tolist() == sorted(losses.topk(4).indices.tolist())
    loss = F.cross_entropy(mine(X[kept]), selector_targets(kept))
    weight, bias = torch.autograd.grad(loss, [mine.weight, mine.bias])
    rate = 0.5 / 25
    expected = mine.weight - rate * 1.9 * (weight + 0.1 * mine.weight)
    torch.testing.assert_close(selector.network.weight, expected)
    torch.testing.assert_close(selector.network.bias, mine.bias - rate * 1.9 * bias)


def selector_targets(rows: Tensor) -> Tensor:
    wrong = torch.isin(rows, torch.tensor(WRONG))
    return torch.where(wrong, 1 - Y[rows], Y[rows])


def test_the_rate_goes_up_and_down_within_an_epoch():
    selector = make()
    rates = []
    step = selector._optimizer.step
    selector._optimizer.step = lambda: (rates.append(selector._optimizer.param_groups[0]["lr"]), step())
    epoch(selector, 0, epochs=1)
    assert len(rates) == 4
    assert rates[0] == pytest.approx(0.2 / 25)
    assert rates[0] < rates[1] > rates[2] > rates[3] > 0


def test_it_learns_also_where_all_stay():
    selector = make()
    before = selector.network.weight.clone()
    assert selector.select(0.0, N).indices.tolist() == list(range(N))
    assert not torch.equal(selector.network.weight, before)
    assert selector.work[0] == 0


def test_what_it_costs():
    selector = make()
    selector.stream.count_flops = True
    epoch(selector, 0)
    # A layer of 3 x 2: 12 operations forward, as many backward for the weights.
    assert selector.work[:2].tolist() == [64, 64 * 12 + 32 * 24]


# ---------------------------------------------------------------- the small network
class Net(pl.LightningModule):
    def __init__(self, width: int = 16, depth: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 2))
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        assert self.training
        self.steps += 1
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return {"loss": loss}


@pytest.fixture
def following() -> Any:
    def follow(**arguments: Any) -> Proxy:
        selector = Proxy(arguments=arguments, seed=0)
        selector.follow(Net(depth=3))
        selector.bind(N)
        selector.stream = make().stream
        return selector

    return follow


def test_a_copy_of_the_model_but_smaller(following, recwarn):
    selector = following(width=4)
    assert selector.network.hparams == {"width": 4, "depth": 3}
    epoch(selector, 0)
    assert selector.network.steps == 4
    assert not [w for w in recwarn if "self.trainer" in str(w.message)]


def test_its_weights_and_draws_depend_on_its_seed_alone(following):
    runs = []
    for seed in (1, 2):
        selector = following(width=4)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        selector.bind(N)
        epoch(selector, 0)
        assert torch.equal(torch.get_rng_state(), before)
        runs.append(selector.network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(run.values() for run in runs), strict=True))


def test_a_class_path_goes_first():
    selector = Proxy(**LINEAR)
    selector.follow(Net())
    selector.bind(N)
    assert isinstance(selector.network, nn.Linear)


# ---------------------------------------------------------------- state
def test_a_saved_state_continues_to_the_bit(following):
    whole = following(width=4)
    for number in range(3):
        epoch(whole, number)
    resumed = following(width=4)
    resumed.load_state_dict(whole.state_dict())
    assert [epoch(whole, n).tolist() for n in (3, 4)] == [epoch(resumed, n).tolist() for n in (3, 4)]
    states = [whole.state_dict(), resumed.state_dict()]
    assert states[0].keys() == states[1].keys()
    assert any(key.startswith("momentum.net.0") for key in states[0])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lr": 0}, "`lr` must be above 0, got 0"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -1}, "`weight_decay` must be at least 0, got -1"),
        ({"model": "nowhere.Net"}, "`model` must be a class path that can be imported, got 'nowhere.Net'"),
        ({"model": "Net"}, "`model` must be a class path that can be imported, got 'Net'"),
    ],
)
def test_bad_arguments(options, text):
    with pytest.raises(ValueError, match=text):
        Proxy(**options)


def test_nothing_says_how_it_is_smaller():
    with pytest.raises(ValueError, match=r"Proxy needs a small network: .* \(it has none; .*: depth, width\), or a"):
        Proxy().follow(Net())
    with pytest.raises(ValueError, match=r"\(Net has no hyper-parameter 'wide'; its hyper-parameters: depth, width\)"):
        Proxy(arguments={"wide": 8}).follow(Net())
    with pytest.raises(ValueError, match=r"\(Linear has no hyper-parameter 'width'\)"):
        Proxy(arguments={"width": 8}).follow(nn.Linear(2, 2))


def test_no_network_and_no_data():
    selector = Proxy()
    selector.bind(N)
    with pytest.raises(ValueError, match="Proxy has no network or no data: give `model` or `follow"):
        selector.select(0.0, 10)


def test_nan_losses():
    x = X.clone()
    x[:6] = torch.nan
    selector = make(x=x)
    with pytest.raises(ValueError, match="only 2 of 8 candidates have a finite loss under the proxy and 4 are to be"):
        selector.select_batches([torch.arange(8)], [4], 0.0)


def test_arguments_that_the_network_does_not_take() -> None:
    selector = Proxy(model="torch.nn.Linear", arguments={"a": 1})
    with pytest.raises(TypeError, match=r"`arguments` must be those of Linear, got {'a': 1}"):
        selector.bind(8, torch.arange(8) % 2)
