"""Rows of files and of standard input, one by one: CSV, TSV, JSON, JSON lines; Parquet where pandas is there.

A row that cannot be read comes as the exception that tells why, in its place; the rows after it are read.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from netwright.data.columns import PEEK, has_header
from netwright.errors import DataError, require

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
MOST_FIELD = 2**31 - 1  # characters of a cell; the csv module stops at 131,072 by itself


def read_rows(path: Path) -> Iterator[Any]:
    """Rows of a file: mappings of columns to cells; of JSON whatever stands there."""
    suffix = path.suffix.casefold()
    try:
        if suffix == ".parquet":
            yield from require("pandas", "tables").read_parquet(path).to_dict("records")
        elif suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8-sig"))
            yield from found if isinstance(found, list) else [found]
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from json_lines(file) if suffix == ".jsonl" else separated(file, tabs=suffix == ".tsv")
    except UnicodeDecodeError as error:
        yield DataError(
            where=str(path),
            expected="text in UTF-8",
            got=f"byte 0x{error.object[error.start]:02x} at {error.start}",
            cure=f"Convert it: iconv -f GB18030 -t UTF-8 {path.name} (or -f LATIN1), and give the result.",
        )
    except (csv.Error, ValueError, OSError) as error:
        got = str(error).strip().splitlines() or [type(error).__name__]
        yield DataError(
            where=str(path), expected=f"a {suffix[1:].upper()} file", got=got[0], cure="Mend the row it names."
        )


def json_lines(lines: Iterable[str]) -> Iterator[Any]:
    """A value a line; empty lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            yield DataError(
                where=f"line {number}", expected="JSON", got=str(error), cure='As {"age": 30}, one object a line.'
            )


def separated(lines: Iterable[str], *, tabs: bool = False) -> Iterator[Any]:
    """Rows of CSV or TSV, all cells as text.

    The first row is a header as in training: where none of its cells is a number or stands again in its column. Without
    one, columns are called ``column_0``, ``column_1`` …
    """
    csv.field_size_limit(MOST_FIELD)
    # A tab-separated file knows no quotes: a title that begins with one is no quoted field.
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines)
    full = (row for row in rows if row)
    first = list(itertools.islice(full, PEEK))
    if not first:
        return
    names = first.pop(0) if has_header(first) else [f"column_{index}" for index in range(len(first[0]))]
    for row in itertools.chain(first, full):
        if len(row) > len(names):
            yield DataError(
                where=f"a row that begins with {row[0][:40]!r}", expected=f"{len(names)} cells", got=f"{len(row)}",
                cure="Put cells with commas in quotes.",
            )  # fmt: skip
        else:
            yield dict(itertools.zip_longest(names, row))
