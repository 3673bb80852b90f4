"""Selection where each rank has its own shards of the samples: order, sampler, feedback, checkpoints."""

from dynsel.samplers.sharded.epochs import ShardedEpochs
from dynsel.samplers.sharded.sampler import ShardedSampler

__all__ = ["ShardedEpochs", "ShardedSampler"]
