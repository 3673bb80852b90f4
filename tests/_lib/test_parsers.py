"""Both names of jsonargparse's method are known, and whole numbers stay whole."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Union, get_args

import pytest
from jsonargparse import ArgumentParser

from dynsel._lib.parsers import instantiate, integers_first
from dynsel.schedules import Schedule

ROOT = Path(__file__).parents[2]


def test_a_configuration_becomes_objects_without_a_deprecated_method(monkeypatch) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "all")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Schedule, "weight")
    given = {"weight": {"class_path": "Constant", "init_args": {"value": 2}}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = instantiate(parser, parser.parse_object(given))
    assert made["weight"](0.5) == 2


def test_older_versions_have_another_name() -> None:
    older = SimpleNamespace(instantiate_classes=lambda config: [config])
    assert instantiate(older, 1) == [1]


# A library that was imported before may have made the union the other way round, which Python then hands out.
BEFORE = "from typing import Optional, Union; Optional[Union[float, int]]"
COMPARED = f"""
{BEFORE}
from dynsel.compare.run import Comparison
given = ["--trainer.limit_val_batches", "1", "--trainer.limit_train_batches", "0.5", "--trainer.limit_test_batches=1.0"]
trainer = Comparison(["--config", "recipes/digits.yaml", *given], "val_accuracy").config.trainer
print([trainer.limit_val_batches, trainer.limit_train_batches, trainer.limit_test_batches])
"""
DISTILLED = f"""
{BEFORE}
from dynsel.commands.distill import _parser
given = ["--trainer.limit_val_batches", "1", "--trainer.gradient_clip_val", "0.5", "--trainer.val_check_interval=2"]
trainer = _parser("fit").parse_args(["--config", "recipes/digits_ncfm.yaml", *given]).trainer
print([trainer.limit_val_batches, trainer.gradient_clip_val, trainer.val_check_interval])
"""


@pytest.mark.parametrize(("script", "said"), [(COMPARED, "[1, 0.5, 1.0]"), (DISTILLED, "[1, 0.5, 2]")])
def test_one_batch_is_not_all_of_them(script: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == said


def test_other_annotations_stay_as_they_are() -> None:
    class Takes:
        def __init__(self, a: Union[float, int, None], b: str, c: float | int, d: list[int]) -> None:  # noqa: UP007
            pass

    Takes.__init__.__annotations__ = {"a": Union[float, int, None], "b": str, "c": float | int, "d": dict[int, float]}  # noqa: UP007
    integers_first(Takes)
    found = Takes.__init__.__annotations__
    assert [get_args(found[name])[0] for name in "ac"] == [int, int]
    assert (found["b"], found["d"]) == (str, dict[int, float])
