"""What a model saw, and where it looked: parts of an input are taken away, and it is told how much the answer falls.

Occlusion (Zeiler and Fergus 2014, arXiv:1311.2901) needs nothing of the model but its answers, so it does for any
graph. What stands for "away": the mean of a picture, silence, the unknown token, a missing cell, the mean of a stretch.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netwright.serving.batching import Answer, Sample
from netwright.serving.models import Loaded
from netwright.serving.refusals import Refused

GRID = 7  # pieces of a picture's side, each way
STRETCHES = 32  # pieces of a sound or series
MOST_TOKENS = 64  # that are taken away one by one; of a longer text so many stretches
SHOWN = 512  # the largest side of a picture that is shown
BANDS = 64  # of the spectrogram that is shown
UNKNOWN = 1  # the token of what a vocabulary has not, as `preprocess.detokenise` writes it

Ask = Callable[[Sample], "asyncio.Future[Answer]"]


async def explained(loaded: Loaded, raw: Any, sample: Sample, answer: Answer) -> dict[str, Any]:
    """What the model saw of an input, and where it looked.

    Args:
        loaded: The bundle.
        raw: The input as it came.
        sample: The same, decoded.
        answer: What the model said of it.

    Returns:
        ``seen`` and ``where``: of pictures {"png": data URI} and {"grid": [[fall]]}; of sounds a spectrogram and
        {"stretches": [fall]}; of texts {"tokens": [letters]} and {"tokens": [fall]}; of rows {"columns": {name: fall}};
        of series stretches. None where there is nothing to tell.
    """

    def ask(changed: Sample) -> asyncio.Future[Answer]:
        return loaded.batcher.submit(None, "occluded", sample=changed, later=True)

    kind = loaded.spec["kind"]
    if kind == "table":
        return {"seen": None, "where": await _columns(loaded, raw, answer)}
    if "image" in sample and sample["image"].ndim == 3:
        return {"seen": {"png": picture(sample["image"])}, "where": await _grid(sample, answer, ask)}
    if "sound" in sample:
        rate = next((one["sample_rate"] for one in _operations(loaded) if one.get("op") == "decode_sound"), 16_000)
        return {
            "seen": {"png": spectrogram(sample["sound"], rate)},
            "where": await _stretches("sound", sample, answer, ask, 0.0),
        }
    if "log_mel" in sample:
        return {
            "seen": {"png": _shades(sample["log_mel"] / np.log(10))},
            "where": await _stretches("log_mel", sample, answer, ask, None),
        }
    if "tokens" in sample:
        return await _tokens(loaded, raw, sample, answer, ask)
    for name in ("past", "series"):
        if name in sample and np.ndim(sample[name]) >= 1 and sample[name].dtype.kind == "f":
            return {"seen": None, "where": await _stretches(name, sample, answer, ask, None)}
    return {"seen": None, "where": None}


def _operations(loaded: Loaded) -> Sequence[dict[str, Any]]:
    return loaded.spec["preprocess"].get("operations") or []


def numbers(answer: Answer) -> NDArray[np.float64]:
    """All that an answer says, as numbers in an order that does not change with the answer."""
    found: list[float] = []
    if "probabilities" in answer:
        found += [answer["probabilities"][name] for name in sorted(answer["probabilities"])]
    found += list(answer.get("value") or ())
    found += list(answer.get("confidences") or ())
    for steps in (answer.get("forecast") or {}).values():
        found += [step["value"] for step in steps]
    for _, part in sorted((answer.get("answers") or {}).items()):
        found += numbers(part).tolist()
    return np.asarray(found, dtype=np.float64)


def fall(before: Answer, after: Answer) -> float:
    """How far the probability of an answer falls; of answers in numbers, how far they move."""
    label, old, new = before.get("label"), before.get("probabilities"), after.get("probabilities")
    if label is not None and old and new and label in old and label in new:
        return float(old[label] - new[label])
    first, second = numbers(before), numbers(after)
    if first.shape != second.shape or not len(first):
        same = before.get("text") == after.get("text") and before.get("continuation") == after.get("continuation")
        return 0.0 if same else 1.0
    return float(np.abs(first - second).mean())


async def _falls(answer: Answer, asked: list[asyncio.Future[Answer]]) -> list[float]:
    """The fall for each question; 0 where there is no answer."""
    found = await asyncio.gather(*asked, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, Refused):
            raise one
    return [0.0 if isinstance(one, BaseException) else round(fall(answer, one), 6) for one in found]


async def _grid(sample: Sample, answer: Answer, ask: Ask) -> dict[str, Any]:
    """A picture, piece by piece: the mean of each channel in its place."""
    image = sample["image"]
    _, height, width = image.shape
    rows, columns = min(GRID, height), min(GRID, width)
    mean = image.mean((1, 2), keepdims=True).astype(image.dtype)
    tops, lefts = [np.linspace(0, size, count + 1).astype(int) for size, count in ((height, rows), (width, columns))]
    asked = []
    for row in range(rows):
        for column in range(columns):
            changed = image.copy()
            changed[:, tops[row] : tops[row + 1], lefts[column] : lefts[column + 1]] = mean
            asked.append(ask({**sample, "image": changed}))
    falls = np.asarray(await _falls(answer, asked)).reshape(rows, columns)
    return {"grid": falls.tolist()}


async def _stretches(name: str, sample: Sample, answer: Answer, ask: Ask, away: float | None) -> dict[str, Any]:
    """A sound or series, stretch by stretch; ``away`` is put in its place, None for the mean."""
    values = sample[name]
    count = min(STRETCHES, len(values))
    cuts = np.linspace(0, len(values), count + 1).astype(int)
    instead = values.mean(0) if away is None else away
    asked = []
    for begin, end in zip(cuts[:-1], cuts[1:], strict=True):
        changed = values.copy()
        changed[begin:end] = instead
        asked.append(ask({**sample, name: changed}))
    return {"stretches": await _falls(answer, asked)}


async def _tokens(loaded: Loaded, raw: Any, sample: Sample, answer: Answer, ask: Ask) -> dict[str, Any]:
    """A text, token by token."""
    tokens = sample["tokens"]
    cuts = np.unique(np.linspace(0, len(tokens), min(MOST_TOKENS, len(tokens)) + 1).astype(int))
    asked = []
    for begin, end in zip(cuts[:-1], cuts[1:], strict=True):
        changed = tokens.copy()
        changed[begin:end] = UNKNOWN
        asked.append(ask({**sample, "tokens": changed}))
    falls = await _falls(answer, asked)
    each = np.zeros(len(tokens))
    for begin, end, value in zip(cuts[:-1], cuts[1:], falls, strict=True):
        each[begin:end] = value
    return {"seen": {"tokens": written(loaded, raw, sample)}, "where": {"tokens": each.tolist()}}


def written(loaded: Loaded, raw: Any, sample: Sample) -> list[str]:
    """The tokens of a text as letters."""
    from netwright.preprocess import Preprocess, detokenise

    words = sample.get("_words")
    if words is not None:
        return [str(word) for word in words]
    preprocess = Preprocess.model_validate(loaded.spec["preprocess"])
    if preprocess.words is not None:
        from netwright.words import sentence

        return list(sentence(preprocess.words, raw))
    if preprocess.text is None:
        return [str(token) for token in sample["tokens"].tolist()]
    return [detokenise(preprocess.text, [int(token)]) for token in sample["tokens"]]


async def _columns(loaded: Loaded, raw: Any, answer: Answer) -> dict[str, Any]:
    """A row, column by column: each missing once."""
    names = list(raw)
    asked = [
        loaded.batcher.submit({other: cell for other, cell in raw.items() if other != name}, "occluded", later=True)
        if len(names) > 1
        else loaded.batcher.submit({name: None}, "occluded", later=True)
        for name in names
    ]
    return {"columns": dict(zip(names, await _falls(answer, asked), strict=True))}


def picture(image: NDArray[Any]) -> str:
    """Stored pixels (C, H, W) as a PNG in a data URI."""
    pixels = np.clip(np.asarray(image, dtype=np.float64), 0, 255).astype(np.uint8)
    shown = Image.fromarray(pixels[0] if len(pixels) != 3 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    if max(shown.size) > SHOWN:
        shown.thumbnail((SHOWN, SHOWN))
    return _uri(shown)


def spectrogram(sound: NDArray[Any], rate: int) -> str:
    """Samples (T,) as a picture of their log-mel energies, time from left to right, low tones below."""
    samples = np.asarray(sound, dtype=np.float64)
    window = max(64, rate // 40)
    hop = max(window // 2, len(samples) // 400)
    padded = np.pad(samples, (0, max(0, window - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    return _shades(np.log10(power @ _mel(rate, window).T + 1e-8))


def _shades(energies: NDArray[Any]) -> str:
    """Logarithms to base 10 of energies, (frames, bands), as a picture: loud is light, sixty decibels less black."""
    low, high = energies.max() - 6, energies.max()
    shade = np.clip((energies - low) / max(high - low, 1e-9), 0, 1)
    return _uri(Image.fromarray((shade.T[::-1] * 255).astype(np.uint8)))


def _mel(rate: int, window: int) -> NDArray[np.float64]:
    """Triangles on the mel scale, (BANDS, window // 2 + 1)."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    tones = np.fft.rfftfreq(window, 1 / rate)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0, np.minimum((tones - left) / (middle - left), (right - tones) / (right - middle)))


def _uri(image: Image.Image) -> str:
    written_to = io.BytesIO()
    image.save(written_to, "PNG")
    return "data:image/png;base64," + base64.b64encode(written_to.getvalue()).decode()
