"""Selection and feedback on several ranks, each a process of its own, over gloo."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import pytest
from programs.ranks import interleave, launch

SIZES = [13, 40, 18]


@pytest.fixture(scope="module")
def results(tmp_path_factory: Any) -> Any:
    """results[world][rank][check], of one launch for all tests of this file."""
    return launch("ddp_checks", tmp_path_factory.mktemp("ddp"), 2, 1, 4)


def each(results: Any, check: str, world: int = 2) -> list[Any]:
    return [rank[check] for rank in results[world]]


def counts(ranks: list[Any]) -> list[int]:
    """Uses of each of the 40 samples, by what the ranks saw."""
    seen = Counter(i for rank in ranks for epoch in rank["seen"] for batch in epoch for i in batch)
    return [seen[i] for i in range(40)]


@pytest.mark.parametrize("run", ["plain", "drop_last", "accumulate", "workers", "order"])
def test_every_rank_trains_as_many_batches(results, run):
    ranks = [shards[run] for shards in each(results, "shards")]
    shapes = [[[len(batch) for batch in epoch] for epoch in rank["seen"]] for rank in ranks]
    wanted = [[4, 3], [4] * 5, [4, 4, 1]]
    if run == "drop_last":
        wanted = [[4], [4] * 5, [4, 4]]
    assert shapes == [wanted, wanted]


@pytest.mark.parametrize("run", ["plain", "accumulate", "workers", "order"])
def test_shards_are_the_selection(results, run):
    ranks = [shards[run] for shards in each(results, "shards")]
    for epoch, size in enumerate(SIZES):
        order = ranks[0]["orders"][epoch]
        assert len(set(order)) == size
        padding = -size % 2
        assert interleave([rank["seen"][epoch] for rank in ranks]) == order + order[:padding]


def test_shards_with_drop_last_are_the_start_of_the_order(results):
    ranks = [shards["drop_last"] for shards in each(results, "shards")]
    for epoch, used in enumerate([8, 40, 16]):
        assert interleave([rank["seen"][epoch] for rank in ranks]) == ranks[0]["orders"][epoch][:used]


def test_fewer_samples_than_ranks_go_around(results):
    two = [shards["fewer_than_ranks"] for shards in each(results, "shards")]
    assert [interleave([rank["seen"][0] for rank in two])] == [two[0]["orders"][0] * 2]
    four = each(results, "few_on_four", 4)
    order = four[0]["orders"][1]
    assert len(order) == 3
    assert interleave([rank["seen"][1] for rank in four]) == [*order, order[0]]


def test_four_ranks(results):
    ranks = each(results, "few_on_four", 4)
    for epoch, padding in ((0, 3), (2, 2)):
        order = ranks[0]["orders"][epoch]
        assert interleave([rank["seen"][epoch] for rank in ranks]) == order + order[:padding]


def test_validates_once_an_epoch(results):
    validated = [[shards["plain"]["validated"], shards["drop_last"]["validated"]] for shards in each(results, "shards")]
    assert validated == [[[[0, 1], [1, 4], [2, 2]], [[0, 0], [1, 4], [2, 1]]]] * 2


def test_accumulation_keeps_its_remainder(results):
    assert [shards["accumulate"]["steps"] for shards in each(results, "shards")] == [1 + 3 + 2] * 2


def test_lightning_leaves_the_sampler_alone(results):
    samplers = [shards["plain"]["samplers"] for shards in each(results, "shards")]
    assert samplers == [["SelectionSampler"] * 3] * 2


@pytest.mark.parametrize("run", ["plain", "drop_last", "accumulate", "workers", "fewer_than_ranks"])
def test_usage_is_what_all_ranks_saw(results, run):
    ranks = [shards[run] for shards in each(results, "shards")]
    assert [rank["usage"] for rank in ranks] == [counts(ranks)] * 2
    assert [rank["trained"][-1] for rank in ranks] == [sum(counts(ranks))] * 2


@pytest.mark.parametrize("drop_last", [False, True])
def test_keep_ratio_1_equals_plain_ddp(results, drop_last):
    for rank in each(results, "full_equals_plain"):
        plain, full, everything = rank[f"drop_last={drop_last}"]["seen"]
        assert full == plain
        assert everything == plain
        assert rank[f"drop_last={drop_last}"]["same_weights"] == [True, True, True]


def test_rank_dependent_selector_is_decided_on_rank_0(results):
    ranks = each(results, "rank_dependent_selector")
    for epoch in (0, 1):
        assert sorted(interleave([rank["seen"][epoch] for rank in ranks])) == list(range(16))


def test_ranks_seeded_differently_share_one_order(results):
    ranks = each(results, "seeded_differently")
    assert ranks[0]["orders"] == ranks[1]["orders"]
    for epoch in (0, 1):
        assert interleave([rank["seen"][epoch] for rank in ranks]) == ranks[0]["orders"][epoch]


def test_an_error_on_rank_0_is_raised_on_every_rank(results):
    wanted = ["ValueError: no more samples", "Locked: held by a lock"]
    assert each(results, "errors") == [wanted, [wanted[0], "RuntimeError: " + wanted[1]]]


def test_losses_of_all_ranks_are_heard_exactly(results):
    ranks = each(results, "feedback")
    own = [
        dict(zip(indices, losses, strict=True))
        for epoch, batches in ((0, slice(0, 2)), (1, slice(2, 7)))
        for indices, losses in [
            (
                [i for rank in ranks for batch in rank["seen"][epoch] for i in batch],
                [loss for rank in ranks for batch in rank["own"][batches] for loss in batch],
            )
        ]
    ]
    for rank in ranks:
        heard = [dict(zip(*told, strict=True)) for told in rank["heard"]]
        assert heard == own


def test_what_stayed_of_the_batches_of_all_ranks_is_counted(results):
    ranks = each(results, "batch_fraction")
    # 7 and 20 samples a rank; of each batch of 4 or 3 two stay.
    assert [[[len(batch) for batch in epoch] for epoch in rank["seen"]] for rank in ranks] == [[[2, 2], [2] * 5]] * 2
    assert [rank["usage"] for rank in ranks] == [counts(ranks)] * 2
    assert [rank["trained"] for rank in ranks] == [[8, 28]] * 2
    for rank in ranks:
        for epoch, (indices, losses) in enumerate(rank["heard"]):
            batches = slice(0, 2) if epoch == 0 else slice(2, 7)
            seen = [i for theirs in ranks for batch in theirs["seen"][epoch] for i in batch]
            own = [loss for theirs in ranks for batch in theirs["own"][batches] for loss in batch]
            assert sorted(indices) == sorted(seen)
            assert dict(zip(indices, losses, strict=True)) == dict(zip(seen, own, strict=True))


def test_each_rank_trains_on_a_part_of_its_own_stream(results):
    for number, seen in enumerate(each(results, "stream")):
        assert [[len(batch) for batch in epoch] for epoch in seen] == [[3] * 4] * 2
        assert {i % 2 for epoch in seen for batch in epoch for i in batch} == {number}


def test_exact_resume_on_two_ranks(results):
    assert [(rank["checkpoints"], rank["different"]) for rank in each(results, "batch_fraction")] == [(7, [])] * 2


def test_features_are_captured_on_all_ranks(results):
    ranks = each(results, "capture")
    # Rank 0 decides, so it alone needs the features, but all of them.
    assert [rank["fits"] for rank in ranks] == [1, 0]
    assert ranks[0]["largest_error"] < 2e-3
    assert [rank["done"] for rank in ranks] == [True, True]
    assert sorted(ranks[0]["orders"][2]) == sorted(ranks[0]["top"])
    assert ranks[0]["orders"] == ranks[1]["orders"]


def test_every_step_on_two_ranks(results):
    assert each(results, "resume_sweep") == [["10"], ["10"]]


@pytest.mark.parametrize("world", [1, 4])
def test_another_number_of_ranks_continues_the_order(results, world):
    before = each(results, "save")[0]
    whole = [i for order in before["orders"] for i in order]
    ranks = each(results, "resume", world)
    rest = {name: interleave([list(chain(*rank[name]["seen"])) for rank in ranks]) for name in ranks[0]}
    # 2 ranks used 8 samples a step.
    assert rest == {f"{step - 1:03d}.ckpt": whole[8 * step :] for step in range(1, 11)}


@pytest.mark.parametrize("world", [1, 4])
def test_another_number_of_ranks_counts_the_same_uses(results, world):
    usage = each(results, "save")[0]["usage"]
    for rank in each(results, "resume", world):
        assert {name: run["usage"] for name, run in rank.items()} == dict.fromkeys(rank, usage)


def test_every_rank_knows_what_the_model_says_of_all_labels(results):
    [alone], ranks = each(results, "evidence", 1), each(results, "evidence")
    assert ranks[0] == ranks[1]
    assert ranks[0]["seen"] == ranks[0]["usage"] == alone["usage"]
    for name, numbers in alone.items():
        assert ranks[0][name] == pytest.approx(numbers, abs=1e-4), name


@pytest.mark.parametrize("world", [2, 4])
def test_methods_choose_the_same_on_any_number_of_ranks(results, world):
    """The model doesn't learn here, so that the losses fed back are the same however they are shared out."""
    alone = each(results, "methods", 1)[0]
    assert each(results, "methods", world) == [alone] * world


@pytest.mark.parametrize("name", ["gstds", "proxy", "jest"])
def test_choosing_inside_batches_on_two_ranks(results, name):
    """As many batches on each, what all saw is what is counted, and every checkpoint resumes exactly."""
    ranks = [found[name] for found in each(results, "candidates")]
    shapes = [[[len(batch) for batch in epoch] for epoch in rank["seen"]] for rank in ranks]
    assert shapes[0] == shapes[1]
    # 20, 40 and 13 of 40 samples: of 13 one more is fed twice. Loaded, 20 of a rank come as 8, 8, 4 and as 12, 8.
    wanted = [[4, 4, 2], [4] * 5, [4, 3]]
    assert shapes[0] == wanted
    assert [rank["usage"] for rank in ranks] == [counts(ranks)] * 2
    assert [rank["scored"] for rank in ranks] == [0 if name == "gstds" else 80] * 2
    assert [(rank["checkpoints"], rank["different"]) for rank in ranks] == [(sum(map(len, wanted)), [])] * 2


@pytest.mark.long
def test_started_by_lightning(tmp_path, results):
    """Lightning starts the other rank by itself, as for most users."""
    assert launch("ddp_checks", tmp_path, 2, by_lightning=True)[2][0]["shards"] == results[2][0]["shards"]


def test_all_ranks_monitor_the_same_selection(results):
    first, second = each(results, "monitored")
    assert first == second
    # Random halves have covered all after two epochs of three batches a rank.
    assert [metrics["selection/coverage"] for metrics in first["metrics"]] == [0.5, 1.0]
    assert [metrics["selection/samples_trained"] for metrics in first["metrics"]] == [20, 40]
    assert first["steps"] == 6
