"""Log-mel spectra of many sounds, for training: what ``log_mel.log_mel`` makes of each, in a part of its time.

They agree to rounding: here a kernel makes them, or torch does, of some sounds behind one another. Threads of our own,
which read the sounds too, make them; torch's, which wait for each other in each operation, took twenty times as long
where other programs have the processor too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.data.spectra_kernels import SpectraKernel, spectra_kernel
from netwright.log_mel import FLOOR, LogMelSpectrum, count_frames, fixed, log_mel
from netwright.sounds import FULL_SCALE, as_waves

# Samples that are transformed together: eight sounds of a second, whose frames fit into a usual second-level cache.
AT_ONCE = 1 << 17
# Ten minutes of sound, whose spectra torch makes in a fifth of a second; to compile the kernel once takes one.
LEAST_FRAMES = 60_000


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside torch has one thread for an operation, since several operations are done at once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def kernel_for(operation: LogMelSpectrum, frames: int) -> SpectraKernel | None:
    """The kernel for so many spectra in all, where there is one, and they are worth compiling it.

    Whether they are does not depend on what was compiled before: where a compiler stays, a data set's spectra are the
    same each time, to the last bit.
    """
    return spectra_kernel(operation) if frames >= LEAST_FRAMES else None


def spectra_of_sounds(
    operation: LogMelSpectrum, waves: Sequence[NDArray[np.int16]], kernel: SpectraKernel | None = None
) -> NDArray[np.float32]:
    """The spectra of some sounds, end to end, float32 (frames, M).

    Args:
        operation: How they are made.
        waves: int16 (T,), T at least 1.
        kernel: What makes them; None for torch, or for NumPy where one is long.
    """
    frames = count_frames(operation, np.asarray([len(one) for one in waves], dtype=np.int64))
    out = np.empty((int(frames.sum()), operation.num_bands), dtype=np.float32)
    begin, place = 0, 0
    if kernel is not None:
        room = kernel.room()
        for wave, count in zip(waves, frames.tolist(), strict=True):
            kernel(wave, out[place : place + count], room)
            place += count
        return out
    while begin < len(waves):
        end, held = begin + 1, len(waves[begin])
        while end < len(waves) and held + len(waves[end]) <= AT_ONCE:
            held += len(waves[end])
            end += 1
        count = int(frames[begin:end].sum())
        if held > AT_ONCE:
            out[place : place + count] = log_mel(operation, as_waves(waves[begin]))
        else:
            _together(operation, waves[begin:end], frames[begin:end], out[place : place + count])
        begin, place = end, place + count
    return out


def _together(
    operation: LogMelSpectrum, waves: Sequence[NDArray[np.int16]], frames: NDArray[np.int64], out: NDArray[np.float32]
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
    weighed = torch.empty(len(parts), 2 * (len(filters) - 1), dtype=torch.float32)
    weighed[:, size:] = 0
    torch.mul(parts, torch.from_numpy(window / np.float32(FULL_SCALE)), out=weighed[:, :size])  # a power of two: exact
    squares = torch.view_as_real(torch.fft.rfft(weighed)).square_()
    found = torch.mm(squares[..., 0] + squares[..., 1], torch.from_numpy(filters)).clamp_min_(FLOOR).log_().numpy()
    place = 0
    for start, count in zip(starts.tolist(), frames.tolist(), strict=False):
        out[place : place + count] = found[start : start + count]
        place += count
