"""A selection in a loop written by hand; what two processes share out by themselves."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from programs.fabric_checks import SIZES, Run, controller
from support import BATCHES, Indexed, same_weights, train_loader
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset, WeightedRandomSampler

from dynsel.samplers import SelectionController, sampler_for
from dynsel.schedules import Constant
from dynsel.selectors import Feedback, Full, Hybrid, Random

LOADERS = [{}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}]


def used(seen: list[list[list[int]]]) -> list[int]:
    counts = Counter(i for epoch in seen for batch in epoch for i in batch)
    return [counts[i] for i in range(40)]


# ---------------------------------------------------------------- by hand
@pytest.mark.parametrize("options", LOADERS)
def test_loop_by_hand(options):
    selection = controller()
    run = Run(selection, None, **options).train(4)
    assert [len(epoch) for epoch in run.seen] == BATCHES
    assert run.known == run.seen
    assert [sum(epoch, []) for epoch in run.seen] == run.orders  # noqa: RUF017
    assert [len(set(order)) for order in run.orders] == list(SIZES)
    assert selection.selector.usage.tolist() == used(run.seen)
    assert [(r.epoch, r.keep_ratio, r.samples_trained) for r in selection.history] == [
        (0, 0.3, 12),
        (1, 1.0, 52),
        (2, 0.5, 72),
        (3, 0.2, 80),
    ]


def warned_of(keep_ratio: float, ranks: int = 1, rank: int = 0, **options: Any) -> list[str]:
    """What two epochs of 32 a batch warn of."""
    selection = SelectionController("random", keep_ratio=keep_ratio, max_epochs=2, seed=0)
    loader = DataLoader(TensorDataset(torch.zeros(259)), batch_size=32, **options)
    loader = selection.wrap(loader, num_replicas=ranks, rank=rank)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            list(loader)
            selection.finish_epoch()
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(("kept", "last"), [(65, 1), (67, 3), (35, 3)])
def test_a_last_batch_that_is_all_noise_is_warned_of_once(kept, last):
    (said,) = warned_of(kept / 259)
    assert f"epoch 0: {kept} selected samples leave a last batch of {last} instead of 32" in said
    assert warned_of(kept / 259, drop_last=True) == []


# Whole batches; an eighth; nearly all; and the 3 that the loader itself makes of all samples.
@pytest.mark.parametrize("kept", [64, 68, 95, 259])
def test_other_last_batches_are_not_warned_of(kept):
    assert warned_of(kept / 259) == []


def test_on_several_ranks_one_warns_of_its_last_batch():
    (said,) = warned_of(130 / 259, 2)
    assert "130 selected samples leave a last batch of 1 instead of 32" in said
    assert warned_of(130 / 259, 2, 1) == []


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True, "num_workers": 1}])
def test_keep_ratio_1_equals_the_loop_without(options):
    plain = Run(None, None, **options).train(3)
    for selector, ratio in ((Full(), Constant(0.1)), (Random(), Constant(1.0))):
        whole = Run(controller((40,) * 3, selector, ratio), None, **options).train(3)
        assert whole.seen == plain.seen
        assert same_weights(whole.net, plain.net)


@pytest.mark.parametrize("options", LOADERS)
@pytest.mark.parametrize("load_first", [True, False])
def test_resume_by_hand_after_every_step(options, load_first):
    sizes = (20, 12, 28)
    states: list[tuple[int, bytes]] = []
    whole = Run(controller(sizes), None, **options)

    def save() -> None:
        file = io.BytesIO()
        torch.save({name: part.state_dict() for name, part in whole.state().items()}, file)
        states.append((whole.selection.epoch, file.getvalue()))

    whole.train(3, after_step=save)
    different = []
    # Starting workers takes a while; one step inside, one at the end of an epoch then.
    for step, (epoch, file) in list(enumerate(states))[:: 4 if options else 1]:
        state = torch.load(io.BytesIO(file), weights_only=True)
        selection = controller(sizes)
        if load_first:
            selection.load_state_dict(state["selection"])
        again = Run(selection, None, seed=2, **options)
        if not load_first:
            selection.load_state_dict(state["selection"])
        again.net.load_state_dict(state["net"])
        again.optimizer.load_state_dict(state["optimizer"])
        again.train(3, start=epoch)
        rest = [batch for epoch in whole.seen for batch in epoch][step + 1 :]
        if [batch for epoch in again.seen for batch in epoch] != rest or not same_weights(whole.net, again.net):
            different.append(step)
    assert (len(states), different) == (5 + 3 + 7, [])


def test_the_first_epoch_needs_no_call():
    selection = controller()
    loader = selection.wrap(train_loader())
    assert [len(batch[2]) for batch in loader] == [4, 4, 4]
    assert (selection.epoch, int(selection.selector.usage.sum())) == (0, 0)
    selection.flush()
    assert int(selection.selector.usage.sum()) == 12


def test_the_loader_stays_as_it_was():
    class Loader(DataLoader[Any]):
        pass

    loader = Loader(Indexed(), 4)
    before = dict(vars(loader))
    wrapped = controller().wrap(loader)
    wrapped.sampler.set_epoch(0)
    assert len(list(wrapped)) == 3
    assert (type(loader), len(loader), vars(loader)) == (Loader, 10, before)
    assert isinstance(wrapped, Loader)


def test_an_interrupted_epoch_counts_what_was_delivered():
    selection = controller((40,))
    loader = selection.wrap(train_loader(num_workers=1))
    loader.sampler.set_epoch(0)
    for step, _ in enumerate(loader):
        if step == 2:
            break
    selection.finish_epoch()
    assert int(selection.selector.usage.sum()) == 12


def test_losses_by_hand():
    class Heard(Random):
        wants = frozenset({"per_sample_loss"})
        told: list[Feedback]

        def learn(self, feedback: Feedback) -> None:
            self.told = [*getattr(self, "told", []), feedback]

    selection = controller((12,), Heard())
    loader = selection.wrap(train_loader())
    loader.sampler.set_epoch(0)
    for step, (_, _, i) in enumerate(loader):
        if step != 1:
            selection.observe(step, per_sample_loss=10.0 * i)
    selection.finish_epoch()
    [feedback] = selection.selector.told
    assert len(feedback.indices) == 12
    unknown = torch.isnan(feedback.per_sample_loss)
    assert unknown.tolist() == [False] * 4 + [True] * 4 + [False] * 4
    assert feedback.per_sample_loss[~unknown].tolist() == (10.0 * feedback.indices[~unknown]).tolist()
    assert feedback.finite().indices.tolist() == feedback.indices[~unknown].tolist()
    with pytest.raises(
        ValueError, match="`per_sample_loss` must have one row per sample of batch 0: expected 4, got 3"
    ):
        selection.observe(0, per_sample_loss=torch.zeros(3))


def test_by_hand_the_loss_is_enough_for_the_default():
    selection = controller((12,), Hybrid())
    loader = selection.wrap(train_loader())
    loader.sampler.set_epoch(0)
    for step, (_, _, i) in enumerate(loader):
        selection.observe(step, per_sample_loss=10.0 * i, value=None if step else i + 0.5)
    selection.finish_epoch()
    told = selection.selector.terms["uncertainty"].average
    used = selection.selector.usage.nonzero()[:, 0]
    assert torch.equal(told.isfinite(), selection.selector.usage > 0)
    assert sorted(told[used] == 10.0 * used) == [False] * 4 + [True] * 8
    assert int((told[used] == used + 0.5).sum()) == 4


def test_a_controller_without_a_loader_says_so():
    with pytest.raises(RuntimeError, match="no loader yet"):
        SelectionController("random", keep_ratio=0.5).set_epoch(0)


# ---------------------------------------------------------------- several processes, the loader's own sampler
def test_a_distributed_sampler_gives_its_seed_and_shuffle():
    data = Indexed()
    for shuffle in (True, False):
        theirs = DistributedSampler(data, num_replicas=2, rank=1, shuffle=shuffle, seed=9)
        ours = sampler_for(DataLoader(data, 4, sampler=theirs), num_replicas=2, rank=1)
        for epoch in (0, 3):
            theirs.set_epoch(epoch)
            ours.set_epoch(epoch)
            assert list(ours) == list(theirs)


def test_an_order_that_is_no_plain_permutation_is_drawn_on_one_rank_for_all():
    loader = DataLoader(Indexed(), 4, sampler=WeightedRandomSampler([1.0] * 40, 40))
    sampler = sampler_for(loader, num_replicas=2, rank=0)
    assert (sampler.whole.base, sampler.whole.shared) == (loader.sampler, True)
    assert sampler_for(DataLoader(Indexed(), 4, shuffle=True), num_replicas=2, rank=0).whole.base is None


def test_a_plain_loop_is_told_what_waits_for_its_length():
    loader = DataLoader(TensorDataset(torch.arange(12.0)), 2)
    with pytest.warns(UserWarning, match="SelectionController: EL2N would change .* Give it `max_epochs`"):
        SelectionController("el2n", keep_ratio=0.5).wrap(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SelectionController("el2n", keep_ratio=0.5, max_epochs=3).wrap(loader)
        SelectionController("hybrid", keep_ratio=0.5).wrap(loader)
