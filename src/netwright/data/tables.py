"""Tables: numbers, categories, dates, with values missing; one target or several numbers.

``N`` rows. Statistics and categories are from the training split alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.columns import TARGETS, read_pieces
from netwright.data.compact import PIECE_ROWS, CompactColumn, read_compact
from netwright.data.dataset import Data
from netwright.data.facts import asked_task, choose_splits, digest, find_classes, split_specs
from netwright.data.fitting import fit_columns
from netwright.errors import DataError, unknown_name
from netwright.preprocess import Operation, Preprocess
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions
from netwright.rows import (
    CategoryColumn,
    Column,
    DateColumn,
    EncodeRows,
    NumberColumn,
    ScaleTarget,
    categories_of,
    encode_dates,
    encode_numbers,
    features,
    numbers_of,
)

if TYPE_CHECKING:
    import pandas as pd

# Whole numbers with at most so many different values are classes; more are numbers to regress on.
MOST_CLASSES = 20


@dataclass(frozen=True, slots=True)
class TableSource:
    """Rows in memory, as numbers.

    Attributes:
        numbers: float32 (N, numbers).
        categories: Codes, int32 (N, categories).
        all_targets: int64 (N,) or float32 (N,) or (N, D).
        rows: Place of each row in its file, int64 (N,).
        path: That file.
        target_names: Columns of the target.
    """

    operation: EncodeRows
    numbers: NDArray[np.float32]
    categories: NDArray[np.int32]
    all_targets: Tensor
    rows: NDArray[np.int64]
    path: Path
    target_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        """``features``, ``numbers`` and ``categories`` (int64), and each column under its own name."""
        inputs = as_fields(self.operation, self.numbers[indices], self.categories[indices])
        return inputs, self.all_targets.index_select(0, torch.from_numpy(indices))

    def name(self, index: int) -> str:
        """Its file and row."""
        return f"{self.path.name}[{self.rows[index]}]"

    @property
    def targets(self) -> NDArray[Any]:
        """All targets."""
        return self.all_targets.numpy()

    @property
    def lengths(self) -> None:
        """All rows have one shape."""
        return None

    def cells(self, indices: Sequence[int]) -> list[dict[str, str]]:
        """Rows as they stand in the file, by column without the target; read again, a piece at a time."""
        wanted = {int(self.rows[index]): place for place, index in enumerate(indices)}
        found: list[dict[str, str]] = [{} for _ in indices]
        start = 0
        for piece in read_pieces(self.path, rows=PIECE_ROWS):
            for row in wanted.keys() & set(range(start, start + len(piece))):
                values = piece.iloc[row - start]
                used = [name for name in piece.columns if name not in self.target_names]
                found[wanted[row]] = {str(name): str(values[name]) for name in used}
            start += len(piece)
        return found


def as_fields(operation: EncodeRows, numbers: NDArray[np.float32], categories: NDArray[np.int32]) -> dict[str, Tensor]:
    """The fields of a batch of rows: all in one, by kind, and by column."""
    fields = {
        "features": torch.from_numpy(features(operation, numbers, categories)),
        "numbers": torch.from_numpy(numbers),
        "categories": torch.from_numpy(categories.astype(np.int64)),
    }
    for names, values in (
        (operation.number_names, fields["numbers"]),
        (operation.category_names, fields["categories"]),
    ):
        for place, name in enumerate(names):
            fields.setdefault(slug(name), values[:, place])
    return fields


def slug(name: str) -> str:
    """A column's name as Python could have it: ``Fare (£)`` is ``fare``."""
    plain = re.sub(r"\W+", "_", name.strip()).strip("_").lower()
    return f"_{plain}" if plain[:1].isdigit() or not plain else plain


def parts_of(operation: EncodeRows) -> dict[str, tuple[str, ...]]:
    """Which columns the fields of several columns are made of."""
    numbers = tuple(slug(name) for name in operation.number_names)
    categories = tuple(slug(name) for name in operation.category_names)
    return {"features": numbers + categories, "numbers": numbers, "categories": categories}


def load_tables(paths: dict[str, Path], options: LoadOptions, *, source: Path) -> Data:
    """Data from files with columns, one a split.

    Raises:
        DataError: There is no target, or it is missing in a row.
        UnknownNameError: A column that was asked for is not there.
    """
    columns: dict[str, CompactColumn] = {}
    counts = {
        split: read_compact(read_pieces(path, rows=PIECE_ROWS), columns, where=str(path))
        for split, path in sorted(paths.items(), key=lambda one: one[0] != "train")
    }
    if not sum(counts.values()):
        raise DataError(where=str(source), expected="at least one row", got="none", cure="Give a file with rows.")
    names, choices = _targets_of(columns, options, source)
    task = asked_task(options, ("classification", "regression"), data="tables")
    columns_of_target = {name: columns.pop(name) for name in names}
    targets, classes, choice = _answers(columns_of_target, task, source)
    choices += choice
    ends = np.cumsum(list(counts.values()))[:-1]
    by_split = dict(zip(counts, np.split(targets, ends), strict=True))
    rows = dict(zip(counts, np.split(np.arange(len(targets)), ends), strict=True))
    parts, split_choices = choose_splits(
        by_split["train"], options, classes=classes, has_val="val" in paths, has_test="test" in paths
    )
    whole = rows["train"]
    rows |= {split: whole[where] for split, where in parts.items()}
    fitted = fit_columns(columns, rows["train"], _asked_columns(columns, options, source), options)
    operation = EncodeRows(columns=fitted.columns, unused=(*fitted.unused, *names))
    encoded = _encode(operation, columns, rows)
    offsets = dict(zip(counts, (0, *ends), strict=True))
    sources = {}
    for split in (split for split in ("train", "val", "test") if split in rows):
        file = split if split in paths else "train"
        sources[split] = TableSource(
            operation,
            *encoded[split],
            torch.from_numpy(targets[rows[split]]),
            rows[split] - offsets[file],
            paths[file],
            tuple(names),
        )
    operations: list[Operation] = [operation]
    if classes is None:
        operations.append(_scaling(sources["train"].targets))
        choices.append(
            Choice(
                name="target scale",
                value="mean 0, deviation 1 for the loss",
                reason="a network starts near 0; answers and scores are in the target's own unit",
            )
        )
    spec = DataSpec(
        name=source.stem,
        source=str(source),
        kind="table",
        task="regression" if classes is None else "classification",
        inputs=_field_specs(operation),
        target=FieldSpec(
            name=names[0] if len(names) == 1 else ", ".join(names),
            shape=targets.shape[1:],
            dtype="float32" if classes is None else "int64",
        ),
        classes=classes,
        splits=split_specs({split: one.targets for split, one in sources.items()}, classes),
        preprocess=Preprocess(operations=tuple(operations)),
        options=options,
        choices=(*choices, *split_choices, *fitted.choices),
        parts=parts_of(operation),
        digest=digest(
            (f"{split}/{name}", values)
            for split, one in sources.items()
            for name, values in (("numbers", one.numbers), ("categories", one.categories), ("y", one.targets))
        ),
    )
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _targets_of(
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


def _answers(
    columns: Mapping[str, CompactColumn], task: str | None, source: Path
) -> tuple[NDArray[Any], tuple[str, ...] | None, list[Choice]]:
    """Targets of all rows: codes with the classes' names, or float32 (N,) or (N, D)."""
    if len(columns) > 1:
        texts = [name for name, column in columns.items() if column.kind != "number"]
        if texts or task == "classification":
            raise DataError(
                where="--target",
                expected="columns of numbers, where there are several",
                got=f"{', '.join(texts)} of texts" if texts else "--task classification",
                cure="Name one target, or only columns of numbers.",
            )
        several = [_present(name, column.take(), source) for name, column in columns.items()]
        return np.stack(several, axis=1).astype(np.float32), None, []
    ((name, column),) = columns.items()
    if column.too_many:
        raise DataError(
            where=f"column {name} of {source.name}", expected="classes or numbers to answer",
            got="texts that hardly ever come twice", cure="Name another column: --target COLUMN.",
        )  # fmt: skip
    labels = _labels_of_numbers(column, task, source) if column.kind == "number" else _labels_of_texts(column, source)
    if labels.dtype.kind == "f":
        return labels, None, []
    if task == "regression":
        raise DataError(
            where="--task regression", expected="numbers to regress on", got=f'"{labels[0]}"', cure="Leave out --task."
        )
    codes, classes, choice = find_classes(labels)
    return codes, classes, [] if choice is None else [choice]


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


def _asked_columns(columns: Mapping[str, CompactColumn], options: LoadOptions, source: Path) -> list[str] | None:
    if options.input is None:
        return None
    names = [name.strip() for name in options.input.split(",")]
    for name in names:
        if name not in columns:
            raise unknown_name(f"column of {source.name}", name, list(columns), where="--input")
    return names


def _encode(
    operation: EncodeRows, columns: dict[str, CompactColumn], rows: Mapping[str, NDArray[np.int64]]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.int32]]]:
    """Numbers and categories of each split; each column is let go once it is encoded: memory does not add up."""
    # Column by column in memory: of what is not written yet, no page is taken.
    numbers = {s: np.empty((len(where), len(operation.number_names)), np.float32, "F") for s, where in rows.items()}
    codes = {s: np.empty((len(where), len(operation.category_names)), np.int32, "F") for s, where in rows.items()}
    at_number = at_category = 0
    for column in operation.columns:
        made, known = _encode_column(column, columns.pop(column.column))
        for value in made:
            for split, where in rows.items():
                numbers[split][:, at_number] = value[where]
            at_number += 1
        for code in known:
            for split, where in rows.items():
                codes[split][:, at_category] = code[where]
            at_category += 1
    return {s: (np.ascontiguousarray(numbers.pop(s)), np.ascontiguousarray(codes.pop(s))) for s in rows}


def _encode_column(
    column: Column, held: CompactColumn
) -> tuple[Sequence[NDArray[np.float32]], Sequence[NDArray[np.int32]]]:
    """The numbers and the categories that a column gives."""
    values = held.take()
    if isinstance(column, NumberColumn):
        return encode_numbers(column, values), ()
    if isinstance(column, CategoryColumn):
        known = {value: code for code, value in enumerate(column.values, start=1)}
        lookup = np.asarray([known.get(text, 0) for text in held.texts], dtype=np.int32)
        return (), (lookup[values],)
    if isinstance(column, DateColumn):
        days, parts = encode_dates(column, values)
        return (days,), parts
    return ((~held.missing(values)).astype(np.float32),), ()


def _scaling(targets: NDArray[np.float32]) -> ScaleTarget:
    values = targets.reshape(len(targets), -1).astype(np.float64)
    std = values.std(0)
    std[std < 1e-8 * np.maximum(1, np.abs(values.mean(0)))] = 1.0
    return ScaleTarget(mean=tuple(values.mean(0).tolist()), std=tuple(std.tolist()))


def _field_specs(operation: EncodeRows) -> tuple[FieldSpec, ...]:
    wholes = {"features", "numbers", "categories"}
    fields = [
        FieldSpec(name="features", shape=(operation.num_features,), dtype="float32"),
        FieldSpec(name="numbers", shape=(len(operation.number_names),), dtype="float32"),
        FieldSpec(name="categories", shape=(len(operation.category_names),), dtype="int64"),
    ]
    for column in operation.columns:
        for name in numbers_of(column):
            if slug(name) not in wholes:
                fields.append(FieldSpec(name=slug(name), shape=(), dtype="float32"))
        for name, _ in categories_of(column):
            if slug(name) not in wholes:
                fields.append(FieldSpec(name=slug(name), shape=(), dtype="int64"))
    return tuple(fields)


def looks_like_table(frame: pd.DataFrame, options: LoadOptions) -> bool:
    """Whether the first rows of a file are of a table, and not of texts with a label."""
    from netwright.data.columns import TEXTS

    if options.input is not None:
        asked = [name.strip() for name in options.input.split(",")]
        return not (len(asked) == 1 and asked[0] in frame.columns and _is_prose(frame[asked[0]]))
    named = [name for name in frame.columns if str(name).casefold() in TEXTS and _is_prose(frame[name])]
    if named:
        return False
    prose = [name for name in frame.columns if _is_prose(frame[name])]
    return not (prose and len(frame.columns) <= 2)


def _is_prose(cells: pd.Series[Any]) -> bool:
    """Whether a column holds texts that mostly differ, and are no numbers or dates."""
    from netwright.data.compact import kind_of

    there = [str(cell) for cell in cells if str(cell).strip()]
    if not there or kind_of(cells) != "text":
        return False
    return len(set(there)) > 0.5 * len(there) and sum(map(len, there)) >= 6 * len(there)
