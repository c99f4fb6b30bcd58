"""What a person names on the command line, as raw inputs one by one: files, folders, patterns, rows, texts, ``-``.

Nothing is read before it is asked for, so that the first of a hundred thousand files is answered at once.
"""

from __future__ import annotations

import glob
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from netwright.answering.row_files import SUFFIXES, json_lines, read_rows, separated
from netwright.errors import DataError, UsageError
from netwright.rows import slug
from netwright.sounds import SUFFIXES as SOUNDS

if TYPE_CHECKING:
    from netwright.preprocess import Preprocess
    from netwright.windows import WindowSeries

Pair = tuple[str | None, Any]  # a name, and the raw input or why there is none
PICTURES = (
    ".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2", ".avif", ".ico",
)  # fmt: skip
ARRAYS = (".npy",)
# What columns of paths, and of texts, are usually called.
PATHS = (
    "path", "file", "filename", "file_name", "image", "picture", "photo", "audio_filepath", "audio", "wav", "sound",
)  # fmt: skip
TEXTS = (
    "text", "sentence", "title", "question", "content", "review", "input", "comment", "message", "body", "document",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """Of which kind inputs are.

    Attributes:
        kind: Of the data.
        task: Of the answers.
        preprocess: What is done to raw inputs.
        fields: Names of the inputs.
    """

    kind: str
    task: str
    preprocess: Preprocess
    fields: tuple[str, ...]


def find_inputs(asked: Asked, given: Sequence[str], stdin: TextIO) -> Iterator[tuple[str, Any]]:
    """The inputs that arguments of the command line name, in their order.

    Args:
        asked: Of which kind they must be.
        given: Arguments.
        stdin: Read where one of them is ``-``.

    Raises:
        UsageError: An argument names nothing that can be read, told before the first input is; or it holds no input,
            told at its turn.
    """
    for one in given:
        _check(asked, one)
    return _named(itertools.chain.from_iterable(_some(one, _of_argument(asked, one, stdin)) for one in given))


def _some(given: str, pairs: Iterator[Pair]) -> Iterator[Pair]:
    """The inputs of one argument, which are no fewer than one: nothing written would look like all answered."""
    first = next(pairs, None)
    if first is None:
        raise UsageError(
            where="standard input" if given == "-" else given, expected="at least one input", got="none",
            cure="Look at what it holds; a header alone is no row.",
        )  # fmt: skip
    yield first
    yield from pairs


def _named(pairs: Iterator[Pair]) -> Iterator[tuple[str, Any]]:
    """Inputs without a name of their own by their place."""
    for place, (name, raw) in enumerate(pairs):
        yield f"input {place}" if name is None else name, raw


def _wants_rows(asked: Asked) -> bool:
    steps = asked.preprocess
    return steps.rows is not None or steps.windows is not None or steps.recording is not None


def _check(asked: Asked, given: str) -> None:
    """Refuse what names no file of rows, where only such are wanted."""
    if not _wants_rows(asked) or given == "-" or given.lstrip().startswith("{") or _is_pattern(given):
        return
    path = Path(given)
    if not path.is_dir() and (path.suffix.casefold() not in SUFFIXES or not path.is_file()):
        raise UsageError(
            where=given,
            expected=f"a file of rows that ends in {', '.join(SUFFIXES)}, or a row as a JSON object",
            got="another file" if path.exists() else "no such file",
            cure="As rows.csv, or '{\"age\": 30}'.",
        )


def _of_argument(asked: Asked, given: str, stdin: TextIO) -> Iterator[Pair]:
    if given == "-":
        return _of_stdin(asked, stdin)
    if _wants_rows(asked):
        return _of_rows(asked, given)
    if asked.kind == "text":
        return _of_text(asked, given)
    return _of_files(asked, given)


# Standard input


def _of_stdin(asked: Asked, stdin: TextIO) -> Iterator[Pair]:
    """Texts a line; rows as CSV or JSON lines; of pictures and sounds a path a line, or JSON lines."""
    if asked.kind == "text" and asked.task == "next_token":
        text = stdin.read()
        wrapped = [_wrapped(line) for line in text.splitlines() if line.strip()]
        if wrapped and all(one is not None for one in wrapped):
            yield from ((None, one[0]) for one in wrapped if one is not None)
        else:
            yield text, text
        return
    if not _wants_rows(asked):
        for line in stdin:
            plain = line.rstrip("\r\n")
            found = _wrapped(plain)
            if found is not None:
                yield None, _unwrapped(found[0], asked)
            elif asked.preprocess.pair is not None and (pair := _as_pair(plain)) is not None:
                yield None, pair
            elif plain or asked.kind == "text":
                raw: Any = plain if asked.kind == "text" else _as_value(plain)
                yield plain[:200] if isinstance(raw, str | Path) else None, raw
        return
    first = next((line for line in stdin if line.strip()), "")
    lines = itertools.chain([first], stdin)
    rows = json_lines(lines) if first.lstrip()[:1] in ("{", "[") else separated(lines)
    yield from _as_inputs(asked, rows, Path(), "")


def _wrapped(line: str) -> tuple[Any] | None:
    """What stands in a line of ``{"input": …}``; None where it is another."""
    if not line.lstrip().startswith('{"input"'):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return (found["input"],) if isinstance(found, dict) and set(found) == {"input"} else None


def _unwrapped(value: Any, asked: Asked) -> Any:
    """A value of ``{"input": …}``; of another JSON object or list itself."""
    columns = {one.column for one in asked.preprocess.rows.columns} if asked.preprocess.rows is not None else set()
    if isinstance(value, dict) and set(value) == {"input"} and "input" not in columns:
        return value["input"]
    return value


def _as_value(line: str) -> Any:
    """A line of JSON as what it says; any other names a file."""
    if line[:1] in ("[", "{"):
        try:
            return json.loads(line)
        except ValueError as error:
            return DataError(where=line[:40], expected="JSON", got=str(error), cure="Give a value a line.")
    return Path(line)


# Rows, histories, recordings


def _of_rows(asked: Asked, given: str) -> Iterator[Pair]:
    if given.lstrip().startswith("{"):
        try:
            yield None, json.loads(given)
        except json.JSONDecodeError as error:
            raise UsageError(
                where=given[:80], expected="a row as a JSON object", got=str(error), cure="As '{\"age\": 30}'."
            ) from error
        return
    for path in _files(given, SUFFIXES):
        yield from _as_inputs(asked, read_rows(path), path.parent, str(path))


def _as_inputs(asked: Asked, rows: Iterator[Any], folder: Path, name: str) -> Iterator[Pair]:
    """Rows of one file as inputs: each one; a history a series; or all as one recording."""
    steps = asked.preprocess
    unwrapped = (_unwrapped(row, asked) for row in rows)
    if steps.windows is not None:
        found: Iterator[Any] = iter(_histories(list(unwrapped), steps.windows))
    elif steps.recording is not None:
        found = iter(_recordings(list(unwrapped), bool(name)))
    else:
        found = (_with_places(row, folder, steps) for row in unwrapped)
    first = next(found, None)
    second = next(found, None)
    if first is not None and second is None:
        yield name or None, first
        return
    yield from ((None, one) for one in itertools.chain([first, second], found) if one is not None)


def _with_places(row: Any, folder: Path, preprocess: Preprocess) -> Any:
    """A row of a file whose pictures are found from that file's folder, as in training."""
    if not isinstance(row, Mapping) or not preprocess.fields:
        return row
    return {
        name: str(folder / cell)
        if slug(str(name)) in preprocess.fields and isinstance(cell, str) and cell and cell[:5] != "data:"
        else cell
        for name, cell in row.items()
    }


def _histories(rows: list[Any], operation: WindowSeries) -> list[Any]:
    """The histories in a file: one, or one a series; or as they stand, where cells are lists."""
    plain = [row for row in rows if isinstance(row, Mapping)]
    bad = [row for row in rows if not isinstance(row, Mapping)]
    if not plain or any(isinstance(cell, list) for cell in plain[0].values()):
        return rows
    if operation.series is not None and operation.series not in plain[0]:
        return [*bad, _as_columns(plain)]  # told by name when it is read
    groups: dict[str, list[Any]] = {}
    for row in plain:
        groups.setdefault(str(row[operation.series]) if operation.series else "", []).append(row)
    return [*bad, *(_as_columns(group) for group in groups.values())]


def _recordings(rows: list[Any], one_file: bool) -> list[Any]:
    """The rows of a file as one recording; as they stand, where they are recordings by themselves."""
    if not rows or not isinstance(rows[0], Mapping) or any(isinstance(cell, list) for cell in rows[0].values()):
        return [rows] if one_file and rows and isinstance(rows[0], list) else rows
    bad = [row for row in rows if not isinstance(row, Mapping)]
    return bad[:1] or [_as_columns(rows)]


def _as_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in rows[0]}


# Texts


def _of_text(asked: Asked, given: str) -> Iterator[Pair]:
    """A text as it stands; a line each of @file; files of rows, .txt files, and folders and patterns of such."""
    if given.startswith("@"):
        text = _text_of(Path(given[1:]))
        if isinstance(text, DataError):
            cure = f"{text.cure} A text that begins with @ goes in by standard input."
            raise UsageError(where=given, expected=text.expected, got=text.got, cure=cure) from text
        yield from ((one, one) for one in ([text] if asked.task == "next_token" else text.splitlines()))
        return
    if asked.preprocess.pair is not None and (pair := _as_pair(given)) is not None:
        yield None, pair
        return
    suffixes = (*SUFFIXES, ".txt")
    named = len(given) < 4096 and "\n" not in given and given.casefold().endswith(suffixes)
    try:
        there = named and (_is_pattern(given) or Path(given).is_file())
        folder = not named and 0 < len(given) < 4096 and os.sep in given and Path(given).is_dir()
    except (OSError, ValueError):
        there = folder = False
    if not there and not folder:
        yield given, given
        return
    for path in _files(given, suffixes):
        if path.suffix.casefold() == ".txt":
            yield str(path), _text_of(path)
            continue
        for row in read_rows(path):
            yield None, _of_column(_unwrapped(row, asked), asked.preprocess)


def _as_pair(text: str) -> Any:
    """Two texts that are written as JSON, an object or a list; None where it is another text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _text_of(path: Path) -> Any:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        return DataError(
            where=str(path), expected="a file of text", got=error.strerror or str(error), cure="Look at the path."
        )
    except ValueError as error:
        return DataError(where=str(path), expected="text in UTF-8", got=str(error), cure="Convert it to UTF-8.")


def _of_column(row: Any, preprocess: Preprocess) -> Any:
    """The text of a row, or both of a pair."""
    if not isinstance(row, Mapping):
        return row
    if preprocess.pair is not None:
        return {name: row[name] for name in preprocess.pair.columns if name in row}
    folded = {str(name).casefold(): name for name in row}
    name = next((folded[one] for one in TEXTS if one in folded), next(iter(row)) if len(row) == 1 else None)
    if name is None:
        return DataError(
            where="a row", expected=f"a column of texts, called {', '.join(TEXTS[:4])} …",
            got=", ".join(map(str, row)), cure="Rename the column, or give it alone.",
        )  # fmt: skip
    return row[name]


# Files


def _of_files(asked: Asked, given: str) -> Iterator[Pair]:
    """Pictures, sounds and arrays: files, folders, patterns, and lists of them in files of rows."""
    own = SOUNDS if asked.kind == "sound" else PICTURES if asked.kind == "image" else (*PICTURES, *ARRAYS)
    suffix = Path(given).suffix.casefold()
    if suffix in SUFFIXES and not _is_pattern(given) and Path(given).is_file():
        for row in read_rows(Path(given)):
            yield _of_list(_unwrapped(row, asked), Path(given).parent, asked)
        return
    for path in _files(given, own):
        yield str(path), _array_of(path) if path.suffix.casefold() in ARRAYS else path


def _of_list(row: Any, folder: Path, asked: Asked) -> Pair:
    """A row of a list of files, or a value of JSON."""
    if isinstance(row, Mapping) and not set(asked.fields) <= set(row):
        folded = {str(name).casefold(): name for name in row}
        name = next((folded[one] for one in PATHS if one in folded), next(iter(row), None))
        row = row.get(name)
    if isinstance(row, str) and row[:5] != "data:":
        return str(folder / row), folder / row
    return None, row


def _array_of(path: Path) -> Any:
    import numpy as np

    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file)  # one array; np.load takes archives and pickles for such, too
    except OSError as error:
        got = error.strerror or str(error)
    except Exception as error:  # whatever a damaged header leads NumPy to: from TokenError to MemoryError
        got = str(error).strip().split("\n")[0] or type(error).__name__
    return DataError(where=str(path), expected="an array of NumPy", got=got, cure="Save it by numpy.save.")


def _files(given: str, suffixes: Sequence[str]) -> Iterator[Path]:
    """The files that a path or pattern names; a file that was named itself is taken whatever it ends in."""
    path = Path(given)
    if path.is_dir():
        yield from _walk(given, suffixes)
    elif _is_pattern(given):
        matches = sorted(glob.iglob(given, recursive=True))  # noqa: PTH207 - a pattern may begin at the root
        if not matches:
            raise UsageError(where=given, expected="files", got="none that match", cure="Look at the pattern.")
        for match in matches:
            if Path(match).is_dir():
                continue
            if Path(match).suffix.casefold() in suffixes:
                yield Path(match)
    else:
        yield path


def _walk(folder: str, suffixes: Sequence[str]) -> Iterator[Path]:
    """Files below a folder that end so, in order, folder by folder; hidden ones and links to folders left out."""
    found = False
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.casefold() in suffixes:
                found = True
                yield Path(place) / name
    if not found:
        raise UsageError(
            where=folder, expected=f"files that end in {', '.join(suffixes)}", got="none in this folder",
            cure="Name another folder.",
        )  # fmt: skip


def _is_pattern(given: str) -> bool:
    return glob.has_magic(given) and not Path(given).exists()
