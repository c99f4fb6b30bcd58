"""What a table is to answer: classes, numbers, several of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.data.columns import TARGETS
from netwright.data.compact import PIECE_ROWS, CompactColumn
from netwright.data.facts import find_classes
from netwright.errors import DataError, unknown_name
from netwright.records import AnswerSpec, Choice, FieldSpec, LoadOptions
from netwright.rows import ScaleTarget

# Whole numbers with at most so many different values are classes; more are numbers to regress on.
MOST_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: what it is, and its values in all rows, int64 (N,) or float32 (N, ...)."""

    spec: AnswerSpec
    values: NDArray[Any]


def find_targets(
    columns: Mapping[str, CompactColumn], options: LoadOptions, source: Path
) -> tuple[list[str], list[Choice]]:
    """Names of the target's columns, and why these."""
    if options.target is not None:
        names = [name.strip() for name in options.target.split(",")]
        for name in names:
            if name not in columns:
                raise unknown_name(f"column of {source.name}", name, list(columns), where="--target")
        return names, [Choice(name="target", value=", ".join(names), reason="asked for", asked=True)]
    folded = {name.casefold(): name for name in columns}
    found = next((folded[name] for name in TARGETS if name in folded), None)
    if found is None:
        raise DataError(
            where=str(source),
            expected="the name of the column that is to be answered",
            got=f"columns {', '.join(columns)}, none with a usual name as {', '.join(TARGETS[:4])}",
            cure=f"Name it, as --target {list(columns)[-1]}.",
        )
    return [found], [Choice(name="target", value=found, reason="by its name")]


def read_answers(
    columns: Mapping[str, CompactColumn], task: str | None, source: Path
) -> tuple[tuple[Answer, ...], list[Choice]]:
    """What is to be answered, from the columns of the target, which are let go.

    Several columns of numbers are one answer, float32 (N, D); several columns with texts among them are an answer each.

    Raises:
        DataError: A row has none, or a column cannot be answered as asked.
    """
    if len(columns) > 1 and task != "classification" and all(one.kind == "number" for one in columns.values()):
        values = [_present(name, column.take(), source) for name, column in columns.items()]
        whole = np.stack(values, axis=1).astype(np.float32)
        target = FieldSpec(name=", ".join(columns), shape=(len(columns),), dtype="float32")
        return (Answer(AnswerSpec(name=target.name, task="regression", target=target), whole),), []
    found = [_read_answer(column, task if len(columns) == 1 else None, source) for column in columns.values()]
    return tuple(answer for answer, _ in found), [choice for _, choices in found for choice in choices]


def _read_answer(column: CompactColumn, task: str | None, source: Path) -> tuple[Answer, list[Choice]]:
    name = column.name
    if column.too_many:
        raise DataError(
            where=f"column {name} of {source.name}", expected="classes or numbers to answer",
            got="texts that hardly ever come twice", cure="Name another column: --target COLUMN.",
        )  # fmt: skip
    labels = _labels_of_numbers(column, task, source) if column.kind == "number" else _labels_of_texts(column, source)
    if labels.dtype.kind == "f":
        target = FieldSpec(name=name, shape=(), dtype="float32")
        return Answer(AnswerSpec(name=name, task="regression", target=target), labels), []
    if task == "regression":
        raise DataError(
            where="--task regression", expected="numbers to regress on", got=f'"{labels[0]}"', cure="Leave out --task."
        )
    codes, classes, choice = find_classes(labels)
    target = FieldSpec(name=name, shape=(), dtype="int64")
    answer = AnswerSpec(name=name, task="classification", target=target, classes=classes)
    return Answer(answer, codes), [] if choice is None else [choice]


def _labels_of_numbers(column: CompactColumn, task: str | None, source: Path) -> NDArray[Any]:
    """float32 values to regress on, or classes as int64 or text."""
    values = _present(column.name, column.take(), source)
    different = np.unique(values[: 10 * PIECE_ROWS])
    whole = bool((different == np.round(different)).all())
    if task == "regression" or (task is None and not (whole and len(different) <= MOST_CLASSES)):
        return values.astype(np.float32)
    return values.astype(np.int64) if whole else values.astype(str)


def _labels_of_texts(column: CompactColumn, source: Path) -> NDArray[np.str_]:
    codes = column.take()
    _refuse_missing(column.name, codes == column.texts.get("", -1), source)
    labels: NDArray[np.str_] = np.asarray(list(column.texts))[codes]
    return labels


def _present(name: str, values: NDArray[np.float64], source: Path) -> NDArray[np.float64]:
    _refuse_missing(name, np.isnan(values), source)
    return values


def _refuse_missing(name: str, missing: NDArray[np.bool_], source: Path) -> None:
    where = np.flatnonzero(missing)
    if len(where):
        raise DataError(
            where=f"{source}, row {where[0] + 1}",
            expected=f"a value in the column {name}",
            got=f"nothing, in {len(where)} rows",
            cure="Fill in or remove these rows.",
        )


def fit_scale(answer: AnswerSpec, targets: NDArray[np.float32], *, alone: bool) -> ScaleTarget:
    """Mean and deviation of training's numbers; ``alone`` where there is no other answer."""
    values = targets.reshape(len(targets), -1).astype(np.float64)
    std = values.std(0)
    std[std < 1e-8 * np.maximum(1, np.abs(values.mean(0)))] = 1.0
    return ScaleTarget(
        answer=None if alone else answer.name, mean=tuple(values.mean(0).tolist()), std=tuple(std.tolist())
    )
