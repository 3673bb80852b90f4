import torch
from torch.nn import functional as F

from dynsel.models import FastNet
from dynsel.models.fast_net import FastBlock


def test_it_has_the_published_size():
    net = FastNet()
    assert (
        sum(p.numel() for p in net.parameters() if p.requires_grad) + net.whiten.weight.numel() == 1_971_640
    )  # published: 1.97 million
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_convolutions_begin_as_the_identity():
    block = FastBlock(4, 6, 2).eval()
    images = torch.randn(3, 4, 8, 8)
    hidden = block.convs[0](images)
    torch.testing.assert_close(hidden[:, :4], images)
    pooled = F.gelu(F.max_pool2d(hidden, 2))  # batch norm in eval mode changes nothing at first
    torch.testing.assert_close(block(images), F.gelu(pooled), atol=1e-5, rtol=1e-5)


def test_the_third_convolution_goes_around():
    block = FastBlock(4, 4, 3).eval()
    images = torch.randn(3, 4, 8, 8)
    first = F.gelu(F.max_pool2d(images, 2))
    torch.testing.assert_close(block(images), F.gelu(F.gelu(first) + first), atol=1e-5, rtol=1e-5)


def test_batch_norm_has_no_weight_to_learn():
    net = FastNet()
    learned = {name for name, p in net.named_parameters() if p.requires_grad}
    assert not any("norms" in name and name.endswith("weight") for name in learned)
    assert sum("norms" in name for name in learned) == 6
    assert "whiten.bias" in learned
