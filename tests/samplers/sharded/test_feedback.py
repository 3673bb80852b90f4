"""What one rank was told, which goes to nobody else."""

from __future__ import annotations

import torch

from dynsel.samplers.sharded import ShardedSampler
from dynsel.samplers.sharded.feedback import ShardedFeedback


def test_what_was_told_belongs_to_the_places_that_were_fed():
    sampler = ShardedSampler(range(50), 4, num_replicas=2, rank=1, seed=1, batch_size=5)
    feedback = ShardedFeedback(sampler)
    batches = [sampler.part.batch(b) for b in range(4)]
    for number in (0, 2):
        losses = batches[number].float() / 10
        feedback.hear(number, {"per_sample_loss"}, {"per_sample_loss": losses})
    told = feedback.collect(3, {"per_sample_loss"})
    assert told.indices.tolist() == torch.cat(batches[:3]).tolist()
    assert told.per_sample_loss[:5].tolist() == (batches[0].float() / 10).tolist()
    assert told.per_sample_loss[5:10].isnan().all()
    assert told.value is None
    assert feedback.counted == 3
    assert feedback.collect(4, set()).indices.tolist() == batches[3].tolist()


def test_a_selection_that_was_followed_by_another_is_counted():
    sampler = ShardedSampler(range(50), 4, seed=1, batch_size=5)
    feedback = ShardedFeedback(sampler)
    before = [sampler.part.batch(b).tolist() for b in range(2)]
    sampler.stage.deliver(2)
    feedback.leave_order()
    sampler.begin(0, batch=2)
    after = sampler.part.batch(2).tolist()
    assert feedback.collect(3, set()).indices.tolist() == [*before[0], *before[1], *after]
