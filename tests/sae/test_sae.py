"""The sparse autoencoder: what it finds, what it reports, and that its training leaves no trace."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from programs.ranks import launch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from torch import Tensor

from dynsel._lib.matrices import blocks, moments, take
from dynsel.sae import SAEFit, SparseCodes, TopKSAE, encode, fit_sae, load_sae, save_sae
from dynsel.sae import fit as _sae_training
from dynsel.sae.fit import Batches, SAETraining

ATOMS, WIDTH, ACTIVE = 24, 16, 3


def planted(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows made of three of 24 random directions each, and the directions."""
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((ATOMS, WIDTH))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    picked = rng.random((n, ATOMS)).argsort(1)[:, :ACTIVE]
    codes = np.zeros((n, ATOMS))
    np.put_along_axis(codes, picked, rng.uniform(0.5, 1.5, (n, ACTIVE)), 1)
    rows = 4 + codes @ atoms + 0.01 * rng.standard_normal((n, WIDTH))
    return rows.astype(np.float32), atoms


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return planted()[0]


@pytest.fixture(scope="module")
def fit(rows: np.ndarray) -> SAEFit:
    return fit_sae(rows, num_factors=2 * ATOMS, k=ACTIVE + 1)


def small(**options: Any) -> SAEFit:
    features = np.random.default_rng(1).standard_normal((60, 5)).astype(np.float32)
    return fit_sae(features, **{"num_factors": 12, "k": 3, "epochs": 3, **options})


def dense(codes: SparseCodes) -> np.ndarray:
    full = np.zeros((len(codes), codes.num_factors))
    np.put_along_axis(full, codes.indices.long().numpy(), codes.values.double().numpy(), 1)
    return full


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


def test_reconstruction_by_hand() -> None:
    sae = TopKSAE(2, 3, 1)
    with torch.no_grad():
        sae.mean.copy_(torch.tensor([1.0, 1.0]))
        sae.scale.fill_(2.0)
        for weight in (sae.encoder, sae.decoder):
            weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
        values, indices = sae.encode(torch.tensor([[7.0, 1.0], [1.0, 5.0], [-9.0, -9.0]]))
    # Standardised: (3, 0), (0, 2), (-5, -5); the last one drives every factor below 0.
    assert values.tolist() == [[3.0], [2.0], [0.0]]
    assert indices[:2].tolist() == [[0], [1]]
    assert sae.decode(values, indices).tolist() == [[7.0, 1.0], [1.0, 5.0], [1.0, 1.0]]


def test_real_features_of_cifar10() -> None:
    folder = Path(os.environ.get("DYNSEL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "cifar10-resnet56-features.npz"
    if not path.exists():
        pytest.skip(f"needs {path.name} in DYNSEL_TEST_DATA")
    features = np.load(path)["train_features"][::10]
    result = fit_sae(features, num_factors=256, k=16, epochs=25)
    assert result.fvu < 0.07
    assert result.dead_share < 0.05


# ---------------------------------------------------------------- dead factors
def dead_factors(auxiliary_weight: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Share of dead factors after a training that begins with half of them too weak to come among the top k."""
    import dynsel.sae.fit as training

    monkeypatch.setattr(training, "AUXILIARY_WEIGHT", auxiliary_weight)
    original = TopKSAE.__init__

    def crippled(self: TopKSAE, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        with torch.no_grad():
            self.encoder[::2] *= 0.02

    monkeypatch.setattr(TopKSAE, "__init__", crippled)
    return fit_sae(planted(1000)[0], num_factors=32, k=3, epochs=30).dead_share


def test_dead_factors_revive(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        without = dead_factors(0.0, patch)
    with monkeypatch.context() as patch:
        revived = dead_factors(1 / 32, patch)
    assert without > 0.2
    assert revived < 0.5 * without


def test_factor_counts_as_idle_since_it_was_last_active() -> None:
    training = SAETraining(TopKSAE(4, 3, 2), steps=10, lr=1e-3, dead_after=5)
    values, indices = torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([[0, 1], [0, 2]])
    assert training._count_idle(values, indices).tolist() == [0, 2, 0]
    assert training._count_idle(values * 0, indices).tolist() == [2, 4, 2]


def test_gradient_along_the_atoms_is_dropped() -> None:
    sae = TopKSAE(6, 9, 2)
    sae(torch.randn(20, 6, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    assert (sae.decoder.grad * sae.decoder).sum(1).abs().max() > 0.1
    sae.drop_radial_gradient()
    torch.testing.assert_close((sae.decoder.grad * sae.decoder).sum(1), torch.zeros(9), atol=1e-4, rtol=0)


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


def test_initial_encoder_has_the_best_scale() -> None:
    features = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    sae = TopKSAE(6, 40, 10)
    before = sae.encode(features)[1]
    sae.scale_encoder(features)

    def error(factor: float) -> float:
        values, indices = sae.encode(features)
        return float((sae.decode(values * factor, indices) - features).detach().square().sum())

    assert torch.equal(sae.encode(features)[1], before)
    assert error(1.0) < min(error(0.97), error(1.03), 0.5 * float(features.square().sum()))


def test_batches_cover_every_row_once_an_epoch() -> None:
    features = torch.arange(10.0)[:, None]
    batches = Batches(features, 4, 2, torch.Generator().manual_seed(0))
    drawn = list(batches)
    assert len(drawn) == len(batches) == 6
    assert sorted(len(batch) for batch in drawn) == [3, 3, 3, 3, 4, 4]
    first, second = torch.cat(drawn[:3])[:, 0], torch.cat(drawn[3:])[:, 0]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert all(torch.equal(batch, batch.sort(0).values) for batch in drawn)


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


@settings(max_examples=50)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-100, 100, width=32)))
def test_moments_against_numpy(matrix: np.ndarray) -> None:
    from unittest import mock

    with mock.patch("dynsel._lib.matrices._BLOCK_VALUES", 3):
        mean, spread = moments(matrix)
    wide = matrix.astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), wide.mean(0), atol=1e-9)
    assert spread == pytest.approx(((wide - wide.mean(0)) ** 2).sum(), rel=1e-9, abs=1e-6)


def test_blocks_and_rows() -> None:
    features = torch.arange(14.0).reshape(7, 2)
    assert [take(features, rows)[:, 0].tolist() for rows in blocks(features, 3)] == [[0, 2, 4], [6, 8, 10], [12]]
    assert take(features.numpy(), torch.tensor([5, 0])).tolist() == [[10, 11], [0, 1]]


# ---------------------------------------------------------------- no trace
def test_same_seed_same_result_other_seed_another() -> None:
    one, same, other = small(seed=3), small(seed=3), small(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.sae.parameters(), same.sae.parameters(), strict=True))
    assert one.fvu == same.fvu
    assert not torch.equal(one.sae.decoder, other.sae.decoder)
    assert small(seed=2**63 + 1).fvu > 0


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


# ---------------------------------------------------------------- more than fits into memory
def mapped(folder: Path, features: np.ndarray) -> np.ndarray:
    np.save(folder / "f.npy", features)
    return np.load(folder / "f.npy", mmap_mode="r")


def pools(monkeypatch: pytest.MonkeyPatch, pool_rows: int, chunk_rows: int, width: int) -> None:
    """Small pools, of float32 rows."""
    monkeypatch.setattr(_sae_training, "POOL_BYTES", pool_rows * width * 4)
    monkeypatch.setattr(_sae_training, "CHUNK_BYTES", chunk_rows * width * 4)


@pytest.mark.parametrize("n", [240, 250, 257])
def test_pools_cover_every_row_once_a_pass(n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pools(monkeypatch, 60, 4, 1)
    features = mapped(tmp_path, np.arange(n, dtype=np.float32)[:, None])
    batches = Batches(features, 20, 3, torch.Generator().manual_seed(0))
    assert batches.pooled
    assert len(batches) == 3 * -(-n // 20)
    drawn = list(batches)
    assert len(drawn) == len(batches)
    assert max(map(len, drawn)) <= 20
    order = torch.cat(drawn).flatten().int().tolist()
    passes = [order[i * n : (i + 1) * n] for i in range(2)]
    assert [sorted(rows) for rows in passes] == [list(range(n))] * 2
    assert passes[0] != passes[1]
    again = torch.cat(list(Batches(features, 20, 3, torch.Generator().manual_seed(0))))
    assert torch.equal(again, torch.cat(drawn))


def test_batches_of_a_sorted_file_are_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten classes one after the other: class counts of the batches vary as those of a free draw do."""
    n, size = 40_000, 200
    pools(monkeypatch, 8_000, 16, 1)
    features = mapped(tmp_path, (np.arange(n) * 10 // n).astype(np.float32)[:, None])
    batches = list(Batches(features, size, 2, torch.Generator().manual_seed(0)))
    counts = torch.stack([torch.bincount(rows.flatten().long(), minlength=10) for rows in batches]).double()
    # Binomial: variance 200 * 0.1 * 0.9 = 18 for a free draw; what 500 chunks a pool add is as documented. Batches of
    # neighbours would have 3,600.
    assert 0.9 * 18 < counts.var(0).mean() < 1.1 * 18 * (1 + size / 500)
    assert counts.mean(0).numpy() == pytest.approx(20, abs=1)


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


def test_ranks_share_every_batch() -> None:
    features = torch.arange(100.0)[:, None]
    shares = []
    for rank in range(3):
        batches = Batches(features, 30, 2, torch.Generator().manual_seed(0))
        batches.rank, batches.world = rank, 3
        shares.append(list(batches))
    alone = list(Batches(features, 30, 2, torch.Generator().manual_seed(0)))
    for parts, whole in zip(zip(*shares, strict=True), alone, strict=True):
        assert sorted(torch.cat(parts).flatten().tolist()) == whole.flatten().tolist()


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


def test_import_is_light() -> None:
    program = "import sys, dynsel.sae; print([m for m in ('lightning', 'sklearn', 'rich') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


# ---------------------------------------------------------------- codes
codes_strategy = st.integers(1, 6).flatmap(
    lambda m: st.tuples(
        st.just(m),
        hnp.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(m)), elements=st.sampled_from([0, 0, 0.5, 1, 3])),
        hnp.arrays(np.float32, m, elements=st.floats(-5, 5, width=32)),
    )
)


@settings(max_examples=80)
@given(codes_strategy)
def test_statistics_against_a_dense_matrix(drawn: tuple[int, np.ndarray, np.ndarray]) -> None:
    from unittest import mock

    m, full, factor_values = drawn
    order = np.argsort(-full, axis=1, kind="stable")
    values = torch.from_numpy(np.take_along_axis(full, order, 1))
    codes = SparseCodes(torch.from_numpy(order).to(torch.int16), values.half(), m)
    with mock.patch("dynsel.sae._BLOCK", 3):
        frequency, mean = codes.frequency(), codes.weighted_mean(torch.from_numpy(factor_values))
        kept = codes.keep_factors(torch.from_numpy(factor_values > 0))
    np.testing.assert_allclose(frequency.numpy(), (full > 0).mean(0))
    total = full.sum(1)
    expected = np.divide(full @ factor_values, total, out=np.zeros_like(total), where=total > 0)
    np.testing.assert_allclose(mean.numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(dense(kept), full * (factor_values > 0))
    np.testing.assert_array_equal(dense(codes), full)
    assert mean.dtype == torch.float32
    assert frequency.dtype == torch.float64


def test_infinite_factor_values_count_only_where_active() -> None:
    codes = SparseCodes(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[2.0, 0.0], [1.0, 1.0]]), 2)
    assert codes.weighted_mean(torch.tensor([3.0, torch.inf])).tolist() == [3.0, torch.inf]


def test_encode(fit: SAEFit, rows: np.ndarray) -> None:
    codes = encode(fit.sae, rows, batch_size=700, dtype=torch.float32)
    values, indices = fit.sae.encode(torch.from_numpy(rows))
    assert codes.indices.dtype == torch.int16
    # Blocks of another size round differently; a factor at the threshold may then change places.
    same = (codes.indices == indices).all(1)
    assert same.double().mean() > 0.99
    torch.testing.assert_close(codes.values[same], values[same], rtol=1e-4, atol=1e-4)
    assert encode(fit.sae, rows).values.dtype == torch.float16
    assert len(codes) == len(rows)


def test_outliers_stay_finite_in_float16() -> None:
    codes = encode(TopKSAE(2, 4, 2), torch.tensor([[1e9, 0.0], [0.0, 1.0]]))
    assert bool(torch.isfinite(codes.weighted_mean(torch.ones(4))).all())


def test_many_factors_need_wider_indices() -> None:
    codes = encode(TopKSAE(2, 40_000, 2), torch.ones(3, 2))
    assert codes.indices.dtype == torch.int32


def test_save_and_load(fit: SAEFit, rows: np.ndarray, tmp_path: Path) -> None:
    save_sae(fit.sae, tmp_path / "sae.safetensors")
    loaded = load_sae(tmp_path / "sae.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["sae.safetensors"]
    before, after = encode(fit.sae, rows), encode(loaded, rows)
    assert torch.equal(before.indices, after.indices)
    assert torch.equal(before.values, after.values)
    assert (loaded.k, loaded.num_factors, loaded.dim) == (fit.sae.k, fit.sae.num_factors, fit.sae.dim)


def test_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sae.safetensors"
    save_sae(TopKSAE(2, 4, 1), path)

    def fail(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_sae(TopKSAE(3, 6, 1), path)
    assert load_sae(path).dim == 2
    assert len(list(tmp_path.iterdir())) == 1


# ---------------------------------------------------------------- errors
GOOD = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)


def with_bad_rows(*bad: int) -> np.ndarray:
    features = np.ones((20, 3), np.float32)
    features[list(bad), 1] = np.nan
    return features


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


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((3, 4, 5), r"`k` must be in \[1, num_factors\] = \[1, 4\], got 5"),
        ((3, 4, 0), r"`k` must be in \[1, num_factors\] = \[1, 4\], got 0"),
        ((0, 4, 1), "`dim` and `num_factors` must be at least 1, got 0 and 4"),
    ],
)
def test_bad_sizes(sizes: tuple[int, int, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TopKSAE(*sizes)


def test_encode_refuses_other_features() -> None:
    sae = TopKSAE(3, 6, 2)
    with pytest.raises(ValueError, match=r"`features` must be \(N, 3\) for this autoencoder, got \(4, 2\)"):
        encode(sae, torch.ones(4, 2))
    with pytest.raises(ValueError, match="NaN or infinite values in row 7"):
        encode(sae, with_bad_rows(7), batch_size=4)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        encode(sae, GOOD, batch_size=0)


def test_codes_refuse_what_does_not_fit() -> None:
    ones = torch.ones(2, 2)
    with pytest.raises(ValueError, match=r"must both be \(N, k\), got \(2, 2\) and \(2, 1\)"):
        SparseCodes(ones.long(), torch.ones(2, 1), 3)
    with pytest.raises(ValueError, match="`indices` must be integer"):
        SparseCodes(ones, ones, 3)
    with pytest.raises(ValueError, match=r"`indices` must be in \[0, 1\), got 1 to 1"):
        SparseCodes(ones.long(), ones, 1)
    with pytest.raises(ValueError, match="`values` must be at least 0, got -1"):
        SparseCodes(ones.long(), -ones, 3)
    codes = SparseCodes(ones.long(), ones, 3)
    with pytest.raises(ValueError, match=r"`factor_values` must be \(3,\), got \(2,\)"):
        codes.weighted_mean(torch.ones(2))
    with pytest.raises(ValueError, match=r"`keep` must be \(3,\) bool, got \(3,\) torch.float32"):
        codes.keep_factors(torch.ones(3))
    with pytest.raises(ValueError, match=r"`labels` must be \(\d+,\), got \(99,\)"):
        codes.by_class(torch.zeros(99))


def test_factors_by_class_keep_their_values() -> None:
    codes = SparseCodes(torch.tensor([[0, 2], [2, 1], [0, 1]]), torch.tensor([[3.0, 1.0], [2.0, 0.0], [1.0, 4.0]]), 3)
    apart = codes.by_class(torch.tensor([0, 1, 1]))
    assert apart.num_factors == 6
    assert apart.indices.tolist() == [[0, 2], [5, 4], [3, 4]]
    assert torch.equal(apart.values, codes.values)


def test_load_refuses_other_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError):
        load_sae(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not a safetensors file at all")
    with pytest.raises(ValueError, match="is no safetensors file, or a damaged one"):
        load_sae(tmp_path / "text.safetensors")
    save_file({"weight": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"holds no autoencoder written by `save_sae`; it has \['weight'\]"):
        load_sae(tmp_path / "other.safetensors")
