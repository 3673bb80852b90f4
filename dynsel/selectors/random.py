"""RS2: repeated random subsets without replacement."""

from __future__ import annotations

import torch
from torch import Tensor

from dynsel._lib.checks import check_flag
from dynsel.selectors.score_selector import ScoreSelector

__all__ = ["Random"]


class Random(ScoreSelector):
    """A fresh random subset each epoch that rotates through the data set (RS2 without replacement).

    Takes the least used samples, in random order from the first pass on, so that the uses of any two samples
    never differ by more than one. At the turn of a pass the epoch is filled from the next one, where a
    sample of the old pass's rest can't occur twice in the same epoch; nothing is dropped.

    With `class_balance` each class rotates by itself (the stratified variant).

    Args:
        static: Take one random subset for all epochs instead: what a coreset must beat.
        class_balance: Keep the same share of every class.
        seed: Seed of the draws; None takes the run's seed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If one is out of range.

    Reference:
        Okanovic et al. (2024), Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning,
        ICLR, arXiv:2305.18424.

    Example:
        >>> import torch
        >>> from dynsel.selectors import Feedback
        >>> selector = Random(seed=0)
        >>> selector.bind(10)
        >>> for epoch in range(4):
        ...     selector.observe(Feedback(selector.select(epoch / 4, size=5).indices))
        >>> selector.usage.tolist()
        [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """

    fits_shards = True

    def __init__(self, *, static: bool = False, class_balance: bool = False, seed: int | None = None) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.static = self.same_size = check_flag("static", static)

    def scores(self, progress: float) -> Tensor:
        """Minus the uses of each sample, ties in random order; with `static` a uniform draw, the same each time.

        Args:
            progress: Share of training done, in [0, 1]; not used.

        Returns:
            (N,) float32.
        """
        if self.static:
            same = torch.Generator().manual_seed(self.generator.initial_seed())
            return self.population.uniform(self.num_samples, same)
        return self.population.rotation(self.usage, self.generator)
