"""The autoencoder as a module, by hand."""

from __future__ import annotations

import pytest
import torch

from dynsel.sae import TopKSAE


def test_reconstruction_by_hand() -> None:
    sae = TopKSAE(2, 3, 1)
    with torch.no_grad():
        sae.mean.copy_(torch.tensor([1.0, 1.0]))
        sae.scale.fill_(2.0)
        for weight in (sae.encoder, sae.decoder):
            weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
        values, indices = sae.encode(torch.tensor([[7.0, 1.0], [1.0, 5.0], [-9.0, -9.0]]))
    # Standardised: (3, 0), (0, 2), (-5, -5); the last one drives every factor below 0.
    assert values.tolist() == [[3.0], [2.0], [0.0]]
    assert indices[:2].tolist() == [[0], [1]]
    assert sae.decode(values, indices).tolist() == [[7.0, 1.0], [1.0, 5.0], [1.0, 1.0]]


def test_gradient_along_the_atoms_is_dropped() -> None:
    sae = TopKSAE(6, 9, 2)
    sae(torch.randn(20, 6, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    assert (sae.decoder.grad * sae.decoder).sum(1).abs().max() > 0.1
    sae.drop_radial_gradient()
    torch.testing.assert_close((sae.decoder.grad * sae.decoder).sum(1), torch.zeros(9), atol=1e-4, rtol=0)


def test_initial_encoder_has_the_best_scale() -> None:
    features = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    sae = TopKSAE(6, 40, 10)
    before = sae.encode(features)[1]
    sae.scale_encoder(features)

    def error(factor: float) -> float:
        values, indices = sae.encode(features)
        return float((sae.decode(values * factor, indices) - features).detach().square().sum())

    assert torch.equal(sae.encode(features)[1], before)
    assert error(1.0) < min(error(0.97), error(1.03), 0.5 * float(features.square().sum()))


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((3, 4, 5), r"`k` must be in \[1, num_factors\] = \[1, 4\], got 5"),
        ((3, 4, 0), r"`k` must be in \[1, num_factors\] = \[1, 4\], got 0"),
        ((0, 4, 1), "`dim` must be at least 1, got 0"),
    ],
)
def test_bad_sizes(sizes: tuple[int, int, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TopKSAE(*sizes)
