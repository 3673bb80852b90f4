"""Sparse codes against a dense matrix, and on disk: those of `encode`, whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sae.conftest import GOOD, with_bad_rows

from dynsel.features import save_features
from dynsel.sae import SAEFit, SparseCodes, TopKSAE, encode, load_codes, save_codes, save_sae


def dense(codes: SparseCodes) -> np.ndarray:
    full = np.zeros((len(codes), codes.num_factors))
    np.put_along_axis(full, codes.indices.long().numpy(), codes.values.double().numpy(), 1)
    return full


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
    with mock.patch("dynsel.sae.codes._BLOCK", 3):
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
    with pytest.raises(ValueError, match=r"`indices` must be in \[0, num_factors\) = \[0, 1\), got 1 to 1"):
        SparseCodes(ones.long(), ones, 1)
    with pytest.raises(ValueError, match="`values` must be at least 0, got -1"):
        SparseCodes(ones.long(), -ones, 3)
    codes = SparseCodes(ones.long(), ones, 3)
    with pytest.raises(ValueError, match=r"`factor_values` must be \(3,\), got \(2,\)"):
        codes.weighted_mean(torch.ones(2))
    with pytest.raises(ValueError, match=r"`mask` must be \(3,\) bool, got \(3,\) torch.float32"):
        codes.keep_factors(torch.ones(3))
    with pytest.raises(ValueError, match=r"`labels` must be \(\d+,\), got \(99,\)"):
        codes.by_class(torch.zeros(99))


def test_factors_by_class_keep_their_values() -> None:
    codes = SparseCodes(torch.tensor([[0, 2], [2, 1], [0, 1]]), torch.tensor([[3.0, 1.0], [2.0, 0.0], [1.0, 4.0]]), 3)
    apart = codes.by_class(torch.tensor([0, 1, 1]))
    assert apart.num_factors == 6
    assert apart.indices.tolist() == [[0, 2], [5, 4], [3, 4]]
    assert torch.equal(apart.values, codes.values)


# ---------------------------------------------------------------- on disk
ROWS = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float16)


def sae(factors: int = 20) -> TopKSAE:
    return TopKSAE(6, factors, 3).eval().requires_grad_(False)


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
def test_they_are_those_of_encode(batch_size: int, tmp_path: Path) -> None:
    path = save_codes(
        tmp_path / "codes.json", sae(), ROWS, batch_size=batch_size, note="from a test", progress_bar=True
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["codes.indices.npy", "codes.json", "codes.values.npy"]
    codes, expected = load_codes(path), encode(sae(), ROWS)
    assert (codes.num_factors, codes.indices.dtype, codes.values.dtype) == (20, torch.int16, torch.float16)
    assert torch.equal(codes.indices, expected.indices)
    assert torch.equal(codes.values, expected.values)
    assert torch.equal(codes.frequency(), expected.frequency())
    assert json.loads(path.read_text())["note"] == "from a test"
    # 4 bytes an active factor, whatever the number of factors.
    assert (tmp_path / "codes.indices.npy").stat().st_size == 128 + 50 * 3 * 2


def test_many_factors_need_wider_indices_on_disk_too(tmp_path: Path) -> None:
    assert load_codes(save_codes(tmp_path / "codes.json", sae(40_000), ROWS)).indices.dtype == torch.int32


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must end in .json, got 'codes.npy'"):
        save_codes(tmp_path / "codes.npy", sae(), ROWS)
    with pytest.raises(ValueError, match=r"`features` must be \(N, 6\) for this autoencoder, got \(50, 5\)"):
        save_codes(tmp_path / "codes.json", sae(), ROWS[:, :5])
    bad = ROWS.copy()
    bad[31, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite values in row 31"):
        save_codes(tmp_path / "codes.json", sae(), bad, batch_size=8)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match=r"there are no sparse codes .*codes.json"):
        load_codes(tmp_path / "codes.json")


def test_damaged(tmp_path: Path) -> None:
    path = save_codes(tmp_path / "codes.json", sae(), ROWS)
    values = tmp_path / "codes.values.npy"
    content = values.read_bytes()
    values.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"codes.values.npy can't be read as NumPy arrays"):
        load_codes(path)
    np.save(values, np.zeros((50, 3), np.float32))
    with pytest.raises(ValueError, match=r"codes.values.npy is \(50, 3\) float32, codes.json says otherwise"):
        load_codes(path)
    values.unlink()
    with pytest.raises(FileNotFoundError, match=r"codes.values.npy isn't beside it"):
        load_codes(path)
    for text, said in (("{", "is no JSON"), ("[]", "is no manifest of sparse codes")):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            load_codes(path)


LIMITED = """
import resource, signal, sys
from dynsel.features import load_features
from dynsel.sae import load_sae, save_codes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
save_codes(sys.argv[1], load_sae(sys.argv[2]), load_features(sys.argv[3]))
"""


def test_without_room_nothing_is_written_and_nothing_stays(tmp_path: Path) -> None:
    """In a process of its own, whose files may not be larger than 4 kB: it ends by an error and not by a signal."""
    save_sae(TopKSAE(8, 16, 4), tmp_path / "sae.safetensors")
    save_features(tmp_path / "f.npy", torch.randn(1000, 8))
    names = sorted(path.name for path in tmp_path.iterdir())
    arguments = [tmp_path / name for name in ("c.json", "sae.safetensors", "f.npy")]
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: no room to write" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == names
