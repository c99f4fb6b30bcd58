"""Columns of large tables held small: read in pieces, numbers as float64, texts as codes of their values.

A file of a gigabyte takes about as many bytes here as it has on disk, and never more than a piece as Python objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from netwright.data.columns import is_number
from netwright.errors import DataError
from netwright.rows import MISSING, as_seconds, as_text, is_missing, parse_date

if TYPE_CHECKING:
    import pandas as pd

PIECE_ROWS = 50_000
BLOCK_ROWS = 4_500_000  # 36 MB of float64
# A column is of numbers where so many of its first cells are; the others count as missing.
MOSTLY_NUMBERS = 0.99
# More different texts than this are no categories, and would only fill the memory.
MOST_VALUES = 100_000
LOOKED_AT = 2_000  # cells that tell a column's kind

Kind = Literal["number", "date", "text"]


@dataclass(slots=True)
class Blocks:
    """Values that come in pieces, held in few large blocks.

    Small arrays between short-lived texts would leave holes in the process's memory that never go back to the system;
    blocks beyond 32 MB are mapped by themselves, and go when they are let go.
    """

    parts: list[NDArray[Any]] = field(default_factory=list)
    room: NDArray[Any] | None = None
    used: int = 0

    def add(self, piece: NDArray[Any]) -> None:
        """Append a piece, (N,)."""
        while len(piece):
            if self.room is None:
                held = sum(map(len, self.parts))
                self.room = np.empty(max(len(piece), min(held, BLOCK_ROWS)), dtype=piece.dtype)
                self.used = 0
            fits = min(len(piece), len(self.room) - self.used)
            self.room[self.used : self.used + fits] = piece[:fits]
            self.used += fits
            piece = piece[fits:]
            if self.used == len(self.room):
                self.parts.append(self.room)
                self.room = None

    def whole(self) -> NDArray[Any]:
        """All values, (N,)."""
        parts = [*self.parts, *([] if self.room is None else [self.room[: self.used]])]
        return np.concatenate(parts) if len(parts) != 1 else parts[0]


@dataclass(slots=True)
class CompactColumn:
    """One column as it is read.

    Attributes:
        values: Of numbers and dates float64, NaN where missing; of texts int32 codes into ``texts``, or of too many
            texts 1 where there is one and 0 where not.
        texts: Different texts, with their codes.
        wrong: How many cells of a number column are something else, and the first of them with its row.
    """

    name: str
    kind: Kind
    values: Blocks = field(default_factory=Blocks)
    texts: dict[str, int] = field(default_factory=dict)
    too_many: bool = False
    wrong: int = 0
    first_wrong: tuple[str, int] | None = None

    def add(self, cells: pd.Series[Any], row: int) -> None:
        """Read a piece that begins at ``row``."""
        if self.kind == "number":
            self.values.add(self._numbers(cells, row))
        elif self.kind == "date":
            self.values.add(_dates(cells, self.name))
        else:
            self.values.add(self._codes(cells))

    def whole(self) -> NDArray[Any]:
        """All values, (N,)."""
        return self.values.whole()

    def take(self) -> NDArray[Any]:
        """All values; they are held no longer."""
        values = self.whole()
        self.values = Blocks()
        return values

    def missing(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Where a text column has none, of its ``values``."""
        return np.asarray(values == (0 if self.too_many else self.texts.get("", -1)))

    def _numbers(self, cells: pd.Series[Any], row: int) -> NDArray[np.float64]:
        if cells.dtype.kind in "biuf":
            values = np.asarray(cells, dtype=np.float64)
            return np.where(np.isfinite(values), values, np.nan)
        plain = cells.tolist()
        try:  # float, as serving does: pandas' own parser rounds the last bit otherwise
            values = np.asarray([np.nan if cell in MISSING else float(cell) for cell in plain])
        except (TypeError, ValueError):
            values = np.asarray([self._number(cell, row + at) for at, cell in enumerate(plain)])
        return np.where(np.isfinite(values), values, np.nan)

    def _number(self, cell: Any, row: int) -> float:
        try:
            return np.nan if is_missing(cell) else float(cell)
        except (TypeError, ValueError):
            self.first_wrong = self.first_wrong or (str(cell), row)
            self.wrong += 1
            return np.nan

    def _codes(self, cells: pd.Series[Any]) -> NDArray[Any]:
        import pandas

        plain = cells.astype(object).where(~cells.isna(), "")
        codes, uniques = pandas.factorize(plain)
        names = [as_text(value) for value in uniques]
        if self.too_many:
            there: NDArray[np.int8] = np.asarray([name != "" for name in names], dtype=np.int8)[codes]
            return there
        known = [self.texts.setdefault(name, len(self.texts)) for name in names]
        whole: NDArray[Any] = np.asarray(known, dtype=np.int32)[codes]
        if len(self.texts) > MOST_VALUES:
            empty = self.texts.get("", -1)
            known_before, self.values = self.values.whole(), Blocks()
            self.values.add((known_before != empty).astype(np.int8))
            self.too_many, self.texts = True, {}
            whole = (whole != empty).astype(np.int8)
        return whole


def _dates(cells: pd.Series[Any], name: str) -> NDArray[np.float64]:
    if cells.dtype.kind == "M":
        moments = cells.to_numpy(dtype="datetime64[us]")
        return np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6)
    return as_seconds(list(cells), name)


def kind_of(cells: pd.Series[Any]) -> Kind:
    """What a column holds, from its first cells."""
    if cells.dtype.kind in "iuf":
        return "number"
    if cells.dtype.kind == "M":
        return "date"
    there = [cell for cell in cells.head(LOOKED_AT) if not is_missing(cell)]
    if not there:
        return "text"
    if sum(is_number(str(cell)) for cell in there) >= MOSTLY_NUMBERS * len(there) and not isinstance(there[0], bool):
        return "number"
    if all(not isinstance(cell, str) or parse_date(cell) is not None for cell in there) and not isinstance(
        there[0], bool
    ):
        return "date"
    return "text"


def read_compact(pieces: Iterable[pd.DataFrame], columns: dict[str, CompactColumn], *, where: str) -> int:
    """Read pieces of a file into columns; made anew where ``columns`` is empty.

    Returns:
        How many rows there were.

    Raises:
        DataError: A column that training has is not there.
    """
    count = 0
    for piece in pieces:
        if not columns:
            columns.update({name: CompactColumn(name, kind_of(piece[name])) for name in piece.columns})
        absent = [name for name in columns if name not in piece.columns]
        if absent and len(piece):
            raise DataError(
                where=where,
                expected=f"the columns {', '.join(columns)}",
                got=f"none called {', '.join(absent[:3])}",
                cure="Give the files the same columns.",
            )
        for name, column in columns.items():
            if len(piece):
                column.add(piece[name], count)
        count += len(piece)
    return count
