import pickle

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset, WeightedRandomSampler

from dynsel.data import TensorImages

N = 23


@pytest.fixture
def data() -> TensorImages:
    """Image i holds the value i everywhere, and has target i % 3."""
    images = torch.arange(N, dtype=torch.uint8)[:, None, None, None].expand(N, 3, 4, 5)
    return TensorImages(images, torch.arange(N) % 3, ["a", "b", "c"])


def seen(loader) -> list[int]:
    """Values of all images a loader gave, after checking that each came with its own target."""
    values = []
    for images, targets in loader:
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (3, 4, 5)
        value = images[:, 0, 0, 0].long()
        assert (images == images[:, :1, :1, :1]).all()
        assert torch.equal(targets, value % 3)
        values += value.tolist()
    return values


def loader(data, **options) -> DataLoader:
    return DataLoader(data, **{"batch_size": 4, "collate_fn": TensorImages.collate, **options})


def test_single_items(data):
    image, target = data[7]
    assert (len(data), image.shape, target) == (N, (3, 4, 5), 1)
    assert (image == 7).all()
    assert data.image_shape == (3, 4, 5)
    assert data.device == torch.device("cpu")


def test_a_batch_is_the_stack_of_its_items(data):
    rows = [5, 0, 5, 22]
    images, targets = data.__getitems__(rows)
    assert torch.equal(images, torch.stack([data[row][0] for row in rows]))
    assert targets.tolist() == [data[row][1] for row in rows]
    for other in (torch.tensor(rows), torch.tensor(rows).numpy(), [torch.tensor(row) for row in rows]):
        assert torch.equal(data.__getitems__(other)[0], images)


@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_remainder(data, workers):
    assert seen(loader(data, num_workers=workers)) == list(range(N))
    assert len(seen(loader(data, drop_last=True))) == 20


def test_shuffle(data):
    order = seen(loader(data, shuffle=True, generator=torch.Generator().manual_seed(0)))
    assert sorted(order) == list(range(N))
    assert order != list(range(N))


def test_samplers(data):
    assert seen(loader(data, sampler=[3, 1, 1])) == [3, 1, 1]
    weights = [1.0] * 3 + [0.0] * (N - 3)
    assert set(seen(loader(data, sampler=WeightedRandomSampler(weights, 30)))) <= {0, 1, 2}
    batches = BatchSampler([9, 8, 7], 2, drop_last=False)
    assert seen(DataLoader(data, batch_sampler=batches, collate_fn=TensorImages.collate)) == [9, 8, 7]
    assert seen(loader(Subset(data, [4, 2, 11]))) == [4, 2, 11]


def test_batch_size_none_gives_single_items(data):
    first, *_ = DataLoader(data, batch_size=None)
    assert first[0].shape == (3, 4, 5)
    assert first[1] == 0


def test_collate_serves_a_wrapper_without_getitems(data):
    class Wrapper(Dataset):
        def __len__(self):
            return N

        def __getitem__(self, index):
            return data[index]

    assert seen(loader(Wrapper())) == list(range(N))


def test_collate_and_set_survive_pickling(data):
    assert pickle.loads(pickle.dumps(TensorImages.collate)) is TensorImages.collate
    copy = pickle.loads(pickle.dumps(data))
    assert seen(loader(copy)) == list(range(N))
    assert copy.classes == ["a", "b", "c"]


def test_to(data):
    assert data.to("cpu") is data
    assert data.to(torch.device("cpu")) is data


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(data):
    there = data.to("cuda")
    assert there.to("cuda") is there
    assert data.device.type == "cpu"
    images, targets = there.__getitems__([3, 1])
    assert images.device.type == targets.device.type == "cuda"
    assert seen([(images.cpu(), targets.cpu())]) == [3, 1]


IMAGES = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "targets", "error", "text"),
    [
        (IMAGES.float(), torch.tensor([0, 1]), TypeError, r"`images` must be uint8, got torch.float32: scale"),
        (IMAGES, torch.tensor([0.0, 1.0]), TypeError, r"`targets` must be int64, got torch.float32"),
        (IMAGES[0], torch.tensor([0]), ValueError, r"`images` must be \(N, C, H, W\), got \(1, 4, 4\)"),
        (IMAGES, torch.tensor([0]), ValueError, r"`targets` must be \(2,\), got \(1,\)"),
        (IMAGES, torch.tensor([0, 2]), ValueError, r"`targets` must be in \[0, 2\).* got 0 to 2"),
        (IMAGES, torch.tensor([-1, 1]), ValueError, r"`targets` must be in \[0, 2\).* got -1 to 1"),
        (IMAGES, torch.zeros(2, dtype=torch.int64, device="meta"), ValueError, r"`targets` must be on cpu.*meta"),
    ],
)
def test_errors(images, targets, error, text):
    with pytest.raises(error, match=text):
        TensorImages(images, targets, ["a", "b"])
