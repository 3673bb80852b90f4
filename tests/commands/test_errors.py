"""Errors that are about what the user gave are one line; what looks like a mistake in a program is none of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from jsonargparse import ArgumentParser

from dynsel import DynamicSelection
from dynsel._lib.checks import check_number
from dynsel._lib.parsers import instantiate
from dynsel.commands._errors import explain
from dynsel.schedules import Schedule


def caught(function: Any, *args: Any, **options: Any) -> Exception:
    try:
        function(*args, **options)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_what_dynsel_raises() -> None:
    assert "`lr` must be" in str(explain(caught(check_number, "lr", -1, above=0)))


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), TypeError("x"), ZeroDivisionError("x")])
def test_a_mistake_in_a_program(error: Exception) -> None:
    def fail() -> None:
        raise error

    assert explain(caught(fail)) is None


def test_what_the_system_refuses(tmp_path: Path) -> None:
    assert str(tmp_path / "x") in str(explain(caught(open, tmp_path / "x")))


@pytest.mark.parametrize("options", [{"devices": "x"}, {"strategy": "foo"}, {"precision": "foo"}, {"num_nodes": 0}])
def test_what_a_trainer_refuses(options: dict[str, Any]) -> None:
    text = explain(caught(pl.Trainer, accelerator="cpu", logger=False, **options))
    assert text is not None
    assert "\n" not in text
    assert str(next(iter(options.values()))) in text or "devices" in text


def test_a_configuration_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    text = explain(caught(parser.parse_args, ["--config", str(tmp_path / "x.yaml")]))
    assert "x.yaml is no text, so no configuration" in str(text)


def test_a_folder_of_images_has_a_way_out() -> None:
    error = FileNotFoundError("Couldn't find any class folder in photos.")
    assert "photos/<class>/<image>" in str(explain(error))


def test_several_lines_are_one() -> None:
    assert explain(argparse.ArgumentError(None, "a\n  b\n")) == "a; b"


class Broken(Schedule):
    def __init__(self) -> None:
        {}["missing"]

    def __call__(self, progress: float) -> float:
        return 0.5


def test_a_mistake_in_a_class_of_the_users_keeps_its_traceback() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DynamicSelection, "selection")
    given = parser.parse_object({"selection": {"keep_ratio": {"class_path": f"{__name__}.Broken"}}})
    assert explain(caught(instantiate, parser, given)) is None


def test_what_a_schedule_does_not_like() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DynamicSelection, "selection")
    schedule = {"class_path": "Oscillating", "init_args": {"mean": 0.5, "swing": 0.1, "cycles": 0}}
    given = parser.parse_object({"selection": {"keep_ratio": schedule}})
    assert explain(caught(instantiate, parser, given)) == "`cycles` must be at least 1, got 0"
