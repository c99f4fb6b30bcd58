"""Recordings to tell apart: a folder of class folders of files with columns, as long as each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.data.columns import SUFFIXES, read_columns
from netwright.data.compact import kind_of
from netwright.data.dataset import Data
from netwright.data.facts import asked_task, choose_splits, digest, split_specs
from netwright.data.images import (
    check_classes,
    check_unreadable,
    class_folders,
    find_groups,
    left_out,
    left_over,
    split_folders,
)
from netwright.data.ragged import Ragged, RaggedSource
from netwright.errors import DataError
from netwright.preprocess import Preprocess
from netwright.recordings import ReadRecording, columns_of, scaled
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions, Unreadable

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Found:
    """The recordings of one split, float64 (T, D) each, NaN in gaps."""

    values: list[Values]
    labels: NDArray[np.int64]
    names: tuple[str, ...]


def load_recordings(root: Path, options: LoadOptions) -> Data:
    """Data from class folders of files, a row a step and a column of numbers for each thing that is measured.

    Raises:
        DataError: There are no classes, the first file has no column of numbers, or too many files cannot be read.
    """
    asked_task(options, ("classification",), data="recordings in class folders")
    folders = split_folders(root)
    found = {name: class_folders(root, folder, SUFFIXES) for name, folder in folders.items()}
    by_split = {name: one.files for name, one in found.items()}
    classes = tuple(sorted({name for files in by_split.values() for name in files}))
    check_classes(root, by_split, classes, what="recordings")
    columns, choices = _columns(next(path for files in by_split["train"].values() for path in files), options)
    unreadable = [bad for one in found.values() for bad in one.unreadable]
    parts = {split: _read(root, files, classes, columns, unreadable) for split, files in by_split.items()}
    total = len(unreadable) + sum(len(one.values) for one in parts.values())
    check_unreadable(tuple(unreadable), total, options, what="recordings")
    whole = parts["train"]
    where, split_choices = choose_splits(
        whole.labels,
        options,
        classes=classes,
        groups=find_groups(whole.names, options.group_by),
        has_val="val" in parts,
        has_test="test" in parts,
    )
    for split, rows in where.items():
        parts[split] = _take(whole, rows)
    operation = _fit(parts["train"].values, columns)
    sources = {split: _source(operation, one) for split, one in parts.items()}
    scale = Choice(name="scale", value="mean 0, deviation 1", reason="of each column, fitted on the training split")
    lengths = sources["train"].lengths
    steps = Choice(name="steps", value=f"{lengths.min():,} to {lengths.max():,}", reason="each recording in full")
    spec = DataSpec(
        name=root.resolve().name,
        source=str(root),
        kind="series",
        task="classification",
        inputs=(
            FieldSpec(name="series", shape=(-1, len(columns)), dtype="float32"),
            FieldSpec(name="lengths", shape=(), dtype="int64"),
            FieldSpec(name="mask", shape=(-1,), dtype="bool"),
        ),
        target=FieldSpec(name="label", shape=(), dtype="int64"),
        classes=classes,
        splits=split_specs({split: one.labels for split, one in parts.items()}, classes),
        preprocess=Preprocess(operations=(operation,)),
        options=options,
        choices=(*choices, *split_choices, steps, scale, *left_out(left_over(root, folders, found), "recordings")),
        unreadable=tuple(unreadable),
        digest=digest(
            (f"{split}/{kind}", values)
            for split, source in sources.items()
            for kind, values in (
                ("x", source.fields["series"].values), ("n", source.lengths), ("y", source.targets)
            )
        ),
    )  # fmt: skip
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _columns(first: Path, options: LoadOptions) -> tuple[tuple[str, ...], tuple[Choice, ...]]:
    """The columns that are learned from: those asked for, or all of numbers in the first file."""
    frame = read_columns(first)
    kinds = {str(name): kind_of(frame[name]) for name in frame.columns}
    asked = tuple(name.strip() for name in options.input.split(",")) if options.input else ()
    columns = asked or tuple(name for name, kind in kinds.items() if kind == "number")
    if not columns or not set(columns) <= set(kinds):
        raise DataError(
            where=str(first),
            expected=f"the columns {', '.join(asked)}" if asked else "a column of numbers",
            got=", ".join(f"{name} ({kind})" for name, kind in kinds.items()),
            cure="Name the columns: --input COLUMN,COLUMN.",
        )
    others = [name for name in kinds if name not in columns]
    reason = "asked for" if asked else "those of numbers in the first file"
    reason += f"; {', '.join(others)} left out, and rows are steps as they stand" if others else ""
    return columns, (Choice(name="columns", value=", ".join(columns), reason=reason, asked=bool(asked)),)


def _read(
    root: Path,
    files: dict[str, list[Path]],
    classes: Sequence[str],
    columns: tuple[str, ...],
    unreadable: list[Unreadable],
) -> _Found:
    values, labels, names = [], [], []
    for label, name in enumerate(classes):
        for path in files.get(name, ()):
            try:
                values.append(columns_of(columns, _as_mapping(read_columns(path))))
            except DataError as error:
                unreadable.append(Unreadable(name=str(path), reason=f"{error.where}: {error.got}"))
                continue
            labels.append(label)
            names.append(str(path.relative_to(root)))
    return _Found(values, np.asarray(labels, dtype=np.int64), tuple(names))


def _as_mapping(frame: pd.DataFrame) -> dict[str, list[object]]:
    return {str(name): list(frame[name]) for name in frame.columns}


def _take(whole: _Found, rows: NDArray[np.int64]) -> _Found:
    return _Found([whole.values[row] for row in rows], whole.labels[rows], tuple(whole.names[row] for row in rows))


def _fit(values: Sequence[Values], columns: tuple[str, ...]) -> ReadRecording:
    """Mean and deviation of each column over all steps of training."""
    every = np.concatenate(values)
    empty = [name for place, name in enumerate(columns) if np.isnan(every[:, place]).all()]
    if empty:
        raise DataError(
            where=f"column {', '.join(empty)}",
            expected="numbers in the training split",
            got="empty cells alone",
            cure="Leave it out: --input with the other columns.",
        )
    mean, std = np.nanmean(every, axis=0), np.nanstd(every, axis=0)
    std[std < 1e-8 * np.maximum(1, np.abs(mean))] = 1.0  # a constant column stays 0
    return ReadRecording(columns=columns, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def _source(operation: ReadRecording, one: _Found) -> RaggedSource:
    series = Ragged.of([scaled(operation, values) for values in one.values], np.float32)
    return RaggedSource({"series": series}, torch.from_numpy(one.labels), one.names)
