"""Rows of a table as numbers: what is done to each column, as data, run alike in training and in serving.

``N`` rows. Fitted on the training split alone, by ``data/tables.py``. No torch here.
"""

from __future__ import annotations

import datetime
import difflib
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from netwright.errors import DataError

# How a missing value is written; of pandas' list, those that are no word of their own.
MISSING = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "null", "NULL", "<NA>", "#N/A", "?"})
# Quantiles beyond these would be infinite in a normal distribution; scikit-learn's QuantileTransformer clips there too.
TAIL = 1e-7
SECONDS_A_DAY = 86_400.0


class _Column(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(description="Its name in the table.")


class NumberColumn(_Column):
    """A number, put to mean 0 and deviation 1: one that is missing counts as ``fill``, and may be told beside it.

    With ``knots`` a value is first put to its quantile among those of training, and that to a normal distribution's.
    """

    kind: Literal["number"] = "number"
    fill: float
    mean: float
    std: float = Field(gt=0)
    knots: tuple[float, ...] | None = Field(default=None, repr=False, description="Quantiles of training, rising.")
    missing: bool = Field(default=False, description="Whether 1 stands beside it where it is missing, else 0.")


class PresenceColumn(_Column):
    """Of a column with mostly different texts only whether there is one: 1 or 0."""

    kind: Literal["presence"] = "presence"


class CategoryColumn(_Column):
    """One of some values, as a code from 1; 0 is what training had not. A missing value is a value like others."""

    kind: Literal["category"] = "category"
    values: tuple[str, ...] = Field(repr=False)


class DateColumn(_Column):
    """A date, as days since ``origin`` put to mean 0 and deviation 1, and codes of parts of it."""

    kind: Literal["date"] = "date"
    origin: str
    mean: float
    std: float = Field(gt=0)
    parts: tuple[Literal["month", "weekday", "hour"], ...]


Column = Annotated[NumberColumn | PresenceColumn | CategoryColumn | DateColumn, Field(discriminator="kind")]
PART_SIZES = {"month": 12, "weekday": 7, "hour": 24}


class EncodeRows(BaseModel):
    """All columns of a table that are used, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Literal["encode_rows"] = "encode_rows"
    columns: tuple[Column, ...]
    unused: tuple[str, ...] = Field(default=(), description="Other columns that rows may have.")

    @property
    def number_names(self) -> tuple[str, ...]:
        """What each column of ``numbers`` is called."""
        return tuple(name for column in self.columns for name in numbers_of(column))

    @property
    def category_names(self) -> tuple[str, ...]:
        """What each column of ``categories`` is called."""
        return tuple(name for column in self.columns for name, _ in categories_of(column))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Codes of each column of ``categories``, 0 among them."""
        return tuple(size for column in self.columns for _, size in categories_of(column))

    @property
    def num_features(self) -> int:
        """Columns of ``features``: numbers, then a 0 or 1 for each value of each category."""
        return len(self.number_names) + sum(size - 1 for size in self.cardinalities)


class ScaleTarget(BaseModel):
    """Targets to mean 0 and deviation 1 for the loss, and answers back to the target's unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Literal["scale_target"] = "scale_target"
    answer: str | None = Field(default=None, description="Which of several answers; None where there is one.")
    mean: tuple[float, ...]
    std: tuple[float, ...]


def numbers_of(column: Column) -> tuple[str, ...]:
    """Names of the numbers that a column gives."""
    if isinstance(column, CategoryColumn):
        return ()
    beside = (f"{column.column} missing",) if isinstance(column, NumberColumn) and column.missing else ()
    return (column.column, *beside)


def categories_of(column: Column) -> tuple[tuple[str, int], ...]:
    """Names of the categories that a column gives, and how many codes each has."""
    if isinstance(column, CategoryColumn):
        return ((column.column, len(column.values) + 1),)
    if isinstance(column, DateColumn):
        return tuple((f"{column.column} {part}", PART_SIZES[part] + 1) for part in column.parts)
    return ()


def encode(operation: EncodeRows, table: Mapping[str, Sequence[Any]]) -> dict[str, NDArray[Any]]:
    """Rows as ``numbers`` float32 (N, numbers) and ``categories`` int32 (N, categories).

    Args:
        table: Columns by name, of equal length; one that is absent is missing in all rows. Values are text as in a
            file, or numbers, dates and None.

    Raises:
        DataError: A cell of a number or date is something else; it is named.
    """
    count = len(next(iter(table.values()), ()))
    numbers: list[NDArray[np.float32]] = []
    categories: list[NDArray[np.int32]] = []
    for column in operation.columns:
        cells = table.get(column.column, [None] * count)
        if isinstance(column, NumberColumn):
            values = as_numbers(cells, column.column)
            numbers += encode_numbers(column, values)
        elif isinstance(column, PresenceColumn):
            numbers.append(np.asarray([not is_missing(cell) for cell in cells], dtype=np.float32))
        elif isinstance(column, CategoryColumn):
            codes = {value: code for code, value in enumerate(column.values, start=1)}
            categories.append(np.asarray([codes.get(as_text(cell), 0) for cell in cells], dtype=np.int32))
        else:
            days, parts = encode_dates(column, as_seconds(cells, column.column))
            numbers.append(days)
            categories += parts
    return {
        "numbers": np.stack(numbers, axis=1) if numbers else np.zeros((count, 0), dtype=np.float32),
        "categories": np.stack(categories, axis=1) if categories else np.zeros((count, 0), dtype=np.int32),
    }


def one_row(operation: EncodeRows, row: Any) -> dict[str, NDArray[Any]]:
    """One row as ``numbers`` and ``categories``, without a batch dimension; columns that it lacks are missing.

    Args:
        row: A mapping of column names to cells.

    Raises:
        DataError: It is none, or has a column that training had not.
    """
    if not isinstance(row, Mapping):
        raise DataError(
            where="input", expected="a row: a mapping of column names to values", got=type(row).__name__,
            cure="Give it as {\"column\": value}; from the command line as a CSV file of rows.",
        )  # fmt: skip
    used = [column.column for column in operation.columns]
    unknown = [str(name) for name in row if name not in used and name not in operation.unused]
    if unknown or (used and not any(name in row for name in used)):
        near = difflib.get_close_matches(unknown[0], used, n=1) if unknown else []
        hint = f'Did you mean "{near[0]}"? ' if near else ""
        raise DataError(
            where="input",
            expected=f"the columns {', '.join(used)}",
            got=f"{', '.join(unknown)}, which training had not" if unknown else "none of them",
            cure=f"{hint}Name the columns as in training; leave out what is unknown.",
        )
    if not used:  # pictures alone
        return {}
    encoded = encode(operation, {name: [row[name]] for name in used if name in row})
    return {name: values[0] for name, values in encoded.items()}


def slug(name: str) -> str:
    """A column's name as Python could have it: ``Fare (£)`` is ``fare``."""
    plain = re.sub(r"\W+", "_", name.strip()).strip("_").lower()
    return f"_{plain}" if plain[:1].isdigit() or not plain else plain


def features(operation: EncodeRows, numbers: NDArray[Any], categories: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers and one-hot categories side by side, float32 (N, num_features); an unseen category is all zeros."""
    parts = [numbers.astype(np.float32)]
    for column, size in enumerate(operation.cardinalities):
        parts.append((categories[:, column, None] == np.arange(1, size)).astype(np.float32))
    return np.concatenate(parts, axis=1)


def row_fields(
    operation: EncodeRows, numbers: NDArray[np.float32], categories: NDArray[np.integer[Any]]
) -> dict[str, NDArray[Any]]:
    """The fields of a batch of rows: all in one, by kind, and by column; codes as int64."""
    if not operation.columns:
        return {}
    fields: dict[str, NDArray[Any]] = {
        "features": features(operation, numbers, categories),
        "numbers": numbers,
        "categories": categories.astype(np.int64),
    }
    for names, values in (
        (operation.number_names, fields["numbers"]),
        (operation.category_names, fields["categories"]),
    ):
        for place, name in enumerate(names):
            fields.setdefault(slug(name), values[:, place])
    return fields


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, NaT, or a text that says so."""
    if isinstance(cell, str):
        return cell.strip() in MISSING
    if isinstance(cell, list | tuple | dict | np.ndarray):  # a list of labels, which is compared item by item
        return False
    return cell is None or cell != cell or str(cell) in ("NaT", "<NA>")  # NaN is not itself


def as_text(cell: Any) -> str:
    """A cell as a category: whole numbers alike however they are written, what is missing as an empty text."""
    if is_missing(cell):
        return ""
    text = str(cell).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if math.isfinite(number) and number.is_integer() else text


def as_numbers(cells: Sequence[Any], name: str) -> NDArray[np.float64]:
    """Cells as float64 (N,), NaN where missing or infinite.

    Raises:
        DataError: One is no number.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "biuf":
        values = cells.astype(np.float64)
    else:
        values = np.empty(len(cells))
        for row, cell in enumerate(cells):
            try:
                values[row] = np.nan if is_missing(cell) else float(cell)
            except (TypeError, ValueError) as error:
                raise DataError(
                    where=f"column {name}",
                    expected="a number",
                    got=f"{cell!r}",
                    cure="Leave it empty if it is unknown.",
                ) from error
    values[~np.isfinite(values)] = np.nan
    return values


def encode_numbers(column: NumberColumn, values: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    """The scaled number, float32 (N,), and 1 where it was missing if that is told."""
    missing = np.isnan(values)
    filled = np.where(missing, column.fill, values)
    if column.knots is not None:
        filled = to_normal(filled, np.asarray(column.knots))
    scaled = ((filled - column.mean) / column.std).astype(np.float32)
    return [scaled, missing.astype(np.float32)] if column.missing else [scaled]


def to_normal(values: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles of values among ``knots``, as those of a normal distribution; equal knots give their middle.

    Source:
        scikit-learn's QuantileTransformer(output_distribution="normal").
    """
    places = np.linspace(0, 1, len(knots))
    rising = np.interp(values, knots, places)
    falling = 1 - np.interp(-values, -knots[::-1], places)
    return normal_quantiles(np.clip((rising + falling) / 2, TAIL, 1 - TAIL))


def normal_quantiles(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles of the normal distribution, each share in (0, 1); without SciPy from the standard library."""
    try:
        from scipy.special import ndtri
    except ImportError:  # what answers from a bundle does without; it agrees to 1e-14
        inverse = statistics.NormalDist().inv_cdf
        return np.asarray([inverse(float(one)) for one in shares.ravel()]).reshape(shares.shape)
    return np.asarray(ndtri(shares))


def as_seconds(cells: Sequence[Any], name: str) -> NDArray[np.float64]:
    """Dates as seconds since 1970, float64 (N,), NaN where missing.

    Raises:
        DataError: One is no date.
    """
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        values[row] = np.nan if is_missing(cell) else _seconds(cell, name)
    return values


def _seconds(cell: Any, name: str) -> float:
    if isinstance(cell, np.datetime64):
        return float(cell.astype("datetime64[us]").astype(np.int64)) / 1e6
    moment = cell
    if isinstance(cell, str):
        moment = parse_date(cell)
    if isinstance(moment, datetime.date) and not isinstance(moment, datetime.datetime):
        moment = datetime.datetime(moment.year, moment.month, moment.day)
    if not isinstance(moment, datetime.datetime):
        raise DataError(
            where=f"column {name}",
            expected="a date, as 2026-11-23 or 2026-11-23 14:30",
            got=f"{cell!r}",
            cure="Write the year first; leave it empty if it is unknown.",
        )
    plain = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment
    return (plain - datetime.datetime(1970, 1, 1)).total_seconds()


def parse_date(text: str) -> datetime.datetime | None:
    """A date with its year first (ISO 8601, also with / or . between), or None."""
    clean = text.strip().replace("Z", "+00:00")
    if len(clean) >= 8 and clean[4:5] in ("/", ".") and clean[:4].isdigit():
        clean = clean[:10].replace(clean[4], "-") + clean[10:]
    try:
        return datetime.datetime.fromisoformat(clean) if "-" in clean else None
    except ValueError:
        return None


def encode_dates(
    column: DateColumn, seconds: NDArray[np.float64]
) -> tuple[NDArray[np.float32], list[NDArray[np.int32]]]:
    """Scaled days, float32 (N,), 0 where missing; and a code a part, int32 (N,), 0 where missing."""
    missing = np.isnan(seconds)
    origin = _seconds(column.origin, column.column)
    days = np.where(missing, 0, ((seconds - origin) / SECONDS_A_DAY - column.mean) / column.std)
    moments = np.where(missing, 0, seconds).astype("datetime64[s]")
    codes = {
        "month": moments.astype("datetime64[M]").astype(np.int64) % 12,
        "weekday": (moments.astype("datetime64[D]").astype(np.int64) + 3) % 7,  # 1970 began on a Thursday
        "hour": moments.astype("datetime64[h]").astype(np.int64) % 24,
    }
    return days.astype(np.float32), [np.where(missing, 0, codes[part] + 1).astype(np.int32) for part in column.parts]
