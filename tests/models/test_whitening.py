import pytest
import torch

from dynsel.models.whitening import EPS, Whitening, whitening_filters


def images():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(50, 2, 9, 9, generator=generator)
    return noise + noise.roll(1, 3) + torch.tensor([0.0, 3.0]).view(1, 2, 1, 1)


def test_patches_come_out_uncorrelated_with_variance_one():
    x = images()
    out = torch.nn.functional.conv2d(x.double(), whitening_filters(x, 2).double())
    cov = torch.cov(out.transpose(0, 1).flatten(1), correction=0)
    patches = torch.nn.functional.unfold(x.double(), 2).transpose(1, 2).flatten(0, 1)
    variances = torch.linalg.eigvalsh(torch.cov(patches.T, correction=0)).flip(0)
    torch.testing.assert_close(cov, torch.diag(variances / (variances + EPS)), atol=1e-5, rtol=1e-5)


def test_filters_come_with_their_negatives_and_stay():
    layer = Whitening(2, 2)
    assert layer.out_channels == 16
    assert not layer.ready
    layer.fit(images())
    assert layer.ready
    assert torch.equal(layer.weight[:8], -layer.weight[8:])
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["bias"]


def test_what_is_saved_knows_whether_it_was_made():
    layer, other = Whitening(2, 2), Whitening(2, 2)
    layer.fit(images())
    other.load_state_dict(layer.state_dict())
    assert other.ready
    assert torch.equal(other.weight, layer.weight)


def test_no_channels_are_refused():
    with pytest.raises(ValueError, match="`in_channels` must be at least 1"):
        Whitening(0, 2)
