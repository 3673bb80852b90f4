"""Both names of jsonargparse's method are known."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

from jsonargparse import ArgumentParser

from dynsel._lib.parsers import instantiate
from dynsel.schedules import Schedule


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
