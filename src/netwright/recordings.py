"""Recordings to tell apart: whole series of numbers, each as long as it is. ``T`` steps of one, ``D`` columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from netwright.errors import DataError
from netwright.rows import as_numbers
from netwright.windows import fill_gaps


class ReadRecording(BaseModel):
    """Columns of numbers to mean 0 and deviation 1; a gap is filled with the value before it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Literal["read_recording"] = "read_recording"
    columns: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def one_recording(operation: ReadRecording, raw: Any) -> dict[str, NDArray[np.float32]]:
    """One recording as ``series``, float32 (T, D).

    Args:
        raw: A mapping of column names to equally long sequences, or numbers (T, D); where D is 1 also (T,).

    Raises:
        DataError: A column is missing, a cell is no number, or there is no step.
    """
    values = columns_of(operation.columns, raw) if isinstance(raw, Mapping) else _array(operation.columns, raw)
    return {"series": scaled(operation, values)}


def columns_of(columns: Sequence[str], table: Mapping[str, Sequence[Any]]) -> NDArray[np.float64]:
    """Some columns as numbers, float64 (T, D), NaN in gaps.

    Raises:
        DataError: A column is missing, a cell is no number, or there is no step.
    """
    absent = [name for name in columns if name not in table]
    if absent:
        raise DataError(
            where="a recording",
            expected=f"the columns {', '.join(columns)}",
            got=f"none called {', '.join(absent)}",
            cure="Name the columns as in training.",
        )
    found = [as_numbers(table[name], name) for name in columns]
    if len({len(values) for values in found}) != 1 or not len(found[0]):
        raise DataError(
            where="a recording",
            expected="at least one step, and as many in each column",
            got=", ".join(f"{len(values)} of {name}" for name, values in zip(columns, found, strict=True)),
            cure="Give a value or None for each step.",
        )
    return np.stack(found, axis=1)


def scaled(operation: ReadRecording, values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Gaps filled, and columns to mean 0 and deviation 1, float32 (T, D)."""
    mean, std = np.asarray(operation.mean), np.asarray(operation.std)
    result: NDArray[np.float64] = (fill_gaps(values, mean) - mean) / std
    return result.astype(np.float32)


def _array(columns: Sequence[str], raw: Any) -> NDArray[np.float64]:
    values = np.asarray(raw)
    values = values[:, None] if values.ndim == 1 and len(columns) == 1 else values
    if values.ndim != 2 or values.shape[1] != len(columns) or values.dtype.kind not in "biuf" or not len(values):
        raise DataError(
            where="a recording",
            expected=f"numbers (T, {len(columns)}), or a mapping of {', '.join(columns[:3])} to such",
            got=f"{values.dtype} {values.shape}",
            cure="Give a row a step, and the columns in the order of training.",
        )
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64)
