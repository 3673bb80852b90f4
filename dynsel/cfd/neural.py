"""Neural characteristic function discrepancy: how far a selection is from the whole set where it shows most.

At Gaussian frequencies a difference between two sets may be hard to see. Here a small network chooses from which
scale mixture of normals the frequencies are drawn, so that they show the difference as clearly as they can. Whoever
looks for a difference finds one, in noise as well: so the network is trained on one half of the samples, and what
it shows on the other half is reported, beside random subsets looked at with the same frequencies.

Shapes: N samples, d feature dim, F frequencies, K components of the mixture.

Reference:
    Wang et al. (2025), Dataset Distillation with Neural Characteristic Function: A Minmax Perspective,
    arXiv:2502.20653.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dynsel._lib.checks import check_choice, check_integer, check_number, check_seed
from dynsel._lib.matrices import Matrix, check_matrix, take
from dynsel.cfd.distances import amplitude_phase, cfd, characteristic_function, discrepancy, random_floor
from dynsel.cfd.frequencies import median_scale
from dynsel.cfd.sums import characteristic_sums, check_weights, random_distances

__all__ = ["FrequencyNetwork", "Mode", "NeuralCFD", "fit_frequencies", "neural_cfd"]

Mode = Literal["normal", "scale-mixture"]


class FrequencyNetwork(nn.Module):
    """Draws frequencies: t = ε ⊙ σ with ε ~ N(0, scale² I) and σ one of K rows that a network makes from noise.

    In the authors' code the factor ε is commented out and every row of σ is repeated 16 times, so that 64
    frequencies are 4 different ones; here, as in their paper, all differ.

    Args:
        dim: Number d of dimensions of the features, at least 1.
        num_frequencies: Number F of frequencies, at least 2.
        components: K, from 2 to F; None takes F / 16, the paper's number, or 2.
        scale: Standard deviation of ε, above 0. As |σ| < 1, the largest that a dimension's frequencies can get.
        mode: "scale-mixture", or "normal": t = ε, nothing to train (what the authors' configurations run).
        seed: Seed for the initial weights.

    Raises:
        ValueError: If a number is out of range, or `mode` is unknown.

    Reference:
        Wang et al. (2025), arXiv:2502.20653.

    Example:
        >>> network = FrequencyNetwork(3, 64)
        >>> network(torch.Generator().manual_seed(0)).unique(dim=0).shape
        torch.Size([64, 3])
    """

    def __init__(
        self,
        dim: int,
        num_frequencies: int = 1024,
        components: int | None = None,
        scale: float = 1.0,
        mode: Mode = "scale-mixture",
        seed: int = 0,
    ) -> None:
        super().__init__()
        dim, seed = check_integer("dim", dim, at_least=1), check_seed("seed", seed)
        num_frequencies = check_integer("num_frequencies", num_frequencies, at_least=2)
        check_choice("mode", mode, get_args(Mode))
        scale = check_number("scale", scale, above=0)
        components = max(2, num_frequencies // 16) if components is None else check_integer("components", components)
        if not 2 <= components <= num_frequencies:
            raise ValueError(f"`components` must be between 2 and {num_frequencies} frequencies, got {components}")
        self.dim, self.num_frequencies, self.components = dim, num_frequencies, components
        self.scale, self.mode = scale, mode
        self.layers = nn.Sequential()
        if mode == "scale-mixture":
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                for act in (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.Tanh()):
                    self.layers.extend([nn.Linear(dim, dim), nn.BatchNorm1d(dim), act])

    def forward(self, generator: torch.Generator) -> Tensor:
        """(F, d) float32 fresh frequencies, differentiable in the weights.

        Args:
            generator: Source of the draws; decides the device, which must be that of the weights.
        """
        device = generator.device
        normal = torch.randn(self.num_frequencies, self.dim, generator=generator, device=device) * self.scale
        if self.mode == "normal":
            return normal
        sigma: Tensor = self.layers(torch.randn(self.components, self.dim, generator=generator, device=device))
        row = torch.arange(self.num_frequencies, device=device) * self.components // self.num_frequencies
        return normal * sigma[row]


def fit_frequencies(
    features: Matrix,
    weights: Tensor,
    rows: Tensor | None = None,
    *,
    num_frequencies: int = 1024,
    mode: Mode = "scale-mixture",
    scale: float | None = None,
    steps: int = 50,
    lr: float = 3e-2,
    max_rows: int = 2048,
    seed: int = 0,
) -> Tensor:
    """Frequencies at which weighted rows differ from all rows as much as the network can make it.

    Args:
        features: (N, d) floating-point tensor, array or memory map.
        weights: (N,) not negative: uses, or a mask.
        rows: (n,) int64, the rows to train with; None = all. At least one of them must have weight.
        num_frequencies: Number F of frequencies.
        mode: "scale-mixture" or "normal"; see `FrequencyNetwork`.
        scale: Standard deviation of the normal factor; default twice `dynsel.cfd.median_scale` of the rows
            ("normal": once).
        steps: Number of steps of Adam, at least 0.
        lr: Learning rate of Adam, above 0.
        max_rows: Rows, of each of the two sets, drawn anew for every step.
        seed: Seed for the network's weights and all draws.

    Returns:
        (F, d) float32 on the device of the features, drawn from the trained network.

    Raises:
        ValueError: If a number is out of range, or no row to train with has weight.
    """
    if steps < 0 or not lr > 0 or max_rows < 2:
        raise ValueError(
            f"`steps` must be at least 0, `lr` above 0 and `max_rows` at least 2, got {steps}, {lr}, {max_rows}"
        )
    place = features.device if isinstance(features, Tensor) else torch.device("cpu")
    host = torch.Generator().manual_seed(seed)
    generator = torch.Generator(place).manual_seed(seed)
    weights = weights.detach().cpu().double()
    rows = torch.arange(len(features)) if rows is None else rows
    chosen = rows[weights[rows] > 0]
    if len(chosen) == 0:
        raise ValueError("`weights` must be above 0 for at least one of the rows to train with, got none")
    if scale is None:
        scale = median_scale(take(features, _some(rows, 4096, host)), host) * (1 if mode == "normal" else 2)
    # May be called in a validation hook, where gradients are off.
    with torch.inference_mode(False), torch.enable_grad():
        network = FrequencyNetwork(features.shape[1], num_frequencies, scale=scale, mode=mode, seed=seed).to(place)
        if mode != "normal":
            optimizer = torch.optim.Adam(network.parameters(), lr, maximize=True)
            for _ in range(steps):
                mine, all_ = _some(chosen, max_rows, host), _some(rows, max_rows, host)
                t = network(generator)
                now = characteristic_function(take(features, mine), t, weights[mine].to(place))
                loss = discrepancy(now, characteristic_function(take(features, all_), t))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        drawn: Tensor = network(generator)
    return drawn.detach()


@dataclass(frozen=True)
class NeuralCFD:
    """What `neural_cfd` reports, of the samples held out.

    Args:
        distance: CFD at the learned frequencies, in [0, 4]: the mean of |Δφ|² = `amplitude` + `phase`.
        amplitude: The part that comes from spreads, the mean of (|φ_a| - |φ_b|)².
        phase: The part that comes from places, the mean of 2 |φ_a| |φ_b| (1 - cos Δθ).
        ratio: `distance` over the expected one of a random subset of the same size; NaN where all samples are used.
        z_score: How many standard deviations it lies above the mean of random subsets; NaN likewise.
        size: Number of held-out samples in use (effective one, if weights differ).
        of: Number of samples held out.

    Reference:
        Wang et al. (2025), Dataset Distillation with Neural Characteristic Function: A Minmax Perspective,
        arXiv:2502.20653, for the split into amplitude and phase; ratio, z-score and held-out half are ours.
    """

    distance: float
    amplitude: float
    phase: float
    ratio: float
    z_score: float
    size: float
    of: int


def neural_cfd(
    features: Matrix,
    weights: Tensor,
    labels: Tensor | None = None,
    *,
    num_frequencies: int = 1024,
    mode: Mode = "scale-mixture",
    steps: int = 50,
    lr: float = 3e-2,
    repeats: int = 20,
    seed: int = 0,
) -> tuple[NeuralCFD, list[NeuralCFD | None]]:
    """How far weighted samples are from the whole set, at frequencies learned on half of the samples.

    To compare two sets rather than a subset with its set: concatenate them, with weight 1 for the first and 0 for
    the second. The random subsets are then random divisions of both together: a permutation test.

    Args:
        features: (N, d) floating-point tensor, array or memory map; half of the rows are copied, as float32. The
            paper scales rows to length 1.
        weights: (N,) not negative: uses, or a mask.
        labels: (N,) class codes 0 .. C-1: report every class by itself as well, at the same frequencies.
        num_frequencies: Number F of frequencies.
        mode: "scale-mixture", or "normal": Gaussian frequencies, nothing is learned.
        steps: Number of steps of Adam; see `fit_frequencies`.
        lr: Learning rate of Adam; see `fit_frequencies`.
        repeats: Number of random subsets, at least 2.
        seed: Seed for the halves, the network and the random subsets.

    Returns:
        All samples together, and the classes in the order of their codes (None: no sample of the class is in use, or
        held out). An empty list without labels.

    Raises:
        ValueError: If fewer than two samples have weight in either half, or shapes don't fit.

    Example:
        >>> x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
        >>> chance, biased = (torch.arange(400) < 200), x[:, 0] > 0
        >>> [neural_cfd(x, w.float(), steps=20)[0].z_score > 5 for w in (chance, biased)]
        [False, True]
    """
    check_matrix(features[:1] if getattr(features, "ndim", 0) == 2 else features)
    count = len(features)
    weights = check_weights(weights, count)
    if labels is not None and labels.shape != (count,):
        raise ValueError(f"`labels` must be ({count},), one per row, got {tuple(labels.shape)}")
    if repeats < 2:
        raise ValueError(f"`repeats` must be at least 2, got {repeats}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    train, held = order[: count // 2].sort().values, order[count // 2 :].sort().values
    for half, name in ((train, "trained on"), (held, "held out")):
        if (used := int((weights[half] > 0).sum())) < 2:
            raise ValueError(
                f"`weights` must be above 0 for at least two samples of the half {name}, got {used}; a selection of "
                "at least some ten samples has them"
            )
    t = fit_frequencies(
        features, weights, train, num_frequencies=num_frequencies, mode=mode, steps=steps, lr=lr, seed=seed
    )
    generator = torch.Generator().manual_seed(seed + 1)
    whole = _report(features, weights, held, t, repeats, generator)
    assert whole is not None
    if labels is None:
        return whole, []
    codes = labels.cpu()[held]
    by_class = [
        _report(features, weights, held[codes == code], t, repeats, generator) for code in range(int(labels.max()) + 1)
    ]
    return whole, by_class


def _report(
    features: Matrix, weights: Tensor, rows: Tensor, t: Tensor, repeats: int, generator: torch.Generator
) -> NeuralCFD | None:
    w = weights[rows]
    count, total = len(rows), float(w.sum())
    if not total > 0:
        return None
    mine = take(features, rows)
    reference = characteristic_sums(mine, t).value()
    value = characteristic_sums(mine, t, w).value()
    distance = float(cfd(value, reference))
    amplitude, phase = (float(part.mean()) for part in amplitude_phase(value, reference))
    size = total**2 / float(w.square().sum())
    ratio = z_score = math.nan
    if (drawn := max(1, round(size))) < count:
        ratio = distance / random_floor(reference, min(max(1.0, size), count), count)
        chance = random_distances(mine, t, reference, drawn, repeats, generator)
        z_score = (distance - float(chance.mean())) / float(chance.std())
    return NeuralCFD(distance, amplitude, phase, ratio, z_score, size, count)


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if len(rows) <= count:
        return rows
    return rows[torch.randint(len(rows), (count,), generator=generator)]
