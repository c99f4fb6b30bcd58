"""Tables: numbers, categories, dates, with values missing; one target or several numbers.

``N`` rows. Statistics and categories are from the training split alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netwright.data.answers import Answer, find_targets, fit_scale, read_answers
from netwright.data.columns import peek_columns, read_pieces
from netwright.data.compact import PIECE_ROWS, CompactColumn, read_compact
from netwright.data.dataset import Data
from netwright.data.facts import asked_task, choose_splits, digest, split_specs
from netwright.data.fitting import fit_columns
from netwright.data.sources import Targets, at, first_of
from netwright.data.table_pictures import Pictures, all_pictures, picture_columns
from netwright.errors import DataError, unknown_name
from netwright.preprocess import Preprocess
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions
from netwright.rows import (
    CategoryColumn,
    Column,
    DateColumn,
    EncodeRows,
    NumberColumn,
    categories_of,
    encode_dates,
    encode_numbers,
    numbers_of,
    row_fields,
    slug,
)


@dataclass(frozen=True, slots=True)
class TableSource:
    """Rows in memory, as numbers.

    Attributes:
        numbers: float32 (N, numbers).
        categories: Codes, int32 (N, categories).
        all_targets: int64 (N,) or float32 (N,) or (N, D); of several answers by name.
        rows: Place of each row in its file, int64 (N,).
        path: That file.
        target_names: Columns of the target.
        pictures: Of columns that name some.
    """

    operation: EncodeRows
    numbers: NDArray[np.float32]
    categories: NDArray[np.int32]
    all_targets: Targets
    rows: NDArray[np.int64]
    path: Path
    target_names: tuple[str, ...]
    pictures: tuple[Pictures, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Targets]:
        """``features``, ``numbers`` and ``categories`` (int64), and each column under its own name; pictures uint8."""
        inputs = as_fields(self.operation, self.numbers[indices], self.categories[indices])
        inputs |= {one.field: one.gather(indices) for one in self.pictures}
        return inputs, at(self.all_targets, torch.from_numpy(indices))

    def name(self, index: int) -> str:
        """Its file and row."""
        return f"{self.path.name}[{self.rows[index]}]"

    @property
    def targets(self) -> NDArray[Any]:
        """All targets; of several answers those of the first."""
        return first_of(self.all_targets)

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
    return {name: torch.from_numpy(value) for name, value in row_fields(operation, numbers, categories).items()}


def parts_of(operation: EncodeRows) -> dict[str, tuple[str, ...]]:
    """Which columns the fields of several columns are made of."""
    if not operation.columns:
        return {}
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
    names, choices = find_targets(columns, options, source)
    task = asked_task(options, ("classification", "regression"), data="tables")
    shown = _picture_columns(paths["train"], names, options)
    answers, found = read_answers({name: columns.pop(name) for name in names}, task, source)
    for name in shown:
        del columns[name]
    pictures, good, unreadable, told = all_pictures({split: paths[split] for split in counts}, shown, options)
    choices += [*found, *told]
    first = answers[0]
    ends = np.cumsum(list(counts.values()))[:-1]
    rows = dict(zip(counts, np.split(np.arange(len(first.values)), ends), strict=True))
    if good is not None:
        rows = {split: where[good[where]] for split, where in rows.items()}
    parts, split_choices = choose_splits(
        first.values[rows["train"]],
        options,
        classes=first.spec.classes,
        has_val="val" in paths,
        has_test="test" in paths,
    )
    whole = rows["train"]
    rows |= {split: whole[where] for split, where in parts.items()}
    pictures = [one.fitted(rows["train"]) for one in pictures]
    fitted = fit_columns(
        columns, rows["train"], _asked_columns(columns, options, source, shown), options, needed=not shown
    )
    operation = EncodeRows(columns=fitted.columns, unused=(*fitted.unused, *names, *shown))
    encoded = _encode(operation, columns, rows)
    offsets = dict(zip(counts, (0, *ends), strict=True))
    sources: dict[str, TableSource] = {}
    for split in (split for split in ("train", "val", "test") if split in rows):
        file = split if split in paths else "train"
        targets = {one.spec.name: torch.from_numpy(one.values[rows[split]]) for one in answers}
        sources[split] = TableSource(
            operation,
            *encoded[split],
            targets if len(answers) > 1 else targets[first.spec.name],
            rows[split] - offsets[file],
            paths[file],
            tuple(names),
            tuple(one.take(rows[split]) for one in pictures),
        )
    scales = [
        fit_scale(one.spec, one.values[rows["train"]], alone=len(answers) == 1)
        for one in answers
        if one.spec.task == "regression"
    ]
    if scales:
        choices.append(
            Choice(
                name="target scale",
                value="mean 0, deviation 1 for the loss",
                reason="a network starts near 0; answers and scores are in the target's own unit",
            )
        )
    fields = {one.field: one.preprocess for one in pictures}
    preprocess = Preprocess(operations=(operation, *scales), fields=fields)
    spec = _spec(source, options, answers, sources, preprocess)
    every = (*choices, *split_choices, *fitted.choices)
    spec = spec.model_copy(update={"choices": every, "unreadable": unreadable})
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _spec(
    source: Path,
    options: LoadOptions,
    answers: Sequence[Answer],
    sources: Mapping[str, TableSource],
    preprocess: Preprocess,
) -> DataSpec:
    """The record, without choices."""
    alone = answers[0].spec if len(answers) == 1 else None
    operation = sources["train"].operation
    held: list[tuple[str, NDArray[Any]]] = []
    for split, one in sources.items():
        held += [(f"{split}/numbers", one.numbers), (f"{split}/categories", one.categories)]
        held += [
            (f"{split}/{shown.field}", np.frombuffer("\n".join(map(str, shown.paths)).encode(), dtype=np.uint8))
            if shown.pixels is None
            else (f"{split}/{shown.field}", shown.pixels)
            for shown in one.pictures
        ]
        wanted = one.all_targets if isinstance(one.all_targets, dict) else {"": one.all_targets}
        held += [(f"{split}/y{name}", value.numpy()) for name, value in wanted.items()]
    classes = None if alone is None else alone.classes
    return DataSpec(
        name=source.stem,
        source=str(source),
        kind="table",
        task="several" if alone is None else alone.task,
        inputs=(*_field_specs(operation), *(one.spec() for one in sources["train"].pictures)),
        target=answers[0].spec.target,
        classes=classes,
        answers=() if alone is not None else tuple(one.spec for one in answers),
        splits=split_specs({split: one.targets for split, one in sources.items()}, classes),
        preprocess=preprocess,
        options=options,
        parts=parts_of(operation),
        digest=digest(held),
    )


def _picture_columns(first: Path, targets: Sequence[str], options: LoadOptions) -> list[str]:
    """Columns of paths that are asked for, or all."""
    found = [name for name in picture_columns(peek_columns(first)) if name not in targets]
    asked = None if options.input is None else [name.strip() for name in options.input.split(",")]
    return [name for name in found if asked is None or name in asked]


def _asked_columns(
    columns: Mapping[str, CompactColumn], options: LoadOptions, source: Path, pictures: Sequence[str]
) -> list[str] | None:
    if options.input is None:
        return [] if pictures else None
    names = [name for name in map(str.strip, options.input.split(",")) if name not in pictures]
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


def _field_specs(operation: EncodeRows) -> tuple[FieldSpec, ...]:
    if not operation.columns:
        return ()
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
