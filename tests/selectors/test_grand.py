"""GraNd against the gradients that autograd finds, one sample after the other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dynsel.selectors import GraNd


def test_the_measure_is_the_norm_of_the_last_layers_gradient() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 4)
    inputs, targets = torch.randn(9, 6), torch.randint(4, (9,))
    ours = GraNd().measure(layer(inputs).detach(), targets, inputs)
    for i in range(9):
        layer.zero_grad()
        F.cross_entropy(layer(inputs[i : i + 1]), targets[i : i + 1]).backward()
        whole = torch.cat([layer.weight.grad.flatten(), layer.bias.grad])
        assert float(ours[i]) == pytest.approx(float(whole.norm()), rel=1e-4)


def test_without_the_layers_inputs_it_says_so() -> None:
    with pytest.raises(ValueError, match="GraNd needs what the last linear layer takes in"):
        GraNd().measure(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), None)
