"""Where sounds come from: samples that lie in memory with 16 bits, or files that are decoded when they are asked for.

``B`` sounds, ``T`` samples of the longest, ``F`` its spectra, ``M`` their bands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.ragged import Ragged
from netwright.data.spectra import Spectra, making
from netwright.data.threads import in_threads_if_slow, watched
from netwright.errors import DataError
from netwright.log_mel import LogMelSpectrum, count_frames, log_mel
from netwright.metrics import IGNORE_INDEX
from netwright.records import Unreadable
from netwright.sounds import DecodeSound, as_waves, decode_sound

Raw = Path | bytes
# Sounds up to this size lie in memory, 9 hours at 16,000 Hz; larger sets are decoded when asked for. 100,000 words of
# half a second at 8,000 Hz are 800 MB, and 1.5 GB with torch and the names.
MEMORY_LIMIT_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class SoundSource:
    """Sounds of one split.

    Attributes:
        operation: How files are decoded.
        values: Samples of many sounds end to end, int16, which splits share; None where ``paths`` are decoded.
        begins: Where each sound begins in ``values``, int64 (N,).
        sizes: Samples of each, int64 (N,).
        paths: Files of the sounds, or None.
        all_targets: Classes int64 (N,), or the letters of each transcript.
        names: What to call each sound.
        texts: Transcripts as they were written; None where there are classes.
        spectrum: What makes log-mel spectra of each; None where samples are the input.
        spectra: Those of many sounds end to end, float32 (frames, M); None where there are none, or they are made
            when they are asked for.
        spectra_begins: Where those of each sound begin, int64 (N,).
    """

    operation: DecodeSound
    values: NDArray[np.int16] | None
    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]
    paths: tuple[Path, ...] | None
    all_targets: Tensor | Ragged
    names: tuple[str, ...]
    texts: tuple[str, ...] | None = None
    spectrum: LogMelSpectrum | None = None
    spectra: NDArray[np.float32] | None = None
    spectra_begins: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    def sound(self, index: int) -> NDArray[np.int16]:
        """The samples of one sound, int16 (T,).

        Raises:
            DataError: Its file has changed since the data were loaded.
        """
        if self.values is not None:
            return self.values[self.begins[index] : self.begins[index] + self.sizes[index]]
        found = decode_sound(self.operation, (self.paths or ())[index])
        if len(found) != self.sizes[index]:
            raise DataError(
                where=self.names[index],
                expected=f"{self.sizes[index]:,} samples, as when the data were loaded",
                got=f"{len(found):,}",
                cure="Bring the file back as it was, or load the data again.",
            )
        return found

    def samples(self) -> NDArray[np.int16]:
        """Those of all sounds end to end, int16; ``values`` itself where it holds just these, in this order."""
        if self.values is not None and len(self.values) == self.sizes.sum():
            ends = np.concatenate(([0], np.cumsum(self.sizes)[:-1]))
            if np.array_equal(self.begins, ends):
                return self.values
        return np.concatenate([*map(self.sound, range(len(self))), np.zeros(0, dtype=np.int16)])

    def log_mel(self, index: int) -> NDArray[np.float32]:
        """The spectra of one sound, float32 (F, M), of a source that has some."""
        if self.spectrum is None:
            raise ValueError("a source of samples has no spectra")
        if self.spectra is None or self.spectra_begins is None:
            return log_mel(self.spectrum, as_waves(self.sound(index)))
        begin = self.spectra_begins[index]
        return self.spectra[begin : begin + -(-self.sizes[index] // self.spectrum.hop)]

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        """Spectra (B, F, M) or waves (B, T), lengths and mask; targets of transcripts (B, S), ignored at padding."""
        if self.spectrum is None:
            inputs = self.waves(indices)
        else:
            inputs = padded_spectra([self.log_mel(int(index)) for index in indices], self.spectrum.num_bands)
        if isinstance(self.all_targets, Ragged):
            return inputs, torch.from_numpy(self.all_targets.padded(indices, IGNORE_INDEX)[0])
        return inputs, self.all_targets.index_select(0, torch.from_numpy(indices))

    def of_samples(self) -> SoundSource:
        """The same sounds without spectra: what is changed in training are samples."""
        return replace(self, spectrum=None, spectra=None, spectra_begins=None)

    def waves(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """Samples as ``sound`` (B, T) with their lengths and mask."""
        sizes = self.sizes[indices]
        waves = np.zeros((len(indices), max(1, int(sizes.max(initial=0)))), dtype=np.float32)
        for row, index in enumerate(indices):
            found = self.sound(int(index))
            as_waves(found, out=waves[row, : len(found)])
        lengths = torch.from_numpy(sizes.astype(np.int64))
        mask = torch.arange(waves.shape[1])[None] < lengths[:, None]
        return {"sound": torch.from_numpy(waves), "lengths": lengths, "mask": mask}

    def take(self, where: NDArray[np.int64]) -> SoundSource:
        """Some of them; samples in memory are shared."""
        targets = self.all_targets
        return replace(
            self,
            begins=self.begins[where],
            spectra_begins=None if self.spectra_begins is None else self.spectra_begins[where],
            sizes=self.sizes[where],
            paths=None if self.paths is None else tuple(self.paths[index] for index in where),
            all_targets=targets.take(where) if isinstance(targets, Ragged) else targets[torch.from_numpy(where)],
            names=tuple(self.names[index] for index in where),
            texts=None if self.texts is None else tuple(self.texts[index] for index in where),
        )

    def name(self, index: int) -> str:
        """Its file."""
        return self.names[index]

    @property
    def targets(self) -> NDArray[Any]:
        """All classes, (N,), or the letters of all transcripts, (M,)."""
        return self.all_targets.values if isinstance(self.all_targets, Ragged) else self.all_targets.numpy()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Samples of each sound, or spectra where these are the input, int64 (N,)."""
        return self.sizes if self.spectrum is None else count_frames(self.spectrum, self.sizes)

    @property
    def unit(self) -> str:
        """What ``lengths`` counts."""
        return "samples" if self.spectrum is None else "spectra"


def padded_spectra(each: Sequence[NDArray[np.float32]], num_bands: int) -> dict[str, Tensor]:
    """Spectra of several sounds as ``log_mel`` (B, F, M), zero at padding, with their lengths and mask."""
    lengths = torch.tensor([len(one) for one in each], dtype=torch.int64)
    found = np.empty((len(each), max(1, int(lengths.max())) if each else 1, num_bands), dtype=np.float32)
    for row, one in zip(found, each, strict=True):
        row[: len(one)] = one
        row[len(one) :] = 0
    mask = torch.arange(found.shape[1])[None] < lengths[:, None]
    return {"log_mel": torch.from_numpy(found), "lengths": lengths, "mask": mask}


def spectra_of(spectrum: LogMelSpectrum, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch of waves, as ``SoundSource.waves`` gives it, as one of spectra."""
    waves, lengths = inputs["sound"].numpy(), inputs["lengths"].tolist()
    return padded_spectra(
        [log_mel(spectrum, wave[:length]) for wave, length in zip(waves, lengths, strict=True)], spectrum.num_bands
    )


@dataclass(frozen=True, slots=True)
class Decoded:
    """Sounds as they were read: samples end to end (None where there were too many), sizes, and which could be read.

    ``spectra`` are those of all, end to end, where they were asked for and samples are kept.
    """

    values: NDArray[np.int16] | None
    sizes: NDArray[np.int64]
    kept: NDArray[np.int64]
    unreadable: tuple[Unreadable, ...]
    spectra: NDArray[np.float32] | None = None

    @property
    def begins(self) -> NDArray[np.int64]:
        """Where each begins in ``values``, int64 (N,)."""
        return _begins(self.sizes)

    def spectra_begins(self, spectrum: LogMelSpectrum) -> NDArray[np.int64]:
        """Where those of each begin in ``spectra``, int64 (N,)."""
        return _begins(count_frames(spectrum, self.sizes))


def _begins(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)


def each_read(call: Callable[[Raw], Any], raws: Sequence[Raw], names: Sequence[str], *, doing: str) -> list[Any]:
    """Results of reading each sound, in several threads; an ``Unreadable`` where one cannot be read."""
    results = in_threads_if_slow(partial(_or_unreadable, call), list(zip(raws, names, strict=True)))
    return list(watched(results, len(raws), doing))


def decode_all(
    raws: Sequence[Raw],
    names: Sequence[str],
    operation: DecodeSound,
    spectrum: LogMelSpectrum | None = None,
    *,
    expected: int,
    in_memory: bool,
) -> Decoded:
    """Decode every sound once.

    Args:
        raws: Files, or their bytes.
        names: What to call each.
        operation: How.
        spectrum: How spectra are made of them; None for none.
        expected: Samples in all, as the headers have it; more is made room for.
        in_memory: Whether samples are kept, or only looked at.
    """
    if spectrum is None or not in_memory:
        return _decode_all(raws, names, operation, None, expected=expected, in_memory=in_memory)
    with making(spectrum) as spectra:
        return _decode_all(raws, names, operation, spectra, expected=expected, in_memory=in_memory)


def _decode_all(
    raws: Sequence[Raw],
    names: Sequence[str],
    operation: DecodeSound,
    spectra: Spectra | None,
    *,
    expected: int,
    in_memory: bool,
) -> Decoded:
    values = np.empty(max(1, expected) if in_memory else 1, dtype=np.int16)
    sizes, kept, bad, end = [], [], [], 0
    read: Callable[[Raw], Any] = partial(decode_sound, operation)
    call = read if in_memory else lambda raw: len(read(raw))  # a piece of decoded files would not fit into memory
    results = in_threads_if_slow(partial(_or_unreadable, call), list(zip(raws, names, strict=True)))
    for index, found in enumerate(watched(results, len(raws), "reading sounds")):
        if isinstance(found, Unreadable):
            bad.append(found)
            continue
        size = len(found) if in_memory else found
        if in_memory:
            if end + size > len(values):  # an MP3's header only estimates
                values = np.concatenate((values, np.empty(max(size, len(values) // 8), dtype=np.int16)))
            values[end : end + size] = found
        if spectra is not None:
            spectra.add(found)
        sizes.append(size)
        kept.append(index)
        end += size
    return Decoded(
        values[:end] if in_memory else None,
        np.asarray(sizes, dtype=np.int64),
        np.asarray(kept, dtype=np.int64),
        tuple(bad),
        None if spectra is None else spectra.whole(),
    )


def _or_unreadable(call: Callable[[Raw], Any], one: tuple[Raw, str]) -> Any:
    raw, name = one
    try:
        return call(raw)
    except DataError as error:
        return Unreadable(name=name, reason=error.got)
