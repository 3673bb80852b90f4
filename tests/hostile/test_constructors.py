"""Every public constructor, given anything: it works, and so does what it makes, or one line names the parameter."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile.values import HUGE, VALUES, inputs, values
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

import dynsel.callbacks
import dynsel.data
import dynsel.distill
import dynsel.features
import dynsel.metrics
import dynsel.models
import dynsel.sae
import dynsel.samplers
import dynsel.schedules
import dynsel.selectors
from dynsel.callbacks import BatchFraction, DynamicSelection
from dynsel.data import (
    Banking77DataModule,
    CIFAR10DataModule,
    DigitsDataModule,
    DistilledDataset,
    Normalize,
    RandomCropFlip,
    TensorImages,
    TokenTexts,
)
from dynsel.distill import NCFM, Evaluation, Pool, Sheet
from dynsel.features import CapturedFeatures, StoreWriter
from dynsel.features.extractors import ModuleInput, OpenCLIP, PixelPCA, SentenceTransformerText, Torchvision
from dynsel.metrics import CharacteristicFunctionDistance, ClassBalance, FactorCoverage, NeuralCFDMetric, UsageGini
from dynsel.models import CIFARResNet, ConvNet, FastClassifier, FastNet, ImageClassifier, TextClassifier
from dynsel.sae import SparseCodes, TopKSAE, fit_sae
from dynsel.samplers import BatchSelectionSampler, PlainDriver, SelectionController, SelectionSampler
from dynsel.schedules import Constant, Cosine, Linear, Oscillating, Schedule, Sigmoid, Step
from dynsel.selection import Selection
from dynsel.selectors import SELECTORS, BatchSelector, CandidateSelector, Feedback, RandomInBatch, Selector
from dynsel.selectors.proxy import Stream
from dynsel.selectors.terms import TERMS, Material, Term

N, D, C = 12, 4, 2
FEATURES = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(N) % C
CODES = SparseCodes(torch.tensor([[0, 2], [2, 1]]), torch.tensor([[3.0, 1.0], [2.0, 0.0]]), 3)
IMAGES = TensorImages(torch.zeros(N, 3, 8, 8, dtype=torch.uint8), LABELS, ["a", "b"])


@dataclass
class Subject:
    """A constructor.

    Args:
        make: The class or function.
        given: What it can't do without, and what keeps its life short.
        life: What is done with the thing; TypeError and ValueError may come here only if they name the parameter.
        late: Parameters that say more when the data are known.
        free: Parameters that take anything by design.
        untried: Parameters that are not given anything.
        allocates: Whether huge numbers are left out, since memory of that size is asked for.
    """

    make: Callable[..., Any]
    given: dict[str, Any] = field(default_factory=dict)
    life: Callable[[Any], Any] = lambda made: None
    late: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    allocates: bool = False
    untried: tuple[str, ...] = ()

    @property
    def parameters(self) -> list[str]:
        kinds = inspect.signature(self.make).parameters
        named = [name for name, p in kinds.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        return [name for name in named if name not in self.untried]


def short_life(selector: Selector) -> None:
    """Bind, fit, select, observe, save and restore, twice."""
    if isinstance(selector, BatchSelector) and selector.needs_stream:
        batches = lambda rows: ((FEATURES[i], LABELS[i]) for i in rows)  # noqa: E731
        selector.lend(Stream(batches, torch.device("cpu"), until=1.0))
    selector.bind(N, LABELS)
    if selector.needs_features:
        selector.fit(FEATURES)
    for progress in (0.0, 0.5):
        if isinstance(selector, CandidateSelector):
            generator = torch.Generator().manual_seed(0)
            assert len(selector.keep(torch.arange(N), torch.rand(N, generator=generator), 5, generator)) == 5
        chosen = selector.select(progress, 6).indices
        assert 1 <= len(chosen) <= N
        losses = torch.linspace(0, 1, len(chosen))
        selector.observe(Feedback(chosen, per_sample_loss=losses, value=losses))
        selector.load_state_dict(selector.state_dict())


def term_life(term: Term) -> None:
    term.bind(N)
    if term.needs_features:
        term.fit(Material(FEATURES, LABELS, None, 0, 1))
    term.learn(Feedback(torch.arange(N), per_sample_loss=torch.rand(N), value=torch.rand(N)))
    found = term.values(torch.zeros(N, dtype=torch.int32))
    assert found.isfinite().all()


def schedule_life(schedule: Schedule) -> None:
    assert all(np.isfinite(schedule(p / 10)) for p in range(11))


def controller_life(selection: SelectionController) -> None:
    loader = selection.wrap(DataLoader(TensorDataset(FEATURES, LABELS), batch_size=3, shuffle=True))
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for i, (x, _) in enumerate(loader):
            told = torch.linspace(0, 1, len(x))
            selection.observe(i, per_sample_loss=told, value=told, features=x)
    selection.finish_epoch()


def sampler_life(sampler: Any) -> None:
    if isinstance(sampler, SelectionSampler) and sampler.num_total == N:
        sampler.select([1, 3, 5])
    for epoch in range(2):
        sampler.set_epoch(epoch)
        list(sampler)
    sampler.load_state_dict(sampler.state_dict(0))


def metric_life(metric: Any) -> None:
    if isinstance(metric, CharacteristicFunctionDistance):
        metric.update(FEATURES[:5])
    else:
        metric.update(torch.tensor([0]))
    metric.compute()


def pool_life(pool: Pool) -> None:
    pool.missing(IMAGES)
    pool.build(IMAGES)


CHEAP: dict[str, dict[str, Any]] = {
    "fast": {"steps": 2, "steps_again": 1, "num_frequencies": 12, "frequencies_per_step": 4, "dim": 2},
    "alignprune": {"trusted": [0]},
    "jest": {"reference": torch.linspace(0, 1, N)},
    "proxy": {"model": "torch.nn.Linear", "arguments": {"in_features": D, "out_features": C}},
    "rrd": {"num_factors": 8, "k": 2, "sae_epochs": 1},
}
RAMP = {"start": 1.0, "end": 0.5}


def fast_images(net: FastNet) -> torch.Tensor:
    """Images with as many channels as the network was made for; its first layer has eight filters for each."""
    return torch.zeros(2, net.whiten.out_channels // 8, 32, 32)


SUBJECTS: dict[str, Subject] = {
    **{
        cls.__name__: Subject(
            cls,
            CHEAP.get(name, {}),
            short_life,
            late=("trusted", "reference", "arguments", "class_balance", "max_keep_ratio", "model", "num_factors"),
            # An autoencoder or network as large as it is told.
            allocates=name in ("rrd", "fast", "hybrid", "geometry"),
        )
        for name, cls in SELECTORS.items()
    },
    **{f"{cls.__name__} (term)": Subject(cls, {}, term_life, allocates=True) for cls in TERMS.values()},
    **{cls.__name__: Subject(cls, RAMP, schedule_life) for cls in (Linear, Cosine, Sigmoid)},
    "Oscillating": Subject(Oscillating, {"mean": 0.5, "swing": 0.1, "cycles": 2}, schedule_life),
    "Constant": Subject(Constant, {"value": 0.5}, schedule_life),
    "Step": Subject(Step, {"values": [1.0, 0.5], "milestones": [0.5]}, schedule_life),
    "Selection": Subject(Selection, {"indices": torch.tensor([1, 2])}),
    "Feedback": Subject(Feedback, {"indices": torch.tensor([1, 2])}),
    "SelectionController": Subject(
        SelectionController, {}, controller_life, late=("features", "labels", "indices", "exclude", "sharded")
    ),
    "DynamicSelection": Subject(
        DynamicSelection,
        {},
        lambda c: controller_life(c.controller),
        late=("features", "labels", "indices", "exclude", "sharded"),
    ),
    "BatchFraction": Subject(BatchFraction, {"keep_ratio": 0.5}),
    "PlainDriver": Subject(PlainDriver, {}, lambda d: d.progress(1)),
    "SelectionSampler": Subject(
        SelectionSampler, {"data_source": range(N)}, sampler_life, late=("pool",), free=("base",), allocates=True
    ),
    "BatchSelectionSampler": Subject(
        BatchSelectionSampler,
        {"data_source": range(N), "selector": RandomInBatch(), "batch_size": 1},
        sampler_life,
        allocates=True,
        free=("data_source",),
    ),
    "CharacteristicFunctionDistance": Subject(
        CharacteristicFunctionDistance,
        {"reference_features": FEATURES, "num_frequencies": 8, "repeats": 2},
        metric_life,
        allocates=True,
    ),
    "NeuralCFDMetric": Subject(
        NeuralCFDMetric,
        {"features": FEATURES, "num_frequencies": 8, "repeats": 2, "steps": 2},
        lambda m: (m.update(torch.arange(N)), m.compute()),
        allocates=True,
    ),
    "UsageGini": Subject(UsageGini, {"num_samples": N}, metric_life, allocates=True),
    "ClassBalance": Subject(ClassBalance, {"labels": LABELS}, metric_life),
    "FactorCoverage": Subject(FactorCoverage, {"codes": CODES}, metric_life),
    "Pool": Subject(Pool, {"folder": "nowhere", "width": 4}, pool_life, late=("depth",), allocates=True),
    "Evaluation": Subject(Evaluation, {}),
    "Sheet": Subject(Sheet, {"folder": "nowhere"}),
    "NCFM": Subject(
        NCFM,
        {
            "data": IMAGES,
            "pool": Pool("nowhere", width=4),
            "images_per_class": 2,
            "num_frequencies": 8,
            "real_batch": 4,
        },
        allocates=True,
    ),
    "DigitsDataModule": Subject(DigitsDataModule, {}, lambda d: d.setup()),
    "CIFAR10DataModule": Subject(CIFAR10DataModule, {"download": False}),
    "Banking77DataModule": Subject(Banking77DataModule, {}),
    "DistilledDataset": Subject(DistilledDataset, {"path": "nowhere"}),
    "TensorImages": Subject(
        TensorImages, {"images": IMAGES.images, "targets": LABELS, "classes": ["a", "b"]}, lambda d: d[0]
    ),
    "TokenTexts": Subject(
        TokenTexts,
        {
            "texts": ["x", "y"],
            "tokens": torch.ones(2, 3, dtype=torch.int64),
            "targets": torch.zeros(2),
            "classes": ["a"],
        },
        lambda d: d[0],
    ),
    "Normalize": Subject(Normalize, {"mean": [0.5] * 3, "std": [0.5] * 3}, lambda m: m(IMAGES.images)),
    "RandomCropFlip": Subject(
        RandomCropFlip, {"padding": 1}, lambda m: m(IMAGES.images), late=("padding",), allocates=True
    ),
    "ConvNet": Subject(
        ConvNet, {"num_classes": 2, "image_shape": (3, 8, 8), "width": 4}, lambda m: m(torch.zeros(2, 3, 8, 8)), ()
    ),
    "CIFARResNet": Subject(CIFARResNet, {"depth": 8}, allocates=True),
    "FastNet": Subject(FastNet, {"widths": (24, 24, 24)}, lambda m: m(fast_images(m)), allocates=True),
    "FastClassifier": Subject(
        FastClassifier, {"widths": (24, 24, 24)}, lambda m: m(fast_images(m.model)), allocates=True
    ),
    "ImageClassifier": Subject(ImageClassifier, {"architecture": "small_cnn", "width": 4}, allocates=True),
    "TextClassifier": Subject(TextClassifier, {"vocabulary": 10, "width": 4}, allocates=True),
    "CapturedFeatures": Subject(CapturedFeatures, {"num_samples": N}, lambda c: c.state_dict(), allocates=True),
    "PixelPCA": Subject(PixelPCA, {}),
    "ModuleInput": Subject(ModuleInput, {"model": torch.nn.Linear(4, 2)}),
    "TopKSAE": Subject(
        TopKSAE, {"dim": 4, "num_factors": 8, "k": 2}, lambda s: s(torch.zeros(3, s.dim)), allocates=True
    ),
    "SparseCodes": Subject(
        SparseCodes,
        {"indices": CODES.indices, "values": CODES.values, "num_factors": 3},
        lambda c: c.frequency(),
        allocates=True,
    ),
    "fit_sae": Subject(
        fit_sae,
        {"features": FEATURES, "num_factors": 8, "k": 2, "epochs": 1, "device": "cpu"},
        # Several devices or machines are other processes.
        untried=("devices", "num_nodes"),
        allocates=True,
    ),
}
for _subject in SUBJECTS.values():
    _subject.allocates |= _subject.make in (ConvNet, Banking77DataModule)
CASES = [(name, parameter) for name, subject in SUBJECTS.items() for parameter in subject.parameters]
# What Python's own functions say: no message for a user.
FOREIGN = re.compile(
    "not supported between|unsupported operand|object cannot be interpreted|must be real number|could not convert|"
    "invalid literal|has no len|not iterable|not subscriptable|not callable|has no attribute|missing \\d|positional"
)


def problem(name: str, parameter: str, value: Any) -> str | None:
    """What is wrong with how a constructor takes a value; None if nothing is."""
    subject = SUBJECTS[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = subject.make(**{**subject.given, parameter: value})
    except (TypeError, ValueError) as error:
        return None if parameter in subject.free else wording(parameter, error)
    except FileNotFoundError as error:
        return None if isinstance(value, str | bytes | Path) or name == "DistilledDataset" else repr(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if parameter in subject.free:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            subject.life(made)
    except (TypeError, ValueError, FileNotFoundError) as error:
        late = parameter in subject.late
        return wording(parameter, error) if late else f"later than construction: {type(error).__name__}: {error}"
    except Exception as error:
        return f"later than construction: {type(error).__name__}: {error}"
    return None


def wording(parameter: str, error: Exception) -> str | None:
    text = str(error)
    # A value's own line break is not a message of two lines.
    if not re.search(rf"\b{parameter}\b", text):
        return f"doesn't name the parameter: {type(error).__name__}: {text}"
    if FOREIGN.search(text.split("(")[0]):
        return f"is Python's own: {text}"
    return f"has several lines: {text}" if "\n" in text else None


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Texts are paths to some constructors: none of them must meet a file of the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("hostile"))
        yield


@inputs(600)
@given(st.data())
def test_it_works_or_the_parameter_is_named(data: st.DataObject) -> None:
    name, parameter = data.draw(st.sampled_from(CASES))
    value = data.draw(values(huge=not SUBJECTS[name].allocates or parameter == "seed"))
    assert (wrong := problem(name, parameter, value)) is None, f"{name}({parameter}={value!r}) {wrong}"


@pytest.mark.long
@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_every_value_for_every_parameter(name: str, parameter: str) -> None:
    huge = HUGE if not SUBJECTS[name].allocates or parameter == "seed" else []
    found = [(value, wrong) for value in VALUES + huge if (wrong := problem(name, parameter, value))]
    assert not found


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.float16(0.5)])
def test_a_numpy_number_is_a_number(value: Any) -> None:
    controller_life(SelectionController("random", keep_ratio=value, max_epochs=int(np.int64(2))))
    schedule_life(Linear(value, np.int64(1)))
    sampler_life(BatchSelectionSampler(range(N), RandomInBatch(), np.int64(2), value))


def test_no_public_class_is_left_out() -> None:
    rooms = [
        dynsel,
        dynsel.callbacks,
        dynsel.data,
        dynsel.distill,
        dynsel.features,
        dynsel.features.extractors,
        dynsel.metrics,
        dynsel.models,
        dynsel.sae,
        dynsel.samplers,
        dynsel.schedules,
        dynsel.selectors,
        dynsel.selectors.terms,
    ]
    tried = {subject.make for subject in SUBJECTS.values()}
    # What is abstract, made by dynsel itself, or loads weights that are not there.
    known = {StoreWriter, OpenCLIP, SentenceTransformerText, Torchvision}
    names = {
        "EpochRecord",
        "FeatureStore",
        "IndexedView",
        "Material",
        "MiniLM",
        "Phase",
        "Row",
        "SAEFit",
        "Stream",
        "Driver",
    }
    for room in rooms:
        for name in room.__all__:
            thing = getattr(room, name)
            if not inspect.isclass(thing) or inspect.isabstract(thing) or thing in tried | known or name in names:
                continue
            # Bases to inherit from.
            assert any(issubclass(other, thing) for other in tried if inspect.isclass(other)), f"{name} is not tried"
