"""What ``netwright predict`` is given and what it prints: files, texts and rows in, a line an answer out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netwright.errors import UsageError

if TYPE_CHECKING:
    from netwright.preprocess import Preprocess
    from netwright.results import Prediction
    from netwright.windows import WindowSeries


def print_answer(answer: Prediction, *, one_of_many: bool) -> None:
    """One answer as a line, or a line a step."""
    if answer.answers is not None:
        found = (f"{name}: {_short(one)}" for name, one in answer.answers.items())
        print(f"{answer.name}\t" + "\t".join(found))
    elif answer.forecast is not None:
        _print_forecast(answer)
    elif answer.continuation is not None:
        print(f"{answer.name}{answer.continuation}" + ("\n---" if one_of_many else ""))
    elif answer.tags is not None:
        print(" ".join(f"{word}/{tag}" for word, tag in zip(answer.words or (), answer.tags, strict=False)))
    elif answer.text is not None:
        print(f"{answer.name}\t{answer.text}")
    else:
        print(f"{answer.name}\t{_short(answer)}")
    if answer.note is not None:
        print(f"note: {answer.note}", file=sys.stderr)


def raw_inputs(arguments: argparse.Namespace) -> list[Any]:
    """Texts as they stand, or a line each of @file; rows of files, or as JSON; paths for a run on anything else.

    What is to be continued is one text a file.
    """
    from netwright.run import open_run

    data = open_run(arguments.folder).read_data()
    preprocess = data.preprocess
    if preprocess.windows is not None:
        return [history for given in arguments.inputs for history in _histories(given, preprocess.windows)]
    if preprocess.recording is not None:
        return [_as_columns(_rows(given)) for given in arguments.inputs]
    if preprocess.rows is not None:
        return [_with_places(row, given, preprocess) for given in arguments.inputs for row in _rows(given)]
    if preprocess.text is None and preprocess.words is None:
        return [Path(name) for name in arguments.inputs]
    texts: list[Any] = []
    for given in arguments.inputs:
        if not given.startswith("@"):
            texts.append(given)
            continue
        text = Path(given[1:]).read_text(encoding="utf-8")
        texts += [text] if data.task == "next_token" else text.splitlines()
    return texts


def _with_places(row: dict[str, Any], given: str, preprocess: Preprocess) -> dict[str, Any]:
    """A row of a file whose pictures are found from that file's folder, as in training."""
    from netwright.rows import slug

    folder = Path() if given.lstrip().startswith("{") else Path(given).parent
    return {
        name: str(folder / cell) if slug(str(name)) in preprocess.fields and isinstance(cell, str) and cell else cell
        for name, cell in row.items()
    }


def _short(answer: Prediction) -> str:
    """A class with its probability, labels with theirs, or numbers."""
    if answer.labels is not None:
        chances = answer.probabilities or {}
        return ", ".join(f"{one} {chances[one]:.4f}" for one in answer.labels) or "–"
    if answer.label is not None:
        return "\t".join([answer.label, *([f"{answer.confidence:.4f}"] if answer.confidence else [])])
    return ", ".join(f"{value:.6g}" for value in answer.value or ())


def _print_forecast(answer: Prediction) -> None:
    """A line a step: series, column, time, value and the ends of its interval."""
    for column, steps in (answer.forecast or {}).items():
        for step in steps:
            ends = "" if step.low is None or step.high is None else f"\t{step.low:.6g}\t{step.high:.6g}"
            print(f"{answer.name}\t{column}\t{step.time}\t{step.value:.6g}{ends}")


def _histories(given: str, operation: WindowSeries) -> list[Any]:
    """The histories in a file: one, or one a series."""
    rows = _rows(given)
    if operation.series is not None and rows and operation.series not in rows[0]:
        return [_as_columns(rows)]  # told by name when it is read
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(str(row[operation.series]) if operation.series else "", []).append(row)
    return [_as_columns(group) for group in groups.values()]


def _as_columns(rows: list[Any]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in rows[0]}


def _rows(given: str) -> list[Any]:
    """The rows of a file with columns, or one row as a JSON object."""
    if given.lstrip().startswith("{"):
        try:
            return [json.loads(given)]
        except json.JSONDecodeError as error:
            raise UsageError(
                where=given[:80], expected="a row as a JSON object", got=str(error), cure="As '{\"age\": 30}'."
            ) from error
    from netwright.data.columns import SUFFIXES, read_columns

    path = Path(given)
    if path.suffix not in SUFFIXES or not path.is_file():
        raise UsageError(
            where=given,
            expected=f"a file of rows that ends in {', '.join(SUFFIXES)}, or a row as a JSON object",
            got="another file" if path.exists() else "no such file",
            cure="As rows.csv, or '{\"age\": 30}'.",
        )
    rows: list[Any] = read_columns(path).to_dict("records")
    return rows
