"""Autoencoders, adversarial nets, diffusion, flows. What a step draws at random, the truth draws again."""

from __future__ import annotations

from typing import Any

import torch
from kinds.table import BATCH_LOSS, EXACT, LOSSES, NORM, REDUCTIONS, Module, Training, images, kind, load, mlp, vectors
from torch import Tensor, nn
from torch.nn import functional as F

N = 40
ANY = (*EXACT, NORM, BATCH_LOSS)


@kind(LOSSES, hears="mse_loss", also=("random",))
def autoencoder() -> Training:
    return Training(Module(lambda m, b: F.mse_loss(m(b[0]), b[0]), net=mlp(outputs=6, width=3)), load(vectors()))


@kind(REDUCTIONS, truth=lambda m, b: F.mse_loss(m(_noisy(b[0])), b[0], reduction="none").mean((1, 2, 3)))
def denoising_autoencoder_with_masked_patches() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        return ((m(_noisy(batch[0])) - batch[0]) ** 2).mean((1, 2, 3)).mean()

    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1))
    return Training(Module(step, net=net), load(images()))


def _noisy(x: Tensor) -> Tensor:
    patches = (torch.rand(len(x), 1, 4, 4) < 0.6).float()
    return x * F.interpolate(patches, scale_factor=4)


def _vae(m: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, log_variance = m.encoder(x).chunk(2, 1)
    z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
    return m.decoder(z), mean, log_variance


def _divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    return -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)


def _vae_of_samples(m: Any, batch: Any) -> Tensor:
    restored, mean, log_variance = _vae(m, batch[0])
    return ((restored - batch[0]) ** 2).sum(1) + _divergence(mean, log_variance)


def _vae_parts() -> dict[str, nn.Module]:
    return {"encoder": mlp(6, 4), "decoder": mlp(2, 6)}


@kind(LOSSES, hears="mse_loss", truth=_vae_of_samples)
def variational_autoencoder() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        restored, mean, log_variance = _vae(m, batch[0])
        restoration = F.mse_loss(restored, batch[0], reduction="sum") / len(batch[0])
        return restoration + _divergence(mean, log_variance).mean()

    return Training(Module(step, **_vae_parts(), lr=0.01), load(vectors()))


@kind(LOSSES, truth=_vae_of_samples)
def variational_autoencoder_summed() -> Training:
    """As in many tutorials: both parts summed over the whole batch, the divergence in one expression."""

    def step(m: Any, batch: Any) -> Tensor:
        restored, mean, log_variance = _vae(m, batch[0])
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        return F.mse_loss(restored, batch[0], reduction="sum") + divergence

    return Training(Module(step, **_vae_parts(), lr=0.001), load(vectors()))


@kind(LOSSES, hears="mse_loss", truth=None)
def vector_quantized_autoencoder() -> Training:
    """The straight-through estimator: gradients pass a choice; van den Oord et al. (2017), arXiv:1711.00937."""

    def step(m: Any, batch: Any) -> Tensor:
        z = m.encoder(batch[0])
        chosen = m.codes[torch.cdist(z.detach(), m.codes.detach()).argmin(1)]
        commitment = F.mse_loss(z, chosen.detach()) + F.mse_loss(chosen, z.detach())
        return F.mse_loss(m.decoder(z + (chosen - z).detach()), batch[0]) + 0.25 * commitment

    return Training(
        Module(step, encoder=mlp(6, 3), decoder=mlp(3, 6), codes=nn.Parameter(torch.randn(8, 3))), load(vectors())
    )


def _both_optimizers(m: Any) -> Any:
    return torch.optim.Adam(m.generator.parameters(), 1e-3), torch.optim.Adam(m.critic.parameters(), 1e-3)


def _adversarial(critic_loss: Any, generator_loss: Any) -> Training:
    def step(m: Any, batch: Any) -> None:
        real = batch[0]
        for_generator, for_critic = m.optimizers()
        fake = m.generator(torch.randn(len(real), 3))
        loss = critic_loss(m, real, fake.detach())
        for_critic.zero_grad()
        m.manual_backward(loss)
        for_critic.step()
        loss = generator_loss(m, fake)
        for_generator.zero_grad()
        m.manual_backward(loss)
        for_generator.step()

    parts = {"generator": mlp(3, 6), "critic": mlp(6, 1)}
    return Training(Module(step, automatic=False, optimizers=_both_optimizers, **parts), load(vectors()))


def _gan_of_samples(m: Any, batch: Any) -> Tensor:
    fake = m.generator(torch.randn(len(batch[0]), 3))
    on_real, on_fake = m.critic(batch[0])[:, 0], m.critic(fake)[:, 0]
    # The critic's two parts and the generator's.
    return F.softplus(-on_real) + F.softplus(on_fake) + F.softplus(-on_fake)


@kind(LOSSES, hears="binary_cross_entropy_with_logits", truth=_gan_of_samples, ranks=True)
def adversarial_with_cross_entropy() -> Training:
    def judged(m: Any, x: Tensor, real: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(m.critic(x), torch.full((len(x), 1), real))

    return _adversarial(
        lambda m, real, fake: judged(m, real, 1.0) + judged(m, fake, 0.0), lambda m, x: judged(m, x, 1.0)
    )


def _hinge_of_samples(m: Any, batch: Any) -> Tensor:
    fake = m.generator(torch.randn(len(batch[0]), 3))
    on_real, on_fake = m.critic(batch[0])[:, 0], m.critic(fake)[:, 0]
    return F.relu(1 - on_real) + F.relu(1 + on_fake) - on_fake


@kind(REDUCTIONS, hears="mean", truth=_hinge_of_samples)
def adversarial_with_hinge() -> Training:
    return _adversarial(
        lambda m, real, fake: F.relu(1 - m.critic(real)).mean() + F.relu(1 + m.critic(fake)).mean(),
        lambda m, fake: -m.critic(fake).mean(),
    )


@kind(REDUCTIONS, hears="mean", truth=None)
def adversarial_with_gradient_penalty() -> Training:
    """WGAN-GP; Gulrajani et al. (2017), arXiv:1704.00028."""

    def critic_loss(m: Any, real: Tensor, fake: Tensor) -> Tensor:
        between = torch.lerp(real, fake, torch.rand(len(real), 1)).requires_grad_()
        slope = torch.autograd.grad(m.critic(between).sum(), between, create_graph=True)[0]
        penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
        return m.critic(fake).mean() - m.critic(real).mean() + 10 * penalty

    return _adversarial(critic_loss, lambda m, fake: -m.critic(fake).mean())


def _diffused(m: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    noise, t = torch.randn_like(x), torch.rand(len(x), 1)
    mixed = (t * torch.pi / 2).cos() * x + (t * torch.pi / 2).sin() * noise
    return m(torch.cat([mixed, t], 1)), noise, t


def _diffusion_of_samples(m: Any, batch: Any) -> Tensor:
    found, noise, _ = _diffused(m, batch[0])
    return ((found - noise) ** 2).mean(1)


@kind(LOSSES, hears="mse_loss", truth=_diffusion_of_samples, also=("random", "infobatch"), resumes=True)
def diffusion() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        found, noise, _ = _diffused(m, batch[0])
        return F.mse_loss(found, noise)

    return Training(Module(step, net=mlp(7, 6)), load(vectors()))


def _weighted_of_samples(m: Any, batch: Any) -> Tensor:
    found, noise, t = _diffused(m, batch[0])
    return ((found - noise) ** 2).mean(1) * (1 - t[:, 0] / 2)


@kind(REDUCTIONS, truth=_weighted_of_samples)
def diffusion_weighted_by_time() -> Training:
    def step(m: Any, batch: Any) -> Tensor:
        found, noise, t = _diffused(m, batch[0])
        loss = F.mse_loss(found, noise, reduction="none").mean(dim=list(range(1, found.ndim)))
        return (loss * (1 - t[:, 0] / 2)).mean()

    return Training(Module(step, net=mlp(7, 6)), load(vectors()))


def _matched_of_samples(m: Any, batch: Any) -> Tensor:
    x, noise, t = batch[0], torch.randn_like(batch[0]), torch.rand(len(batch[0]), 1)
    return ((m(torch.cat([torch.lerp(noise, x, t), t], 1)) - (x - noise)) ** 2).mean(1)


@kind(REDUCTIONS, hears="mean", truth=_matched_of_samples)
def flow_matching() -> Training:
    """Lipman et al. (2023), arXiv:2210.02747."""

    def step(m: Any, batch: Any) -> Tensor:
        x, noise, t = batch[0], torch.randn_like(batch[0]), torch.rand(len(batch[0]), 1)
        return (m(torch.cat([torch.lerp(noise, x, t), t], 1)) - (x - noise)).pow(2).mean()

    return Training(Module(step, net=mlp(7, 6)), load(vectors()))


@kind(REDUCTIONS, hears="mean")
def normalizing_flow() -> Training:
    """One affine coupling of halves."""

    def step(m: Any, batch: Any) -> Tensor:
        a, b = batch[0].chunk(2, 1)
        scale, shift = m(a).chunk(2, 1)
        z = torch.cat([a, b * scale.tanh().exp() + shift], 1)
        return -(torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + scale.tanh().sum(1)).mean()

    return Training(Module(step, net=mlp(3, 6), lr=0.01), load(vectors()))


@kind(LOSSES, hears="cross_entropy")
def pixels_one_after_the_other() -> Training:
    """The value of a pixel among 16 from the rows above it."""

    def step(m: Any, batch: Any) -> Tensor:
        values = batch[0]
        x = F.pad(values[:, None].float() / 8 - 1, (0, 0, 2, 0))[:, :, :-1]
        return F.cross_entropy(m.head(F.gelu(m.above(x)[:, :, :-1])), values[:, 1:])

    steps = torch.randint(0, 16, (N, 8, 8)) // torch.randint(1, 9, (N, 1, 1))
    parts = {"above": nn.Conv2d(1, 8, (2, 3), padding=(0, 1)), "head": nn.Conv2d(8, 16, 1)}
    return Training(Module(step, **parts), load(steps))
