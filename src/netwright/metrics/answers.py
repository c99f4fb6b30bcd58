"""Numbers that a network answered with, as the plain data that are served: dicts of str, float, list.

Training's tasks and what answers from a bundle both go through here, so that they say the same. ``C`` classes, ``T``
words, ``H`` steps ahead, ``D`` columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.metrics.entities import Scheme, find_entities
from netwright.timeline import Grid, stamp, times
from netwright.windows import WindowSeries

Floats = NDArray[np.floating[Any]]
UNTYPED = "entity"  # what entities are called whose tags have no type, as B, I, E, S


def class_answer(row: Floats, classes: Sequence[str]) -> dict[str, Any]:
    """The most probable class, and the probabilities of all, (C,)."""
    best, values = int(row.argmax()), row.tolist()
    return {
        "label": classes[best],
        "confidence": values[best],
        "probabilities": dict(zip(classes, values, strict=True)),
    }


def label_answer(row: Floats, classes: Sequence[str], threshold: float) -> dict[str, Any]:
    """The labels with a probability above the threshold, the likeliest first, and the probabilities of all, (C,)."""
    order = [int(at) for at in np.argsort(-row, kind="stable") if row[at] > threshold]
    return {
        "probabilities": dict(zip(classes, row.tolist(), strict=True)),
        "labels": [classes[at] for at in order],
    }


def number_answer(values: NDArray[Any]) -> dict[str, Any]:
    """The predicted numbers, of any shape."""
    return {"value": [float(value) for value in np.atleast_1d(values).ravel()]}


def tag_answer(rows: Floats, classes: Sequence[str], scheme: Scheme | None) -> dict[str, Any]:
    """A tag for each word with its probability, (T, C), and the entities that they make up."""
    best = rows.argmax(1).astype(np.int64) if len(rows) else np.zeros(0, dtype=np.int64)
    found: dict[str, Any] = {
        "tags": [classes[int(one)] for one in best],
        "confidences": [float(row[one]) for row, one in zip(rows, best, strict=True)],
    }
    if scheme is not None:
        entities = find_entities(best, np.asarray([0, len(best)]), scheme)
        found["entities"] = [
            {"type": scheme.types[kind] or UNTYPED, "begin": int(first), "end": int(last)}
            for first, last, kind in zip(entities.begins, entities.ends, entities.types, strict=True)
        ]
    return found


def forecast_steps(
    grid: Grid, values: NDArray[np.float64], width: NDArray[np.float64] | None, origin: float
) -> list[dict[str, Any]]:
    """What is to come of one column, (H,), with the time of each step and its interval.

    Args:
        width: Half of each step's interval, (H,); None for none.
        origin: Time of the first step, in seconds since 1970.
    """
    moments = times(grid, origin, np.arange(len(values)))
    return [
        {"time": stamp(moments[step]), "value": float(value)}
        | ({} if width is None else {"low": float(value - width[step]), "high": float(value + width[step])})
        for step, value in enumerate(values)
    ]


def forecast_answer(
    operation: WindowSeries, values: Floats, half_widths: NDArray[np.float64] | None, origin: float
) -> dict[str, Any]:
    """What is to come of each column, (H, D)."""
    return {
        "forecast": {
            column: forecast_steps(
                operation.grid,
                values[:, place].astype(np.float64),
                None if half_widths is None else half_widths[:, place],
                origin,
            )
            for place, column in enumerate(operation.columns[: operation.targets])
        }
    }


def token_answer(row: Floats, written: str) -> dict[str, Any]:
    """The likeliest token after the last, out of log-probabilities (V,).

    Args:
        written: How that token is written.
    """
    return {"label": written, "confidence": float(np.exp(row[int(row.argmax())]))}
