"""Which columns of a file hold texts and what is to be answered, and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from netwright.data.columns import TARGETS, TEXTS, find_column, is_number
from netwright.data.labels import holds_sets, read_flag, read_set
from netwright.errors import DataError, unknown_name
from netwright.records import Choice, LoadOptions

if TYPE_CHECKING:
    import pandas as pd

# Columns that are usually two texts to be looked at together.
PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("query", "passage"),
)
# What a target that is one of two texts, or several labels, may be called besides the usual.
MORE_TARGETS = (*TARGETS, "gold_label", "score", "similarity", "is_duplicate", "tags")


@dataclass(frozen=True, slots=True)
class Texts:
    """What one file or folder holds: texts, what is to be answered as it was written, and what to call each.

    Attributes:
        targets: A label or number each; with ``form`` the labels of each, a tuple.
        seconds: The second texts, where samples are pairs.
    """

    texts: tuple[str, ...]
    targets: tuple[Any, ...]  # str, or tuple[str, ...]
    names: tuple[str, ...]
    seconds: tuple[str, ...] | None = None

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """Some of them."""
        texts, targets, names = (tuple(of[row] for row in rows) for of in (self.texts, self.targets, self.names))
        return Texts(texts, targets, names, None if self.seconds is None else tuple(self.seconds[row] for row in rows))


@dataclass(frozen=True, slots=True)
class Picked:
    """The columns used.

    Attributes:
        texts: One, or two of pairs.
        targets: One; several of 0 and 1 where each is a label.
        form: How one target column holds several labels: see ``holds_sets``; None where each cell is one answer.
    """

    texts: tuple[str, ...]
    targets: tuple[str, ...]
    form: str | None
    choices: tuple[Choice, ...]

    @property
    def several_labels(self) -> bool:
        """Whether a sample may have several labels."""
        return self.form is not None or len(self.targets) > 1


def pick_columns(frame: pd.DataFrame, options: LoadOptions, path: Path) -> Picked:
    """The columns of the text, or of two, and of the target, or of several labels, and why these.

    Raises:
        DataError: There is no column of text, or none of targets.
        UnknownNameError: A column asked for is not there.
    """
    names = [str(name) for name in frame.columns]
    targets = _listed(options.target, names, option="--target", path=path)
    target = targets[0] if targets else find_column(frame, None, MORE_TARGETS, option="--target", path=path)
    texts = _texts(frame, options, path, taken=targets or ((target,) if target else ()))
    if target is None and len(names) == len(texts) + 1:
        target = next(name for name in names if name not in texts)
    targets = targets or ((target,) if target is not None else ())
    if not texts or not targets or set(texts) & set(targets):
        raise DataError(
            where=str(path),
            expected="a column of texts and a column of labels or numbers",
            got=f"columns {', '.join(names)}",
            cure="Name them: --input COLUMN --target COLUMN.",
        )
    form = holds_sets(list(frame[targets[0]])) if len(targets) == 1 else None
    if options.task in ("classification", "regression"):
        form = None
    if options.task == "multi_label" and form is None and len(targets) == 1:
        form = "|"  # no row has two labels yet
    return Picked(texts, targets, form, _reasons(texts, targets, form, options, names))


def _listed(asked: str | None, names: list[str], *, option: str, path: Path) -> tuple[str, ...]:
    """Columns asked for: one, or several with commas between."""
    if asked is None:
        return ()
    listed = (asked,) if asked in names else tuple(name.strip() for name in asked.split(","))
    for name in listed:
        if name not in names:
            raise unknown_name(f"column of {path.name}", name, names, where=option)
    return tuple(dict.fromkeys(listed))


def _texts(frame: pd.DataFrame, options: LoadOptions, path: Path, *, taken: tuple[str, ...]) -> tuple[str, ...]:
    names = [str(name) for name in frame.columns]
    asked = _listed(options.input, names, option="--input", path=path)
    if asked:
        return asked
    folded = {name.casefold(): name for name in names if name not in taken}
    pair = next((two for two in PAIRS if set(two) <= set(folded)), None)
    if pair is not None:
        return folded[pair[0]], folded[pair[1]]
    text = find_column(frame, None, TEXTS, option="--input", path=path)
    if text is not None and text not in taken:
        return (text,)
    lengths = {name: float(frame[name].head(500).astype(str).str.len().mean()) for name in names}
    candidates = [name for name in names if name not in taken and not _is_numeric(frame[name])]
    longest = max(candidates, key=lambda name: lengths[name], default=None)
    return () if longest is None else (longest,)


def _is_numeric(column: pd.Series[Any]) -> bool:
    return all(is_number(str(value)) for value in column.head(100))


def _reasons(
    texts: tuple[str, ...], targets: tuple[str, ...], form: str | None, options: LoadOptions, names: list[str]
) -> tuple[Choice, ...]:
    usual = "by their names: two texts to be looked at together" if len(texts) > 1 else (
        "by its name, or the column with the longest values"
    )  # fmt: skip
    choices = [
        Choice(
            name="input",
            value=", ".join(texts),
            reason="asked for" if options.input else usual,
            asked=options.input is not None,
        ),
        Choice(
            name="target",
            value=", ".join(targets),
            reason="asked for" if options.target else "by its name, or the other column",
            asked=options.target is not None,
        ),
    ]
    if form is not None:
        between = "lists of labels" if form == "list" else f'labels with "{form}" between'
        choices.append(
            Choice(
                name="task",
                value="multi_label",
                reason="asked for" if options.task else f"the cells are {between}",
                asked=options.task is not None,
            )
        )
    others = [name for name in names if name not in (*texts, *targets)]
    if others:
        choices.append(Choice(name="not used", value=", ".join(others), reason="columns that were not asked for"))
    return tuple(choices)


def texts_of(frame: pd.DataFrame, picked: Picked, path: Path) -> Texts:
    """What stands in the columns of one file.

    Raises:
        DataError: A column is missing, or a target is.
    """
    for name in (*picked.texts, *picked.targets):
        if name not in frame.columns:
            raise DataError(
                where=str(path),
                expected=f"the column {name}, as the training file has it",
                got=f"columns {', '.join(map(str, frame.columns))}",
                cure="Give the files the same columns.",
            )
    columns = [tuple("" if _is_missing(value) else str(value) for value in frame[name]) for name in picked.texts]
    names = tuple(f"{path.name}[{row}]" for row in range(len(frame)))
    return Texts(columns[0], _targets(frame, picked, path), names, columns[1] if len(columns) > 1 else None)


def _targets(frame: pd.DataFrame, picked: Picked, path: Path) -> tuple[Any, ...]:
    if len(picked.targets) > 1:
        flags = [
            [read_flag(cell, where=f"{path}, row {row + 1}, column {name}") for row, cell in enumerate(frame[name])]
            for name in picked.targets
        ]
        return tuple(
            tuple(name for name, there in zip(picked.targets, row, strict=True) if there)
            for row in zip(*flags, strict=True)
        )
    (target,) = picked.targets
    if picked.form is not None:
        return tuple(
            read_set(cell, picked.form, where=f"{path}, row {row + 1}, column {target}")
            for row, cell in enumerate(frame[target])
        )
    missing = np.flatnonzero(frame[target].isna() | (frame[target].astype(str).str.strip() == ""))
    if len(missing):
        raise DataError(
            where=f"{path}, row {missing[0] + 1}",
            expected=f"a value in the column {target}",
            got=f"nothing, in {len(missing)} rows",
            cure="Fill in or remove these rows.",
        )
    return tuple(str(value).strip() for value in frame[target])


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # NaN is not itself
