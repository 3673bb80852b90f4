import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsel.data import RandomCropFlip, crop_flip
from dynsel.data.augment import AlternatingCropFlip


def one_by_one(images, top, left, mirrored, padding):
    """The slow definition: pad by PyTorch, cut each window out, mirror it."""
    padded = F.pad(images.double(), (padding,) * 4, mode="reflect")
    height, width = images.shape[2:]
    windows = []
    for image, y, x, mirror in zip(padded, top.tolist(), left.tolist(), mirrored.tolist(), strict=True):
        window = image[:, y : y + height, x : x + width]
        windows.append(window.flip(2) if mirror else window)
    return torch.stack(windows).to(images.dtype)


@st.composite
def crops(draw):
    padding = draw(st.integers(0, 5))
    batch, channels = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    height, width = draw(st.integers(padding + 1, 9)), draw(st.integers(padding + 1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    images = torch.randint(256, (batch, channels, height, width), generator=generator, dtype=torch.uint8)
    top, left = (torch.randint(2 * padding + 1, (batch,), generator=generator) for _ in range(2))
    return images, top, left, torch.rand(batch, generator=generator) < 0.5, padding


@given(crops())
@settings(max_examples=60)
def test_crop_flip_is_the_slow_definition(case):
    assert torch.equal(crop_flip(*case), one_by_one(*case))


@given(crops())
@settings(max_examples=30)
def test_every_pixel_comes_from_the_image(case):
    images, *rest = case
    height, width = images.shape[2:]
    # Each pixel carries its own place, so that the test sees where the result's pixels come from.
    places = torch.arange(height * width).view(1, 1, height, width).expand(len(images), 1, -1, -1)
    moved = crop_flip(places, *rest)
    expected = images.flatten(2).gather(2, moved.flatten(2).expand(-1, images.shape[1], -1)).view_as(images)
    assert torch.equal(crop_flip(images, *rest), expected)


def test_crop_flip_by_hand():
    image = torch.tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]])
    top, left = torch.tensor([0]), torch.tensor([2])
    window = crop_flip(image, top, left, torch.tensor([False]), padding=1)
    assert window[0, 0].tolist() == [[5, 6, 5], [2, 3, 2], [5, 6, 5]]
    # The mirrored window is the window mirrored, not the image mirrored and then cut.
    left = torch.tensor([0])
    assert crop_flip(image, top, left, torch.tensor([True]), 1)[0, 0, 0].tolist() == [5, 4, 5]
    wide = torch.tensor([[[[1, 2, 3, 4]] * 4]])
    assert crop_flip(wide, top, left, torch.tensor([False]), 2)[0, 0, 0].tolist() == [3, 2, 1, 2]
    assert crop_flip(wide, top, left, torch.tensor([True]), 2)[0, 0, 0].tolist() == [2, 1, 2, 3]


def test_the_middle_window_is_the_image():
    images = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    middle, never = torch.full((3,), 4), torch.zeros(3, dtype=torch.bool)
    assert torch.equal(crop_flip(images, middle, middle, never, 4), images)
    assert torch.equal(crop_flip(images, middle, middle, ~never, 4), images.flip(3))
    channels_last = images.to(memory_format=torch.channels_last)
    assert torch.equal(crop_flip(channels_last, middle, middle, never, 4), images)


PLACES = torch.arange(64).view(1, 1, 8, 8)


def test_offsets_and_mirroring_are_drawn_for_each_image_and_evenly():
    n = 20_000
    augment = RandomCropFlip(padding=2, generator=torch.Generator().manual_seed(0))
    corner = augment(PLACES.expand(n, 1, 8, 8))[:, 0, 3, 3]
    # Place (3, 3) of the window shows row 1..5; mirrored, it is column 4 of the unmirrored window.
    assert set((corner // 8).tolist()) == {1, 2, 3, 4, 5}
    counts = torch.bincount(corner, minlength=64)
    columns = torch.tensor([1, 2, 2, 2, 2, 1]) / 10  # of 1..6: five offsets, mirrored or not
    expected = torch.zeros(8, 8)
    expected[1:6, 1:7] = n / 5 * columns
    chi2 = ((counts.view(8, 8) - expected) ** 2 / expected.clamp(min=1)).sum()
    assert chi2 < 58.3  # 99.9 % quantile for 29 degrees of freedom


def test_options_switch_off_what_they_say():
    assert torch.equal(RandomCropFlip(0, flip=False)(PLACES), PLACES)
    many = RandomCropFlip(0)(PLACES.expand(50, 1, 8, 8))
    assert {int(first) for first in many[:, 0, 0, 0]} == {0, 7}
    unmirrored = RandomCropFlip(1, flip=False)(PLACES.expand(50, 1, 8, 8))
    assert (unmirrored[:, 0, 4, 5] - unmirrored[:, 0, 4, 4] == 1).all()


def test_eval_mode_passes_images_on():
    assert RandomCropFlip().eval()(PLACES) is PLACES


def test_the_global_state_decides_the_draws_and_resumes_them():
    augment, batch = RandomCropFlip(), PLACES.expand(32, 1, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = augment(batch)
        state = torch.get_rng_state()
        second = augment(batch)
        torch.manual_seed(3)
        assert torch.equal(augment(batch), first)
        assert not torch.equal(second, first)
        torch.set_rng_state(state)
        assert torch.equal(RandomCropFlip()(batch), second)


def test_an_own_generator_leaves_the_global_state_alone_and_resumes():
    generator = torch.Generator().manual_seed(3)
    augment, batch = RandomCropFlip(generator=generator), PLACES.expand(32, 1, 8, 8)
    before = torch.get_rng_state()
    first, state, second = augment(batch), generator.get_state(), augment(batch)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    assert torch.equal(RandomCropFlip(generator=torch.Generator().manual_seed(3))(batch), first)
    generator.set_state(state)
    assert torch.equal(augment(batch), second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_with_a_generator_of_the_cpu():
    batch = PLACES.expand(32, 1, 8, 8)
    here, there = (RandomCropFlip(generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(there(batch.cuda()).cpu(), here(batch))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="`padding` must be at least 0, got -1"):
        RandomCropFlip(-1)
    with pytest.raises(ValueError, match="`padding` must be smaller than the image side, got 4 for 4x8"):
        RandomCropFlip()(torch.zeros(1, 1, 4, 8))


def test_two_uses_see_an_image_both_ways():
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    augment = AlternatingCropFlip(padding=0)
    first = augment(images)
    mirrored = (first == images.flip(3)).flatten(1).all(1)
    assert 16 < int(mirrored.sum()) < 48
    second = torch.where(mirrored[:, None, None, None], images, images.flip(3))
    # Whenever it comes up, and in whatever order.
    assert torch.equal(augment(images[::2]), second[::2])
    saved = augment.state_dict()
    assert torch.equal(augment(images[:4]), torch.stack([first[0], second[1], first[2], second[3]]))
    again = AlternatingCropFlip(padding=0)
    again.load_state_dict(saved)
    assert torch.equal(again(images[:4]), torch.stack([first[0], second[1], first[2], second[3]]))
    # Floats in [0, 1] are known by the bytes that they come from.
    assert torch.equal((AlternatingCropFlip(padding=0)(images / 255) * 255).round().to(torch.uint8), first)
    assert torch.equal(augment.eval()(images), images)


def test_images_seldom_share_a_turn():
    images = torch.randint(0, 256, (2000, 3, 8, 8), dtype=torch.uint8)
    augment = AlternatingCropFlip(padding=0)
    before = augment.turns.clone()
    augment(images)
    assert int((before != augment.turns).sum()) > 1950


def test_cutout_hides_a_square_of_each_image():
    images = torch.zeros(32, 1, 8, 8, dtype=torch.uint8)
    images[:, :, ::2] = 200
    hidden = AlternatingCropFlip(padding=0, cutout=3)(images) == 100
    assert (hidden.flatten(1).sum(1) == 9).all()
    assert len({tuple(row.nonzero().flatten().tolist()) for row in hidden.flatten(1)}) > 5
