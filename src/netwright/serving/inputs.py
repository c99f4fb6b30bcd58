"""What a request brings, as the raw inputs that a bundle decodes: bytes of pictures and sounds, texts, rows, series.

No string of a request ever becomes a path: pictures and sounds come as bytes, or as base64 in JSON.
"""

from __future__ import annotations

import base64
import binascii
import io
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netwright.rows import slug
from netwright.serving.forms import Part, read_form
from netwright.serving.jsons import read_json
from netwright.serving.limits import Limits
from netwright.serving.refusals import Refused

# Pillow reads dozens of formats, some by programs of others; these are what browsers and cameras make.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
FILES = ("image", "sound")  # kinds whose inputs are files
PNG = b"\x89PNG\r\n\x1a\n"
LARGE = 4_000_000  # pixels: one such picture is decoded at a time, so that memory stays bounded
ONE_LARGE = threading.Lock()

Raw = Any  # bytes, text, array, mapping or list, as the bundle's kind takes it


def wants_bytes(spec: Mapping[str, Any]) -> bool:
    """Whether the inputs of a bundle are files."""
    if spec["kind"] == "sound":  # of one sound come its length and mask too
        return True
    return spec["kind"] in FILES and not spec["preprocess"].get("fields") and len(spec["fields"]) == 1


def raw_inputs(
    spec: Mapping[str, Any], content_type: str, body: bytes, limits: Limits, *, several: bool
) -> tuple[list[Raw], list[str]]:
    """The inputs of a request and their names.

    Args:
        spec: The bundle's ``preprocess.json``.
        content_type: Of the body, as it was sent.
        body: All of it.
        limits: How much is allowed.
        several: Whether it is a request with several inputs.

    Raises:
        Refused: It cannot be read, is of another kind, or is more than is allowed.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        values = _of_json(read_json(body, limits), several=several)
        _check_count(len(values), limits)
        found = [of_json(spec, value, limits) for value in values]
    elif kind == "multipart/form-data":
        found = _of_form(spec, read_form(content_type, body, limits), limits, several=several)
        _check_count(len(found), limits)
    elif not several:
        found = [_of_body(spec, kind, body, limits)]
    else:
        raise Refused(415, "unsupported_type", 'Send JSON {"inputs": […]} or a form with several files.')
    return found, [f"input {place}" for place in range(len(found))] if several else ["input"]


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.inputs:
        raise Refused(413, "too_many_inputs", f"There are {count:,} inputs, more than {limits.inputs:,}.")


def _of_json(value: Any, *, several: bool) -> list[Any]:
    name = "inputs" if several else "input"
    if not isinstance(value, dict) or set(value) != {name}:
        raise Refused(422, "unusable_input", f'The body must be {{"{name}": …}} and no more.')
    if not several:
        return [value[name]]
    if not isinstance(value[name], list) or not value[name]:
        raise Refused(422, "unusable_input", '"inputs" must be a list with at least one input.')
    return list(value[name])


def _of_form(spec: Mapping[str, Any], parts: list[Part], limits: Limits, *, several: bool) -> list[Raw]:
    files = [part for part in parts if part.is_file or part.name == "file"]
    if not files and not several and spec["kind"] == "table" and parts:
        row = {part.name: _text(part.content, limits) for part in parts}
        return [of_json(spec, row, limits)]
    if not files or (len(files) > 1 and not several):
        expected = "at least one file" if several else "one file"
        raise Refused(422, "unusable_input", f"The form must have {expected}, in the field `file`; got {len(files)}.")
    return [_of_body(spec, part.type or "application/octet-stream", part.content, limits) for part in files]


def _of_body(spec: Mapping[str, Any], kind: str, body: bytes, limits: Limits) -> Raw:
    """An input that came as bytes of its own."""
    own = spec["kind"]
    family = kind.partition("/")[0]
    free = kind in ("", "application/octet-stream")
    if wants_bytes(spec):
        if free or family == {"image": "image", "sound": "audio"}[own] or (own == "sound" and kind == "video/webm"):
            return body
        raise _unsupported(kind, f"{'image/*' if own == 'image' else 'audio/*'}, a form with a file, or JSON")
    if own == "text" and (free or kind == "text/plain"):
        return of_json(spec, _text(body, limits).rstrip("\r\n"), limits)
    raise _unsupported(kind, "text/plain or JSON" if own == "text" else 'JSON {"input": …}')


def _unsupported(kind: str, wanted: str) -> Refused:
    shown = kind if kind and kind.isascii() and kind.isprintable() and len(kind) < 80 else "another type"
    return Refused(415, "unsupported_type", f"This model takes {wanted}; got {shown}.")


def _text(content: bytes, limits: Limits) -> str:
    if len(content) > 4 * limits.text:
        raise _long(limits)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused(422, "unusable_input", "The text is not UTF-8.") from None


def _long(limits: Limits) -> Refused:
    return Refused(413, "too_long", f"The text has more than {limits.text:,} characters.")


def of_json(spec: Mapping[str, Any], value: Any, limits: Limits) -> Raw:
    """One input that came as JSON.

    Raises:
        Refused: It is not what the bundle's kind takes.
    """
    kind = spec["kind"]
    if kind == "text":
        return _of_texts(value, limits)
    if wants_bytes(spec):
        return _of_file(value, kind)
    if kind in ("table", "series"):
        return _of_columns(spec, value, limits)
    return _of_tensors(spec, value)


def _of_texts(value: Any, limits: Limits) -> Raw:
    """A text, its words, or two texts."""
    texts = [value] if isinstance(value, str) else value
    texts = list(texts.values()) if isinstance(texts, dict) else texts
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts) or not texts:
        raise Refused(422, "unusable_input", "The input must be a text, a list of words, or two texts by name.")
    if sum(map(len, texts)) > limits.text:
        raise _long(limits)
    return value


def _of_file(value: Any, kind: str) -> Raw:
    if isinstance(value, str):
        return _base64(value)
    what = "pixels, 0 to 255" if kind == "image" else "samples"
    if not isinstance(value, list):
        raise Refused(422, "unusable_input", f"The input must be a file as base64, or {what}.")
    array = _numbers(value, "input")
    if kind == "image":
        if array.ndim not in (2, 3) or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
            raise Refused(422, "unusable_input", "Pixels must be whole numbers 0 to 255, (H, W) or (H, W, C).")
        return array.astype(np.uint8)
    if array.ndim != 1:
        raise Refused(422, "unusable_input", "Samples must be a list of numbers at the model's own rate.")
    return array.astype(np.float32)


def _base64(value: str) -> bytes:
    head, comma, rest = value.partition(",")
    text = rest if comma and head.startswith("data:") and head.endswith(";base64") else value
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(422, "unusable_input", "A file in JSON must be base64, or a data URI with base64.") from None


def _numbers(value: list[Any], name: str) -> NDArray[Any]:
    """Nested lists of numbers as an array; what is ragged or no number is refused before anything is made."""
    shape = shape_of(value, name)
    if 0 in shape:
        raise Refused(422, "unusable_input", f"`{name}` is empty.")
    return np.asarray(value)


def shape_of(value: Any, name: str) -> tuple[int, ...]:
    """The shape of nested lists of numbers.

    Raises:
        Refused: They are ragged, or hold something else.
    """
    shape: list[int] = []
    level = [value]
    while isinstance(level[0], list):
        size = len(level[0])
        if not all(isinstance(one, list) and len(one) == size for one in level):
            raise Refused(422, "unusable_input", f"`{name}` is ragged: its lists are not of one length.")
        shape.append(size)
        if not size:
            return tuple(shape)
        level = [inner for one in level for inner in one]
    if not all(type(one) in (int, float, bool) for one in level):
        raise Refused(422, "unusable_input", f"`{name}` holds something that is no number.")
    return tuple(shape)


def _of_columns(spec: Mapping[str, Any], value: Any, limits: Limits) -> Raw:
    """A row, or columns of a series."""
    series = spec["kind"] == "series"
    if series and isinstance(value, list):
        return _numbers(value, "input")
    if not isinstance(value, dict) or not value:
        shape = '{"column": [values, …], …}' if series else '{"column": value, …}'
        raise Refused(422, "unusable_input", f"The input must be {shape}.")
    pictures = set(spec["preprocess"].get("fields") or {})
    found: dict[str, Any] = {}
    for name, cell in value.items():
        cells = cell if series and isinstance(cell, list) else [cell]
        if not all(one is None or isinstance(one, str | int | float | bool) for one in cells):
            raise Refused(422, "unusable_input", f"`{name[:80]}` must hold text, numbers or null.")
        if slug(name) in pictures:
            found[name] = _base64(cell) if isinstance(cell, str) and cell else None
            continue
        if sum(len(one) for one in cells if isinstance(one, str)) > limits.text:
            raise _long(limits)
        found[name] = cell
    if series and len({len(cell) for cell in found.values() if isinstance(cell, list)}) > 1:
        raise Refused(422, "unusable_input", "The columns are not of one length.")
    return found


def _of_tensors(spec: Mapping[str, Any], value: Any) -> Raw:
    """Fields of their own kind, by name where there are several."""
    fields = {field["name"]: field for field in spec["fields"]}
    if len(fields) == 1 and not isinstance(value, dict):
        value = {next(iter(fields)): value}
    if not isinstance(value, dict) or set(value) != set(fields):
        raise Refused(422, "unusable_input", f"The input must have the fields {', '.join(fields)}.")
    own = spec["preprocess"].get("fields") or {}
    found: dict[str, Any] = {}
    for name, field in fields.items():
        if isinstance(value[name], str):
            decode = own.get(name, spec["preprocess"]).get("operations") or []
            if not any(one.get("op") == "decode_image" for one in decode):
                raise Refused(422, "unusable_input", f"`{name}` must be numbers.")
            found[name] = _base64(value[name])
            continue
        shape, wanted = shape_of(value[name], name), tuple(field["shape"])
        if len(shape) != len(wanted) or any(w not in (-1, s) for s, w in zip(shape, wanted, strict=True)):
            raise Refused(422, "unusable_input", f"`{name}` must have the shape {wanted}, got {shape}.")
        found[name] = np.asarray(value[name])
    return found if len(found) > 1 else next(iter(found.values()))


def check_picture(content: bytes, limits: Limits) -> int:
    """The pixels that a picture's header promises.

    Raises:
        Refused: It is none of the formats that are taken, or too large.
    """
    if content[:8] == PNG and content[12:16] == b"IHDR" and len(content) > 24:
        width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    else:
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                width, height = opened.size
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            width, height = limits.pixels + 1, 1
        except Exception:  # Pillow's readers raise whatever their damaged files lead them to
            names = ", ".join(FORMATS)
            raise Refused(415, "unsupported_type", f"The picture is none that can be read: {names}.") from None
    if not width or not height:
        raise Refused(422, "unusable_input", "The picture has no pixels.")
    if width * height > limits.pixels:
        raise Refused(413, "too_many_pixels", f"The picture has more than {limits.pixels:,} pixels.")
    return int(width * height)
