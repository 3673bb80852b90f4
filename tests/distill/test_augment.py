"""Augmentation: shared within a group, different between groups, differentiable, and each operation what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate, shift

from dynsel.distill.augment import Augmentation, Draw, cutmix

ALL = "color_crop_cutout_flip_scale_rotate"
IMAGES = torch.rand(3, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(operation: str, *numbers: list[float]) -> Draw:
    return Draw(operation, torch.tensor(numbers))


@pytest.mark.parametrize("operation", ALL.split("_"))
def test_a_group_goes_through_the_same(operation):
    """Equal images of a group stay equal; those of other groups come out otherwise; and the same draw repeats."""
    augmentation = Augmentation(operation)
    same = IMAGES[:1, :1].expand(3, 4, -1, -1, -1).contiguous()
    drawn = augmentation.draw(3, seeded(), seeded(5))
    found = augmentation(same, drawn)
    torch.testing.assert_close(found, found[:, :1].expand_as(found))
    assert torch.equal(found, augmentation(same, drawn))
    if operation != "flip":
        assert len(found[:, 0].flatten(1).unique(dim=0)) == 3


@pytest.mark.parametrize("operation", ALL.split("_"))
def test_gradients_pass(operation):
    augmentation = Augmentation(operation)
    images = IMAGES.double().requires_grad_()
    drawn = augmentation.draw(3, seeded(), seeded(1))
    assert torch.autograd.gradcheck(
        lambda x: augmentation(x, drawn), images[:, :1, :, :4, :4].detach().requires_grad_()
    )


def test_every_operation_is_drawn():
    augmentation, host = Augmentation(ALL), seeded()
    found = {augmentation.draw(1, host, seeded()).operation for _ in range(100)}
    assert found == set(ALL.split("_"))


def test_crop_is_a_shift_by_whole_pixels():
    # 16 px: up to 2 either way; 0.9 is the fifth of five places, 0.1 the first.
    found = Augmentation("crop")(IMAGES[:1], draw("crop", [0.9, 0.1, 0.0]))
    expected = shift(IMAGES[0, 0, 0].numpy(), (2, -2), order=0)
    np.testing.assert_allclose(found[0, 0, 0], expected, atol=1e-5)


def test_rotation_is_that_of_scipy():
    smooth = torch.linspace(-1, 1, 16)
    image = torch.exp(-(smooth[:, None] ** 2) * 3 - (smooth[None] - 0.2) ** 2 * 6)
    found = Augmentation("rotate")(image.expand(1, 1, 1, 16, 16), draw("rotate", [1.0, 0, 0]))[0, 0, 0]
    # 15 degrees; scipy turns the other way, as rows count downwards.
    expected = rotate(image.numpy(), -15, reshape=False, order=1)
    other = rotate(image.numpy(), 15, reshape=False, order=1)
    inner = slice(3, 13)
    error = min(np.abs(found.numpy() - e)[inner, inner].max() for e in (expected, other))
    assert error < 0.02


def test_scale_by_hand():
    row = torch.arange(16.0).expand(1, 1, 1, 16, 16)
    found = Augmentation("scale")(row, draw("scale", [1.0, 0.5, 0.0]))[0, 0, 0, 8]
    # Columns are read 1.2 times as far from the middle, 7.5, as they are.
    expected = 7.5 + 1.2 * (torch.arange(16) - 7.5)
    torch.testing.assert_close(found[2:14], expected[2:14], rtol=1e-4, atol=1e-4)


def test_cutout_takes_a_square_of_half_the_side():
    found = Augmentation("cutout")(torch.ones(1, 1, 1, 16, 16), draw("cutout", [0.5, 0.5, 0.0]))
    assert float((found == 0).sum()) == 64
    assert not found[0, 0, 0, 4:12, 4:12].any()
    corner = Augmentation("cutout")(torch.ones(1, 1, 1, 16, 16), draw("cutout", [0.0, 0.0, 0.0]))
    assert float((corner == 0).sum()) == 16


def test_flip_is_half_of_the_groups():
    found = Augmentation("flip")(IMAGES[:2], draw("flip", [0.4, 0, 0], [0.6, 0, 0]))
    assert torch.equal(found[0], IMAGES[0].flip(-1))
    assert torch.equal(found[1], IMAGES[1])


def test_colour_by_hand():
    # Brightness + 0.25, saturation x 1, contrast x 1.
    found = Augmentation("color")(IMAGES[:1], draw("color", [0.75, 0.5, 0.5]))
    torch.testing.assert_close(found, IMAGES[:1] + 0.25)
    grey = Augmentation("color")(IMAGES[:1], draw("color", [0.5, 0.0, 0.5]))
    torch.testing.assert_close(grey, IMAGES[:1].mean(2, keepdim=True).expand_as(grey))
    # One channel has no saturation to lose.
    one = Augmentation("color")(IMAGES[:1, :, :1], draw("color", [0.5, 0.0, 0.5]))
    torch.testing.assert_close(one, IMAGES[:1, :, :1])


def test_without_operations_images_stay_as_they_are():
    augmentation = Augmentation("")
    assert augmentation(IMAGES, augmentation.draw(3, seeded(), seeded())) is IMAGES


def test_cutmix_mixes_targets_by_area():
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 20, 20)
    targets = torch.eye(6)
    for seed in range(10):
        mixed, shares = cutmix(images, targets, seeded(seed))
        torch.testing.assert_close(shares.sum(1), torch.ones(6))
        for row in range(6):
            counts = torch.bincount(mixed[row].flatten().long(), minlength=6) / 400
            torch.testing.assert_close(counts, shares[row])
    assert len({round(float(cutmix(images, targets, seeded(s))[1].max()), 3) for s in range(10)}) > 3


def test_unknown_operations_are_named():
    with pytest.raises(ValueError, match=r"`augment` must join names out of color, crop, .* by '_', got 'blur'"):
        Augmentation("crop_blur")
