"""What a result says of its origin."""

from __future__ import annotations

import json
import re
import shlex

import torch

import dynsel
from dynsel._lib.provenance import command_line, hardware, package_version, provenance, today, versions


def test_a_command_can_be_typed_again() -> None:
    words = ["select", "--out", "my subset.json", "--selector", 'hybrid:terms={"loss":1}']
    assert shlex.split(command_line(words)) == ["dynsel", *words]


def test_versions_of_what_is_installed() -> None:
    found = versions(("torch", "no-such-package"))
    assert found == {"dynsel": dynsel.__version__, "torch": torch.__version__.split("+")[0]}
    assert package_version("no-such-package") == "unknown"


def test_all_of_it_is_plain() -> None:
    found = provenance(["fit"])
    assert json.loads(json.dumps(found)) == found
    assert list(found) == ["command", "versions", "hardware", "date"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", today())
    assert f"{torch.get_num_threads()} thread" in hardware()
