"""The pool: follows from its seed, goes on after a kill, is refused where it doesn't belong, and blends."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from distill.conftest import patterns, small_pool
from safetensors.torch import load_file

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


def contents(pool) -> list[dict[str, torch.Tensor]]:
    # Copies: what is loaded is mapped, and a test may change the file.
    files = [load_file(pool.path(number)) for number in range(pool.networks)]
    return [{name: value.clone() for name, value in file.items()} for file in files]


def equal(a, b) -> bool:
    return all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in zip(a, b, strict=True))


def test_networks_learn_and_differ(pool, data, val):
    found = contents(pool)
    assert min(pool.prepare(data, val, CPU)) > 0.5
    assert not torch.equal(found[0]["init.fc.weight"], found[1]["init.fc.weight"])
    assert not torch.equal(found[0]["init.fc.weight"], found[0]["trained.fc.weight"])


def test_a_blend_is_between_both_ends(pool, data):
    loaded, files = pool.load(data, CPU), contents(pool)
    for share, expected in ((1.0, "init"), (0.0, "trained")):
        for name, value in loaded.blend(1, share).named_parameters():
            torch.testing.assert_close(value, files[1][f"{expected}.{name}"])
    network = loaded.blend(0, 0.25)
    expected = 0.25 * files[0]["init.fc.weight"] + 0.75 * files[0]["trained.fc.weight"]
    torch.testing.assert_close(network.fc.weight, expected)
    torch.testing.assert_close(loaded.trained(1).fc.weight, files[1]["trained.fc.weight"])
    torch.testing.assert_close(network.fc.weight, expected)
    assert len(loaded) == 2
    assert not any(p.requires_grad for p in network.parameters())


def test_killed_it_goes_on_with_the_missing_networks(tmp_path, pool, data, val):
    """A process of its own, killed once its first network is there."""
    folder = tmp_path / "pool"
    program = (
        "import sys, torch; sys.path[:0] = ['tests', '.']; torch.set_num_threads(1)\\n"
        "from distill.conftest import patterns, small_pool\\n"
        f"small_pool({str(folder)!r}, networks=50).prepare(patterns(), patterns(seed=1), torch.device('cpu'))"
    ).replace("\\n", "\n")
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    deadline = time.monotonic() + 200
    while not list(folder.glob("network-*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = len(list(folder.glob("network-*.safetensors")))
    assert 1 <= there < 50
    again = small_pool(folder)
    assert again.missing(data) == list(range(there, 2))
    again.prepare(data, val, CPU)
    assert again.missing(data) == []
    assert equal(contents(again), contents(pool))


def test_a_half_written_network_is_trained_anew(tmp_path, data, val):
    pool = small_pool(tmp_path, networks=1, epochs=1)
    pool.prepare(data, val, CPU)
    before = contents(pool)
    path = pool.path(0)
    path.write_bytes(path.read_bytes()[:-100])
    assert pool.missing(data) == [0]
    pool.prepare(data, val, CPU)
    assert equal(contents(pool), before)


def test_a_pool_may_grow(tmp_path, data, val):
    small_pool(tmp_path, networks=1, epochs=1).prepare(data, val, CPU)
    assert small_pool(tmp_path, networks=3, epochs=1).missing(data) == [1, 2]


def test_missing_networks_are_named(tmp_path, data):
    with pytest.raises(
        FileNotFoundError, match=r"lacks 2 of 2 networks; `Pool.prepare` or `dynsel distill fit` trains"
    ):
        small_pool(tmp_path).load(data, CPU)


@pytest.mark.parametrize(
    ("other", "options", "message"),
    [
        (
            patterns(side=16),
            {},
            r"is for images of 1x8x8, the data has 1x16x16; choose another `pool.folder`, or delete",
        ),
        (patterns(channels=3), {}, "is for images of 1x8x8, the data has 3x8x8"),
        (patterns(per_class=31), {}, r"was trained on other data: length \(120 and 124 items\); choose another"),
        (patterns(seed=5), {}, "was trained on other data: sampled items"),
        (patterns(), {"width": 16}, "was made with other settings: width is 8 there, 16 now; choose another"),
        (patterns(), {"epochs": 9, "lr": 0.1}, "other settings: epochs is 8 there, 9 now; lr is 0.05 there, 0.1 now"),
    ],
)
def test_a_pool_that_does_not_match_is_refused(pool, other, options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(pool, **options).load(other, CPU)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "pool.json is damaged"), ("{}", "pool.json is not of this version")]
)
def test_a_damaged_description(tmp_path, data, text, message):
    (tmp_path / "pool.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        small_pool(tmp_path).missing(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"networks": 0}, "`networks` must be at least 1, got 0"),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"lr": 0.0}, "`lr` must be above 0, got 0.0"),
    ],
)
def test_wrong_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        small_pool(tmp_path, **options)
