"""Log-mel spectra of many sounds at once, for training: what ``log_mel.log_mel`` makes of each, in half its time.

Both agree to rounding: here the transforms are torch's, and many sounds lie behind one another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.log_mel import FLOOR, LogMelSpectrum, count_frames, fixed, log_mel
from netwright.sounds import FULL_SCALE, as_waves

# Samples that are transformed together: eight sounds of a second, whose frames fit into a usual second-level cache.
AT_ONCE = 1 << 17


def spectra_of_all(
    operation: LogMelSpectrum, values: NDArray[np.int16], sizes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The spectra of sounds that lie end to end, end to end, float32 (frames, M).

    Args:
        values: Samples of all, int16 (sum of ``sizes``,).
        sizes: Samples of each, int64 (N,), none 0.
    """
    frames = count_frames(operation, sizes)
    found = np.empty((int(frames.sum()), operation.num_bands), dtype=np.float32)
    begins = np.concatenate(([0], np.cumsum(sizes)))
    places = np.concatenate(([0], np.cumsum(frames)))
    for first, last in _groups(sizes):
        out = found[places[first] : places[last]]
        if last - first == 1 and sizes[first] > AT_ONCE:
            out[:] = log_mel(operation, as_waves(values[begins[first] : begins[last]]))
        else:
            waves = [values[begins[one] : begins[one + 1]] for one in range(first, last)]
            _together(operation, waves, frames[first:last], out)
    return found


def _groups(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Stretches of sounds of up to ``AT_ONCE`` samples in all; a longer one alone."""
    first, held = 0, 0
    for at, size in enumerate(sizes.tolist()):
        if held and held + size > AT_ONCE:
            yield first, at
            first, held = at, 0
        held += size
    if held:
        yield first, len(sizes)


def _together(
    operation: LogMelSpectrum, waves: list[NDArray[np.int16]], frames: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Spectra of a few sounds. Each begins at a multiple of the hop, with silence before and after it."""
    window, filters = fixed(operation)
    size, hop, before = operation.window, operation.hop, operation.window // 2
    rows = frames + -(-size // hop)  # those at the end, which reach into the next sound, are dropped
    starts = np.concatenate(([0], np.cumsum(rows)))
    line = np.zeros(int(starts[-1]) * hop + size, dtype=np.float32)
    for wave, start, count in zip(waves, (starts * hop).tolist(), frames.tolist(), strict=False):
        inside = wave[: (count - 1) * hop + size - before]
        line[start + before : start + before + len(inside)] = inside
    parts = torch.from_numpy(line).as_strided((int(starts[-1]), size), (hop, 1))
    weighed = torch.zeros(len(parts), 2 * (len(filters) - 1))
    torch.mul(parts, torch.from_numpy(window / np.float32(FULL_SCALE)), out=weighed[:, :size])  # a power of two: exact
    squares = torch.view_as_real(torch.fft.rfft(weighed)).square_()
    found = torch.mm(squares[..., 0] + squares[..., 1], torch.from_numpy(filters)).clamp_min_(FLOOR).log_().numpy()
    place = 0
    for start, count in zip(starts.tolist(), frames.tolist(), strict=False):
        out[place : place + count] = found[start : start + count]
        place += count
