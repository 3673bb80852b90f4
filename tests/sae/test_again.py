"""An autoencoder that goes on: better on features that moved, with atoms of unit length."""

from __future__ import annotations

import pytest
import torch

from dynsel.sae import fit_sae, train_again


def rows(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(600, 20, generator=generator) * (torch.rand(600, 20, generator=generator) < 0.15)
    return codes @ torch.randn(20, 8, generator=torch.Generator().manual_seed(9))


def unexplained(sae: torch.nn.Module, x: torch.Tensor) -> float:
    return float((sae(x) - x).square().sum() / (x - x.mean(0)).square().sum())


def test_it_follows_features_that_moved():
    x = rows()
    sae = fit_sae(x, num_factors=24, k=4, epochs=20).sae
    turn = torch.linalg.qr(torch.eye(8) + 0.3 * torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))[0]
    moved = 3 * x @ turn + 1
    before = unexplained(sae, moved)
    train_again(sae, moved, steps=40, batch_size=128)
    assert unexplained(sae, moved) < 0.85 * before
    torch.testing.assert_close(sae.decoder.norm(dim=1), torch.ones(24))
    assert not any(parameter.requires_grad for parameter in sae.parameters())
    torch.testing.assert_close(sae.mean, moved.mean(0), rtol=1e-4, atol=1e-4)


def test_the_seed_decides_and_no_global_generator():
    x, made = rows(), []
    for seed in (0, 0, 1):
        sae = fit_sae(x, num_factors=16, k=4, epochs=1).sae
        before = torch.get_rng_state()
        with torch.no_grad():  # as inside a validation hook
            train_again(sae, x, steps=3, batch_size=64, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        made.append(sae.decoder.clone())
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_wrong_features_are_refused():
    sae = fit_sae(rows(), num_factors=16, k=4, epochs=1).sae
    with pytest.raises(ValueError, match=r"`features` must be \(N, 8\) for this autoencoder, got \(5, 3\)"):
        train_again(sae, torch.zeros(5, 3))
    with pytest.raises(ValueError, match="`features` must differ between samples"):
        train_again(sae, torch.ones(5, 8))
