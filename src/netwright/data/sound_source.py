"""Where sounds come from: samples that lie in memory with 16 bits, or files that are decoded when they are asked for.

``B`` sounds, ``T`` samples of the longest, ``F`` its spectra, ``M`` their bands.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.ragged import Ragged
from netwright.data.spectra import kernel_for, one_thread, spectra_of_sounds
from netwright.data.threads import cores, in_threads_if_slow, lists_ahead, watched
from netwright.errors import DataError
from netwright.log_mel import LogMelSpectrum, count_frames, log_mel
from netwright.metrics import IGNORE_INDEX
from netwright.records import Unreadable
from netwright.sounds import DecodeSound, as_waves, decode_sound

Raw = Path | bytes
# Sounds up to this size lie in memory, 9 hours at 16,000 Hz; larger sets are decoded when asked for. 100,000 words of
# half a second at 8,000 Hz are 800 MB, and 1.5 GB with torch and the names.
MEMORY_LIMIT_BYTES = 2**30
# Sounds that a thread reads before it makes their spectra, and samples of them: with 8 sounds of a second a last one
# was often transformed alone, and threads waited for each other longer. Of long ones few are held.
TOGETHER, TOGETHER_SAMPLES = 32, 1 << 19


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
        digests: SHA-256 of the samples of each, uint8 (N, 32); None where they are not kept.
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
    digests: NDArray[np.uint8] | None = None

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
            digests=None if self.digests is None else self.digests[where],
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

    ``spectra`` are those of all, end to end, where they were asked for and samples are kept; ``digests`` are SHA-256 of
    each sound's samples, uint8 (N, 32), where these are kept.
    """

    values: NDArray[np.int16] | None
    sizes: NDArray[np.int64]
    kept: NDArray[np.int64]
    unreadable: tuple[Unreadable, ...]
    spectra: NDArray[np.float32] | None = None
    digests: NDArray[np.uint8] | None = None

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
    values = np.empty(max(1, expected) if in_memory else 1, dtype=np.int16)
    spectra = np.empty((0, 0), dtype=np.float32)
    pairs, kept_spectra = list(zip(raws, names, strict=True)), in_memory and spectrum is not None
    if spectrum is not None and in_memory:
        spectra = np.empty((expected // spectrum.hop + len(raws), spectrum.num_bands), dtype=np.float32)
        few = max(1, min(TOGETHER, TOGETHER_SAMPLES * len(raws) // max(1, expected)))
        make = partial(spectra_of_sounds, spectrum, kernel=kernel_for(spectrum, expected // spectrum.hop))
        results = _with_spectra(pairs, operation, make, few)
    else:
        call = partial(_samples if in_memory else _size_alone, operation)
        results = ((found, None) for found in in_threads_if_slow(partial(_or_unreadable, call), pairs))
    sizes, kept, bad, digests, stored, frames = [], [], [], [], 0, 0
    with contextlib.closing(results):  # else torch would keep one thread where this is left by an error
        for index, (found, made) in enumerate(watched(results, len(raws), "reading sounds")):
            if made is not None:
                values, spectra = _put(made[0], values, stored), _put(made[1], spectra, frames)
                stored, frames = stored + len(made[0]), frames + len(made[1])
            if isinstance(found, Unreadable):
                bad.append(found)
                continue
            samples, size, digest = found
            if samples is not None:
                values = _put(samples, values, stored)
                stored += size
            digests.append(digest)
            sizes.append(size)
            kept.append(index)
    return Decoded(
        values[:stored] if in_memory else None,
        np.asarray(sizes, dtype=np.int64),
        np.asarray(kept, dtype=np.int64),
        tuple(bad),
        spectra[:frames] if kept_spectra else None,
        np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32) if in_memory else None,
    )


def _put(some: NDArray[Any], into: NDArray[Any], at: int) -> NDArray[Any]:
    """An array with some more in it, made longer where there is no room: an MP3's header only estimates."""
    if at + len(some) > len(into):
        into = np.concatenate((into, np.empty((max(len(some), len(into) // 8), *into.shape[1:]), dtype=into.dtype)))
    into[at : at + len(some)] = some
    return into


def _with_spectra(
    pairs: Sequence[tuple[Raw, str]],
    operation: DecodeSound,
    make: Callable[[Sequence[NDArray[np.int16]]], NDArray[np.float32]],
    count: int,
) -> Generator[tuple[Any, tuple[NDArray[np.int16], NDArray[np.float32]] | None], None, None]:
    """The size and digest of each sound; beside the first of ``count`` the samples and the spectra of all of these.

    A thread reads so many sounds and makes their spectra: where one thread read for the others, they waited for it.
    They wait for Python's lock too, which each copy gives up and asks for again: so samples of some are one array.
    """

    def some(few: Sequence[tuple[Raw, str]]) -> tuple[list[Any], tuple[NDArray[np.int16], NDArray[np.float32]]]:
        found = [_or_unreadable(partial(_samples, operation), one) for one in few]
        waves = [one[0] for one in found if not isinstance(one, Unreadable)]
        alone = [one if isinstance(one, Unreadable) else (None, *one[1:]) for one in found]
        joined = np.concatenate(waves) if waves else np.empty(0, dtype=np.int16)
        return alone, (joined, make(waves))

    pieces = [pairs[begin : begin + count] for begin in range(0, len(pairs), count)]
    lists = (pieces[begin : begin + cores()] for begin in range(0, len(pieces), cores()))
    with one_thread(), contextlib.closing(lists_ahead(some, lists)) as made:
        for found, together in (piece for one in made for piece in one):
            for place, result in enumerate(found):
                yield result, None if place else together


def _samples(operation: DecodeSound, raw: Raw) -> tuple[NDArray[np.int16] | None, int, bytes]:
    """A sound, its size and its digest, which is taken while the samples lie in the processor's cache."""
    samples = np.ascontiguousarray(decode_sound(operation, raw))
    return samples, len(samples), hashlib.sha256(samples.data).digest()


def _size_alone(operation: DecodeSound, raw: Raw) -> tuple[NDArray[np.int16] | None, int, bytes]:
    """As ``_samples``, without keeping any: a piece of decoded files would not fit into memory."""
    return None, len(decode_sound(operation, raw)), b""


def _or_unreadable(call: Callable[[Raw], Any], one: tuple[Raw, str]) -> Any:
    raw, name = one
    try:
        return call(raw)
    except DataError as error:
        return Unreadable(name=name, reason=error.got)
