"""Answers as text: a table for people, JSON lines and CSV for machines; none of it can steer a terminal or a sheet.

A name of a file may hold anything: line ends, colours of terminals, letters that turn the direction of a line, or a
formula. Such are written as what they are.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Answer = Mapping[str, Any]
FORMATS = ("table", "jsonl", "csv")
# A cell that begins with one of these is a formula for spreadsheets (OWASP, "CSV Injection"); plain numbers are none.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
# What JSON leaves as it is: controls from DEL on, marks of direction, ends of lines.
STEERING = re.compile("[\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]")
MOST_CLASSES = 200  # of which each has a column of probabilities


def plain(text: str, *, keep: str = "") -> str:
    """A text without what steers a terminal: control characters and marks of direction are written as escapes.

    Args:
        keep: Such characters that are left as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode()
        # Cc and Cf: control and format, as ESC and the marks that turn a line round; Zl, Zp: ends of lines; Cs: halves.
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and letter not in keep
        and letter not in JOINERS
        else letter
        for letter in text
    )


JOINERS = "\u200c\u200d"  # needed to write Persian, Hindi and emoji; they steer nothing


# A table for people


def table_line(answer: Answer, *, one_of_many: bool) -> str:
    """One answer as a line, or a line a step of a forecast."""
    name = plain(answer["name"], keep="\t")
    if "answers" in answer:
        return f"{name}\t" + "\t".join(f"{plain(key)}: {_short(one)}" for key, one in answer["answers"].items())
    if "forecast" in answer:
        return "\n".join(_forecast(name, answer["forecast"]))
    if "continuation" in answer:
        written = plain(answer["name"] + answer["continuation"], keep="\n\t")
        return written + ("\n---" if one_of_many else "")
    if "tags" in answer:
        pairs = zip(answer.get("words", ()), answer["tags"], strict=False)
        return " ".join(f"{plain(word)}/{plain(tag)}" for word, tag in pairs)
    return f"{name}\t{plain(answer['text']) if 'text' in answer else _short(answer)}"


def _short(answer: Answer) -> str:
    """A class with its probability, labels with theirs, or numbers."""
    if "labels" in answer:
        chances = answer.get("probabilities", {})
        return ", ".join(f"{plain(one)} {chances[one]:.4f}" for one in answer["labels"]) or "–"
    if "label" in answer:
        return "\t".join([plain(answer["label"]), *([f"{answer['confidence']:.4f}"] if answer["confidence"] else [])])
    return ", ".join(f"{value:.6g}" for value in answer.get("value", ()))


def _forecast(name: str, columns: Mapping[str, Any]) -> Iterator[str]:
    """A line a step: series, column, time, value and the ends of its interval."""
    for column, steps in columns.items():
        for step in steps:
            ends = f"\t{step['low']:.6g}\t{step['high']:.6g}" if "low" in step else ""
            yield f"{name}\t{plain(column)}\t{step['time']}\t{step['value']:.6g}{ends}"


# For machines


def json_line(answer: Answer) -> str:
    """One answer as JSON on a line; half characters, which are no Unicode text, as escapes."""
    return harmless_json(json.dumps(answer, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8"))


def harmless_json(text: str) -> str:
    """JSON that says the same, with escapes for what would steer a terminal."""
    return text if text.isascii() and "\x7f" not in text else STEERING.sub(lambda one: f"\\u{ord(one[0]):04x}", text)


def csv_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """Answers as CSV, the names of the columns first.

    A row an answer; of forecasts one a step, of tags one a word. The columns are those of the first answer without an
    error, so that answers before it wait for it.
    """
    waiting: list[Answer] = []
    columns: list[str] | None = None
    for answer in answers:
        if columns is None:
            waiting.append(answer)
            if "error" in answer:
                continue
            columns = [*dict.fromkeys(["name", *(_records(answer)[:1] or [{}])[0], "error"])]
            yield _line(columns)
            yield from (_line(row) for one in waiting for row in _cells(one, columns))
        else:
            yield from (_line(row) for row in _cells(answer, columns))
    if columns is None:
        columns = ["name", "error"]
        yield _line(columns)
        yield from (_line(row) for one in waiting for row in _cells(one, columns))


def _cells(answer: Answer, columns: list[str]) -> list[list[Any]]:
    return [[record.get(column, "") for column in columns] for record in _records(answer)]


def _records(answer: Answer) -> list[dict[str, Any]]:
    """One answer as records with a value a column."""
    name = {"name": answer["name"]}
    if "error" in answer:
        return [name | {"error": answer["error"]}]
    if "forecast" in answer:
        return [name | {"column": key} | dict(step) for key, steps in answer["forecast"].items() for step in steps]
    if "tags" in answer:
        words = answer.get("words") or [""] * len(answer["tags"])
        places = zip(words, answer["tags"], answer["confidences"], strict=True)
        rows = [
            {"place": at, "word": word, "tag": tag, "confidence": one} for at, (word, tag, one) in enumerate(places)
        ]
        return [name | row for row in rows] or [name | {"place": "", "word": "", "tag": "", "confidence": ""}]
    if "answers" in answer:
        parts = [(key, _flat(one)) for key, one in answer["answers"].items()]
        return [name | {f"{key}.{column}": value for key, part in parts for column, value in part.items()}]
    return [name | _flat(answer)]


def _flat(answer: Answer) -> dict[str, Any]:
    """The columns of one answer that has a row."""
    found: dict[str, Any] = {key: answer[key] for key in ("label", "confidence", "text", "continuation", "note")
                             if key in answer}  # fmt: skip
    if "labels" in answer:
        found["labels"] = ";".join(answer["labels"])
    if "value" in answer:
        values = answer["value"]
        found |= {"value" if len(values) == 1 else f"value_{at}": value for at, value in enumerate(values)}
    chances = answer.get("probabilities", {})
    if len(chances) <= MOST_CLASSES:
        found |= {f"probability.{key}": value for key, value in chances.items()}
    return found


def _line(cells: Iterable[Any]) -> str:
    held = io.StringIO()
    csv.writer(held, lineterminator="\r\n").writerow([_harmless(cell) for cell in cells])  # cells with these are quoted
    return held.getvalue()[:-2]


def _harmless(cell: Any) -> Any:
    """A text as spreadsheets and terminals may have it."""
    if not isinstance(cell, str):
        return cell
    text = plain(cell, keep="\n\t\r")
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


Write = Callable[[str], None]


def show(answers: Iterable[Answer], how: str, write: Write, complain: Write) -> int:
    """Write answers as they come; how many were errors.

    Args:
        answers: In order.
        how: One of ``FORMATS``.
        write: Takes each line.
        complain: Takes what is for people alone: errors and notes of a table.
    """
    failed = 0

    def counted() -> Iterator[Answer]:
        nonlocal failed
        for answer in answers:
            failed += "error" in answer
            yield answer

    if how == "csv":
        for line in csv_lines(counted()):
            write(line)
    elif how == "jsonl":
        for answer in counted():
            write(json_line(answer))
    else:
        _show_table(counted(), write, complain)
    return failed


def _show_table(answers: Iterator[Answer], write: Write, complain: Write) -> None:
    first, second = next(answers, None), next(answers, None)
    several = second is not None
    for answer in (one for early in ((first, second), answers) for one in early if one is not None):
        if "error" in answer:
            complain(f"{plain(answer['name'], keep=chr(9))}\terror: {plain(answer['error'])}")
        else:
            write(table_line(answer, one_of_many=several))
        if "note" in answer:
            complain(f"note: {plain(answer['note'])}")
