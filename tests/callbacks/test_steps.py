"""What schedulers are built for, read from torch's own."""

from __future__ import annotations

from functools import partial

import torch
from torch.optim import lr_scheduler

from dynsel.callbacks.steps import built_for


def test_what_schedulers_are_built_for_is_read_from_them():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    num_training_steps = 70

    def closes_over(step: int) -> float:
        return 1 - step / num_training_steps

    def linear(step: int, *, num_warmup_steps: int, num_training_steps: int) -> float:
        return 1.0

    def stable(step: int, *, num_warmup_steps: int, num_stable_steps: int, num_decay_steps: int) -> float:
        return 1.0

    lambdas = [
        partial(linear, num_warmup_steps=5, num_training_steps=60),
        partial(stable, num_warmup_steps=5, num_stable_steps=6, num_decay_steps=7),
        closes_over,
        lambda step: 1.0,
    ]
    made = [
        lr_scheduler.OneCycleLR(optimizer, 0.1, epochs=4, steps_per_epoch=11),
        lr_scheduler.CosineAnnealingLR(optimizer, 30),
        lr_scheduler.LinearLR(optimizer, total_iters=20),
        lr_scheduler.PolynomialLR(optimizer, total_iters=25),
        lr_scheduler.MultiStepLR(optimizer, [10, 40]),
        lr_scheduler.ConstantLR(optimizer, total_iters=10**6),
        lr_scheduler.StepLR(optimizer, 3),
        lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 10),
        lr_scheduler.ReduceLROnPlateau(optimizer),
        *(lr_scheduler.LambdaLR(optimizer, function) for function in lambdas),
    ]
    assert [built_for(each) for each in made] == [44, 30, 20, 25, 40, None, None, None, None, 60, 18, 70, None]
    warm = lr_scheduler.LinearLR(optimizer, total_iters=5)
    sequence = lr_scheduler.SequentialLR(optimizer, [warm, lr_scheduler.CosineAnnealingLR(optimizer, 30)], [5])
    endless = lr_scheduler.SequentialLR(optimizer, [warm, lr_scheduler.ExponentialLR(optimizer, 0.9)], [5])
    chained = lr_scheduler.ChainedScheduler([lr_scheduler.CosineAnnealingLR(optimizer, 30), warm])
    assert [built_for(each) for each in (sequence, endless, chained)] == [35, 5, 30]
