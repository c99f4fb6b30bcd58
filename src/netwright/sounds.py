"""Reading sound: one operation, run alike in training and in serving. No torch here.

A sound is mixed to one channel, brought to one sample rate and kept with 16 bits, whatever it came as. ``T`` samples,
``C`` channels.
"""

from __future__ import annotations

import functools
import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from netwright.errors import DataError, require

# What libsndfile reads by its own decoders; names of other kinds of sound are known so that they can be named.
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
FOREIGN = (".m4a", ".aac", ".wma", ".webm", ".amr", ".ra")
FULL_SCALE = 32_768  # of 16 bits
# Outside of this a header is damaged: telephones have 8,000 Hz, and no converter on sale has more than 768,000.
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
# Terms of the ratio of two rates; a rate such as 44,101 is taken for its neighbour, 0.01 % off at most.
MAX_TERM = 2_000
AT_ONCE = 1 << 16  # samples read at a time, so that a header that promises hours costs no memory
# The header of a WAV file of one channel and 16 bits with nothing but samples in it. Such a file is taken as it lies:
# libsndfile gives the same numbers, and opening a file by it takes ten times as long.
PLAIN = struct.Struct("<4sI4s4sIHHIIHH4sI")
READING = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # for the system's own calls: Python's file objects take longer

Raw = str | Path | bytes | NDArray[Any]


class DecodeSound(BaseModel):
    """File, bytes or array to int16 (T,): the mean of all channels, at one rate; what clips is scaled to fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Literal["decode_sound"] = "decode_sound"
    sample_rate: int = Field(ge=LOWEST_RATE, le=HIGHEST_RATE, description="Samples a second.")
    max_seconds: float = Field(gt=0, description="A longer sound is refused.")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself: samples a second, samples of each channel, and channels."""

    sample_rate: int
    frames: int
    channels: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.frames / self.sample_rate


def read_header(raw: Path | bytes) -> Header:
    """What a file says of itself; its samples are not read.

    Raises:
        DataError: It is no sound that can be read.
        MissingExtraError: The ``speech`` extra is not installed.
    """
    plain = _plain_header(raw)
    if plain is not None:
        return plain
    with _opened(raw) as file:
        return Header(int(file.samplerate), int(file.frames), int(file.channels))


def decode_sound(operation: DecodeSound, raw: Raw) -> NDArray[np.int16]:
    """Take one raw sound to int16 (T,), T at least 1.

    Args:
        raw: A file's path or bytes; or samples, real numbers with full scale at 1 or int16, (T,) or (T, C), that have
            the operation's rate already.

    Raises:
        DataError: It cannot be read, is empty, silent or too long, or holds NaN or infinity.
        MissingExtraError: The ``speech`` extra is not installed.
    """
    name = str(raw) if isinstance(raw, str | Path) else "sound"
    if isinstance(raw, np.ndarray):
        samples, rate = _as_samples(raw), operation.sample_rate
        if len(samples) > operation.max_seconds * rate:
            raise _too_long(name, len(samples) / rate, operation)
    else:
        samples, rate = _read(Path(raw) if isinstance(raw, str) else raw, name, operation)
    if not len(samples):
        raise unreadable(name, "0 samples")
    kept = samples if samples.dtype == np.int16 else _as_kept(samples, rate, operation, name)
    if kept[0] == kept[len(kept) // 2] and kept.min() == kept.max():  # two numbers tell it of nearly every sound
        raise unreadable(name, f"silence: all {len(kept):,} samples are {kept[0]}")
    return np.asarray(kept, dtype=np.int16)


def _as_kept(samples: NDArray[Any], rate: int, operation: DecodeSound, name: str) -> NDArray[np.int16]:
    """Real numbers at the operation's rate, with 16 bits."""
    finite = np.isfinite(samples)
    if not finite.all():
        raise unreadable(name, f"NaN or infinity in {int((~finite).sum()):,} of {len(samples):,} samples")
    peak = float(np.abs(samples).max())
    if peak > 1:  # real numbers beyond full scale: the shape is kept, the level is not
        samples = samples / np.float32(peak)
    whole = np.rint(resample(samples, rate, operation.sample_rate) * FULL_SCALE)
    return np.clip(whole, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def as_waves(samples: NDArray[np.int16], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Stored samples as a module gets them, with full scale at 1, float32 of the same shape.

    Args:
        out: Where they are put; None for a new array.
    """
    waves: NDArray[np.float32] = np.empty(samples.shape, dtype=np.float32) if out is None else out
    np.multiply(samples, np.float32(1 / FULL_SCALE), out=waves, dtype=np.float32)  # a power of two: exact
    return waves


def resample(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Samples at another rate: (T,) to (ceil(T * wanted / rate),), without what the new rate cannot hold."""
    if rate == wanted:
        return samples
    ratio = Fraction(wanted, rate).limit_denominator(MAX_TERM)
    up, down = ratio.numerator, ratio.denominator
    if up == down:
        return samples
    window = low_pass(max(up, down))
    try:
        from scipy.signal import resample_poly
    except ImportError:  # what answers from a bundle does without
        return resample_plainly(samples, up, down, window)
    return np.asarray(resample_poly(samples, up, down, window=window), dtype=np.float32)


@functools.lru_cache(maxsize=8)
def low_pass(most: int) -> NDArray[np.float32]:
    """A low-pass filter for a ratio of two rates: a sinc of 20 * ``most`` + 1 taps under a Kaiser window of beta 5.

    It is what ``resample_poly`` makes by itself, for each sound anew: a third of its time for 44,100 Hz.

    Args:
        most: The larger term of the ratio.
    """
    places = np.arange(-10 * most, 10 * most + 1)
    taps = np.sinc(places / most) / most * np.kaiser(len(places), 5.0)
    return np.asarray(taps / taps.sum(), dtype=np.float32)


def resample_plainly(
    samples: NDArray[np.float32], up: int, down: int, window: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What ``scipy.signal.resample_poly`` gives, with NumPy alone: the same sums, in the same order, in float32.

    Args:
        samples: (T,).
        up: Term of the ratio by which rates are multiplied; ``down`` that by which they are divided.
        window: The filter, of an odd number of taps.

    Returns:
        float32 (ceil(T * up / down),).
    """
    count = -(-len(samples) * up // down)
    taps = window * np.float32(up)
    moments = np.arange(count) * down + (len(taps) - 1) // 2  # of each output, in steps of the rate up * rate
    last, phase = moments // up, moments % up
    result = np.zeros(count, dtype=np.float32)
    for back in range(-(-len(taps) // up) - 1, -1, -1):
        source, tap = last - back, phase + back * up
        there = (source >= 0) & (source < len(samples)) & (tap < len(taps))
        result[there] += samples[source[there]] * taps[tap[there]]
    return result


def unreadable(name: str, reason: str) -> DataError:
    """The error for a sound that cannot be read."""
    return DataError(
        where=name,
        expected="a sound that can be read",
        got=reason,
        cure="Replace or remove it, or convert it: ffmpeg -i FILE -ac 1 FILE.wav.",
    )


def _too_long(name: str, seconds: float, operation: DecodeSound) -> DataError:
    return DataError(
        where=name,
        expected=f"at most {operation.max_seconds:g} s of sound",
        got=f"{seconds:,.1f} s",
        cure="Cut it, or allow more by --max-seconds.",
    )


def _opened(raw: Path | bytes) -> Any:  # soundfile.SoundFile, imported late
    soundfile = require("soundfile", "speech")
    name = str(raw) if isinstance(raw, Path) else "sound"
    try:
        empty = not raw.stat().st_size if isinstance(raw, Path) else not raw
        if empty:
            raise unreadable(name, "0 bytes")
        file = soundfile.SoundFile(str(raw) if isinstance(raw, Path) else io.BytesIO(raw))
    except OSError as error:
        raise unreadable(name, error.strerror or str(error)) from error
    # Headers that lie lead soundfile to TypeError (no rate: taken for raw samples) beside its own errors.
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise unreadable(name, _reason(error, raw)) from error
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE or not file.channels:
        with file:
            raise unreadable(name, f"a header of {file.samplerate:,} Hz and {file.channels} channels")
    return file


def _reason(error: Exception, raw: Path | bytes) -> str:
    """What was wrong, without the path that stands in front of it."""
    if isinstance(raw, Path) and raw.suffix.casefold() in FOREIGN:
        return f"a format that is not read here, {raw.suffix[1:]}"
    text = str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
    return f"no sound: {text}" if text else type(error).__name__


def _plain_header(raw: Path | bytes) -> Header | None:
    """What a WAV file of the plainest kind says of itself; None of all else, damaged ones among them."""
    if not isinstance(raw, Path):
        return _as_plain(raw[: PLAIN.size], len(raw))
    try:
        file = os.open(raw, READING)
        try:
            return _as_plain(os.read(file, PLAIN.size), os.fstat(file).st_size)
        finally:
            os.close(file)
    except OSError:
        return None  # the other reader says why


def _as_plain(begin: bytes, size: int) -> Header | None:
    """The header of a plain WAV file, from its first bytes and its size."""
    if len(begin) < PLAIN.size or begin[:4] != b"RIFF":
        return None
    riff, inside, wave, fmt, length, code, channels, rate, a_second, block, bits, data, held = PLAIN.unpack(begin)
    # Samples follow at once and end the file; whatever else there is, or is not whole, libsndfile shall judge.
    expected = (b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 1, 2 * rate, 2, 16, b"data", size - PLAIN.size)
    if (riff, inside, wave, fmt, length, code, channels, a_second, block, bits, data, held) != expected:
        return None
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or not held or held % 2:
        return None
    return Header(rate, held // 2, 1)


def _read_plain(raw: Path | bytes, name: str, operation: DecodeSound) -> NDArray[np.int16] | None:
    """The samples of a plain WAV file of the wanted rate, int16 (T,); None of all else."""
    if not isinstance(raw, Path):
        header, content = _as_plain(raw[: PLAIN.size], len(raw)), raw[PLAIN.size :]
        return None if header is None else _fitting(header, content, name, operation)
    content = b""
    try:
        file = os.open(raw, READING)
        try:
            size = os.fstat(file).st_size
            header = _as_plain(os.read(file, PLAIN.size), size)
            if header is None or header.sample_rate != operation.sample_rate:
                return None
            if header.frames <= operation.max_seconds * header.sample_rate:
                content = os.read(file, size)
        finally:
            os.close(file)
    except OSError:
        return None
    return _fitting(header, content, name, operation)


def _fitting(header: Header, content: bytes, name: str, operation: DecodeSound) -> NDArray[np.int16] | None:
    """A plain file's samples where they need no more to be done to them."""
    if header.sample_rate != operation.sample_rate:
        return None
    if header.frames > int(operation.max_seconds * header.sample_rate):
        raise _too_long(name, header.seconds, operation)
    if len(content) != 2 * header.frames:  # it has been written to meanwhile
        return None
    return np.frombuffer(content, dtype="<i2").astype(np.int16, copy=False)


def _read(raw: Path | bytes, name: str, operation: DecodeSound) -> tuple[NDArray[Any], int]:
    """The mean of all channels, float32 (T,), and its rate; int16 where the file has what is wanted already."""
    plain = _read_plain(raw, name, operation)
    if plain is not None:
        return plain, operation.sample_rate
    soundfile = require("soundfile", "speech")
    with _opened(raw) as file:
        rate, promised = int(file.samplerate), int(file.frames)
        most = int(operation.max_seconds * rate)
        wanted = file.subtype == "PCM_16" and file.channels == 1 and rate == operation.sample_rate
        parts: list[NDArray[Any]] = []
        count = 0
        try:
            for part in _parts(file, promised, "int16" if wanted else "float32"):
                parts.append(part)
                count += len(part)
                if count > most:
                    raise _too_long(name, max(promised, count) / rate, operation)
        except soundfile.SoundFileError as error:
            raise unreadable(name, f"damaged after {count:,} samples: {_reason(error, raw)}") from error
        # An MP3 only estimates its length; of the others a shorter one was cut off.
        if count < promised and file.format != "MP3":
            raise unreadable(name, f"cut off: {count:,} samples of {promised:,} that its header promises")
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32), rate


def _parts(file: Any, promised: int, dtype: str) -> Iterator[NDArray[Any]]:
    count = 0
    while True:
        part = file.read(AT_ONCE, dtype=dtype, always_2d=True)
        if not len(part):
            return
        yield part[:, 0] if part.shape[1] == 1 else _mixed(part)
        count += len(part)
        if count == promised and file.seekable():  # soundfile reads no further
            return


def _as_samples(array: NDArray[Any]) -> NDArray[np.float32]:
    """Samples given as an array, as float32 (T,)."""
    real = array.dtype.kind == "f" or array.dtype == np.int16
    if not real or array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > array.shape[0]):
        raise DataError(
            where="sound",
            expected="samples (T,) or (T, C), real numbers up to 1 or int16",
            got=f"{array.dtype} {array.shape}",
            cure="Give the time first, and convert the numbers: samples / 2**31 of 32 bits.",
        )
    samples = as_waves(array) if array.dtype == np.int16 else array.astype(np.float32)
    return _mixed(samples) if samples.ndim == 2 else samples


def _mixed(samples: NDArray[Any]) -> NDArray[np.float32]:
    """The mean of the channels (T, C), float32 (T,); what is not finite in it is told by who gets it."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(samples.mean(1, dtype=np.float32))
