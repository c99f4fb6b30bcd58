"""Log-mel spectra as one operation on a decoded sound, run alike in training and in serving. No torch here.

The numbers are those of the layer ``blocks.LogMel``, to rounding: whoever wants spectra computed once, and not in every
update, asks for them here. ``T`` samples, ``F`` frames, ``M`` bands.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

WINDOW_S, HOP_S, LOW_HZ = 0.025, 0.01, 20.0  # as the layer's
# Energies below this are silence: -100 dB of a full-scale sine, under what 16 bits resolve.
FLOOR = 1e-10
# Slaney's scale is linear to 1,000 Hz, in steps of 200 / 3 Hz, and logarithmic above: 27 steps to a factor of 6.4.
SLANEY_STEP, SLANEY_BREAK, SLANEY_LOG = 200.0 / 3.0, 1_000.0, math.log(6.4) / 27.0
AT_ONCE = 4096  # frames, so that an hour of sound needs no gigabyte


class LogMelSpectrum(BaseModel):
    """Samples (T,) to the logarithm of their energy in mel bands, float32 (F, M); frame f is centred on f * hop.

    Source:
        Davis & Mermelstein 1980, IEEE Trans. ASSP 28:357, with a logarithm in place of their cosine transform; the
        scale: Slaney 1998, "Auditory Toolbox", Interval Research report 1998-010.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Literal["log_mel"] = "log_mel"
    sample_rate: int = Field(gt=0, description="Samples a second.")
    num_bands: int = Field(gt=0, description="Bands, M.")
    window: int = Field(gt=1, description="Samples of a frame, under a Hann window.")
    hop: int = Field(gt=0, description="Samples between frames.")
    low_hz: float = Field(ge=0, description="Where the lowest band begins; the highest ends at half the rate.")


def usual(sample_rate: int, num_bands: int) -> LogMelSpectrum:
    """Frames of 25 ms, 10 ms apart."""
    window, hop = max(2, round(sample_rate * WINDOW_S)), max(1, round(sample_rate * HOP_S))
    return LogMelSpectrum(sample_rate=sample_rate, num_bands=num_bands, window=window, hop=hop, low_hz=LOW_HZ)


def count_frames(operation: LogMelSpectrum, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frames of sounds of so many samples, int64 of the same shape: ceil(T / hop)."""
    return -(-sizes // operation.hop)


def log_mel(operation: LogMelSpectrum, waves: NDArray[np.float32]) -> NDArray[np.float32]:
    """The spectra of one sound, float32 (F, M).

    Args:
        waves: Full scale at 1, float32 (T,); beyond the ends the sound is zero.
    """
    window, filters = fixed(operation)
    size, hop = operation.window, operation.hop
    frames = -(-len(waves) // hop)
    padded = np.zeros((frames - 1) * hop + size, dtype=np.float32)
    before = size // 2
    inside = waves[: len(padded) - before]  # where a hop is longer than half a window, no frame reaches the end
    padded[before : before + len(inside)] = inside
    parts = np.lib.stride_tricks.as_strided(padded, (frames, size), (hop * padded.itemsize, padded.itemsize))
    found = np.empty((frames, operation.num_bands), dtype=np.float32)
    for begin in range(0, frames, AT_ONCE):
        some = parts[begin : begin + AT_ONCE]
        weighed = np.zeros((len(some), 2 * (len(filters) - 1)), dtype=np.float32)
        np.multiply(some, window, out=weighed[:, :size])
        spectrum = np.fft.rfft(weighed, axis=1)
        energy = np.square(spectrum.real) + np.square(spectrum.imag)
        np.matmul(energy.astype(np.float32, copy=False), filters, out=found[begin : begin + len(some)])
    np.maximum(found, np.float32(FLOOR), out=found)
    return np.log(found, out=found)


@functools.lru_cache(maxsize=8)
def fixed(operation: LogMelSpectrum) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The window, with the sum 1, (window,); and triangles of equal areas over the bins of a spectrum, (bins, M)."""
    steps = np.arange(operation.window)
    window = 0.5 - 0.5 * np.cos(2 * math.pi * steps / operation.window)  # periodic, as spectra want it
    num_bins = 2 ** math.ceil(math.log2(operation.window)) // 2 + 1
    low, high = (_mel(one) for one in (operation.low_hz, operation.sample_rate / 2))
    corners = np.asarray([_hertz(one) for one in np.linspace(low, high, operation.num_bands + 2)])
    bins = np.linspace(0, operation.sample_rate / 2, num_bins)[:, None]
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (corners[2:] - corners[:-2]))
    return (window / window.sum()).astype(np.float32), triangles.astype(np.float32)


def _mel(hertz: float) -> float:
    if hertz < SLANEY_BREAK:
        return hertz / SLANEY_STEP
    return SLANEY_BREAK / SLANEY_STEP + math.log(hertz / SLANEY_BREAK) / SLANEY_LOG


def _hertz(mel: float) -> float:
    at_break = SLANEY_BREAK / SLANEY_STEP
    return mel * SLANEY_STEP if mel < at_break else SLANEY_BREAK * math.exp(SLANEY_LOG * (mel - at_break))
