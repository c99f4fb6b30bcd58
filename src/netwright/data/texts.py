"""Texts with a label or a number each: files with columns, a folder of train/val/test files, folders of .txt files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.data.columns import SUFFIXES, TARGETS, TEXTS, find_column, is_number, read_columns
from netwright.data.dataset import Data
from netwright.data.facts import asked_task, choose_splits, digest, find_classes, split_specs
from netwright.data.images import SPLITS, check_unreadable
from netwright.data.ragged import Ragged, RaggedSource
from netwright.data.tokenisers import fit_tokenizer
from netwright.errors import DataError
from netwright.preprocess import Preprocess, tokenise
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions, Unreadable

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT = 2_000  # files that tell a folder of texts from one of images
CLASS_FILES = ("class.txt", "classes.txt", "labels.txt")


@dataclass(frozen=True, slots=True)
class _Texts:
    """What one file or folder holds: texts, what is to be answered as it was written, and what to call each."""

    texts: tuple[str, ...]
    targets: tuple[str, ...]
    names: tuple[str, ...]

    def take(self, rows: NDArray[np.int64]) -> _Texts:
        """Some of them."""
        columns = (self.texts, self.targets, self.names)
        return _Texts(*(tuple(column[row] for row in rows) for column in columns))


def split_files(folder: Path) -> dict[str, Path]:
    """Files with columns named after splits, as train.csv and test.csv, or the only one there is; empty without."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        for split, names in SPLITS.items():
            if path.suffix in SUFFIXES and path.stem.casefold() in names and path.is_file():
                found.setdefault(split, path)
    alone = [path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES and path.is_file()]
    if not found and len(alone) == 1:
        return {"train": alone[0]}
    return found if "train" in found else {}


def load_text_files(paths: dict[str, Path], options: LoadOptions, *, source: Path) -> Data:
    """Data from files with columns, one a split.

    Raises:
        DataError: There is no column of text, or a target is missing.
    """
    frames = {split: read_columns(path) for split, path in paths.items()}
    text, target, choices = _columns(frames["train"], options, paths["train"])
    parts = {split: _from_frame(frame, text, target, paths[split]) for split, frame in frames.items()}
    return _assemble(parts, options, source=source, class_names=_class_names(paths["train"].parent), choices=choices)


def load_text_folder(folders: dict[str, Path], options: LoadOptions, *, source: Path) -> Data:
    """Data from folders of class folders of .txt files, one a split.

    Raises:
        DataError: Too many files are not UTF-8.
    """
    parts, unreadable, total = {}, [], 0
    for split, folder in folders.items():
        rows = []
        for path in sorted(folder.glob("*/*.txt")):
            total += 1
            try:
                rows.append((path.read_text(encoding="utf-8-sig"), path.parent.name, str(path.relative_to(source))))
            except (UnicodeDecodeError, OSError) as error:
                unreadable.append(Unreadable(name=str(path), reason=str(error)))
        texts, labels, names = zip(*rows, strict=True) if rows else ((), (), ())
        parts[split] = _Texts(tuple(texts), tuple(labels), tuple(names))
    check_unreadable(tuple(unreadable), total, options)
    return _assemble(parts, options, source=source, class_names=None, choices=[], unreadable=tuple(unreadable))


def holds_texts(folder: Path) -> bool:
    """Whether most of the first files in its folders are .txt: a note among images makes no texts of them."""
    inside = (path for entry in sorted(folder.iterdir()) if entry.is_dir() for path in entry.rglob("*"))
    files = [path.suffix for path in islice(inside, LOOKED_AT) if path.is_file() and not path.name.startswith(".")]
    return 2 * files.count(".txt") > len(files)


def _columns(frame: pd.DataFrame, options: LoadOptions, path: Path) -> tuple[str, str, list[Choice]]:
    """The columns of the text and of the target, and why these."""
    target = find_column(frame, options.target, TARGETS, option="--target", path=path)
    text = find_column(frame, options.input, TEXTS, option="--input", path=path)
    names = [str(name) for name in frame.columns]
    lengths = {name: float(frame[name].head(500).astype(str).str.len().mean()) for name in names}
    if text is None:
        candidates = [name for name in names if name != target and not _is_numeric(frame[name])]
        text = max(candidates, key=lambda name: lengths[name], default=None)
    if target is None and text is not None and len(names) == 2:
        target = next(name for name in names if name != text)
    if text is None or target is None or text == target:
        raise DataError(
            where=str(path),
            expected="a column of texts and a column of labels or numbers",
            got=f"columns {', '.join(names)}",
            cure="Name them: --input COLUMN --target COLUMN.",
        )
    others = [name for name in names if name not in (text, target)]
    why_text = "asked for" if options.input else "by its name, or the column with the longest values"
    choices = [
        Choice(name="input", value=text, reason=why_text, asked=options.input is not None),
        Choice(
            name="target",
            value=target,
            reason="asked for" if options.target else "by its name, or the other column",
            asked=options.target is not None,
        ),
    ]
    if others:
        choices.append(Choice(name="not used", value=", ".join(others), reason="columns that were not asked for"))
    return text, target, choices


def _is_numeric(column: pd.Series[Any]) -> bool:
    return all(is_number(str(value)) for value in column.head(100))


def _from_frame(frame: pd.DataFrame, text: str, target: str, path: Path) -> _Texts:
    for name in (text, target):
        if name not in frame.columns:
            raise DataError(
                where=str(path),
                expected=f"the column {name}, as the training file has it",
                got=f"columns {', '.join(map(str, frame.columns))}",
                cure="Give the files the same columns.",
            )
    missing = np.flatnonzero(frame[target].isna() | (frame[target].astype(str).str.strip() == ""))
    if len(missing):
        raise DataError(
            where=f"{path}, row {missing[0] + 1}",
            expected=f"a value in the column {target}",
            got=f"nothing, in {len(missing)} rows",
            cure="Fill in or remove these rows.",
        )
    texts = ["" if value is None or value != value else str(value) for value in frame[text]]  # NaN is not itself
    labels = [str(value).strip() for value in frame[target]]
    return _Texts(tuple(texts), tuple(labels), tuple(f"{path.name}[{row}]" for row in range(len(texts))))


def _class_names(folder: Path) -> tuple[str, ...] | None:
    for name in CLASS_FILES:
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8-sig").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return None


def _assemble(
    parts: dict[str, _Texts],
    options: LoadOptions,
    *,
    source: Path,
    class_names: tuple[str, ...] | None,
    choices: list[Choice],
    unreadable: tuple[Unreadable, ...] = (),
) -> Data:
    """Targets, splits, tokens and the record."""
    asked = asked_task(options, ("classification", "regression"), data="texts")
    targets, classes, target_choices = _targets(parts, class_names, asked=asked)
    task = "regression" if classes is None else "classification"
    where, split_choices = choose_splits(
        targets["train"], options, classes=classes, has_val="val" in parts, has_test="test" in parts
    )
    whole, whole_targets = parts["train"], targets["train"]
    for split, rows in where.items():
        parts[split] = whole.take(rows)
        targets[split] = whole_targets[rows]
    operation, token_choices = fit_tokenizer(parts["train"].texts, options)
    sources: dict[str, RaggedSource] = {
        split: RaggedSource(
            {"tokens": Ragged.of(tokenise(operation, one.texts), np.int32)},
            torch.from_numpy(targets[split]),
            one.names,
            one.texts,
        )
        for split, one in parts.items()
    }
    spec = DataSpec(
        name=source.stem,
        source=str(source),
        kind="text",
        task=task,
        inputs=(
            FieldSpec(name="tokens", shape=(-1,), dtype="int64"),
            FieldSpec(name="lengths", shape=(), dtype="int64"),
            FieldSpec(name="mask", shape=(-1,), dtype="bool"),
        ),
        target=FieldSpec(
            name="label" if classes is not None else "target",
            shape=(),
            dtype="int64" if classes is not None else "float32",
        ),
        classes=classes,
        splits=split_specs(targets, classes),
        preprocess=Preprocess(operations=(operation,)),
        options=options,
        choices=(*choices, *target_choices, *split_choices, *token_choices),
        unreadable=unreadable,
        digest=digest(
            (f"{split}/{name}", values)
            for split, one in sources.items()
            for name, values in (("x", _bytes(one.texts or ())), ("y", one.targets))
        ),
    )
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _targets(
    parts: dict[str, _Texts], class_names: tuple[str, ...] | None, *, asked: str | None
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...] | None, tuple[Choice, ...]]:
    """Targets by split: classes, or numbers to regress on where there is one that is not whole."""
    every = np.asarray([target for one in parts.values() for target in one.targets])
    ends = np.cumsum([len(one.targets) for one in parts.values()])[:-1]
    numeric = all(is_number(value) for value in every)
    if asked == "regression" and not numeric:
        wrong = next(value for value in every if not is_number(value))
        raise DataError(
            where="--task regression", expected="numbers to regress on", got=f'"{wrong}"', cure="Leave out --task."
        )
    real = numeric and any(not float(value).is_integer() for value in every)
    if asked == "regression" or (real and asked is None):
        values = every.astype(np.float32)
        return dict(zip(parts, np.split(values, ends), strict=True)), None, ()
    whole = numeric and not real
    codes, classes, choice = find_classes(every.astype(float).astype(np.int64) if whole else every)
    choices = [] if choice is None else [choice]
    if whole and class_names is not None and len(class_names) >= len(classes):
        classes = class_names
        choices.append(Choice(name="classes", value=len(classes), reason="their names lie beside the data"))
    return dict(zip(parts, np.split(codes, ends), strict=True)), classes, tuple(choices)


def _bytes(texts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(texts).encode("utf-8", "replace"), dtype=np.uint8)
