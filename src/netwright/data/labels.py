"""Several labels a sample: read from cells as "a|b", "a;b" or ["a", "b"], or from columns of 0 and 1."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.errors import DataError
from netwright.records import Choice, SplitSpec

SEPARATORS = ("|", ";")
# Share of cells with a separator above which they are taken for sets of labels, and not for names with a sign in them.
OFTEN = 0.02
YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "")


def holds_sets(cells: Sequence[Any]) -> str | None:
    """Whether cells are sets of labels: "list", or the sign between them; None where each is one label or number.

    Lists always are. Text is where a sign stands in enough cells and what it parts are fewer different labels than
    there are different cells.
    """
    filled = [cell for cell in cells if not _is_empty(cell)]
    if not filled:
        return None
    if all(_as_list(cell) is not None for cell in filled):
        return "list"
    if not all(isinstance(cell, str) for cell in filled):
        return None
    for sign in SEPARATORS:
        joined = sum(sign in cell for cell in filled)
        parts = {part.strip() for cell in filled for part in cell.split(sign)} - {""}
        if joined > OFTEN * len(filled) and len(parts) < len(set(filled)):
            return sign
    return None


def read_set(cell: Any, form: str | None, *, where: str) -> tuple[str, ...]:
    """The labels of one cell, without doubles, in their order; none where it is empty.

    Args:
        cell: Text, a list, or nothing.
        form: What ``holds_sets`` said; None for a cell that is one label.
        where: For the error.

    Raises:
        DataError: A list holds something else than labels.
    """
    if _is_empty(cell):
        return ()
    if form == "list":
        parts = _as_list(cell)
        if parts is None or any(isinstance(part, list | dict) or part is None for part in parts):
            raise DataError(
                where=where, expected='a list of labels, as ["a", "b"]', got=str(cell)[:60], cure="Mend this row."
            )
        names = [str(part).strip() for part in parts]
    else:
        names = [part.strip() for part in ([str(cell)] if form is None else str(cell).split(form))]
    return tuple(dict.fromkeys(name for name in names if name))


def _is_empty(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and cell != cell)  # NaN is not itself


def _as_list(cell: Any) -> list[Any] | None:
    """A list, an array of Parquet, or a text that is a JSON list."""
    if isinstance(cell, list | tuple | np.ndarray):
        return list(cell)
    if isinstance(cell, str) and cell.strip().startswith("["):
        try:
            held = json.loads(cell)
        except json.JSONDecodeError:
            return None
        return held if isinstance(held, list) else None
    return None


def read_flag(cell: Any, *, where: str) -> bool:
    """Whether a cell says that a label is there: 0 or 1, true or false, yes or no.

    Raises:
        DataError: It says none of these.
    """
    text = "" if _is_empty(cell) else str(cell).strip().casefold()
    if text in YES or text in NO:
        return text in YES
    raise DataError(
        where=where,
        expected="0 or 1, since several target columns are labels that are there or not",
        got=f'"{str(cell)[:40]}"',
        cure="Name columns of 0 and 1 by --target, or one column by itself.",
    )


def flags_of(
    sets: Mapping[str, Sequence[tuple[str, ...]]], names: Sequence[str] | None = None
) -> tuple[dict[str, NDArray[np.float32]], tuple[str, ...], Choice]:
    """Sets of labels by split as 0 and 1, float32 (N, C), and the labels' names.

    Args:
        sets: Labels of each sample, by split.
        names: All labels in their order; None: those met, sorted.

    Raises:
        DataError: No sample of training has a label.
    """
    met = Counter(label for part in sets.values() for labels in part for label in labels)
    classes = tuple(sorted(met)) if names is None else tuple(names)
    if not any(labels for labels in sets["train"]):
        raise DataError(
            where="the training split",
            expected="samples with labels",
            got="none that has one",
            cure="Name the column of labels: --target COLUMN.",
        )
    where = {name: at for at, name in enumerate(classes)}
    found = {}
    for split, part in sets.items():
        flags = np.zeros((len(part), len(classes)), dtype=np.float32)
        for row, labels in enumerate(part):
            flags[row, [where[label] for label in labels]] = 1
        found[split] = flags
    mean = sum(map(len, sets["train"])) / max(1, len(sets["train"]))
    reason = f"a sample of training has {mean:.2g} of them on average"
    return found, classes, Choice(name="labels", value=len(classes), reason=reason)


def as_flags(targets: NDArray[Any], split: str) -> NDArray[np.float32]:
    """Targets (N, C) of 0 and 1 as float32.

    Raises:
        DataError: They have another shape, or hold other numbers.
    """
    if targets.ndim != 2 or targets.dtype.kind not in "biuf":
        raise DataError(
            where=f"{split}: targets",
            expected="0 or 1 for each label, (N, C)",
            got=f"{targets.dtype} {targets.shape}",
            cure="Give a column for each label.",
        )
    other = np.flatnonzero(~np.isin(targets, (0, 1)).all(1))
    if len(other):
        raise DataError(
            where=f"{split}: target of sample {other[0]}",
            expected="0 or 1 for each label",
            got=", ".join(f"{value:g}" for value in targets[other[0]][:8]),
            cure="Give 1 where a sample has a label, else 0.",
        )
    return targets.astype(np.float32)


def label_specs(flags: Mapping[str, NDArray[Any]]) -> dict[str, SplitSpec]:
    """Samples of each split, in all and by label; splits in the usual order."""
    return {
        name: SplitSpec(count=len(flags[name]), class_counts=tuple(int(count) for count in flags[name].sum(0)))
        for name in ("train", "val", "test")
        if name in flags
    }
