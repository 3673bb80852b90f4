"""From what training told to findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Subset

from dynsel.graph import nearest_neighbours
from dynsel.graph.duplicates import components, groups_of_neighbours
from dynsel.labels import by_position, declared_classes
from dynsel.samplers.findings.aligned import aligned_groups
from dynsel.samplers.findings.evidence import Evidence
from dynsel.samplers.findings.inputs import channels_first, equal_groups, held_array, held_texts, thumbnails
from dynsel.samplers.findings.suspects import NOTICED, suspects
from dynsel.samplers.findings.table import Findings
from dynsel.samplers.frame import declared_paths

__all__ = ["check_labels_agree", "find"]

Array = NDArray[Any]

_LISTED = 100  # of what has no threshold, as of hard samples: at most so many, and at most a hundredth of all
_NEIGHBOURS = 10
# Labels must agree with what samples were trained as by so much of what is left above chance: wrong labels put in on
# the way to the model cost some of it, another order of the samples all.
_AGREE = 0.25


def find(
    evidence: Evidence | None,
    usage: Tensor,
    dataset: Any,
    pool: Tensor | None = None,
    *,
    features: Any = None,
    labels: Any = None,
    paths: Any = None,
    texts: Any = None,
) -> Findings:
    """Findings on a data set, from what a training told of it.

    Args:
        evidence: What the model said of the labels; None = nothing was listened to.
        usage: (N,) int32, how often each sample was trained on.
        dataset: The data set; its texts, numbers or files are compared for duplicates where they can be had at once.
        pool: (N,) indices of the samples that are ever taken from it; None = all.
        features: (N, d) features of the samples, row i of sample i; default: thumbnails of images that the data set
            holds as an array.
        labels: (N,) labels; default: what the samples were trained as, named by the data set's `classes`.
        paths: (N,) where each sample comes from; default: what the data set tells.
        texts: (N,) texts of the samples; default: those that the data set holds.

    Raises:
        ValueError: If features, labels, paths or texts are of another number of samples, the data set is, or the labels
            given are others than the samples were trained as.
    """
    count = len(usage)
    if len(dataset) != count if pool is None else len(dataset) <= int(pool.max()):
        raise ValueError(
            f"what training told is about {count} samples, and the data set has {len(dataset)}: it is another one"
        )
    if pool is not None:
        features, labels, paths, texts = (_of_pool(v, pool, len(dataset)) for v in (features, labels, paths, texts))
    part = dataset if pool is None else Subset(dataset, pool.tolist())
    samples: dict[str, Array] = {"index": np.arange(count) if pool is None else pool.numpy().copy()}
    for name, given, held in (("path", paths, declared_paths), ("text", texts, held_texts)):
        known = held(part) if given is None else list(given)
        if known is not None:
            samples[name] = _column(f"{name}s", known, count)
    samples["uses"] = usage.numpy().copy()
    kinds: dict[str, Array] = {"never_used": np.flatnonzero(samples["uses"] == 0)}
    unknown: dict[str, str] = {}
    expected, not_judged = None, []
    nothing = "nothing was listened to; ask for it: DynamicSelection(..., findings=True)"
    if (why := nothing if evidence is None else evidence.why_no_labels()) or evidence is None:
        unknown |= dict.fromkeys(("wrong_label", "hard", "never_learned"), why)
        if labels is not None:
            samples["given"] = _column("labels", labels, count)
    else:
        classes = declared_classes(dataset)
        if labels is not None:
            classes = check_labels_agree(evidence, _column("labels", labels, count))
        samples |= _said(evidence, classes)
        expected, unlearned = _judge(evidence, samples, kinds, unknown)
        not_judged = _named(np.array(unlearned, dtype=np.int64), classes).tolist()
    _compare(part, features, samples, kinds, unknown)
    found = Findings(samples, kinds, unknown, expected, len(dataset), tuple(map(str, not_judged)))
    if len(differ := found.contradictions()):
        # Some of their labels are wrong: they come first.
        first = np.isin(samples["group"][kinds["duplicate"]], differ)
        kinds["duplicate"] = kinds["duplicate"][np.argsort(~first, kind="stable")]
    return found


def _said(evidence: Evidence, classes: Any) -> dict[str, Array]:
    """What the model said of each label, as columns."""
    seen = evidence.seen.numpy()
    uses = np.where(seen > 0, seen, np.nan)
    own, rival = evidence.own.numpy() / uses, evidence.rival.numpy() / uses
    margin, given, predicted = evidence.mean_margin(), evidence.given.numpy(), evidence.predicted()
    return {
        "given": _named(given, classes),
        "predicted": _named(predicted, classes),
        "given_code": given.copy(),
        "predicted_code": predicted,
        "confidence": np.where(margin < 0, rival, own).astype(np.float32),
        "own": own.astype(np.float32),
        "margin": margin.astype(np.float32),
        "seen": seen.copy(),
    }


def _judge(
    evidence: Evidence, samples: dict[str, Array], kinds: dict[str, Array], unknown: dict[str, str]
) -> tuple[float | None, list[int]]:
    """Suspected, never learned and hard samples; how many of the suspected are wrong, or None; classes not judged."""
    seen, margin = samples["seen"], samples["margin"]
    plain = np.ones(len(seen), dtype=bool)
    found, expected = suspects(margin, samples["given_code"], samples["predicted_code"]), None
    if found is None:
        unknown["wrong_label"] = "the model has not learned enough: it does not yet prefer the labels given"
        samples["chance_wrong"] = np.full(len(seen), np.nan, dtype=np.float32)
    else:
        kinds["wrong_label"], samples["chance_wrong"] = found.positions, found.chance
        plain[found.positions] = False
        # The share among all that are suspected is that up to the last of them.
        expected = float(found.chance[found.positions[-1]] * len(found.positions)) if len(found.positions) else 0.0
        if expected < NOTICED * len(found.positions):
            expected, samples["chance_wrong"] = None, np.full(len(seen), np.nan, dtype=np.float32)
    never = np.flatnonzero(plain & (seen > 1) & (evidence.right.numpy() == 0))
    kinds["never_learned"] = never[np.argsort(margin[never], kind="stable")]
    plain[never] = False
    rest = np.flatnonzero(plain & (seen > 0))
    kinds["hard"] = rest[np.argsort(samples["own"][rest], kind="stable")][: _few(len(seen))]
    return expected, [] if found is None else found.unlearned


def _compare(
    part: Any, features: Any, samples: dict[str, Array], kinds: dict[str, Array], unknown: dict[str, str]
) -> None:
    """Groups of duplicates, and samples that are far from all others."""
    count = len(samples["uses"])
    groups = equal_groups(part, samples.get("text"), samples.get("path"))
    images = None
    if features is None:
        array = held_array(part)
        images = None if array is None else channels_first(array)
        features = None if images is None else thumbnails(images)
    if features is not None:
        if len(features) != count:
            raise ValueError(f"`features` must have a row for each of {count} samples, got {len(features)}")
        if count > _NEIGHBOURS:
            distances, indices = nearest_neighbours(features, _NEIGHBOURS)
            near = groups_of_neighbours(distances, indices)
            aligned = None if images is None else aligned_groups(images, distances.cpu(), indices.cpu())
            groups = _joined([same for same in (groups, near, aligned) if same is not None])
            kinds["rare"] = np.argsort(-distances[:, -1].cpu().numpy(), kind="stable")[: _few(count)]
    if "rare" not in kinds:
        few = f"too few samples, {count}, to be far from others"
        unknown["rare"] = few if features is not None else "no features to go by; give them by `features=`"
    if groups is None:
        unknown["duplicate"] = "nothing to compare at once; give features by `features=`"
        return
    codes = groups.numpy()
    samples["group"] = codes
    sizes = np.bincount(codes)[codes]
    several = np.flatnonzero(sizes > 1)
    kinds["duplicate"] = several[np.lexsort((several, codes[several], -sizes[several]))]


def _joined(groupings: Sequence[Tensor]) -> Tensor:
    """Groups of what is the same by any of several groupings."""
    rows, columns = [], []
    for codes in (groups.numpy() for groups in groupings):
        first = np.unique(codes, return_index=True)[1]
        rows.append(np.arange(len(codes)))
        columns.append(first[codes])
    return components(np.concatenate(rows), np.concatenate(columns), len(groupings[0]))


def _of_pool(values: Any, pool: Tensor, length: int) -> Any:
    """What belongs to the samples of a pool, of values for the whole data set; others are left as they are."""
    if values is None or len(values) != length:
        return values
    values = by_position(values)
    return values[pool.numpy()] if hasattr(values, "shape") else [values[i] for i in pool.tolist()]


def _few(count: int) -> int:
    return min(_LISTED, -(-count // 100))


def check_labels_agree(evidence: Evidence, labels: Sequence[Any] | Array) -> list[Any]:
    """Check that labels are those that samples were trained as, not those of other samples or in another order.

    Args:
        evidence: What training told of N samples.
        labels: (N,) labels in the order of the samples.

    Returns:
        The label that stands for each class, the one that most of its samples have; its number where it has none.

    Raises:
        ValueError: If they agree hardly better than labels of other samples would.
    """
    codes = evidence.given.numpy()
    known = np.flatnonzero(codes >= 0)
    told = [labels[row] for row in known.tolist()]
    names = list(dict.fromkeys(told))
    number = {name: place for place, name in enumerate(names)}
    table = np.zeros((int(codes.max(initial=-1)) + 1, len(names)), dtype=np.int64)
    np.add.at(table, (codes[known], np.array([number[name] for name in told], dtype=np.int64)), 1)
    classes: list[Any] = list(range(len(table)))
    for code in np.flatnonzero(table.any(axis=1)).tolist():
        classes[code] = names[int(table[code].argmax())]
    if len(known):
        agree, chance = table.max(axis=1).sum() / len(known), table.sum(axis=0).max() / len(known)
        if agree < chance + _AGREE * (1 - chance):
            raise ValueError(
                f"the labels are not those of the training: of {len(known):,} samples only {100 * agree:.0f} % have "
                "the usual label of the class that they were trained as; give the data set of the training, in its "
                "order"
            )
    return classes


def _named(codes: Array, classes: Any) -> Array:
    """The classes' names, or their numbers where they have none; None where there is no class."""
    named = isinstance(classes, list | tuple) and bool(len(codes)) and int(codes.max()) < len(classes)
    names = np.empty(len(codes), dtype=object)
    names[:] = [None if code < 0 else str(classes[code]) if named else int(code) for code in codes.tolist()]
    return names


def _column(name: str, values: Any, count: int) -> Array:
    if len(values) != count:
        raise ValueError(f"`{name}` must have one entry per sample, {count}, got {len(values)}")
    column = np.empty(count, dtype=object)
    column[:] = [value.item() if isinstance(value, Tensor | np.generic) else value for value in values]
    return column
