import ast
import math
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dynsel.data
import dynsel.models
from dynsel.data import DigitsDataModule, RandomCropFlip
from dynsel.models import ImageClassifier


def digits_classifier(**options) -> ImageClassifier:
    return ImageClassifier(**{"architecture": "small_cnn", "in_channels": 1, "augment": False, **options})


class Rates(pl.Callback):
    """The learning rate that each optimiser step was taken with."""

    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def trainer(*callbacks, **options) -> pl.Trainer:
    defaults = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return pl.Trainer(callbacks=list(callbacks), **{**defaults, **quiet, **options})


def fit(classifier, *callbacks, seed=0, batch_size=256, **options) -> pl.Trainer:
    pl.seed_everything(seed, verbose=False)
    run = trainer(*callbacks, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        run.fit(classifier, DigitsDataModule(batch_size))
    return run


def test_it_learns_digits():
    pl.seed_everything(0, verbose=False)
    run = fit(digits_classifier(), batch_size=64, max_epochs=4)
    assert run.callback_metrics["val_accuracy"] > 0.95
    assert run.callback_metrics["val_loss"] < 0.5
    assert run.callback_metrics["train_loss"] < 1


def test_logged_validation_is_that_of_the_whole_set():
    """In float64: convolutions of other batches may round otherwise."""
    classifier = digits_classifier()
    run = fit(classifier, max_epochs=1, precision="64-true")
    data = run.datamodule.val_set
    with torch.no_grad():
        logits = classifier.eval()(data.images)
    accuracy = (logits.argmax(1) == data.targets).double().mean().item()
    assert run.callback_metrics["val_accuracy"].item() == pytest.approx(accuracy, abs=1e-6)
    loss = F.cross_entropy(logits, data.targets).item()
    assert run.callback_metrics["val_loss"].item() == pytest.approx(loss, rel=1e-4)
    (tested,) = run.test(classifier, run.datamodule, verbose=False)
    assert tested == pytest.approx({"test_accuracy": accuracy, "test_loss": loss}, rel=1e-4)
    predicted = torch.cat(run.predict(classifier, run.datamodule))
    torch.testing.assert_close(predicted, logits.softmax(1), atol=1e-4, rtol=1e-4)


def test_seed_decides_weights_augmentation_and_order():
    def weights(seed):
        pl.seed_everything(seed, verbose=False)
        classifier = digits_classifier()
        classifier.augment = RandomCropFlip(padding=1)
        fit(classifier, seed=seed, max_steps=3)
        return nn.utils.parameters_to_vector(classifier.parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_loss_and_augmentation():
    classifier = ImageClassifier(label_smoothing=0.2)
    classifier.log = lambda *args, **kwargs: None
    images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
    targets = torch.arange(8)
    seen = []
    classifier.normalize.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    classifier.train()
    classifier.training_step((images, targets), 0)
    assert not torch.equal(seen[0], images)
    assert seen[0].dtype == torch.uint8
    classifier.eval()
    torch.testing.assert_close(classifier(images), classifier(images / 255), atol=1e-4, rtol=1e-4)
    assert torch.equal(seen[1], images)
    classifier.train()
    classifier.augment = nn.Identity()
    loss = classifier.training_step((images, targets), 0)
    log_p = classifier(images).log_softmax(1)
    by_hand = 0.8 * -log_p[range(8), targets].mean() + 0.2 * -log_p.mean()
    torch.testing.assert_close(loss, by_hand, atol=1e-5, rtol=1e-5)


def rates(schedule, **options):
    noted = Rates()
    run = fit(digits_classifier(schedule=schedule, lr=0.4), noted, **{"max_epochs": 3, **options})
    assert len(noted.rates) == run.global_step
    return noted.rates


def test_schedules_end_with_training():
    steps = 18  # 1347 digits in batches of 256: 6 steps an epoch
    one_cycle = rates("onecycle")
    assert len(one_cycle) == steps
    assert max(one_cycle) == pytest.approx(0.4, rel=0.02)
    assert one_cycle[0] == pytest.approx(0.4 / 25)
    assert one_cycle[-1] < 1e-4
    cosine = [0.2 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    assert rates("cosine") == pytest.approx(cosine)
    assert rates("step") == pytest.approx([0.4] * 9 + [0.04] * 4 + [0.004] * 5)
    assert rates("constant") == [0.4] * steps


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "step"])
@pytest.mark.parametrize("options", [{"max_steps": 1, "max_epochs": -1}, {"accumulate_grad_batches": 4}])
def test_schedules_in_odd_trainers(schedule, options):
    assert all(0 <= rate <= 0.4 for rate in rates(schedule, **options))


def test_accumulation_counts_optimiser_steps():
    halved = rates("cosine", accumulate_grad_batches=2)
    assert halved == pytest.approx([0.2 * (1 + math.cos(math.pi * step / 9)) for step in range(9)])


@pytest.mark.parametrize("total", [float("inf"), -1])
def test_a_schedule_without_an_end_is_an_error(total):
    classifier = digits_classifier()
    classifier.trainer = SimpleNamespace(estimated_stepping_batches=total)
    text = "`schedule` must be 'constant' if training has no end, got 'onecycle': set max_steps or max_epochs"
    with pytest.raises(ValueError, match=text):
        classifier.configure_optimizers()


@pytest.mark.parametrize("width", [1, 2, 4, 7])
def test_a_narrow_network_does_not_kill_its_process(width):
    """Channels last, torch 2.14.1 ends in "free(): invalid next size" there."""
    script = f"""
import torch
from dynsel.models import ImageClassifier
network = ImageClassifier("small_resnet", width={width})
for _ in range(5):
    network(torch.rand(64, 3, 32, 32)).square().sum().backward()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_constant_does_not_ask_the_trainer():
    assert isinstance(digits_classifier(schedule="constant").configure_optimizers(), torch.optim.SGD)


def test_norms_and_biases_have_no_weight_decay():
    classifier = ImageClassifier(schedule="constant", weight_decay=0.01, momentum=0.8)
    decayed, spared = classifier.configure_optimizers().param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    assert decayed["nesterov"]
    assert decayed["momentum"] == 0.8
    layers = [m for m in classifier.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert {id(p) for p in decayed["params"]} == {id(m.weight) for m in layers}
    every = [id(p) for group in (decayed, spared) for p in group["params"]]
    assert sorted(every) == sorted(map(id, classifier.parameters()))


def test_checkpoint_rebuilds_the_module(tmp_path):
    classifier = digits_classifier(width=4, lr=0.3)
    run = fit(classifier, max_steps=2)
    run.save_checkpoint(tmp_path / "x.ckpt")
    copy = ImageClassifier.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert copy.lr == 0.3
    images = run.datamodule.val_set.images[:5]
    with torch.no_grad():
        assert torch.equal(copy.eval()(images), classifier.eval()(images))


def test_own_mean_and_std():
    classifier = ImageClassifier(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert classifier.normalize.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert ImageClassifier().normalize.std.flatten().tolist() == pytest.approx([0.2470, 0.2435, 0.2616])
    assert digits_classifier().normalize.mean.flatten().tolist() == [0.5]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lr": 0.0}, "`lr` must be above 0, got 0.0"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0, got -1.0"),
        ({"label_smoothing": 1.5}, r"`label_smoothing` must be in \[0, 1\], got 1.5"),
        ({"schedule": "linear"}, "`schedule` must be 'onecycle' or 'cosine' or 'step' or 'constant', got 'linear'"),
        ({"architecture": "small_resnett"}, "got 'small_resnett'"),
    ],
)
def test_wrong_arguments_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        ImageClassifier(**options)


def test_a_missing_torchvision_or_scikit_learn_does_not_stop_the_import():
    """Only functions that need them import them (torchmetrics copes with a missing torchvision by itself)."""
    files = [path for package in (dynsel.data, dynsel.models) for path in Path(package.__file__).parent.glob("*.py")]
    assert len(files) > 8
    for path in files:
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {name for node in top for name in (getattr(node, "module", None), *(a.name for a in node.names))}
        assert not {str(name).split(".")[0] for name in names} & {"torchvision", "sklearn", "PIL"}, path
