"""Log-mel spectra by a kernel whose source is ``spectra_kernels.cpp``: a third of the time of torch's operations.

It agrees with ``log_mel.log_mel`` to rounding, which is compared before it is used, once a process for each operation.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from netwright.log_mel import FLOOR, LogMelSpectrum, fixed, log_mel
from netwright.native import NoKernelsError, library
from netwright.sounds import FULL_SCALE, as_waves

SOURCE = Path(__file__).with_name("spectra_kernels.cpp")
LANES = 8  # as there
LEAST_POINTS, MOST_POINTS = 16, 4_096  # of a transform: less is no more than a vector or two, more leaves the caches
APART = 1e-4  # of logarithms, where rounding is a few millionths: more is a fault


class _Plan(ctypes.Structure):
    """As in the source."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("window", "hop", "points", "bands")),
        *((name, ctypes.c_void_p) for name in ("weights", "turns", "halves", "order", "first", "count", "shares")),
        ("floor", ctypes.c_float),
    )


class SpectraKernel:
    """Makes spectra as an operation says; several threads may call it at once."""

    def __init__(self, operation: LogMelSpectrum) -> None:
        """Raises NoKernelsError where it cannot be compiled."""
        window, filters = fixed(operation)
        points = len(filters) - 1
        first = np.argmax(filters > 0, axis=0)
        last = len(filters) - np.argmax(filters[::-1] > 0, axis=0)
        count = np.where(filters.any(axis=0), last - first, 0)
        angles = np.pi * np.arange(points // 2 + 1) / points
        weights = np.zeros(-(-len(window) // LANES) * LANES, dtype=np.float32)
        weights[: len(window)] = window * np.float32(0.5 / FULL_SCALE)  # a power of two: exact
        self._held = {
            "weights": weights,
            "turns": _turns(points),
            "halves": np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32),
            "order": np.argsort(_places(points)).astype(np.int32),
            "first": first.astype(np.int32),
            "count": count.astype(np.int32),
            "shares": np.concatenate([one[a : a + n] for one, a, n in zip(filters.T, first, count, strict=True)]),
        }
        places = {name: one.ctypes.data for name, one in self._held.items()}
        self._plan = _Plan(len(window), operation.hop, points, operation.num_bands, floor=FLOOR, **places)
        self._room = (3 * points + len(window) + LANES + 2) * LANES
        number, place = ctypes.c_long, ctypes.c_void_p
        self._log_mel = library(SOURCE).log_mel
        self._log_mel.argtypes = (ctypes.POINTER(_Plan), place, number, number, number, place, place)
        self._log_mel.restype = None

    def room(self) -> NDArray[np.float32]:
        """Memory that a thread gives ``__call__``, for one sound after the other."""
        return np.empty(self._room, dtype=np.float32)

    def __call__(self, wave: NDArray[np.int16], out: NDArray[np.float32], room: NDArray[np.float32]) -> None:
        """Make the spectra of one sound.

        Args:
            wave: int16 (T,), without gaps, T at least 1.
            out: Where they are put, float32 (F, M), without gaps.
            room: As ``room()`` gives it.

        Raises:
            ValueError: They are not so; the kernel would write past them.
        """
        whole = wave.flags.c_contiguous and out.flags.carray and room.flags.carray
        fits = out.shape == (-(-len(wave) // self._plan.hop), self._plan.bands) and len(room) == self._room
        if not (whole and fits and wave.dtype == np.int16 and out.dtype == room.dtype == np.float32):
            raise ValueError("a kernel takes samples of 16 bits, and room for its spectra, without gaps")
        frames, before = len(out), self._plan.window // 2
        self._log_mel(self._plan, wave.ctypes.data, len(wave), frames, before, room.ctypes.data, out.ctypes.data)


@functools.lru_cache(maxsize=8)
def spectra_kernel(operation: LogMelSpectrum) -> SpectraKernel | None:
    """What makes spectra as this operation says; None where there is none that can be relied on."""
    points = len(fixed(operation)[1]) - 1
    if not LEAST_POINTS <= points <= MOST_POINTS:
        return None
    try:
        kernel = SpectraKernel(operation)
    except NoKernelsError:
        return None
    return kernel if _agrees(kernel, operation) else None


def _agrees(kernel: SpectraKernel, operation: LogMelSpectrum) -> bool:
    """Whether a sound of noise and a tone gives what ``log_mel`` gives."""
    times = np.arange(3 * operation.window + operation.hop // 2)
    noise = np.random.default_rng(0).normal(size=len(times))
    wave = (noise * 2_000 + 9_000 * np.sin(times / 7)).astype(np.int16)
    wanted = log_mel(operation, as_waves(wave))
    out = np.empty_like(wanted)
    kernel(wave, out, kernel.room())
    return bool(np.abs(out - wanted).max() < APART)


def _turns(points: int) -> NDArray[np.float32]:
    """Cosines and sines of once, twice and three times each angle, of each factor of 4 but the last one."""
    found, span = [np.zeros((0, 3))], points
    while span > 4:
        found.append(2 * np.pi * np.arange(span // 4)[:, None] * np.asarray([1, 2, 3]) / span)
        span //= 4
    angles = np.concatenate(found)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)


def _places(points: int) -> NDArray[np.int64]:
    """Which number lies at each place of a transform's result."""
    if points <= 2:
        return np.arange(points)
    return (4 * _places(points // 4)[None] + np.arange(4)[:, None]).reshape(-1)
