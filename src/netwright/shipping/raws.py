"""Samples of a split as a person would hand them in: paths, texts, rows, histories, pixels.

What comes out goes through all of the preprocessing again, in the bundle as in the run.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netwright.data.dataset import Data
from netwright.data.ragged import RaggedSource
from netwright.data.series import SeriesSource
from netwright.data.sound_source import SoundSource
from netwright.data.sources import PathSource, TensorSource
from netwright.data.tables import TableSource
from netwright.errors import require
from netwright.preprocess import Preprocess, decode, detokenise, sample
from netwright.sounds import as_waves, decode_sound
from netwright.timeline import stamp

LONGEST_TEXT = 400  # characters of a running text that are continued


def raws(data: Data, split: str, indices: Sequence[int]) -> list[Any]:
    """Samples as ``netwright.predict`` takes them.

    Args:
        data: As it was trained on.
        split: Its name.
        indices: Which samples.
    """
    source = data.split(split)
    if data.spec.task == "next_token":
        return _passages(data, split, indices)
    if isinstance(source, PathSource):
        return [source.paths[index] for index in indices]
    if isinstance(source, TableSource):
        cells: list[Any] = list(source.cells(list(indices)))
        targets = set(source.target_names)
        rows = [{name: cell for name, cell in row.items() if name not in targets} for row in cells]
        return [_with_places(row, source.path.parent, data.spec.preprocess) for row in rows]
    if isinstance(source, SoundSource):
        if source.paths is not None:
            return [source.paths[index] for index in indices]
        return [as_waves(source.sound(index)) for index in indices]
    if isinstance(source, SeriesSource):
        return [_history(source, index) for index in indices]
    if isinstance(source, RaggedSource):
        return _ragged(data, source, indices)
    return _stored(data, split, indices)


def _passages(data: Data, split: str, indices: Sequence[int]) -> list[str]:
    """The texts that windows of a running text were cut from, decoded again."""
    operation = data.spec.preprocess.text
    if operation is None:
        return []
    fields, _ = data.split(split).gather(np.asarray(indices, dtype=np.int64))
    return [detokenise(operation, row)[:LONGEST_TEXT] for row in fields["tokens"].numpy()]


def _with_places(row: dict[str, Any], folder: Path, preprocess: Preprocess) -> dict[str, Any]:
    """A row whose pictures are named from its file's folder."""
    from netwright.rows import slug

    return {
        name: str(folder / cell) if slug(name) in preprocess.fields and isinstance(cell, str) and cell else cell
        for name, cell in row.items()
    }


def _history(source: SeriesSource, index: int) -> dict[str, Any]:
    """What is known before a window's first step, in the unit of the series; gaps are missing."""
    operation, origin = source.operation, int(source.origins[index])
    group = int(source.groups[index])
    scale = operation.scales[group]
    where = slice(origin - operation.context, origin)
    values = source.past[where].astype(np.float64) * np.asarray(scale.std) + np.asarray(scale.mean)
    values = np.where(source.known[where], values, np.nan)
    history: dict[str, Any] = {operation.time: [stamp(moment) for moment in source.moments[where]]}
    for place, name in enumerate(operation.columns):
        history[name] = [None if np.isnan(value) else float(value) for value in values[:, place]]
    if operation.series is not None:
        history[operation.series] = [scale.name] * operation.context
    return history


def _ragged(data: Data, source: RaggedSource, indices: Sequence[int]) -> list[Any]:
    if source.words is not None:
        return [list(source.words[index]) for index in indices]
    if source.texts is not None:
        if source.seconds is not None:
            return [(source.texts[index], source.seconds[index]) for index in indices]
        return [source.texts[index] for index in indices]
    operation = data.spec.preprocess.recording
    if operation is None:
        return _stored(data, "val", indices)
    mean, std = np.asarray(operation.mean), np.asarray(operation.std)
    found = []
    for index in indices:
        fields, _ = source.gather(np.asarray([index]))
        values = fields["series"][0].numpy().astype(np.float64) * std + mean
        found.append({name: values[:, place].tolist() for place, name in enumerate(operation.columns)})
    return found


def _stored(data: Data, split: str, indices: Sequence[int]) -> list[Any]:
    """Fields as they are kept: pixels, or arrays by name."""
    source = data.split(split)
    names = [field.name for field in data.spec.inputs]
    found: list[Any] = []
    for index in indices:
        if isinstance(source, TensorSource):
            fields, _ = source.gather(np.asarray([index]))
        elif hasattr(source, "item"):
            fields = {name: value[None] for name, value in source.item(index)[0].items()}
        else:
            return []
        arrays = {name: fields[name][0].numpy() for name in names if name in fields}
        found.append(next(iter(arrays.values())) if len(arrays) == 1 else arrays)
    return found


def as_json(raw: Any, preprocess: Preprocess, kind: str) -> Any:
    """A raw input as JSON: pictures and sounds as data URIs of small files; the rest as it is.

    Returns:
        None where it cannot be written so, as one that cannot be read.
    """
    try:
        if kind == "image" and preprocess.decode:
            return _picture(sample(preprocess, Path(raw) if isinstance(raw, str) else raw)["image"])
        if kind == "sound" and preprocess.sound is not None:
            return _wave(as_waves(decode_sound(preprocess.sound, raw)), preprocess.sound.sample_rate)
        plain = _plain(_shown(raw, preprocess) if preprocess.fields and isinstance(raw, dict) else raw)
        json.dumps(plain, allow_nan=False)
    except Exception:
        return None
    return plain


def _shown(row: dict[str, Any], preprocess: Preprocess) -> dict[str, Any]:
    """A row whose pictures are data, and no places on this machine."""
    from netwright.rows import slug

    return {
        name: _picture(decode(preprocess.fields[slug(name)], Path(cell) if isinstance(cell, str) else cell))
        if slug(str(name)) in preprocess.fields and cell is not None and not (isinstance(cell, str) and not cell)
        else cell
        for name, cell in row.items()
    }


def _plain(raw: Any) -> Any:
    if isinstance(raw, dict):
        return {str(name): _plain(value) for name, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [_plain(value) for value in raw]
    if isinstance(raw, np.ndarray):
        return raw.tolist()
    if isinstance(raw, np.generic):
        return raw.item()
    return str(raw) if isinstance(raw, Path) else raw


def _picture(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    held = io.BytesIO()
    image.save(held, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def _wave(samples: NDArray[np.float32], rate: int) -> str:
    soundfile = require("soundfile", "speech")
    held = io.BytesIO()
    soundfile.write(held, samples, rate, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(held.getvalue()).decode()
