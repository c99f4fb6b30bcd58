"""Texts with a label or a number each: files with columns, a folder of train/val/test files, folders of .txt files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.data.columns import SUFFIXES, is_number, read_columns
from netwright.data.dataset import Data
from netwright.data.facts import asked_task, choose_splits, digest, find_classes, split_specs
from netwright.data.images import SPLITS, check_unreadable
from netwright.data.labels import flags_of, label_specs
from netwright.data.ragged import Ragged, RaggedSource
from netwright.data.text_columns import Picked, Texts, pick_columns, texts_of
from netwright.data.tokenisers import SEPARATOR, fit_tokenizer, separator_of
from netwright.errors import DataError
from netwright.preprocess import PAIR_FIELDS, Operation, Pair, Preprocess, pair_fields, tokenise
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions, Unreadable

CLASS_FILES = ("class.txt", "classes.txt", "labels.txt")


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
    picked = pick_columns(frames["train"], options, paths["train"])
    parts = {split: texts_of(frame, picked, paths[split]) for split, frame in frames.items()}
    return _assemble(parts, options, source=source, class_names=_class_names(paths["train"].parent), picked=picked)


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
        parts[split] = Texts(tuple(texts), tuple(labels), tuple(names))
    check_unreadable(tuple(unreadable), total, options)
    return _assemble(parts, options, source=source, class_names=None, unreadable=tuple(unreadable))


def _class_names(folder: Path) -> tuple[str, ...] | None:
    for name in CLASS_FILES:
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8-sig").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return None


def _assemble(
    parts: dict[str, Texts],
    options: LoadOptions,
    *,
    source: Path,
    class_names: tuple[str, ...] | None,
    picked: Picked | None = None,
    unreadable: tuple[Unreadable, ...] = (),
) -> Data:
    """Targets, splits, tokens and the record."""
    several = picked is not None and picked.several_labels
    known = ("multi_label",) if several else ("classification", "regression")
    asked = asked_task(options, known, data="texts")
    targets, classes, target_choices = _labels(parts, picked) if several else _targets(parts, class_names, asked=asked)
    task = "multi_label" if several else "regression" if classes is None else "classification"
    where, split_choices = choose_splits(
        targets["train"],
        options,
        classes=None if several else classes,
        has_val="val" in parts,
        has_test="test" in parts,
    )
    whole, whole_targets = parts["train"], targets["train"]
    for split, rows in where.items():
        parts[split] = whole.take(rows)
        targets[split] = whole_targets[rows]
    operations, token_choices = _fit(parts["train"], options, picked)
    sources = {split: _source(operations, one, targets[split]) for split, one in parts.items()}
    spec = DataSpec(
        name=source.stem,
        source=str(source),
        kind="text",
        task=task,
        inputs=_fields(operations),
        target=FieldSpec(
            name={"multi_label": "labels", "regression": "target"}.get(task, "label"),
            shape=targets["train"].shape[1:],
            dtype="int64" if task == "classification" else "float32",
        ),
        classes=classes,
        splits=label_specs(targets) if several else split_specs(targets, classes),
        preprocess=Preprocess(operations=operations),
        options=options,
        choices=(*(() if picked is None else picked.choices), *target_choices, *split_choices, *token_choices),
        unreadable=unreadable,
        digest=digest(
            (f"{split}/{name}", values)
            for split, one in sources.items()
            for name, values in (("x", _bytes(parts[split])), ("y", one.targets))
        ),
    )
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _fit(train: Texts, options: LoadOptions, picked: Picked | None) -> tuple[tuple[Operation, ...], tuple[Choice, ...]]:
    """The tokenizer, fitted on the training texts; of pairs on both, with a token to stand between them."""
    if train.seconds is None or picked is None:
        operation, choices = fit_tokenizer(train.texts, options)
        return (operation,), choices
    operation, choices = fit_tokenizer((*train.texts, *train.seconds), options, separator=True)
    first, second = picked.texts
    between = separator_of(operation)
    reason = "offered as first and second, and one behind the other as tokens" + (
        "" if between is None else f", with {SEPARATOR} between"
    )
    pair = Pair(columns=(first, second), separator=between)
    return (operation, pair), (*choices, Choice(name="pairs", value=f"{first}, {second}", reason=reason))


def _source(operations: tuple[Operation, ...], one: Texts, targets: NDArray[Any]) -> RaggedSource:
    """Tokens and targets of one split."""
    chain = Preprocess(operations=operations)
    if chain.text is None:
        raise ValueError("texts are tokenised")
    if chain.pair is None or one.seconds is None:
        fields = {"tokens": Ragged.of(tokenise(chain.text, one.texts), np.int32)}
    else:
        made = pair_fields(chain.text, chain.pair, list(zip(one.texts, one.seconds, strict=True)))
        fields = {name: Ragged.of([each[name] for each in made], np.int32) for name in PAIR_FIELDS}
    return RaggedSource(fields, torch.from_numpy(targets), one.names, one.texts, one.seconds)


def _fields(operations: tuple[Operation, ...]) -> tuple[FieldSpec, ...]:
    """What a batch offers to ``forward`` by name."""
    fields = [
        FieldSpec(name="tokens", shape=(-1,), dtype="int64"),
        FieldSpec(name="lengths", shape=(), dtype="int64"),
        FieldSpec(name="mask", shape=(-1,), dtype="bool"),
    ]
    if Preprocess(operations=operations).pair is not None:
        fields.append(FieldSpec(name="segments", shape=(-1,), dtype="int64"))
        for name in ("first", "second"):
            fields += [
                FieldSpec(name=name, shape=(-1,), dtype="int64"),
                FieldSpec(name=f"{name}_lengths", shape=(), dtype="int64"),
                FieldSpec(name=f"{name}_mask", shape=(-1,), dtype="bool"),
            ]
    return tuple(fields)


def _labels(
    parts: dict[str, Texts], picked: Picked | None
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...] | None, tuple[Choice, ...]]:
    """Several labels a text, as 0 and 1 by split."""
    columns = () if picked is None or picked.form is not None else picked.targets
    flags, classes, choice = flags_of({split: one.targets for split, one in parts.items()}, columns or None)
    found: dict[str, NDArray[Any]] = dict(flags)
    return found, classes, (choice,)


def _targets(
    parts: dict[str, Texts], class_names: tuple[str, ...] | None, *, asked: str | None
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


def _bytes(one: Texts) -> NDArray[np.uint8]:
    """All texts; of pairs the second ones after the first."""
    return np.frombuffer("\0".join((*one.texts, *(one.seconds or ()))).encode("utf-8", "replace"), dtype=np.uint8)
