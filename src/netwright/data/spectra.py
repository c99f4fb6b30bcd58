"""Log-mel spectra of many sounds, for training: what ``log_mel.log_mel`` makes of each, in half its time.

Both agree to rounding: here the transforms are torch's, and some sounds lie behind one another. Threads of our own make
them while the next sounds are read; torch's, which wait for each other in each operation, took twenty times as long
where other programs have the processor too.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.data.threads import cores
from netwright.log_mel import FLOOR, LogMelSpectrum, count_frames, fixed, log_mel
from netwright.sounds import FULL_SCALE, as_waves

# Samples that are transformed together: eight sounds of a second, whose frames fit into a usual second-level cache.
AT_ONCE = 1 << 17
# Such groups that may wait for a thread, so that sounds are not held twice.
WAITING = 8


@dataclass(slots=True)
class Spectra:
    """Spectra of sounds that are given one after another.

    Attributes:
        operation: How they are made.
        pool: The threads that make them.
        group: Sounds that are not yet with a thread, and ``held`` the samples in them.
        under_way: What threads are at, oldest first.
        made: Spectra, float32 (frames, M) of a group each.
    """

    operation: LogMelSpectrum
    pool: ThreadPoolExecutor
    group: list[NDArray[np.int16]] = field(default_factory=list)
    held: int = 0
    under_way: deque[Future[NDArray[np.float32]]] = field(default_factory=deque)
    made: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, samples: NDArray[np.int16]) -> None:
        """The next sound, int16 (T,), T at least 1."""
        if self.held + len(samples) > AT_ONCE:
            self._hand_over()
        self.group.append(samples)
        self.held += len(samples)

    def whole(self) -> NDArray[np.float32]:
        """Those of all sounds so far, end to end, float32 (frames, M)."""
        self._hand_over()
        self.made += [one.result() for one in self.under_way]
        self.under_way.clear()
        return np.concatenate([np.zeros((0, self.operation.num_bands), dtype=np.float32), *self.made])

    def _hand_over(self) -> None:
        if self.group:
            self.under_way.append(self.pool.submit(_of_group, self.operation, self.group))
        self.group, self.held = [], 0
        while len(self.under_way) > WAITING:
            self.made.append(self.under_way.popleft().result())


@contextlib.contextmanager
def making(operation: LogMelSpectrum) -> Iterator[Spectra]:
    """Make spectra inside; torch has one thread for an operation meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores()) as pool:
            yield Spectra(operation, pool)
    finally:
        torch.set_num_threads(threads)


def _of_group(operation: LogMelSpectrum, waves: list[NDArray[np.int16]]) -> NDArray[np.float32]:
    """The spectra of some sounds, end to end; one that is longer than a group comes alone, and in pieces."""
    if len(waves) == 1 and len(waves[0]) > AT_ONCE:
        return log_mel(operation, as_waves(waves[0]))
    frames = count_frames(operation, np.asarray([len(one) for one in waves], dtype=np.int64))
    out = np.empty((int(frames.sum()), operation.num_bands), dtype=np.float32)
    _together(operation, waves, frames, out)
    return out


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
    weighed = torch.zeros(len(parts), 2 * (len(filters) - 1), dtype=torch.float32)
    torch.mul(parts, torch.from_numpy(window / np.float32(FULL_SCALE)), out=weighed[:, :size])  # a power of two: exact
    squares = torch.view_as_real(torch.fft.rfft(weighed)).square_()
    found = torch.mm(squares[..., 0] + squares[..., 1], torch.from_numpy(filters)).clamp_min_(FLOOR).log_().numpy()
    place = 0
    for start, count in zip(starts.tolist(), frames.tolist(), strict=False):
        out[place : place + count] = found[start : start + count]
        place += count
