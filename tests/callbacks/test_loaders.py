"""Whatever loaders the user has, and however Lightning gets hold of them."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from support import (
    BATCHES,
    Fixed,
    Indexed,
    Listening,
    Module,
    N,
    SaveEvery,
    Sizes,
    fit,
    same_weights,
    selection,
    train_loader,
    trainer,
)
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    Subset,
    TensorDataset,
)

from dynsel.callbacks import DynamicSelection


class Last(pl.Callback):
    """How often each epoch was at its last batch."""

    def __init__(self) -> None:
        self.times: Counter[int] = Counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.times[trainer.current_epoch] += trainer.is_last_batch


# ---------------------------------------------------------------- several loaders
class Two(Module):
    """Trains on the loader "a" (or the first one) and notes how many batches of the other it got."""

    def __init__(self) -> None:
        super().__init__()
        self.others: Counter[int] = Counter()
        self.epochs: Counter[int] = Counter()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        a, b = batch.values() if isinstance(batch, dict) else batch
        self.epochs[self.current_epoch] += 1
        self.others[self.current_epoch] += b is not None
        return None if a is None else super().training_step(a, batch_idx)


def other(batches: int = 4, **options: Any) -> DataLoader[Any]:
    return DataLoader(Indexed(4 * batches), 4, **options)


MODES = [
    ("max_size_cycle", [max(n, 4) for n in BATCHES], [max(n, 4) for n in BATCHES], [4, 10, 5, 4]),
    ("min_size", [min(n, 4) for n in BATCHES], [min(n, 4) for n in BATCHES], [3, 4, 4, 2]),
    ("max_size", [max(n, 4) for n in BATCHES], BATCHES, [4, 4, 4, 4]),
]


@pytest.mark.parametrize(("mode", "lengths", "ours", "others"), MODES)
@pytest.mark.parametrize("workers", [0, 2])
def test_length_is_the_combination(mode, lengths, ours, others, workers):
    last = Last()
    loaders = CombinedLoader({"a": train_loader(num_workers=workers), "b": other()}, mode)
    module, _ = fit(last, selection(loader="a"), module=Two(), loader=loaders)
    assert [module.epochs[e] for e in range(4)] == lengths
    assert module.batches() == ours
    assert [module.others[e] for e in range(4)] == others
    assert [last.times[e] for e in range(4)] == [1, 1, 1, 1]


@pytest.mark.parametrize("mode", [mode for mode, *_ in MODES])
def test_uses_and_losses_are_those_of_the_batches_trained_on(mode):
    selector = Listening()
    module, _ = fit(
        DynamicSelection(selector, Sizes(), loader="a"),
        module=Two(),
        loader=CombinedLoader({"a": train_loader(), "b": other()}, mode),
    )
    trained = Counter(i for batches in module.seen.values() for batch in batches for i in batch)
    assert selector.usage.tolist() == [trained[i] for i in range(N)]
    assert all(torch.isfinite(f.per_sample_loss).all() for f in selector.heard)


def test_resuming_where_the_loader_is_cycled(tmp_path):
    def run(*callbacks: pl.Callback, **options: Any) -> Any:
        # Nobody restores what the other loader draws from the global generator, so it has its own.
        loaders = {"a": train_loader(), "b": other(7, generator=torch.Generator())}
        return fit(selection(loader="a"), *callbacks, module=Two(), loader=loaders, val=False, **options)[0]

    saver = SaveEvery(tmp_path)
    whole = run(saver)
    assert len(saver.paths) == 7 + 10 + 7 + 7
    # Every checkpoint of an epoch of two rounds and a third, and some of the next.
    different = [p.name for p in saver.paths[:12] if not same_weights(whole, run(ckpt_path=p, seed=2))]
    assert different == []


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda a, b: {"a": a, "b": b}, "a"),
        (lambda a, b: [a, b], 0),
        (lambda a, b: CombinedLoader([a, b], "max_size_cycle"), 0),
        (lambda a, b: {"a": a, "b": b}, 0),
    ],
)
def test_collections_and_keys(make, key):
    module, _ = fit(selection(loader=key), module=Two(), loader=make(train_loader(), other()))
    assert [module.epochs[e] for e in range(4)] == [max(n, 4) for n in BATCHES]
    assert [len(set(sum(module.seen[e], []))) for e in range(4)] == [12, 40, 20, 8]  # noqa: RUF017


def test_a_loader_of_several_must_be_named():
    loaders = {"a": train_loader(), "b": other()}
    with pytest.raises(ValueError, match=r"several train loaders; say which .* by `loader=`, one of \['a', 'b'\]"):
        fit(selection(), module=Two(), loader=loaders)
    with pytest.raises(ValueError, match=r"no train loader 'c'; say which .* one of \['a', 'b'\]"):
        fit(selection(loader="c"), module=Two(), loader=loaders)


def test_the_users_combined_loader_stays_as_it_is():
    a, b = train_loader(), other()
    loaders = CombinedLoader({"a": a, "b": b}, "min_size")
    fit(selection(loader="a"), module=Two(), loader=loaders)
    assert loaders.flattened[0] is a
    assert loaders.iterables == {"a": a, "b": b}
    assert len(a) == 10


def test_limit_and_validation_with_several_loaders():
    loaders = {"a": train_loader(), "b": other(2)}
    module, _ = fit(selection(loader="a"), module=Two(), loader=loaders, limit_train_batches=0.5)
    # Half of each loader: 1, 5, 2, 1 batches and 1 batch.
    assert [module.epochs[e] for e in range(4)] == [1, 5, 2, 1]
    assert module.validated == [(0, 0), (1, 4), (2, 1), (3, 0)]


def test_the_other_loader_starts_its_workers_once_an_epoch(tmp_path):
    starts = []
    for callbacks in ([], [selection((40, 40, 40, 40), loader="a")]):
        folder = tmp_path / str(len(callbacks))
        folder.mkdir()
        b = other(10, num_workers=1, worker_init_fn=lambda _, folder=folder: (folder / str(os.getpid())).touch())
        fit(*callbacks, module=Two(), loader={"a": train_loader(), "b": b})
        starts.append(len(list(folder.iterdir())))
    # Once more at most, when the first epoch's length gets known.
    assert starts in ([4, 4], [4, 5])


def test_two_selections_from_two_loaders():
    class Both(Two):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.others[self.current_epoch] += len(batch["b"][2])
            return Module.training_step(self, batch["a"], batch_idx)

    callbacks = [selection(loader="a"), selection((20, 8, 12, 40), loader="b")]
    last = Last()
    module, _ = fit(
        last, *callbacks, module=Both(), loader=CombinedLoader({"a": train_loader(), "b": train_loader()}, "min_size")
    )
    assert module.batches() == [3, 2, 3, 2]
    assert [module.others[e] for e in range(4)] == [12, 8, 12, 8]
    assert [last.times[e] for e in range(4)] == [1, 1, 1, 1]
    assert [c.selector.usage.sum().item() for c in callbacks] == [12 + 8 + 12 + 8] * 2


# ---------------------------------------------------------------- getting hold of the loader
class Unsaved(DataLoader[Any]):
    """A required argument that it doesn't keep, so that nobody can construct it again."""

    def __init__(self, scale: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.note = scale * 2


class FixedSignature(DataLoader[Any]):
    def __init__(self) -> None:
        super().__init__(Indexed(), batch_size=4, shuffle=True)
        self.note = 6.0


class OwnIter(DataLoader[Any]):
    """Adds to each batch; Lightning must get what it gives."""

    note = 6.0
    rounds = 0

    def __iter__(self) -> Any:
        self.rounds += 1
        for x, y, i in super().__iter__():
            yield x, y, i, torch.tensor(self.note)


LOADERS = {
    "plain": train_loader,
    "unsaved": lambda: Unsaved(3.0, Indexed(), 4, shuffle=True),
    "fixed": FixedSignature,
    "own_iter": lambda: OwnIter(Indexed(), 4, shuffle=True),
    "own_iter_workers": lambda: OwnIter(Indexed(), 4, shuffle=True, num_workers=2),
    "generator": lambda: train_loader(generator=torch.Generator().manual_seed(3)),
    "collate": lambda: train_loader(collate_fn=lambda rows: torch.utils.data.default_collate(rows)),
}


class Given(Module):
    """Has its loader itself if it is told so, and notes what its batches hold beside the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.extras: set[float] = set()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        *batch, note = batch if len(batch) == 4 else (*batch, None)
        self.extras.add(None if note is None else float(note))
        return super().training_step(batch, batch_idx)


class Hooked(Given):
    def __init__(self, loader: Any) -> None:
        super().__init__()
        self.loader = loader

    def train_dataloader(self) -> Any:
        return self.loader


class Data(pl.LightningDataModule):
    def __init__(self, loader: Any) -> None:
        super().__init__()
        self.loader = loader

    def train_dataloader(self) -> Any:
        return self.loader


class Seen(pl.Callback):
    """The train loader that Lightning has while it trains."""

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.loader = trainer.train_dataloader


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("route", ["argument", "hook", "datamodule"])
def test_injection(kind, route):
    loader, seen = LOADERS[kind](), Seen()
    before = {k: v for k, v in vars(loader).items() if k != "_iterator"}
    module = Hooked(loader) if route == "hook" else Given()
    t = trainer(selection(), seen)
    t.fit(module, {"argument": loader, "hook": None, "datamodule": Data(loader)}[route])
    assert module.batches() == BATCHES
    assert [len(set(sum(module.seen[e], []))) for e in range(4)] == [12, 40, 20, 8]  # noqa: RUF017
    # While training, class and attributes are the user's own.
    assert isinstance(seen.loader, type(loader))
    assert type(seen.loader).__name__ == type(loader).__name__
    assert getattr(seen.loader, "note", None) == getattr(loader, "note", None)
    assert seen.loader.collate_fn is loader.collate_fn
    assert module.extras == ({6.0} if kind.startswith("own_iter") else {None})
    # Afterwards the user's loader is untouched, and whole.
    assert {k: v for k, v in vars(loader).items() if k != "_iterator"} == before
    assert len(loader) == 10
    assert sorted(i for batch in loader for i in batch[2].tolist()) == list(range(N))


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"batch_size": 7}])
def test_own_generator_gives_the_order(options):
    # (Without workers, where full batches leave no rest, Lightning stops before RandomSampler's last draw from its
    # own generator; we don't. The order of later epochs is another then, and as random.)
    def loader() -> DataLoader[Any]:
        return train_loader(generator=torch.Generator().manual_seed(3), **options)

    chosen = [list(range(0, 40, 3)), list(range(0, 40, 2))]
    plain, _ = fit(loader=loader(), max_epochs=2)
    ours, _ = fit(DynamicSelection(Fixed(*chosen), keep_ratio=0.5), loader=loader(), max_epochs=2)
    for e in range(2):
        order = sum(plain.seen[e], [])  # noqa: RUF017
        assert sum(ours.seen[e], []) == [i for i in order if i in chosen[e]]  # noqa: RUF017


def test_views_of_a_data_set():
    class Position(Module):
        """The view's own positions are what is selected."""

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen[self.current_epoch].append(batch[2].tolist())
            return self(batch[0]).sum()

    view = Subset(Indexed(80), list(range(79, 39, -1)))
    module, _ = fit(
        DynamicSelection(Fixed([0, 1, 39]), keep_ratio=0.5), module=Position(), loader=DataLoader(view, 4), max_epochs=1
    )
    assert dict(module.seen) == {0: [[79, 78, 40]]}


# ---------------------------------------------------------------- what can't be
class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([Indexed()[i] for i in range(N)])


class Lengthless:
    """Map-style, but nobody knows how long."""

    def __getitem__(self, i: int) -> Any:
        return Indexed()[i]


class OwnShard(DistributedSampler[Any]):
    pass


class Batches:
    """Something to iterate that is no DataLoader."""

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Any:
        return iter(train_loader())


UNSUPPORTED = {
    "stream": (lambda: DataLoader(Stream(), 4), "needs a map-style data set with a length, got Stream; give it"),
    "lengthless": (
        lambda: DataLoader(Lengthless(), 4, sampler=range(N)),
        "needs a map-style data set with a length, got Lengthless; give it",
    ),
    "distributed": (
        lambda: DataLoader(Indexed(), 4, sampler=OwnShard(Indexed(), num_replicas=1, rank=0)),
        "can't filter OwnShard.*leave the sampler out",
    ),
    "iterable": (Batches, "needs a torch DataLoader, got Batches"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_unsupported_says_what_to_do(kind):
    make, text = UNSUPPORTED[kind]
    module = Module()
    with pytest.raises(TypeError, match=text):
        fit(selection(), module=module, loader=make())
    assert dict(module.seen) == {}


def test_unsupported_beside_the_selected_one_is_left_alone():
    module, _ = fit(
        selection(loader="a"),
        module=Two(),
        loader=CombinedLoader({"a": train_loader(), "b": DataLoader(Stream(), 4)}, "min_size"),
    )
    assert module.batches() == BATCHES


def test_empty_data_set():
    with pytest.raises(ValueError, match="`data_source` must be a data set with at least one entry"):
        fit(selection(), loader=DataLoader(TensorDataset(torch.zeros(0, 4)), 4))
