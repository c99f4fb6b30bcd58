"""Log-mel spectra by a kernel: the numbers of ``log_mel``, whatever the operation and the length."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import netwright as nw
from netwright.data import sound_source, spectra, spectra_kernels
from netwright.data.spectra_kernels import SpectraKernel, spectra_kernel
from netwright.log_mel import LogMelSpectrum, fixed, log_mel, usual
from netwright.native import COMPILERS, MADE
from netwright.sounds import as_waves

compiled_here = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler is here")
# Transforms of 32 to 8,192 samples, of both factors at the end; one band, and numbers of bands that are no multiple of
# 8; hops longer than a window, and windows that are no multiple of 8.
OPERATIONS = [
    usual(16_000, 40),
    usual(8_000, 23),
    usual(22_050, 80),
    usual(44_100, 128),
    usual(48_000, 1),
    LogMelSpectrum(sample_rate=16_000, num_bands=12, window=32, hop=7, low_hz=0),
    LogMelSpectrum(sample_rate=16_000, num_bands=9, window=61, hop=100, low_hz=0),
    LogMelSpectrum(sample_rate=16_000, num_bands=40, window=8_192, hop=900, low_hz=50),
]


def noise(size: int, loud: float = 3_000) -> NDArray[np.int16]:
    return (np.random.default_rng(size).normal(size=size) * loud).clip(-32_768, 32_767).astype(np.int16)


def made(operation: LogMelSpectrum, wave: NDArray[np.int16]) -> NDArray[np.float32]:
    kernel = SpectraKernel(operation)
    return spectra.spectra_of_sounds(operation, [wave], kernel)


def exactly(operation: LogMelSpectrum, wave: NDArray[np.int16]) -> NDArray[np.float64]:
    """With 64 bits, frame by frame."""
    window, filters = (one.astype(np.float64) for one in fixed(operation))
    size, before = len(window), len(window) // 2
    padded = np.concatenate([np.zeros(before), wave / 32_768, np.zeros(2 * size)])
    starts = range(0, len(wave), operation.hop)
    power = [np.abs(np.fft.rfft(padded[at : at + size] * window, 2 * (len(filters) - 1))) ** 2 for at in starts]
    return np.log(np.maximum(np.asarray(power) @ filters, 1e-10))


@compiled_here
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.window}-{one.hop}-{one.num_bands}")
@pytest.mark.parametrize("size", [1, 7, 31, 400, 401, 3_000, 20_011])
def test_the_numbers_are_those_of_log_mel(operation: LogMelSpectrum, size: int) -> None:
    wave = noise(size)
    np.testing.assert_allclose(made(operation, wave), log_mel(operation, as_waves(wave)), atol=5e-5)


@compiled_here
@pytest.mark.parametrize("loud", [0.4, 20, 3_000, 60_000])
def test_it_rounds_no_further_than_numpy(loud: float) -> None:
    """From noise of a bit to samples that are cut off."""
    operation, wave = usual(16_000, 40), noise(30_000, loud)
    exact = exactly(operation, wave)
    errors = [np.abs(one - exact).max() for one in (made(operation, wave), log_mel(operation, as_waves(wave)))]
    assert errors[0] < 2 * errors[1] + 1e-6


@compiled_here
def test_many_threads_make_the_same() -> None:
    operation, waves = usual(16_000, 40), [noise(size) for size in range(2_000, 12_000, 250)]
    kernel = SpectraKernel(operation)
    alone = [spectra.spectra_of_sounds(operation, [one], kernel) for one in waves]
    with ThreadPoolExecutor(8) as pool:
        beside = list(pool.map(lambda one: spectra.spectra_of_sounds(operation, [one], kernel), waves))
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(one, other)


@compiled_here
def test_what_it_does_not_take_is_refused() -> None:
    kernel = SpectraKernel(usual(16_000, 40))
    wave, out, room = noise(1_600), np.zeros((10, 40), dtype=np.float32), kernel.room()
    fixed_out = out.copy()
    fixed_out.flags.writeable = False
    refused = [
        (noise(3_200)[::2], out, room),
        (as_waves(wave), out, room),
        (wave, np.zeros((20, 40), dtype=np.float32)[::2], room),
        (wave, out[:, :39].copy(), room),
        (wave, out[:9], room),
        (wave, out.astype(np.float64), room),
        (wave, fixed_out, room),
        (wave, out, room[1:]),
    ]
    for given in refused:
        with pytest.raises(ValueError, match="16 bits"):
            kernel(*given)
    assert not out.any()
    kernel(wave, out, room)
    assert out.any()


@compiled_here
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.window}-{one.hop}-{one.num_bands}")
def test_nothing_else_is_written(operation: LogMelSpectrum) -> None:
    kernel, wave = SpectraKernel(operation), noise(1_234)
    frames = -(-len(wave) // operation.hop)
    whole = np.full((frames + 2, operation.num_bands), 7, dtype=np.float32)
    memory = np.full(len(kernel.room()) + 16, 7, dtype=np.float32)
    kernel(wave, whole[1:-1], memory[8:-8])
    assert (whole[[0, -1]] == 7).all()
    assert (memory[:8] == 7).all()
    assert (memory[-8:] == 7).all()


@compiled_here
@pytest.mark.parametrize("window", [8, 20_000])
def test_tiny_and_huge_windows_are_left_to_others(window: int) -> None:
    operation = LogMelSpectrum(sample_rate=16_000, num_bands=4, window=window, hop=window, low_hz=0)
    assert spectra_kernel(operation) is None


def test_without_a_compiler_torch_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    MADE.clear()
    spectra_kernel.cache_clear()
    try:
        assert spectra_kernel(usual(16_000, 40)) is None
    finally:
        MADE.clear()
        spectra_kernel.cache_clear()


@compiled_here
def test_a_kernel_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    spectra_kernel.cache_clear()
    assert spectra_kernel(usual(16_000, 40)) is not None
    monkeypatch.setattr(spectra_kernels, "_turns", lambda points: np.zeros((points, 3, 2), dtype=np.float32))
    spectra_kernel.cache_clear()
    try:
        assert spectra_kernel(usual(16_000, 40)) is None
    finally:
        spectra_kernel.cache_clear()


@compiled_here
@pytest.mark.parametrize("worth", [True, False])
def test_a_folder_of_enough_sounds_is_read_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth: bool
) -> None:
    """Each sound alone, so that the spectra are the same however many are read together."""
    for index in range(12):
        place = tmp_path / "sounds" / ("low", "high")[index % 2] / f"{index:02}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, noise(500 + 90 * index), 8_000, subtype="PCM_16")
    asked: list[object] = []

    def watched(*args: object, kernel: object) -> NDArray[np.float32]:
        asked.append(kernel)
        return spectra.spectra_of_sounds(*args, kernel=kernel)  # type: ignore[arg-type]

    monkeypatch.setattr(sound_source, "spectra_of_sounds", watched)
    if worth:
        monkeypatch.setattr(spectra, "LEAST_FRAMES", 1)
    options = {"mel_bands": 20, "val_fraction": 0, "test_fraction": 0}
    many = nw.load(tmp_path / "sounds", **options)
    monkeypatch.setattr(sound_source, "TOGETHER", 1)
    one = nw.load(tmp_path / "sounds", **options)
    assert {kernel is not None for kernel in asked} == {worth}
    for index in range(12):
        wanted = log_mel(usual(8_000, 20), as_waves(many.train.sound(index)))
        np.testing.assert_allclose(many.train.log_mel(index), wanted, atol=5e-5)
        if worth:
            np.testing.assert_array_equal(many.train.log_mel(index), one.train.log_mel(index))
