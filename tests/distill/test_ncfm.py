"""The distillation's steps: against a loop over classes, in chunks, resumed, and what it refuses."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distill.conftest import in_float64, patterns, small_pool
from sklearn.metrics.pairwise import rbf_kernel
from support import SaveEvery, relative_error, trainer

from dynsel.cfd import characteristic_function, discrepancy
from dynsel.data import TensorImages
from dynsel.distill import NCFM
from dynsel.distill.mosaic import decode
from dynsel.distill.start import draw_rows

OPTIONS = {"images_per_class": 2, "num_frequencies": 32, "real_batch": 16, "augment": "crop_cutout"}


def make(data, pool, **options) -> NCFM:
    return NCFM(data, pool, **{**OPTIONS, **options}).to(torch.get_default_dtype())


def run(module: NCFM, steps: int = 6, *callbacks, ckpt_path=None, **options) -> pl.Trainer:
    t = trainer(*callbacks, max_steps=steps, max_epochs=-1, **options)
    t.fit(module, ckpt_path=ckpt_path)
    return t


class Matches(pl.Callback):
    """Notes the loss of each step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer, *args) -> None:
        self.values.append(float(trainer.callback_metrics["match"]))


# ---------------------------------------------------------------- the step
@pytest.mark.parametrize("mode", ["normal", "scale-mixture"])
@pytest.mark.usefixtures("float64")
def test_all_classes_at_once_are_a_loop_over_classes(data, pool, mode):
    """One step by hand, a class at a time, through one graph of images and frequency network."""
    module = make(data, pool, mode=mode, augment="", amplitude=0.3)
    run(module, 1, NoSteps())
    gradient, t_gradient, t, sums = module._gradients(7)
    host, generator = (torch.Generator().manual_seed(7) for _ in range(2))
    network = pool.load(data, torch.device("cpu")).blend(
        int(torch.randint(2, (), generator=host)), float(torch.rand((), generator=host))
    )
    module.augmentation.draw(4, host, generator)
    keys = torch.rand(module.table.shape, generator=generator)
    frequencies = module.frequencies(generator)
    parameters, total = list(module.frequencies.parameters()), 0.0
    wanted = [torch.zeros_like(p) for p in parameters]
    for code in range(4):
        members = (data.targets == code).nonzero()[:, 0]
        rows = members[keys[code].topk(16).indices]
        real = F.normalize(network.features(module.normalize(data.images[rows])), dim=1)
        mosaics = module.images[code].detach().requires_grad_()
        fake = F.normalize(network.features(module.normalize(decode(mosaics, 2).flatten(0, 1))), dim=1)
        a, b = characteristic_function(fake, frequencies), characteristic_function(real, frequencies)
        loss = 300 * discrepancy(a, b, 0.3)
        expected, *ascent = torch.autograd.grad(loss, [mosaics, *parameters], retain_graph=True)
        assert relative_error(gradient[code], expected) < 1e-6
        wanted = [w + g for w, g in zip(wanted, ascent, strict=True)]
        total += float(loss)
    assert float(sums[0]) == pytest.approx(total, rel=1e-9)
    if mode == "scale-mixture":
        found = torch.autograd.grad(t, parameters, t_gradient)
        assert relative_error(*(torch.cat([p.flatten() for p in side]) for side in (found, wanted))) < 1e-6
    else:
        assert parameters == []


class NoSteps(pl.Callback):
    """Leaves images and frequency network as they began."""

    def on_train_start(self, trainer, pl_module) -> None:
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 0.0
                group["weight_decay"] = 0.0


def test_the_parts_are_those_of_a_kernel(data, pool):
    """Amplitude + phase is MMD² under the kernel of Gaussian frequencies."""
    module = make(data, pool, mode="normal", augment="", num_frequencies=20_000, real_batch=30)
    run(module, 1, NoSteps())
    _, _, _, sums = module._gradients(3)
    loaded = pool.load(data, torch.device("cpu"))
    host = torch.Generator().manual_seed(3)
    network = loaded.blend(int(torch.randint(2, (), generator=host)), float(torch.rand((), generator=host)))
    expected = 0.0
    for code in range(4):
        x = F.normalize(network.features(module.normalize(data.images[data.targets == code])), dim=1)
        y = F.normalize(
            network.features(module.normalize(decode(module.images[code].detach(), 2).flatten(0, 1))), dim=1
        )
        for p, q, sign in ((x, x, 1), (y, y, 1), (x, y, -2)):
            expected += sign * rbf_kernel(p.detach(), q.detach(), gamma=0.5).mean()
    assert float(sums[1] + sums[2]) / 300 == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.usefixtures("float64")
def test_chunks_of_classes_change_nothing(data, pool, chunk):
    whole, parts = make(data, pool, calibration=0.5), make(data, pool, calibration=0.5, class_chunk=chunk)
    for module in (whole, parts):
        run(module, 1, NoSteps())
    for one, two in zip(whole._gradients(5)[:2], parts._gradients(5)[:2], strict=True):
        assert relative_error(one, two) < 1e-6


@pytest.mark.usefixtures("float64")
def test_calibration_is_cross_entropy_under_the_trained_network(data, pool):
    plain, module = make(data, pool, augment=""), make(data, pool, augment="", calibration=2.0)
    for m in (plain, module):
        run(m, 1, NoSteps())
    host = torch.Generator().manual_seed(1)
    network = pool.load(data, torch.device("cpu")).trained(int(torch.randint(2, (), generator=host)))
    images = module.images.detach().requires_grad_()
    labels = torch.arange(4).repeat_interleave(8)
    logits = network(module.normalize(decode(images, 2).flatten(0, 2)))
    # A class's loss is the mean over its images.
    gradient = torch.autograd.grad(F.cross_entropy(logits, labels) * 4, images)[0]
    assert relative_error(module._gradients(1)[0] - plain._gradients(1)[0], 2 * gradient) < 1e-6


def test_small_classes_take_part_with_what_they_have(tmp_path):
    """A class of 5 among classes of 30, with batches of 16: its characteristic function is that of its 5."""
    full = patterns()
    rows = torch.cat([(full.targets != 2).nonzero()[:, 0], (full.targets == 2).nonzero()[:5, 0]]).sort().values
    data = TensorImages(full.images[rows], full.targets[rows], full.classes)
    own = small_pool(tmp_path, epochs=1)
    own.prepare(data, data, torch.device("cpu"))
    with in_float64():
        module = make(data, own, mode="normal", augment="")
        run(module, 1, NoSteps())
        assert module.ragged
        drawn = draw_rows(module.table, torch.rand(module.table.shape), 16)
        assert [(row >= 0).sum().item() for row in drawn] == [16, 16, 5, 16]
        for code, row in enumerate(drawn):
            kept = row[row >= 0]
            assert len(kept.unique()) == len(kept)
            assert bool((data.targets[kept] == code).all())
        loss, _ = module._match(
            slice(2, 3), drawn[2:3], module.augmentation.draw(4, *[torch.Generator()] * 2), torch.eye(32)
        )
        network = module.loaded.network
        x = F.normalize(network.features(module.normalize(data.images[data.targets == 2])), dim=1)
        y = F.normalize(network.features(module._decoded(slice(2, 3))[0]), dim=1)
        expected = 300 * discrepancy(
            characteristic_function(y, torch.eye(32)), characteristic_function(x, torch.eye(32))
        )
        assert float(loss) == pytest.approx(float(expected), rel=1e-9)


# ---------------------------------------------------------------- learning
def test_images_come_nearer(data, pool):
    seen = Matches()
    module = make(data, pool, mode="normal", init="noise", factor=1, images_per_class=4)
    start = module.images.detach().clone()
    run(module, 60, seen)
    assert np.mean(seen.values[-10:]) < 0.7 * np.mean(seen.values[:5])
    assert not torch.equal(module.images, start)
    assert 0 <= float(module.images.min()) <= float(module.images.max()) <= 1


def test_the_frequency_network_pulls_the_other_way(data, pool):
    """With images held still, the loss rises as the network learns."""

    class Still(pl.Callback):
        def on_train_start(self, trainer, pl_module) -> None:
            group = trainer.optimizers[0].param_groups[0]
            group["lr"] = group["weight_decay"] = 0.0

    learned, fixed = Matches(), Matches()
    for seen, rate in ((learned, 3e-2), (fixed, 1e-12)):
        run(make(data, pool, frequency_lr=rate, num_frequencies=256), 40, Still(), seen)
    assert np.mean(learned.values[-10:]) > 1.1 * np.mean(fixed.values[-10:])


def test_the_learning_rate_falls_on_a_plateau(data, pool):
    module = make(data, pool, patience=1, lr=1e-5)
    t = run(module, 10)
    assert t.optimizers[0].param_groups[0]["lr"] < 1e-5
    assert t.global_step == 10


def test_bf16_and_compiled_are_nearly_the_same(data, pool):
    plain, half = make(data, pool), make(data, pool)
    run(plain, 3)
    run(half, 3, precision="bf16-mixed")
    assert half.images.dtype == torch.float32
    assert float((plain.images - half.images).abs().mean()) < 0.02


@pytest.mark.long
def test_compiled_is_the_same(data, pool):
    plain, compiled = make(data, pool), make(data, pool, compile=True)
    run(plain, 3)
    run(compiled, 3)
    assert float((plain.images - compiled.images).abs().mean()) < 0.005


# ---------------------------------------------------------------- restart
@pytest.mark.parametrize("options", [{}, {"mode": "normal", "calibration": 1.0}])
def test_resumed_at_any_step_it_ends_the_same(tmp_path, data, pool, options):
    saver = SaveEvery(tmp_path)
    whole = make(data, pool, **options)
    run(whole, 6, saver)
    for path in saver.paths[::2]:
        again = make(data, pool, **{**options, "init": "noise"})
        t = run(again, 6, ckpt_path=path)
        assert t.global_step == 6
        assert torch.equal(again.images, whole.images), path.name
        for one, two in zip(again.frequencies.parameters(), whole.frequencies.parameters(), strict=True):
            assert torch.equal(one, two)


def test_the_seed_decides_and_the_global_generator_does_not(data, pool):
    found = []
    for seed, noise in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(noise)
        module = make(data, pool, seed=seed)
        run(module, 2)
        found.append(module.images.detach().clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


# ---------------------------------------------------------------- the beginning


@pytest.mark.usefixtures("float64")
def test_soft_labels_are_shares_of_the_classes(data, pool):
    module = make(data, pool, init="real")
    run(module, 1, NoSteps())
    shares = module.soft_targets()
    assert shares.shape == (4 * 2 * 4, 4)
    torch.testing.assert_close(shares.sum(1), torch.ones(32))
    images, _ = module.stored()
    full = module.normalize(decode(images, 2).flatten(0, 1))
    loaded = pool.load(data, torch.device("cpu"))
    expected = torch.stack([loaded.trained(number)(full).softmax(1) for number in range(2)]).mean(0)
    torch.testing.assert_close(shares, expected.detach(), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- bad input


def test_exploding_images_are_clamped_and_it_is_said(data, pool):
    module = make(data, pool, lr=50.0)
    with pytest.warns(
        UserWarning, match=r"\d+% of the pixels left \[0, 1\] in step 1 and were clamped: .*; lower `lr`"
    ):
        run(module, 1)
    assert 0 <= float(module.images.min()) <= float(module.images.max()) <= 1


def test_a_loss_that_is_not_finite_stops_it(data, pool):
    module = make(data, pool)
    with torch.no_grad():
        module.images[0, 0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match=r"the loss must stay finite, got nan in step 1; lower `lr` \(0.01\)"):
        run(module, 3)


def test_out_of_memory_suggests_chunks(data, pool):
    """Half a terabyte of frequencies, which no allocator gives."""
    module = make(data, pool, mode="normal")
    module.frequencies.num_frequencies = 10**9
    with pytest.raises(RuntimeError, match="out of memory with 4 classes at a time: set `class_chunk` to 2 or less"):
        run(module, 1)


def test_what_the_trainer_must_not_be_asked(data, pool):
    with pytest.raises(ValueError, match=r"`trainer.max_steps` must be set: distillation has no epochs"):
        trainer(max_epochs=1).fit(make(data, pool))
    for precision in ("16-mixed", "bf16-true", "64-true"):
        module = make(data, pool)
        t = trainer(max_steps=1, max_epochs=-1)
        t.strategy.precision_plugin.precision = precision  # Lightning itself refuses the first without a GPU
        with pytest.raises(ValueError, match=rf"`trainer.precision` must be 32-true or bf16-mixed, got {precision}"):
            t.fit(module)


def test_an_unprepared_pool_is_said_at_the_start(tmp_path, data):
    with pytest.raises(FileNotFoundError, match="lacks 2 of 2 networks"):
        run(make(data, small_pool(tmp_path)), 1)
