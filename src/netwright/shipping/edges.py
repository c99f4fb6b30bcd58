"""Inputs at the edge of what is allowed, by kind of data; they are asked beside the validation split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from netwright.preprocess import Resize
from netwright.records import DataSpec
from netwright.rows import CategoryColumn, DateColumn, EncodeRows, NumberColumn
from netwright.windows import WindowSeries

UNKNOWN_TEXT = "☃ qzxv 龘龘 \U0001f9ff"  # letters and words that few training sets have


def edge_inputs(spec: DataSpec, known: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """What is asked, and the raw inputs of it.

    Args:
        spec: What was understood of the data.
        known: Raw inputs of the validation split, as ``raws`` gives them.
    """
    if known:
        yield "one alone", [known[0]]
        yield "two", list(known[:2])
        yield "an odd number", list(known[:7])
    preprocess = spec.preprocess
    if preprocess.words is not None:
        yield from _sentences(preprocess.words.max_length, known)
    elif preprocess.text is not None and preprocess.pair is not None:
        yield "empty and unknown texts", [("", ""), (UNKNOWN_TEXT, UNKNOWN_TEXT), ("a", ""), ("", "a")]
    elif preprocess.text is not None:
        yield from _texts(preprocess.text.max_length, known)
    elif preprocess.windows is not None:
        yield from _histories(preprocess.windows, known)
    elif preprocess.recording is not None:
        yield from _recordings(len(preprocess.recording.columns), known)
    elif preprocess.rows is not None:
        yield from _rows(preprocess.rows, known)
    elif preprocess.sound is not None:
        yield from _sounds(preprocess.sound.sample_rate, preprocess.sound.max_seconds, known)
    else:
        yield from _arrays(spec)


def _texts(longest: int, known: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    texts = [one for one in known if isinstance(one, str)]
    yield "an empty text", [""]
    yield "unknown words", [UNKNOWN_TEXT]
    if texts:
        by_length = sorted(texts, key=len)
        yield "the shortest and the longest", [by_length[0], by_length[-1]]
        yield "one letter", [by_length[-1][:1] or "a"]
        yield "longer than is kept", [" ".join(by_length[-1:] * (longest + 2))[: 8 * longest + 64]]
        yield "one short beside one long", [by_length[0], " ".join(by_length[-1:] * 9), by_length[len(texts) // 2]]
    yield "line ends and blanks", ["\n\t a \r\n"]


def _sentences(longest: int, known: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    by_length = sorted((one for one in known if len(one)), key=len)
    yield "unknown words", [UNKNOWN_TEXT.split()]
    if by_length:
        yield "the shortest and the longest", [by_length[0], by_length[-1]]
        yield "one word", [list(by_length[-1][:1])]
        yield "as long as is allowed", [(list(by_length[-1]) * longest)[:longest]]


def _rows(operation: EncodeRows, known: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    row = dict(known[0]) if known else {column.column: "" for column in operation.columns}
    columns = {column.column for column in operation.columns}
    yield "all missing", [{name: ("" if name in columns else value) for name, value in row.items()}]
    missing = [row | {column.column: ""} for column in operation.columns if column.column in row]
    if missing:
        yield "each column missing in turn", missing
    strange = {one.column: "never seen" for one in operation.columns if isinstance(one, CategoryColumn)}
    if strange:
        yield "unseen categories", [row | strange]
    numbers = [one for one in operation.columns if isinstance(one, NumberColumn)]
    if numbers:
        yield "numbers far out", [row | {one.column: _far(one, times) for one in numbers} for times in (-10, 10, 0)]
    dates = {one.column: "1900-01-01" for one in operation.columns if isinstance(one, DateColumn)}
    if dates:
        yield "a date long ago", [row | dates]


def _far(column: NumberColumn, times: float) -> str:
    """So many deviations from the mean; where quantiles are taken, as far beyond the range of training."""
    if column.knots is None:
        return repr(column.mean + times * column.std)
    low, high = column.knots[0], column.knots[-1]
    return repr((low + high) / 2 + times * (high - low))


def _histories(operation: WindowSeries, known: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    if not known:
        return
    history = dict(known[0])
    count = len(history[operation.time])
    gaps = {
        name: [None if place % 3 else value for place, value in enumerate(history[name])] for name in operation.columns
    }
    yield "two of three values missing", [history | gaps]
    yield "no value known", [history | {name: [None] * count for name in operation.columns}]
    yield "one value all along", [history | {name: [1.0] * count for name in operation.columns}]
    large = {name: [None if one is None else one * 100 for one in history[name]] for name in operation.columns}
    yield "a hundred times as large", [history | large]


def _recordings(columns: int, known: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    def length(one: Any) -> int:
        return len(next(iter(one.values())))

    by_length = sorted(known, key=length)
    if by_length:
        longest = by_length[-1]
        yield "the shortest and the longest", [by_length[0], longest]
        yield "one step", [{name: values[:1] for name, values in longest.items()}]
        yield "one value all along", [{name: [0.0] * 5 for name in longest}]
        yield "gaps", [{name: [None if i % 2 else v for i, v in enumerate(values)] for name, values in longest.items()}]


def _sounds(rate: int, longest: float, known: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    generator = np.random.default_rng(0)
    second = np.arange(rate, dtype=np.float32) / rate
    tone = 0.3 * np.sin(2 * np.pi * 440 * second).astype(np.float32)
    almost = np.zeros(rate, dtype=np.float32)
    almost[rate // 2] = 1 / 32_768
    yield "silence but for one sample", [almost]
    yield "clipped", [np.clip(tone * 20, -1, 1)]
    yield "louder than full scale", [tone * 7]
    yield "noise", [generator.normal(0, 0.1, rate).astype(np.float32)]
    yield "two channels", [np.stack((tone, tone[::-1]), axis=1)]
    yield "short beside long", [tone[: rate // 10], tone, np.tile(tone, 3)[: int(longest * rate)]]
    yield "one sample more or less", [tone[: rate // 3 + extra] for extra in (-1, 0, 1)]


def _arrays(spec: DataSpec) -> Iterator[tuple[str, list[Any]]]:
    """Pixels, or a person's own tensors, at their least and largest."""
    generator = np.random.default_rng(0)
    if len(spec.inputs) != 1 or any(size < 1 for size in spec.inputs[0].shape):
        return
    field = spec.inputs[0]
    if spec.kind == "image" and spec.preprocess.decode:
        yield "all black", [np.zeros(field.shape, dtype=np.uint8)]
        yield "all white", [np.full(field.shape, 255, dtype=np.uint8)]
        yield "noise", [generator.integers(0, 256, field.shape).astype(np.uint8)]
        # Where nothing is resized the graph takes the size of training alone, whatever the module would take.
        if len(field.shape) == 3 and any(isinstance(one, Resize) for one in spec.preprocess.decode):
            high, wide = field.shape[1:]
            grey = generator.integers(0, 256, (high * 2 + 1, wide + 3)).astype(np.uint8)
            yield "another size, grey", [grey]
            yield "another size, colour", [generator.integers(0, 256, (high + 5, wide * 3, 3)).astype(np.uint8)]
            yield "one pixel", [np.full((1, 1), 128, dtype=np.uint8)]
    elif field.dtype.startswith("float"):
        yield "zeros", [np.zeros(field.shape, dtype=field.dtype)]
        yield "large numbers", [np.full(field.shape, 1e4, dtype=field.dtype)]
