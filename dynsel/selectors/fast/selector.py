"""FAST: a coreset whose spectral embedding has the characteristic function of its class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from dynsel._lib.checks import check_choice, check_flag, check_integer
from dynsel._lib.groups import groups
from dynsel._lib.matrices import take
from dynsel._lib.progress import counting, track
from dynsel.cfd import frequency_bands, median_scale
from dynsel.schedules import Schedule, check_schedule
from dynsel.selection import Selection, balanced_top_k, largest_remainder, top_k
from dynsel.selectors.base import Selector
from dynsel.selectors.checked import check_sample_features
from dynsel.selectors.fast.points import optimise
from dynsel.selectors.fast.problem import Problem, Settings, make_problem
from dynsel.selectors.fast.swaps import swap, swap_waves
from dynsel.selectors.ranking import rotation_scores
from dynsel.usage import usage_penalty

__all__ = ["FAST"]

_LARGEST = 20_000  # samples in one problem: the assignment takes 8 M N bytes
_SMALL = 64  # below so many samples exchanges alone find as good a subset
_TINY = 4  # below so many there is no embedding
_BANDS = 3
_SOLUTION = ("embedding", "degree", "points", "chosen", "solved")


def _checked_scales(scales: Any) -> list[int]:
    if not isinstance(scales, list | tuple):
        raise TypeError(f"`scales` must be a list of numbers of neighbours, got {scales!r}")
    if not scales:
        raise ValueError("`scales` must hold at least one number of neighbours, got none")
    return [check_integer("scales", k, at_least=1) for k in scales]


class FAST(Selector):
    """Frequency-domain aligned sampling via topology: few samples that are distributed as all of their class.

    Of each class a fuzzy neighbour graph and its spectral embedding are made (`fit`). Then as many free points as
    samples are wanted move in the embedding until their characteristic function is that of the class, kept apart by
    a log-determinant and near real samples by an assignment, and the samples assigned in the end are the coreset.

    Stated by the paper, with the numbers of its equations: graph (1), embedding (2), assignment at the squared distance
    over the degree (3), the four terms of the loss (4, 5, 15, 16), phase-decoupled characteristic function distance
    (9, 10), a bank of frequencies (13) that rise from low to high and are drawn where the loss is (14). Ours, where it
    is silent: all settings; work by class; squared distances in (4) too; the characteristic loss in units of a random
    subset's; assignment and draw of frequencies once in `assign_every` steps; the rotating mode; and the exchanges at
    the end
    (`swaps`). These exchange chosen samples for others as long as that lowers the distance, because the step from
    free points to real samples loses what was gained: on features of CIFAR-10 at 10 % the points of a class come
    down from 6e-4 to 2e-4, the samples assigned to them are back at 6e-4, and exchanges bring these to 3e-5.

    Classes of fewer than 64 samples are chosen by exchanges alone, of fewer than 4 at random, least used first. A
    class whose quota is 0 has no samples in the coreset, one whose quota is its size has all. A coreset of another
    size is made anew, which takes as long as the first: with a keep ratio that changes, take long steps.

    Works on any features, the paper's without a network are `features="pixels"` (PCA of the raw inputs).

    Args:
        mode: "static" for one coreset throughout. "rotating" moves the points on before every epoch, by `steps_again`
            steps in the next of three bands of frequencies, and assigns them at a price for samples used often
            (`usage_price`).
        usage_price: Price of samples used often, in the rotating mode: their relative uses times this, in units of the
            cost of a point's second nearest sample; a number or a schedule, at least 0. Of a class of CIFAR-10 at 10 %,
            ten epochs used 76 % of the samples with 1 and 96 % with 3 (random: 65 %), at the same distance; with 10
            nearly all, but some epochs lay as far off as random subsets.
        dim: Columns of the embedding, at least 1; fewer for classes of fewer than dim + 2 samples.
        scales: Numbers of neighbours of the graph; default 5, 15, 30, cut to the size of the class.
        steps: Steps of Adam that make a coreset.
        steps_again: Steps of Adam per epoch in the rotating mode.
        assign_every: Steps from one assignment to the next.
        lr: Learning rate of Adam, falling to 0 by a cosine.
        num_frequencies: Size of the bank of frequencies, at least 12.
        frequencies_per_step: How many of them a step looks at.
        strength: Weight of phase differences (λ_p).
        attenuation: How fast it falls off with the frequency (α).
        diversity: Weight of the log-determinant term.
        matching: Weight, at the end, of the distance to the assigned samples; rises from 0.
        graph: Weight of the graph term. It counts when a coreset is first made, the graph is not kept longer.
        degree_exponent: Samples of large degree are the cheaper, by the degree to this power.
        swaps: Whether to exchange samples at the end.
        class_balance: Keep the same share of every class; else one problem of all samples, at most 20,000.
        progress_bar: Show one, by rich, over the classes' graphs and then over the steps.
        seed: Seed of all draws; None takes the run's seed.

    Raises:
        ValueError: If a number is out of range.

    Reference:
        FAST (2025), arXiv:2511.19476.
    """

    needs_features = True
    same_size = True  # also in the rotating mode: another number of points can't be moved on
    embedding: Tensor | None  # (N, dim), of a class of fewer dimensions with zeros
    degree: Tensor | None  # (N,), the sum of each sample's edges
    points: Tensor | None  # (M, dim), and (M,) the samples chosen, both by class
    chosen: Tensor | None
    solved: Tensor | None  # () how many epochs were solved for

    def __init__(
        self,
        *,
        mode: Literal["static", "rotating"] = "static",
        usage_price: float | Schedule = 3.0,
        dim: int = 16,
        scales: Sequence[int] | None = None,
        steps: int = 400,
        steps_again: int = 20,
        assign_every: int = 20,
        lr: float = 0.05,
        num_frequencies: int = 1024,
        frequencies_per_step: int = 64,
        strength: float = 0.3,
        attenuation: float = 1.2,
        diversity: float = 0.01,
        matching: float = 1.0,
        graph: float = 0.01,
        degree_exponent: float = 1.0,
        swaps: bool = True,
        class_balance: bool = True,
        progress_bar: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(class_balance=class_balance, seed=seed)
        self.mode = check_choice("mode", mode, ("static", "rotating"))
        self.usage_price = check_schedule("usage_price", usage_price)
        self.dim = check_integer("dim", dim, at_least=1)
        self.scales = _checked_scales([5, 15, 30] if scales is None else scales)
        self.steps = check_integer("steps", steps, at_least=1)
        self.steps_again = check_integer("steps_again", steps_again, at_least=1)
        self.swaps, self.progress_bar = check_flag("swaps", swaps), check_flag("progress_bar", progress_bar)
        self.settings = Settings(
            num_frequencies=num_frequencies,
            frequencies_per_step=frequencies_per_step,
            assign_every=assign_every,
            lr=lr,
            diversity=diversity,
            matching=matching,
            graph=graph,
            strength=strength,
            attenuation=attenuation,
            degree_exponent=degree_exponent,
        )
        for name in _SOLUTION:
            self.add_state(name, None)
        self._forget()

    def _forget(self) -> None:
        for name in _SOLUTION:
            setattr(self, name, None)
        self._laplacians: dict[int, Any] = {}
        # By class and quota; the state decides them, and so they are no part of it.
        self._problems: dict[tuple[int, int], Problem] = {}

    @property
    def ready(self) -> bool:
        """Whether `fit` has made graph and embedding."""
        return self.embedding is not None

    def prepare(self) -> None:
        """Forget embedding, coreset and all that was made on the way."""
        self._forget()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave. What follows from it, as the bank of frequencies, is made again when needed.

        Args:
            state: What `state_dict` gave.

        Raises:
            ValueError: If the state is of another selector, of one with other arguments, or of a data set of another
                length.
        """
        super().load_state_dict(state)
        self._problems.clear()
        self._laplacians.clear()

    # ---------------------------------------------------------------- graph and embedding
    def fit(self, features: Any) -> None:
        """Make graph and embedding of each class; the seed decides the result.

        Args:
            features: (N, d) floating point; a class's rows must fit in memory as float32.

        Raises:
            ValueError: If it isn't one row per sample, all finite; if all rows of a class are the same, or a class
                is larger than 20,000.
        """
        check_sample_features(features, self.num_samples)
        classes = self._classes()
        largest = max(map(len, classes))
        if largest > _LARGEST:
            raise ValueError(
                f"FAST solves for at most {_LARGEST:,} samples at once, got {largest:,}"
                + (" in one class" if self.class_balance else "; give labels and class_balance=True")
                + "; split the classes into finer ones (of k-means, for instance) and pass these as labels"
            )
        self._forget()
        self.embedding = torch.zeros(self.num_samples, self.dim)
        self.degree = torch.ones(self.num_samples)
        for c, members in track(list(enumerate(classes)), "FAST: graphs", show=self.progress_bar):
            if len(members) >= _TINY:
                self._embed(c, members, take(features, members, torch.device("cpu")))

    def _embed(self, c: int, members: Tensor, rows: Tensor) -> None:
        from dynsel.graph import connect, fuzzy_graph, laplacian, nearest_neighbours, spectral_embedding

        assert self.embedding is not None
        assert self.degree is not None
        largest = len(members) - 1
        scales = sorted({min(k, largest) for k in self.scales})
        distances, indices = nearest_neighbours(rows, scales[-1])
        if not bool(distances.any()) and bool((rows == rows[0]).all()):
            which = f"of class {c} " if self.class_balance else ""
            raise ValueError(f"all samples {which}have the same features, FAST can't tell them apart; give other ones")
        graph, _ = connect(fuzzy_graph(distances, indices, scales), rows)
        dim = min(self.dim, len(members) - 2)
        self.embedding[members, :dim] = spectral_embedding(graph, dim, self.generator.initial_seed())
        self.degree[members] = torch.from_numpy(graph.sum(1)).float()
        if self.settings.graph and len(members) >= _SMALL:
            self._laplacians[c] = laplacian(graph)

    def _classes(self) -> list[Tensor]:
        """The samples of each class, ascending; one list of all without balance."""
        if not self.class_balance or self.labels is None:
            return [torch.arange(self.num_samples)]
        return groups(self.labels)

    # ---------------------------------------------------------------- selection
    def select(self, progress: float, size: int) -> Selection:
        """The coreset: made anew where its size changes or nothing was made yet, moved on in the rotating mode.

        Before `fit` it is a random subset of the least used samples.

        Args:
            progress: Share of training done, in [0, 1], at which `usage_price` is read.
            size: Number of samples of the coreset, 1 .. N; each class has its share of it.
        """
        if self.embedding is None:
            scores = rotation_scores(self.usage, self.generator)
            balanced = self.class_balance and self.labels is not None
            return Selection(balanced_top_k(scores, self.labels, size) if balanced else top_k(scores, size))  # type: ignore[arg-type]
        if self.chosen is None or len(self.chosen) != size or self.mode == "rotating":
            self._solve(size, self.usage_price(progress))
        assert self.chosen is not None
        return Selection(self.chosen.sort().values)

    def _solve(self, size: int, price: float) -> None:
        classes = self._classes()
        quotas = largest_remainder([len(members) for members in classes], size).tolist()
        again = self.chosen is not None and len(self.chosen) == size and self.mode == "rotating"
        if not again:
            self._problems.clear()
        starts = torch.split(self.points, quotas) if again and self.points is not None else [None] * len(classes)
        steps = self.steps_again if again else self.steps
        # Small classes take next to no time.
        moved = [len(members) >= _SMALL and 0 < q < len(members) for members, q in zip(classes, quotas, strict=True)]
        with counting("FAST: coreset, steps", steps * sum(moved), show=self.progress_bar) as advance:
            done = [
                self._solve_class(c, members, quota, start, price, advance)
                for c, (members, quota, start) in enumerate(zip(classes, quotas, starts, strict=True))
            ]
        self.points = torch.cat([points for points, _ in done])
        self.chosen = torch.cat([chosen for _, chosen in done])
        self.solved = torch.tensor(int(self.solved) + 1 if self.solved is not None else 1)
        # A resumed run has no graphs; this one goes on without them as well.
        self._laplacians.clear()
        self._problems = {key: replace(problem, laplacian=None) for key, problem in self._problems.items()}

    def _solve_class(
        self, c: int, members: Tensor, quota: int, start: Tensor | None, price: float, advance: Callable[[int], None]
    ) -> tuple[Tensor, Tensor]:
        """Points (M, dim) and the samples chosen (M,) of one class."""
        assert self.embedding is not None
        rows = self.embedding[members]
        if quota in (0, len(members)):
            return rows[:quota], members[:quota]
        usage = self.usage[members] if self.mode == "rotating" else torch.zeros(len(members), dtype=torch.int32)
        if len(members) < _SMALL:
            chosen = top_k(rotation_scores(usage, self.generator), quota)
            points = rows[chosen]
            if len(members) >= _TINY:
                chosen = self._swap(c, rows[:, : len(members) - 2], None, chosen, usage)
            return points, members[chosen]
        problem = self._problem(c, members, quota)
        points, chosen = self._move(problem, quota, start, usage, price, advance)
        if self.swaps:
            chosen = self._swap(c, problem.reference, problem, chosen, usage)
        return points, members[chosen]

    def _move(
        self,
        problem: Problem,
        quota: int,
        start: Tensor | None,
        usage: Tensor,
        price: float,
        advance: Callable[[int], None],
    ) -> tuple[Tensor, Tensor]:
        if start is None:
            begin = problem.reference[top_k(rotation_scores(usage, self.generator), quota)]
            return optimise(begin, problem, self.settings, self.steps, self.generator, advance=advance)
        epoch = int(self.solved) if self.solved is not None else 0
        band = frequency_bands(problem.bank, _BANDS) == epoch % _BANDS
        penalty = usage_penalty(usage) * price if price else None
        return optimise(
            start,
            problem,
            self.settings,
            self.steps_again,
            self.generator,
            band=band,
            penalty=penalty,
            advance=advance,
        )

    def _problem(self, c: int, members: Tensor, quota: int) -> Problem:
        assert self.embedding is not None
        assert self.degree is not None
        if (c, quota) not in self._problems:
            self._problems[c, quota] = make_problem(
                self.embedding[members], self.degree[members], quota, self.settings, self._seed(c),
                self._laplacians.get(c),
            )  # fmt: skip
        return self._problems[c, quota]

    def _swap(self, c: int, reference: Tensor, problem: Problem | None, chosen: Tensor, usage: Tensor) -> Tensor:
        seed = self._seed(c)
        scale = problem.scale if problem else median_scale(reference, torch.Generator().manual_seed(seed))
        bank = problem.bank if problem else None
        return swap(chosen, swap_waves(reference, scale, bank, len(chosen), self.settings, seed), usage)

    def _seed(self, c: int) -> int:
        """Of what is made again after a restart, and so can't come from the running generator."""
        return (self.generator.initial_seed() + 1_000_003 * (c + 1)) % 2**63
