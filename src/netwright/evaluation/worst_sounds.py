"""The sounds that were answered worst: to be listened to, and to be seen as spectrograms. ``T`` samples."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from netwright.errors import NetwrightError, require
from netwright.metrics.edits import alignment
from netwright.results import Edit, WorstSample

if TYPE_CHECKING:
    from netwright.data.sources import Source

MOST_TRANSCRIPTS = 12
# A report holds two dozen sounds: so many seconds of each are 60 kB as MP3, 100 kB as FLAC at 8,000 Hz.
HEARD_S = 15.0
PICTURE_HEIGHT, PICTURE_WIDTH = 96, 320
WINDOW_S, HOP_S = 0.025, 0.01
SHOWN_DB = 70.0  # below the loudest; what is fainter is not heard beside it


def heard(source: Source, index: int) -> dict[str, Any]:
    """A player's source, a picture and the seconds of a sound, by field of ``WorstSample``; empty for other data."""
    from netwright.data.sound_source import SoundSource

    if not isinstance(source, SoundSource):
        return {}
    try:
        samples = source.sound(index)
    except NetwrightError:  # a file that has gone since
        return {}
    rate = source.operation.sample_rate
    return {
        "sound": sound_uri(samples, rate),
        "picture": spectrogram(samples, rate),
        "seconds": len(samples) / rate,
    }


def worst_transcripts(
    source: Source, sample_ids: NDArray[np.int64], truths: Sequence[str], said: Sequence[str], *, words: bool
) -> tuple[WorstSample, ...]:
    """The utterances with most edits for each true word or letter; of equals the one with more edits.

    Args:
        source: To name and hear the sounds.
        sample_ids: Of each utterance, int64 (N,).
        truths: What was said, (N,).
        said: What was recognised, (N,).
        words: Whether words are compared, and not letters.
    """
    found = []
    for place, (truth, one) in enumerate(zip(truths, said, strict=True)):
        if truth == one:
            continue
        steps = alignment(*((text.split() if words else list(text)) for text in (truth, one)))
        edits = sum(kind != "same" for kind, _, _ in steps)
        size = sum(kind != "extra" for kind, _, _ in steps)
        found.append((edits / max(1, size), edits, -place, steps))
    found.sort(key=lambda one: one[:3], reverse=True)
    return tuple(
        WorstSample(
            sample_id=int(sample_ids[-place]),
            name=source.name(int(sample_ids[-place])),
            target=truths[-place],
            prediction=said[-place],
            error=share,
            edits=tuple(Edit(kind=kind, true=true, said=answer) for kind, true, answer in steps),
            **heard(source, int(sample_ids[-place])),
        )
        for share, _, place, steps in found[:MOST_TRANSCRIPTS]
    )


def sound_uri(samples: NDArray[np.int16], rate: int) -> str:
    """The beginning of a sound as a data URI that browsers play: MP3 where it can be written, else FLAC."""
    soundfile = require("soundfile", "speech")
    cut = samples[: int(HEARD_S * rate)]
    buffer = io.BytesIO()
    if "MP3" in soundfile.available_formats() and rate in (
        8_000,
        11_025,
        12_000,
        16_000,
        22_050,
        24_000,
        32_000,
        44_100,
    ):
        soundfile.write(buffer, cut, rate, format="MP3", subtype="MPEG_LAYER_III")
        kind = "mpeg"
    else:
        soundfile.write(buffer, cut, rate, format="FLAC", subtype="PCM_16")
        kind = "flac"
    return f"data:audio/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def spectrogram(samples: NDArray[np.int16], rate: int) -> str:
    """A picture of a sound as a PNG data URI: time to the right, frequency upwards, loud is opaque.

    Drawn in one colour and its opacity, so that it is seen on a light page and on a dark one.
    """
    from PIL import Image

    cut = samples[: int(HEARD_S * rate)].astype(np.float64)
    size, hop = max(16, round(WINDOW_S * rate)), max(1, round(HOP_S * rate))
    padded = np.pad(cut, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(cut) : hop]
    energy = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decibels = 10 * np.log10(np.maximum(energy, 1e-9) / max(energy.max(), 1e-9))
    shown = np.clip(1 + decibels / SHOWN_DB, 0, 1).T[::-1]
    alpha = Image.fromarray(np.round(255 * shown**1.5).astype(np.uint8))
    width = min(PICTURE_WIDTH, max(24, alpha.width))
    alpha = alpha.resize((width, PICTURE_HEIGHT), Image.Resampling.BILINEAR)
    picture = Image.new("RGBA", alpha.size, (96, 112, 160, 255))
    picture.putalpha(alpha)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
