"""What SciPy computes in training and NumPy computes beside a bundle is the same."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.signal import firwin, resample_poly
from scipy.special import ndtri

from netwright.rows import normal_quantiles
from netwright.sounds import low_pass, resample, resample_plainly


@pytest.mark.parametrize(("rate", "wanted"), [(44_100, 16_000), (16_000, 8_000), (8_000, 16_000), (48_000, 44_100)])
def test_sounds_are_resampled_to_the_same_bits(rate: int, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter and the sums, whatever the length."""
    divisor = int(np.gcd(rate, wanted))
    up, down = wanted // divisor, rate // divisor
    assert np.allclose(low_pass(max(up, down)), _filter(max(up, down)), rtol=0, atol=1e-8)
    for length in (1, 2, 999, 30_000):
        samples = np.random.default_rng(length).normal(0, 0.3, length).astype(np.float32)
        by_scipy = resample(samples, rate, wanted)
        assert np.abs(by_scipy - resample_poly(samples, up, down, window=_filter(max(up, down)))).max() < 1e-6
        plain = resample_plainly(samples, up, down, low_pass(max(up, down)))
        assert plain.dtype == by_scipy.dtype and plain.shape == by_scipy.shape
        assert np.abs(plain - by_scipy).max() < 1e-7  # equal on x86-64; elsewhere a product may be fused with its sum
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    assert (resample(samples, rate, wanted) == plain).all()


def _filter(most: int) -> np.ndarray:
    return firwin(20 * most + 1, 1 / most, window=("kaiser", 5.0)).astype(np.float32)


def test_quantiles_of_the_normal_distribution_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the precision that float32 leaves by far."""
    shares = np.concatenate((np.linspace(1e-7, 1 - 1e-7, 2_001), [0.5]))
    wanted = normal_quantiles(shares)
    assert (wanted == ndtri(shares)).all()
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    assert np.abs(normal_quantiles(shares) - wanted).max() < 1e-9
