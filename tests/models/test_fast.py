import warnings

import lightning.pytorch as pl
import pytest
import torch
from programs.ranks import launch
from torch.nn import functional as F

from dynsel import DynamicSelection
from dynsel._lib.images import TensorImages
from dynsel.data.module import TensorDataModule
from dynsel.models import FastClassifier
from dynsel.models.fast import computes_in_bf16
from dynsel.selectors import Proxy, Random

TINY = {"num_classes": 2, "in_channels": 1, "widths": (8, 8, 8), "bf16": False, "translate": 1}


class Shades(TensorDataModule):
    """Two classes of 64 noisy images of 10x10: brighter above, brighter below."""

    def load(self):
        generator = torch.Generator().manual_seed(0)
        targets = torch.arange(64) % 2
        noise = torch.randint(0, 120, (64, 1, 10, 10), generator=generator)
        noise[targets == 0, :, :5] += 100
        noise[targets == 1, :, 5:] += 100
        data = TensorImages(noise.to(torch.uint8), targets, ["above", "below"])
        return data, data


def fit(classifier, *callbacks, ckpt_path=None, **options) -> pl.Trainer:
    pl.seed_everything(0, verbose=False)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0, "logger": False}
    plain = {"accelerator": "cpu", "devices": 1, "enable_checkpointing": False, "max_epochs": 4}
    run = pl.Trainer(callbacks=list(callbacks), **{**quiet, **plain, **options})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        run.fit(classifier, datamodule=Shades(16), ckpt_path=ckpt_path)
    return run


def tiny(**options) -> FastClassifier:
    pl.seed_everything(0, verbose=False)
    return FastClassifier(**{**TINY, **options})


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


class Noted(pl.Callback):
    def __init__(self):
        self.rates, self.losses = [], []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.rates.append([group["lr"] for group in optimizer.param_groups])

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))


def test_it_learns_and_tells_mirror_images_under_a_name_of_their_own():
    noted = Noted()
    run = fit(tiny(lr=0.3, bias_factor=4.0), noted, max_epochs=12)
    assert noted.losses[-1] < noted.losses[0]
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    assert found["val_accuracy"] > 0.9
    (tested,) = run.test(run.model, run.datamodule, verbose=False)
    assert set(tested) == {"test_accuracy", "test_accuracy_flips", "test_loss"}
    assert tested["test_accuracy_flips"] == pytest.approx(found["val_accuracy_flips"])


def test_mirror_images_are_looked_at_once_training_is_over():
    run = fit(tiny(), max_steps=3, max_epochs=-1)
    assert "val_accuracy_flips" not in run.callback_metrics  # validated at no end of an epoch
    run = fit(tiny(), max_epochs=1)
    with torch.no_grad():
        images, targets = run.datamodule.val_set.images, run.datamodule.val_set.targets
        both = run.model.eval()(images) + run.model(images.flip(3))
    accuracy = (both.argmax(1) == targets).float().mean()
    assert float(run.callback_metrics["val_accuracy_flips"]) == pytest.approx(float(accuracy))


def test_rates_go_up_and_down_and_the_first_bias_stops():
    noted, classifier = Noted(), tiny(lr=1.0, bias_factor=10.0)
    fit(classifier, noted, max_epochs=25)  # 100 steps
    rates = torch.tensor(noted.rates)
    torch.testing.assert_close(rates[[0, 23, 99], 0], torch.tensor([0.2, 1.0, 0.07 + 0.93 / 77]))
    torch.testing.assert_close(rates[:, 1], 10 * rates[:, 0])
    torch.testing.assert_close(rates[:30, 2], rates[:30, 0])
    assert not rates[30:, 2].any()
    # Of batch norm biases alone, of every other weight the rest, and of batch norm's weights none.
    sizes = [sum(p.numel() for p in group["params"]) for group in classifier.trainer.optimizers[0].param_groups]
    assert sizes == [8 * 8 * 9 * 6 + 2 * 8, 6 * 8, 8]
    assert sum(sizes) == sum(p.numel() for p in classifier.parameters() if p.requires_grad)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    whole = fit(tiny(), DynamicSelection(Random(), budget=1)).model
    saver = pl.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    fit(tiny(), DynamicSelection(Random(), budget=1), saver, enable_checkpointing=True)
    for step in (3, 5, 8):  # before and at a step of the slow average, and at the end of an epoch
        path = tmp_path / f"step={step}.ckpt"
        again = fit(tiny(), DynamicSelection(Random(), budget=1), ckpt_path=path).model
        assert again.model.whiten.ready
        assert torch.equal(weights(again), weights(whole)), step


def test_a_selection_and_a_proxy_train_with_it():
    proxy = Proxy(arguments={"widths": [8, 8, 8]}, lr=0.5)
    run = fit(tiny(widths=(8, 16, 16)), DynamicSelection(proxy, keep_ratio=0.5), max_epochs=2)
    assert proxy.network.model.whiten.ready
    assert run.global_step == 4
    state = proxy.state_dict()
    proxy.network.model.whiten.ready = False
    proxy.load_state_dict(state)
    assert proxy.network.model.whiten.ready


def test_bfloat16_is_asked_of_the_processor(monkeypatch):
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for found in [(False, False), (True, False), (False, True)]:
        for name, value in zip(names, found, strict=True):
            monkeypatch.setattr(torch.cpu, name, lambda value=value: value)
        assert computes_in_bf16(torch.device("cpu")) is any(found)
    assert not computes_in_bf16(torch.device("meta"))


def test_bfloat16_is_near_float32():
    pl.seed_everything(0, verbose=False)
    classifier = tiny(bf16=True).eval()
    images = torch.randint(0, 256, (4, 1, 10, 10), dtype=torch.uint8)
    with torch.no_grad():
        half = classifier(images)
        classifier.bf16 = False
        full = classifier(images)
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    assert float((half - full).norm() / full.norm()) < 0.05


def test_endless_training_is_refused():
    with pytest.raises(ValueError, match=r"goes down to an end: set max_steps or max_epochs"):
        fit(tiny(), max_epochs=-1)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (
            {"widths": (64, 32, 32)},
            ValueError,
            "`widths` must be three numbers that don't fall, from 24 = 8 \\* `in_channels` on",
        ),
        ({"widths": (64, 64)}, ValueError, "`widths` must be three numbers"),
        ({"convs": 4}, ValueError, "`convs` must be in .2, 3., got 4"),
        ({"momentum": 0.0}, ValueError, "`momentum`"),
        ({"bias_factor": 0}, ValueError, "`bias_factor`"),
        ({"cutout": -1}, ValueError, "`cutout`"),
        ({"bf16": "auto"}, TypeError, "`bf16` must be true, false or None, got 'auto'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        FastClassifier(**arguments)


def test_the_loss_is_the_smoothed_one():
    classifier = tiny()
    images, targets = torch.randint(0, 256, (8, 1, 10, 10), dtype=torch.uint8), torch.arange(8) % 2
    classifier.model.whiten.fit(classifier.normalize(images))
    classifier.augment.eval()
    loss = classifier.training_step((images, targets), 0)
    rows = F.log_softmax(classifier(images), 1)
    by_hand = -(0.9 * rows[range(8), targets] + 0.1 * rows[range(8), 1 - targets]).mean()
    torch.testing.assert_close(loss, by_hand)


def test_two_ranks_have_one_first_layer_and_the_same_weights(tmp_path):
    first, second = (rank["trained"] for rank in launch("fast_checks", tmp_path, 2)[2])
    assert first == second
    assert first["steps"] == 8
