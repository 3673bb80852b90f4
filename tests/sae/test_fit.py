"""Fitting the autoencoder: what it finds and reports, and that its training leaves no trace."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from programs.ranks import launch
from sae.conftest import ACTIVE, ATOMS, GOOD, WIDTH, mapped, planted, pools, small, with_bad_rows
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from torch import Tensor

from dynsel.sae import SAEFit, encode, fit_sae


def test_its_trainer_says_nothing_by_either_name(
    rows: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Notices go through the package that was imported last.
    for name in ("lightning.pytorch", "pytorch_lightning"):
        logger = logging.getLogger(f"{name}.utilities.rank_zero")
        monkeypatch.setattr("lightning.pytorch.utilities.rank_zero.rank_zero_module.log", logger)
        with caplog.at_level(logging.INFO):
            fit_sae(rows[:200], num_factors=8, epochs=1, seed=0)
    assert caplog.text == ""


# ---------------------------------------------------------------- what it learns
def test_finds_the_planted_directions(fit: SAEFit) -> None:
    atoms = planted()[1]
    cosine = atoms @ fit.sae.decoder.numpy().T
    matched = cosine[linear_sum_assignment(-cosine)]
    assert np.median(matched) > 0.95
    assert (matched > 0.9).mean() > 0.75


def test_explains_more_than_pca_with_as_many_components(fit: SAEFit, rows: np.ndarray) -> None:
    pca = 1 - PCA(ACTIVE + 1).fit(rows).explained_variance_ratio_.sum()
    assert fit.fvu < 0.5 * pca
    assert fit.fvu < 0.1


def test_fvu_and_dead_share_are_those_of_all_rows(fit: SAEFit, rows: np.ndarray) -> None:
    rebuilt = fit.sae(torch.from_numpy(rows)).numpy().astype(np.float64)
    fvu = ((rows - rebuilt) ** 2).sum() / ((rows - rows.mean(0, dtype=np.float64)) ** 2).sum()
    assert fit.fvu == pytest.approx(fvu, rel=1e-4)
    assert fit.dead_share == (encode(fit.sae, rows, dtype=torch.float32).frequency() == 0).double().mean()
    assert fit.seconds > 0


def test_atoms_have_unit_norm(fit: SAEFit) -> None:
    torch.testing.assert_close(fit.sae.decoder.norm(dim=1), torch.ones(2 * ATOMS))


def test_scale_and_offset_of_the_features_do_not_matter(rows: np.ndarray) -> None:
    options = {"num_factors": 32, "k": 4, "epochs": 5}
    plain, moved = fit_sae(rows, **options), fit_sae(rows * 1000 + 7, **options)
    assert moved.fvu == pytest.approx(plain.fvu, rel=0.05)


def test_real_features_of_cifar10() -> None:
    folder = Path(os.environ.get("DYNSEL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "cifar10-resnet56-features.npz"
    if not path.exists():
        pytest.skip(f"needs {path.name} in DYNSEL_TEST_DATA")
    features = np.load(path)["train_features"][::10]
    result = fit_sae(features, num_factors=256, k=16, epochs=25)
    assert result.fvu < 0.07
    assert result.dead_share < 0.05


# ---------------------------------------------------------------- sizes
@pytest.mark.parametrize(("n", "d", "factors", "k"), [(50, 4, 32, 16), (2, 3, 2, 1), (20, 100, 20, 10), (600, 1, 8, 4)])
def test_default_sizes(n: int, d: int, factors: int, k: int) -> None:
    result = fit_sae(np.random.default_rng(0).standard_normal((n, d)), epochs=1)
    assert (result.sae.num_factors, result.sae.k) == (factors, k)
    assert np.isfinite(result.fvu)


def test_few_samples_are_learned_too() -> None:
    features = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    result = fit_sae(features)
    assert result.fvu < 0.05
    assert result.seconds < 30


@pytest.mark.parametrize("kind", ["tensor", "float16", "bfloat16", "memmap", "float64"])
def test_any_kind_of_matrix(kind: str, tmp_path: Path) -> None:
    features = np.random.default_rng(1).standard_normal((60, 5)).astype(np.float16)
    expected = fit_sae(features, num_factors=12, k=3, epochs=3)
    np.save(tmp_path / "f.npy", features)
    given_ = {
        "tensor": torch.from_numpy(features),
        "float16": torch.from_numpy(features),
        "bfloat16": torch.from_numpy(features).bfloat16(),
        "memmap": np.load(tmp_path / "f.npy", mmap_mode="r"),
        "float64": features.astype(np.float64),
    }[kind]
    result = fit_sae(given_, num_factors=12, k=3, epochs=3)
    assert result.fvu == pytest.approx(expected.fvu, rel=0.05 if kind == "bfloat16" else 1e-6)
    assert len(encode(result.sae, given_)) == 60


# ---------------------------------------------------------------- no trace
def test_same_seed_same_result_other_seed_another() -> None:
    one, same, other = small(seed=3), small(seed=3), small(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.sae.parameters(), same.sae.parameters(), strict=True))
    assert one.fvu == same.fvu
    assert not torch.equal(one.sae.decoder, other.sae.decoder)
    assert small(seed=2**63 - 1).fvu > 0


def test_global_state_is_untouched() -> None:
    def state() -> tuple[Any, ...]:
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            dict(os.environ),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_anomaly_enabled(),
            torch.get_num_threads(),
            logging.getLogger("lightning.pytorch").level,
            list(warnings.filters),
        )

    before = state()
    small()
    assert state() == before


def test_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            small()
        assert [logger.level for logger in loggers] == [logging.INFO] * 2
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    assert capfd.readouterr() == ("", "")


def test_progress_bar_trains_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    assert small(progress_bar=True).fvu == small().fvu
    assert capfd.readouterr().out == ""


def test_works_without_gradients_and_in_inference_mode() -> None:
    expected = small()
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            result = small()
        assert result.fvu == pytest.approx(expected.fvu, rel=1e-6)
        assert not result.sae.decoder.is_inference()


def test_inside_a_running_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch as pl
    from lightning.pytorch.demos.boring_classes import BoringModel

    # What torchrun sets for a rank; the inner training must neither use nor remove it.
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    found: dict[str, float] = {}

    class Fits(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            found[f"train {trainer.current_epoch}"] = small().fvu
            assert pl_module.trainer is trainer
            assert pl_module.training

        def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            found["validation"] = small().fvu

    def run(*callbacks: pl.Callback) -> list[Tensor]:
        pl.seed_everything(0, verbose=False)
        options: dict[str, Any] = dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_epochs=2, limit_train_batches=4, callbacks=list(callbacks), **options
        )
        model = BoringModel()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(model)
        assert trainer.global_step == 8
        return [parameter.detach().clone() for parameter in model.parameters()]

    plain, with_inner = run(), run(Fits())
    assert all(torch.equal(a, b) for a, b in zip(plain, with_inner, strict=True))
    expected = pytest.approx(small().fvu, rel=1e-6)
    assert found == {"train 0": expected, "train 1": expected, "validation": expected}
    assert os.environ["WORLD_SIZE"] == "1"


def test_import_is_light() -> None:
    program = "import sys, dynsel.sae; print([m for m in ('lightning', 'sklearn', 'rich') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


# ---------------------------------------------------------------- more than fits into memory
def test_trained_from_pools_as_well_as_from_memory(rows: np.ndarray, tmp_path: Path, monkeypatch: Any) -> None:
    options: dict[str, Any] = {"num_factors": 2 * ATOMS, "k": ACTIVE + 1}
    whole = fit_sae(rows, **options)
    pools(monkeypatch, 600, 16, WIDTH)
    pooled = fit_sae(mapped(tmp_path, rows), **options)
    assert pooled.fvu < 1.3 * whole.fvu
    assert pooled.dead_share <= whole.dead_share + 0.1


@pytest.mark.parametrize("pooled", [False, True])
def test_masked_rows_count_for_nothing(pooled: bool, rows: np.ndarray, tmp_path: Path, monkeypatch: Any) -> None:
    mask = torch.ones(len(rows), dtype=torch.bool)
    mask[::7] = False
    spoilt = rows.copy()
    spoilt[::7] = 1e4
    options: dict[str, Any] = {"num_factors": 2 * ATOMS, "k": ACTIVE + 1, "epochs": 10}
    if pooled:
        pools(monkeypatch, 600, 16, WIDTH)
        fits = [fit_sae(mapped(tmp_path, data), mask=mask, **options) for data in (spoilt, rows)]
        assert torch.equal(fits[0].sae.decoder, fits[1].sae.decoder)
    else:
        fits = [fit_sae(spoilt, mask=mask, **options), fit_sae(rows[mask.numpy()], **options)]
    assert fits[0].fvu == pytest.approx(fits[1].fvu, rel=0.2)
    with pytest.raises(ValueError, match=r"`mask` must be \(3000,\) bool and keep a row, got \(5,\) torch.bool"):
        fit_sae(rows, mask=mask[:5])


def test_mixed_precision_explains_nearly_as_much(rows: np.ndarray, fit: SAEFit) -> None:
    mixed = fit_sae(rows, num_factors=2 * ATOMS, k=ACTIVE + 1, precision="bf16-mixed")
    assert mixed.fvu < 0.05 + 2 * fit.fvu
    assert mixed.sae.decoder.dtype == torch.float32
    assert mixed.fvu != fit.fvu


def test_two_ranks_learn_what_one_does(tmp_path: Path) -> None:
    rows = planted()[0]
    np.save(tmp_path / "rows.npy", rows)
    results = launch("sae_checks", tmp_path, 2)[2]
    assert results[0]["both"] == results[1]["both"]
    alone = fit_sae(rows, num_factors=2 * ATOMS, k=ACTIVE + 1, epochs=10)
    # The same batches, shared: only the order of floating-point sums differs, and grows through training.
    assert results[0]["both"]["memory"]["fvu"] == pytest.approx(alone.fvu, rel=0.1)
    assert results[0]["both"]["pools"]["fvu"] == pytest.approx(alone.fvu, rel=0.3)
    with pytest.raises(
        ValueError, match=r"`devices` times `num_nodes` must be .* at most `batch_size` = 2, got 3 times 1"
    ):
        fit_sae(rows, devices=3, batch_size=2)


RANK_PROGRAM = """
import sys, torch, numpy as np, torch.distributed as dist
from dynsel.sae import fit_sae
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
if rank == 0:  # alone: a collective inside would wait for ever
    features = np.random.default_rng(1).standard_normal((60, 5)).astype(np.float32)
    assert fit_sae(features, num_factors=12, k=3, epochs=3).fvu < 1
total = torch.ones(())
dist.all_reduce(total)
print("total", int(total))
dist.destroy_process_group()
"""


def test_in_one_rank_of_a_process_group(tmp_path: Path) -> None:
    ranks = []
    for rank in range(2):
        # torchrun's variables, which Lightning would take for a cluster of its own.
        own = dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
        world = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2")
        rest = {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "1", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        env = {**os.environ, **own, **world, **rest}
        command = [sys.executable, "-c", RANK_PROGRAM, str(rank), str(tmp_path / "store")]
        ranks.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for process in ranks:
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
        assert "total 2" in output


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("features", "options", "error", "text"),
    [
        ([[1.0]], {}, TypeError, "`features` must be a tensor or a NumPy array, got list"),
        (GOOD[0], {}, ValueError, r"`features` must be 2-D, \(N samples, d\), got shape \(3,\)"),
        (GOOD.astype(int), {}, TypeError, "`features` must be floating point, got int64"),
        (torch.ones(4, 3, dtype=torch.uint8), {}, TypeError, "`features` must be floating point, got torch.uint8"),
        (GOOD[:0], {}, ValueError, r"at least one row and one column, got shape \(0, 3\)"),
        (GOOD[:1], {}, ValueError, "`features` must have at least 2 rows, got 1"),
        (with_bad_rows(7), {}, ValueError, "NaN or infinite values in row 7; compute"),
        (with_bad_rows(3, 5), {}, ValueError, "NaN or infinite values in rows 3, 5;"),
        (with_bad_rows(*range(8)), {}, ValueError, r"in rows 0, 1, 2, 3, 4, ... \(8 in all\)"),
        (torch.full((4, 2), torch.inf), {}, ValueError, "in rows 0, 1, 2, 3;"),
        (GOOD.astype(np.float64) * 1e300, {}, ValueError, "`features` must be finite"),
        (np.full((20, 3), 0.1, np.float32), {}, ValueError, "must differ between samples"),
        (GOOD, {"k": 0}, ValueError, "`k` must be at least 1, got 0"),
        (GOOD, {"num_factors": 1}, ValueError, "`num_factors` must be at least 2, got 1"),
        (GOOD, {"epochs": 0}, ValueError, "`epochs` must be at least 1, got 0"),
        (GOOD, {"batch_size": 0}, ValueError, "`batch_size` must be at least 1, got 0"),
        (GOOD, {"lr": 0.0}, ValueError, "`lr` must be above 0, got 0.0"),
    ],
)
def test_bad_input(features: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        fit_sae(features, **options)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "transformer-engine", None])
def test_weights_stay_in_float32(precision: str | None) -> None:
    with pytest.raises(ValueError, match="`precision` must be one of 32-true, "):
        fit_sae(np.ones((9, 4), dtype=np.float32), precision=precision)
