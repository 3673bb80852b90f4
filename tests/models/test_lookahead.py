import torch
from torch import nn

from dynsel.models.lookahead import LookAhead


def test_every_fifth_step_averages_and_the_last_takes_the_average():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, affine=False))
    network[0].weight.data.fill_(0.0)
    average = LookAhead(network)
    slow = fast = 0.0
    for done in range(1, 13):
        network[0].weight.data.add_(1.0)
        network[1].running_mean.add_(1.0)
        fast += 1.0
        average.step(network, done, 12)
        if done in (5, 10):
            decay = 0.95**5 * (done / 12) ** 3
            slow = decay * slow + (1 - decay) * fast
        if done in (5, 10, 12):  # at the end without another look at the fast ones, as the source does
            fast = slow
        torch.testing.assert_close(float(network[0].weight), fast)
        torch.testing.assert_close(float(network[1].running_mean), fast)


def test_a_training_of_few_steps_is_not_undone():
    network = nn.Linear(1, 1)
    average, before = LookAhead(network), network.weight.detach().clone()
    for done in range(1, 4):
        network.weight.data.add_(1.0)
        average.step(network, done, 3)
    torch.testing.assert_close(network.weight.data, before + 3 * (1 - 0.95**5))


def test_the_copy_travels_with_the_state():
    network = nn.Linear(2, 2)
    average, other = LookAhead(network), LookAhead(nn.Linear(2, 2))
    other.load_state_dict(average.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(average.buffers(), other.buffers(), strict=True))
    assert not list(average.parameters())
