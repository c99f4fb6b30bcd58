"""One raw input as training stored its samples: read, looked at, refused in plain words. No torch is imported here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from netwright import preprocess
from netwright.errors import DataError, NetwrightError, UsageError
from netwright.preprocess import Preprocess

# Kinds of data whose fields are all made of one raw input.
OWN_FIELDS = ("text", "sound", "table", "series")
# What reading may raise, whatever it was given: the input is told as bad, and those beside it are answered.
UNREADABLE = (
    NetwrightError, OSError, ValueError, TypeError, SyntaxError, ArithmeticError, LookupError, AttributeError,
    RecursionError, MemoryError,
)  # fmt: skip


class Field(Protocol):
    """What is known of one field; ``records.FieldSpec`` and ``InputField`` are such."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the batch, -1 where it varies."""

    @property
    def dtype(self) -> str:
        """As torch names it."""


class InputField(NamedTuple):
    """A field where there are no records."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def first_line(error: BaseException) -> str:
    """What an error says, without its cure; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def input_name(raw: Any, index: int) -> str:
    """What an input is called in its answer: its text or path, or its place in the list."""
    if isinstance(raw, list | tuple) and raw and all(isinstance(one, str) for one in raw):
        return " ".join(raw)
    return str(raw) if isinstance(raw, str | Path) else f"input {index}"


def read_input(raw: Any, kind: str, fields: Sequence[Field], steps: Preprocess) -> dict[str, NDArray[Any]]:
    """One input by field, as the training data were stored, without a batch dimension.

    Args:
        raw: As ``preprocess.sample`` takes it; of arrays one, a mapping by field, or several in the fields' order.
        kind: Of the data, as in ``records.DataSpec``.
        fields: What the data's inputs are.
        steps: What is done to them.

    Raises:
        DataError: It cannot be read, or is of another shape or kind.
    """
    if kind in OWN_FIELDS:
        return preprocess.sample(steps, raw)
    if isinstance(raw, str | Path) and not steps.decode and not steps.fields:
        raise UsageError(where=str(raw), expected="an array, as in training", got="a path", cure="Read the file first.")
    names = [field.name for field in fields]
    several = len(names) > 1
    values = list(raw) if several and isinstance(raw, tuple | list) else [raw]
    parts = raw if isinstance(raw, Mapping) else dict(zip(names, values, strict=False))
    if set(parts) != set(names) or (not isinstance(raw, Mapping) and len(values) != len(names)):
        found = f"{len(values)} values" if isinstance(raw, tuple | list) else type(raw).__name__
        raise DataError(
            where="input",
            expected=f"the fields {', '.join(names)}, as a mapping or in this order",
            got=", ".join(map(str, parts)) if isinstance(raw, Mapping) else found,
            cure=f"Give {{{', '.join(f'{name!r}: …' for name in names)}}}.",
        )
    stored = {}
    for field in fields:
        own = steps.of(field.name)
        if own.decode:
            stored[field.name] = preprocess.decode(own, _as_picture(parts[field.name]))
        else:
            stored[field.name] = _as_stored(parts[field.name], field)
    return stored


def _as_picture(value: Any) -> Any:
    """A path, or pixels as uint8 where that changes no number; the rest is for ``decode`` to refuse."""
    if not isinstance(value, list | tuple | np.ndarray) and not _is_tensor(value):
        return Path(value) if isinstance(value, str) else value
    array = _array(value)
    # Real numbers up to 1 may be shares of 255, and not pixels that are almost black.
    if array.size and (array.dtype.kind in "iu" or (array.dtype.kind == "f" and array.max() > 1)):
        with np.errstate(invalid="ignore"):
            pixels = array.astype(np.uint8)
        return pixels if np.array_equal(pixels, array) else array
    return array


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is loaded
    return torch is not None and isinstance(value, torch.Tensor)


def _array(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu() if _is_tensor(value) else value)


def _as_stored(value: Any, field: Field) -> NDArray[Any]:
    array, wanted = _array(value), np.dtype(field.dtype)
    with np.errstate(all="ignore"):
        cast = array.astype(wanted) if array.dtype.kind in "biuf" else None
    if cast is None or (wanted.kind != "f" and not np.array_equal(cast, array)):
        raise DataError(
            where=f"input `{field.name}`",
            expected=f"{field.dtype} numbers",
            got=f"{array.dtype}" + ("" if cast is None else " that it cannot hold"),
            cure="Convert them.",
        )
    array = cast
    if field.name == "image" and array.ndim == 3 and array.shape != field.shape == array.transpose(2, 0, 1).shape:
        array = array.transpose(2, 0, 1)  # channels last, as loading moves them too
    if array.shape != field.shape:
        raise DataError(
            where=f"input `{field.name}`",
            expected=f"shape {field.shape}",
            got=f"{array.shape}",
            cure="Shape it as in training, without the batch.",
        )
    return array
