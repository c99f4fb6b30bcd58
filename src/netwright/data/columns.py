"""Files with columns: CSV, TSV, JSONL, Parquet. Reads them whole or in pieces, and finds columns by name."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netwright.errors import DataError, require, unknown_name

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
TARGETS = ("label", "labels", "target", "class", "category", "y", "sentiment", "intent", "topic")
TEXTS = (
    "text",
    "sentence",
    "title",
    "question",
    "content",
    "review",
    "input",
    "comment",
    "message",
    "body",
    "document",
)
PEEK = 200  # rows looked at to tell a header


def read_columns(path: Path) -> pd.DataFrame:
    """Read a file with columns, all values of CSV and TSV as text.

    The first row of a CSV or TSV is a header where none of its cells stands again in its column and none is a number;
    without one, columns are called ``column_0``, ``column_1`` …

    Raises:
        DataError: It is empty, not UTF-8, or its rows have different lengths.
        MissingExtraError: The ``tables`` extra is not installed.
    """
    pandas = require("pandas", "tables")
    pieces = list(read_pieces(path, rows=0))
    frame = pieces[0] if len(pieces) == 1 else pandas.concat(pieces, ignore_index=True)
    if not len(frame):
        raise DataError(where=str(path), expected="at least one row", got="none", cure="Give a file with rows.")
    return frame


def peek_columns(path: Path, rows: int = PEEK) -> pd.DataFrame:
    """The first rows of a file with columns.

    Raises:
        DataError: As ``read_columns``.
    """
    return next(read_pieces(path, rows=rows)).head(rows)


def read_pieces(path: Path, *, rows: int) -> Iterator[pd.DataFrame]:
    """The file in pieces of so many rows, whole where ``rows`` is 0; at least one piece.

    Raises:
        DataError: It is not UTF-8, or its rows have different lengths.
        MissingExtraError: The ``tables`` extra is not installed.
    """
    pandas = require("pandas", "tables")
    try:
        pieces: Iterator[pd.DataFrame]
        if path.suffix == ".jsonl":
            pieces = (pandas.DataFrame(lines) for lines in _read_lines(path, rows))
        elif path.suffix == ".parquet":
            pieces = _read_parquet(pandas, path, rows)
        else:
            pieces = _read_separated(pandas, path, rows)
        for frame in pieces:
            frame.columns = [str(name) for name in frame.columns]
            yield frame
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(
            where=str(path),
            expected="text in UTF-8",
            got=f"byte 0x{error.object[error.start]:02x} at {error.start}",
            cure=f"Convert it: iconv -f GB18030 -t UTF-8 {path.name} (or -f LATIN1), and give the result.",
        ) from error
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parser errors are ValueErrors
        raise DataError(
            where=str(path),
            expected=f"a {path.suffix[1:].upper()} file",
            got=str(error).strip().splitlines()[0],
            cure="Mend the row it names.",
        ) from error


def _read_lines(path: Path, rows: int) -> Iterator[list[dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    empty = True
    with path.open(encoding="utf-8-sig") as file:  # lines end at \n alone: other ends may stand in a text
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line) if line.strip() else None
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg}") from error
            if row is not None and not isinstance(row, dict):
                raise ValueError(f"line {number}: {type(row).__name__}, and not an object with names")
            held += [] if row is None else [row]
            if rows and len(held) == rows:
                yield held
                held, empty = [], False
    if held or empty:
        yield held


def _read_parquet(pandas: Any, path: Path, rows: int) -> Iterator[pd.DataFrame]:
    parquet = require("pyarrow.parquet", "tables")
    with parquet.ParquetFile(path) as file:
        if not rows or not file.metadata.num_rows:
            yield pandas.read_parquet(path)
            return
        for batch in file.iter_batches(batch_size=rows):
            yield batch.to_pandas()


def _read_separated(pandas: Any, path: Path, rows: int) -> Iterator[pd.DataFrame]:
    tabs = path.suffix == ".tsv"
    # A tab-separated file knows no quotes: a title that begins with one is no quoted field.
    options: dict[str, Any] = {
        "sep": "\t" if tabs else ",",
        "quoting": csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        "dtype": str,
        "keep_default_na": False,
        "encoding": "utf-8-sig",
        "header": None,
    }
    if not path.stat().st_size:
        raise DataError(
            where=str(path), expected="at least one row", got="an empty file", cure="Give a file with rows."
        )
    peek = pandas.read_csv(path, nrows=PEEK, **options)
    if has_header([["" if cell != cell else str(cell) for cell in row] for row in peek.values.tolist()]):
        options["header"] = 0
    else:
        options["names"] = [f"column_{index}" for index in range(peek.shape[1])]
    if not rows:
        yield pandas.read_csv(path, **options)
        return
    with pandas.read_csv(path, chunksize=rows, **options) as pieces:
        yield from pieces


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of some rows names the columns: none of its cells is a number, empty, or stands below again."""
    first, rest = rows[0], rows[1:]
    if not rest and not (len(first) > 1 and all(cell.isidentifier() for cell in first)):
        return False
    return not any(
        is_number(cell) or not cell.strip() or any(place < len(row) and row[place] == cell for row in rest)
        for place, cell in enumerate(first)
    )


def is_number(text: str) -> bool:
    """Whether a cell holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def find_column(frame: pd.DataFrame, asked: str | None, usual: Sequence[str], *, option: str, path: Path) -> str | None:
    """The column that was asked for, or the first of a usual name; None where there is none.

    Raises:
        UnknownNameError: The file has no such column.
    """
    if asked is not None:
        if asked not in frame.columns:
            raise unknown_name(f"column of {path.name}", asked, list(frame.columns), where=option)
        return asked
    folded = {str(name).casefold(): str(name) for name in frame.columns}
    return next((folded[name] for name in usual if name in folded), None)
