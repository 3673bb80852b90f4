"""Lightning's two names, and what one of them lacks."""

from __future__ import annotations

from types import SimpleNamespace

import lightning.pytorch as pl
import pytest

from dynsel.callbacks.lightning_names import Callback, has, package_of, refuse


class Mine(pl.Trainer):
    """A Trainer of somebody's own."""


def test_the_package_is_that_of_the_trainer():
    trainer = Mine.__new__(Mine)
    assert package_of(trainer) is pl
    assert issubclass(Callback, pl.Callback)


def test_what_is_lacking_is_named_with_the_version():
    trainer = Mine.__new__(Mine)
    refuse(trainer, [], "never said")
    with pytest.raises(RuntimeError, match=rf"lightning.pytorch {pl.__version__} has no a.b, c, which X needs"):
        refuse(trainer, ["a.b", "c"], "which X needs")


def test_attributes_of_attributes():
    owner = SimpleNamespace(loop=SimpleNamespace(ready=None))
    assert has(owner, "loop.ready")
    assert not has(owner, "loop.ready.more")
    assert not has(owner, "other")
