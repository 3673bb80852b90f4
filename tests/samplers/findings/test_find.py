"""From sums to lists: planted wrong labels, copies, rare and unused samples, and what isn't known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from dynsel._lib.images import TensorImages
from dynsel.data import TokenTexts
from dynsel.samplers.findings import Evidence, Findings
from dynsel.samplers.findings.find import find
from dynsel.selectors import Feedback

N = 400


class Paths(Dataset):
    """Files that tell where they are."""

    def __init__(self, paths: list[str]) -> None:
        self.samples = [(path, 0) for path in paths]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[str, int]:
        return self.samples[index]


def evidence(wrong: list[int] = (), count: int = N) -> Evidence:
    """Of three classes: right labels win by 1, the wrong ones lose by 3 to the next class, in four uses each."""
    found, generator = Evidence(count), torch.Generator().manual_seed(0)
    for _ in range(4):
        margin = 1 + 0.3 * torch.randn(count, generator=generator)
        margin[list(wrong)] = -3 - torch.rand(len(wrong), generator=generator)
        own = torch.sigmoid(margin)
        given = torch.arange(count) % 3
        other = (given + 1) % 3
        told = Feedback(torch.arange(count), given=given.float(), own=own, other=other.float(), margin=margin)
        found.learn(told)
    return found


def texts(count: int = N) -> TokenTexts:
    lines = [f"sample number {i}" for i in range(count)]
    return TokenTexts(lines, torch.zeros(count, 2).long(), torch.arange(count) % 3, ["cat", "dog", "cow"])


def test_planted_wrong_labels_come_first_with_what_the_model_says() -> None:
    found = find(evidence([7, 30]), torch.full((N,), 4), texts())
    assert sorted(found.suspects.tolist()) == [7, 30]
    rows = {row["index"]: row for row in found.rows(["wrong_label"])}
    assert rows[7]["given"] == "dog"
    assert rows[7]["predicted"] == "cow"
    assert rows[7]["confidence"] > 0.9
    assert rows[7]["own"] < 0.1
    assert (rows[7]["seen"], rows[7]["uses"], rows[7]["text"]) == (4, 4, "sample number 7")
    assert {row["rank"] for row in rows.values()} == {1, 2}
    assert found.expected_wrong == pytest.approx(1)  # of two one may be right
    assert "suspected wrong labels: 2; about 50 % of them are wrong by a rough estimate" in str(found)


def test_each_sample_is_in_one_list_of_the_model() -> None:
    found = find(evidence([7]), torch.full((N,), 4), texts())
    lists = [set(found.kinds[kind].tolist()) for kind in ("wrong_label", "never_learned", "hard")]
    assert sum(map(len, lists)) == len(set.union(*lists))
    assert len(lists[2]) == 4, "a hundredth of all"


def test_what_was_never_right_is_never_learned() -> None:
    told = evidence()
    told.right[[5, 9]] = 0
    told.seen[9] = 1
    assert find(told, torch.ones(N), texts()).kinds["never_learned"].tolist() == [5]


def test_what_was_never_used() -> None:
    uses = torch.ones(N).int()
    uses[[3, 8]] = 0
    assert find(evidence(), uses, texts()).kinds["never_used"].tolist() == [3, 8]


def test_copies_of_images_and_what_is_far_from_all() -> None:
    images = torch.randint(100, 140, (N, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[50] = images[10]
    images[60] = (images[10].float() * 0.995).to(torch.uint8)
    images[70, :, :8] = 255
    images[90, :, :, :8] = 0
    images[91] = images[90]
    images[91, :, 0, 0] = 1
    data = TensorImages(images, torch.arange(N) % 3, ["a", "b", "c"])
    found = find(evidence(), torch.ones(N).int(), data)
    assert found.kinds["duplicate"].tolist() == [10, 50, 60, 90, 91]
    groups = [row["group"] for row in found.rows(["duplicate"])]
    assert len(set(groups[:3])) == len(set(groups[3:])) == 1
    assert found.kinds["rare"][0] == 70
    assert "duplicates: 5 samples in 2 groups" in str(found)


def test_a_copy_that_was_moved_is_found_among_images_held_as_an_array() -> None:
    canvas = torch.nn.functional.interpolate(torch.rand(90, 3, 5, 5), size=40, mode="bicubic").clamp(0, 1) * 255
    images = canvas[:, :, 4:36, 4:36].clone()
    images[60] = 0.9 * canvas[10, :, 6:38, 2:34]
    found = find(None, torch.ones(90).int(), TensorImages(images.byte(), torch.zeros(90).long(), ["a"]))
    assert found.kinds["duplicate"].tolist() == [10, 60]


def test_copies_with_different_labels_come_first_and_all_but_one_can_be_left_out() -> None:
    data = texts()
    for of, copies in {40: (43, 46), 5: (8, 9), 100: (300,)}.items():
        for copy in copies:
            data.texts[copy] = data.texts[of]
    told = evidence()
    told.margin[5], told.margin[8], told.margin[9] = -1.0, -2.0, 3.0
    found = find(told, torch.full((N,), 4), data)
    # 5 and 8 are of one class, 9 is of another, 100 and 300 are of two, and 40, 43 and 46 of one.
    assert found.kinds["duplicate"].tolist() == [5, 8, 9, 100, 300, 40, 43, 46]
    assert len(found.contradictions()) == 2
    assert "duplicates: 8 samples in 3 groups, 2 of them with different labels" in str(found)


def test_a_class_that_is_never_said_is_named_and_not_judged() -> None:
    told = evidence()
    told.given[:9], told.margin[:9], told.other[:9] = 3, -20.0, 0
    found = find(told, torch.full((N,), 4), texts())
    assert not set(found.suspects.tolist()) & set(range(9))
    assert found.not_judged == ("3",)
    assert "not judged, for the model hardly ever says them: 3" in str(found)


def test_copies_of_texts_whatever_case_and_marks() -> None:
    data = texts()
    data.texts[5] = "Sample, NUMBER 4!"
    found = find(evidence(), torch.ones(N).int(), data)
    assert found.kinds["duplicate"].tolist() == [4, 5]
    assert found.unknown == {"rare": "no features to go by; give them by `features=`"}


def test_copies_among_texts_of_ones_own() -> None:
    said = [f"number {i}" for i in range(N)]
    said[3] = "Number 2!"
    found = find(None, torch.ones(N).int(), range(N), texts=said)
    assert found.kinds["duplicate"].tolist() == [2, 3]


def test_copies_of_files_are_found_without_decoding(tmp_path) -> None:
    for name, content in {"a": b"one", "b": b"two", "c": b"one", "d": b"three"}.items():
        (tmp_path / name).write_bytes(content)
    data = Paths([str(tmp_path / name) for name in "abcd"] + [str(tmp_path / "gone")])
    found = find(None, torch.ones(5).int(), data)
    assert found.kinds["duplicate"].tolist() == [0, 2]
    assert [row["path"] for row in found.rows(["duplicate"])] == [str(tmp_path / "a"), str(tmp_path / "c")]


def test_features_tell_of_near_duplicates() -> None:
    rows = torch.randn(N, 12, generator=torch.Generator().manual_seed(0))
    rows[33] = rows[4] + 1e-3
    found = find(evidence(), torch.ones(N).int(), range(N), features=rows)
    assert found.kinds["duplicate"].tolist() == [4, 33]
    with pytest.raises(ValueError, match="`features` must have a row for each of 400 samples, got 399"):
        find(evidence(), torch.ones(N).int(), range(N), features=rows[1:])


def test_indices_are_those_of_the_data_set() -> None:
    pool = torch.arange(N) * 2
    found = find(evidence([7]), torch.ones(N).int(), texts(2 * N), pool)
    assert found.suspects.tolist() == [14]
    assert next(found.rows(["wrong_label"]))["text"] == "sample number 14"


def test_labels_and_paths_of_ones_own() -> None:
    labels, paths = [f"class {i % 3}" for i in range(N)], [f"{i}.png" for i in range(N)]
    found = find(evidence([7]), torch.ones(N).int(), range(N), labels=labels, paths=paths)
    [row] = found.rows(["wrong_label"])
    assert (row["given"], row["predicted"], row["path"]) == ("class 1", "class 2", "7.png")
    with pytest.raises(ValueError, match="`paths` must have one entry per sample, 400, got 399"):
        find(evidence(), torch.ones(N).int(), range(N), paths=paths[1:])


class Named:
    """As a pandas Series: `series[i]` asks for a row's name."""

    iloc = None

    def __init__(self, values: list[str]) -> None:
        self.values = np.array(values, dtype=object)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: object) -> str:
        raise KeyError(name)

    def to_numpy(self) -> np.ndarray:
        return self.values


def test_a_series_is_asked_by_place() -> None:
    pool = torch.arange(N) * 2
    labels, paths = Named([f"class {i // 2 % 3}" for i in range(2 * N)]), Named([f"{i}.png" for i in range(2 * N)])
    found = find(evidence([7]), torch.ones(N).int(), range(2 * N), pool, labels=labels, paths=paths)
    [row] = found.rows(["wrong_label"])
    assert (row["index"], row["given"], row["path"]) == (14, "class 1", "14.png")


def test_a_part_of_a_data_set_has_its_class_names() -> None:
    data = texts()
    data.classes = ["cat", "dog", "frog"]
    found = find(evidence([7]), torch.ones(N).int(), Subset(data, range(N)))
    assert found.samples["given"][7] == "dog"


def test_labels_of_other_samples_are_refused() -> None:
    usage, labels = torch.ones(N).int(), [f"class {i % 3}" for i in range(N)]
    shuffled = np.random.default_rng(0).permutation(labels).tolist()
    with pytest.raises(ValueError, match=r"labels are not those of the training: of 400 samples only 3\d % have"):
        find(evidence(), usage, range(N), labels=shuffled)
    few_mended = [*labels[3:6], *labels[3:]]
    few_mended[0] = "class 2"
    assert find(evidence([7]), usage, range(N), labels=few_mended).samples["given"][7] == "class 1"
    # Two classes called alike are one to a reader, and no other order.
    halves = ["one" if label == "class 0" else "other" for label in labels]
    assert find(evidence([7]), usage, range(N), labels=halves).samples["given"][7] == "other"


def test_another_number_of_samples_is_another_data_set() -> None:
    for length in (N - 1, N + 1):
        with pytest.raises(ValueError, match=f"is about 400 samples, and the data set has {length}: it is another one"):
            find(evidence(), torch.ones(N).int(), range(length))


@pytest.mark.parametrize(("told", "why"), [(None, "nothing was listened to"), (Evidence(N), "training told no logits")])
def test_without_logits_nothing_is_said_of_labels(told: Evidence | None, why: str) -> None:
    found = find(told, torch.ones(N).int(), TensorDataset(torch.arange(N)))
    assert {"wrong_label", "hard", "never_learned", "rare", "duplicate"} == set(found.unknown)
    assert len(found.suspects) == 0
    assert f"suspected wrong labels: not known, {why}" in str(found)
    assert found.columns() == ["finding", "rank", "index", "uses", "group"]


def test_after_too_short_a_training_nobody_is_suspected() -> None:
    told = evidence(range(0, N, 2))
    told.margin -= 40
    found = find(told, torch.ones(N).int(), texts())
    assert found.expected_wrong is None
    assert "suspected wrong labels: not known, the model has not learned enough" in str(found)


def test_where_as_many_lie_above_nothing_is_said_of_how_many_are_wrong() -> None:
    told = evidence()
    told.margin = 4 * torch.linspace(-3, 5, N)
    found = find(told, torch.ones(N).int(), texts())
    assert len(found.suspects) > 0
    assert found.expected_wrong is None
    assert np.isnan(found.samples["chance_wrong"]).all()
    assert "how many of them are wrong is not known" in str(found)


def test_nothing_at_all() -> None:
    found = Findings({"index": np.arange(3), "uses": np.ones(3, int)}, {"never_used": np.zeros(0, int)})
    assert list(found.rows()) == []
    assert len(found) == 0
