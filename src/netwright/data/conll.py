"""Sentences with a tag for each word: columns of CoNLL, a word a line, sentences apart by empty lines.

Reads .conll, .bio, .iob, .conllu, and .tsv and .txt files of that form. Knows nothing of tasks or of splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from netwright.data.images import SPLITS
from netwright.errors import DataError, UsageError, unknown_name
from netwright.records import Unreadable

# What these endings promise needs no looking at; files of the others may be anything.
SURE, MAYBE = (".conll", ".conllu", ".bio", ".bio2", ".iob", ".iob2"), (".tsv", ".txt")
LOOKED_AT = 5_000  # lines that tell columns of tags from other text
LONGEST_LOOKED_AT = 100_000  # characters of a line, after which a file is no such one
# Sentences are shorter on average; a table with a stray empty line is not taken for sentences.
MOST_WORDS = 200
UNIVERSAL = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")  # columns of CoNLL-U
HEADS = frozenset(
    {"token", "tokens", "word", "words", "form", "text", "tag", "tags", "label", "labels", "pos", "upos", "xpos", "ner",
     "ner_tag", "entity", "chunk", "lemma", "id"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words, a tag for each, and where it begins: ``train.conll:12``."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds the words and which the tags, by place, and how a line is cut.

    ``others`` is how many columns are not used.
    """

    word: int
    tag: int
    count: int
    tabs: bool
    universal: bool

    @property
    def others(self) -> int:
        """Columns that are not used."""
        return self.count - 2 - self.universal  # the numbers of CoNLL-U are no loss

    def name(self, index: int) -> str:
        """What a column is called."""
        return UNIVERSAL[index] if self.universal else f"column_{index}"


def holds_tags(path: Path) -> bool:
    """Whether a file is columns of words and tags: by its ending, or by what its first lines look like.

    That is: lines of as many columns, two to twelve, sentences apart by empty lines, no header, few different tags.
    """
    if not path.is_file() or path.suffix.casefold() not in (*SURE, *MAYBE):
        return False
    if path.suffix.casefold() in SURE:
        return True
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            lines = [
                line.rstrip("\r\n") for line in islice(iter(lambda: file.readline(LONGEST_LOOKED_AT), ""), LOOKED_AT)
            ]
    except (UnicodeDecodeError, OSError):
        return False
    full = [line for line in lines if line.strip() and not line.startswith("#")]
    inner = [index for index, line in enumerate(lines) if not line.strip()]
    last = max((index for index, line in enumerate(lines) if line.strip()), default=0)
    breaks = sum(index < last for index in inner)
    if len(full) < 2 or not breaks or len(full) > MOST_WORDS * (breaks + 1):
        return False
    tabs = _has_tabs(full)
    rows = [_cells(line, tabs=tabs) for line in full]
    (count, often), *_ = Counter(map(len, rows)).most_common(1)
    if not 2 <= count <= 12 or often < 0.98 * len(full):
        return False
    if sum(" " in row[0].strip() for row in rows) > len(rows) // 5:  # texts with a label each
        return False
    tags = {row[-1] for row in rows if len(row) == count}
    # Text in columns of as many words by chance, as a poem, has nearly as many last words as lines.
    return len(tags) <= max(4, len(full) // 4) and not any(" " in tag for tag in tags)


def tagged_files(folder: Path) -> dict[str, Path]:
    """Files of tags named after splits: train.conll, dev.tsv, en_ewt-ud-test.conllu; empty without one to train on."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.stem.casefold()
        last = stem.replace("_", "-").replace(".", "-").rpartition("-")[2]
        for split, names in SPLITS.items():
            if (stem in names or last in names) and path.suffix.casefold() in (*SURE, *MAYBE) and path.is_file():
                found.setdefault(split, path)
    return found if "train" in found and holds_tags(found["train"]) else {}


def read_sentences(
    path: Path, *, word: str | None = None, tag: str | None = None
) -> tuple[list[Sentence], list[Unreadable], Columns]:
    """Read one file.

    Words are taken as they stand, also such with spaces in them where columns are apart by tabs. Lines that begin with
    ``-DOCSTART-`` end a sentence; a line that begins with # is a comment where it has not as many columns as the
    others, or is a remark of CoNLL-U, as ``# sent_id = 1``. Of CoNLL-U, ranges (1-2) and empty nodes (1.1) are left
    out.

    Args:
        path: In UTF-8.
        word: Column of the words: ``column_0`` …, or a name of CoNLL-U. None: the first, in CoNLL-U ``form``.
        tag: Column of the tags. None: the last, in CoNLL-U ``upos``.

    Returns:
        Sentences; those that were left out, since a line of theirs has no tag; the columns.

    Raises:
        DataError: It is not UTF-8, or has no two columns.
        UnknownNameError: There is no such column.
    """
    lines = _lines(path)
    columns = _find_columns(path, lines, word, tag)
    sentences: list[Sentence] = []
    broken: list[Unreadable] = []
    for first, rows in _blocks(lines, columns):
        short = next((number for number, cells in rows if not _has_tag(cells, columns)), None)
        name = f"{path.name}:{first}"
        if short is not None:
            reason = f"line {short} has no tag: {lines[short - 1][:60]!r}"
            broken.append(Unreadable(name=f"{path}:{first}", reason=reason))
            continue
        kept = [cells for _, cells in rows if not columns.universal or cells[0].isdigit()]
        if kept:
            words, tags = tuple(cells[columns.word] for cells in kept), tuple(_tag(cells, columns) for cells in kept)
            sentences.append(Sentence(words, tags, name))
    return sentences, broken, columns


def _lines(path: Path) -> list[str]:
    """Lines that end at \\n alone: Unicode's other ends may stand in a word."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            where=str(path),
            expected="text in UTF-8",
            got=f"byte 0x{error.object[error.start]:02x} at {error.start}",
            cure=f"Convert it: iconv -f GB18030 -t UTF-8 {path.name} (or -f LATIN1), and give the result.",
        ) from error
    except OSError as error:
        raise DataError(
            where=str(path), expected="a file that can be read", got=str(error), cure="Check it and its permissions."
        ) from error
    return [line.removesuffix("\r") for line in text.split("\n")]


def _has_tabs(full: Sequence[str]) -> bool:
    return 2 * sum("\t" in line for line in full) > len(full)


def _cells(line: str, *, tabs: bool) -> list[str]:
    """Columns of a line; with tabs a word may hold spaces, or be nothing but a sign of no width."""
    if not tabs:
        return line.split()
    cells = line.split("\t")
    return [cells[0], *(cell.strip() for cell in cells[1:])]


def _find_columns(path: Path, lines: Sequence[str], word: str | None, tag: str | None) -> Columns:
    full = [line for line in lines if line.strip() and not line.startswith("-DOCSTART-")]
    tabs = _has_tabs(full)
    counts = Counter(len(_cells(line, tabs=tabs)) for line in full if not line.startswith("#"))
    (count, _), *_ = counts.most_common(1) or [(0, 0)]
    if count < 2:
        raise DataError(
            where=str(path),
            expected="lines of two or more columns, the word first and its tag last, sentences apart by empty lines",
            got=f"lines of {count} column" if count else "no line of words",
            cure="Put a tab or a space between a word and its tag.",
        )
    rows = (_cells(line, tabs=tabs) for line in islice(full, LOOKED_AT))
    universal = tabs and count == len(UNIVERSAL) and all(
        cells[0][:1].isdigit() for cells in rows if len(cells) == count and not cells[0].startswith("#")
    )  # fmt: skip
    found = Columns(word=1 if universal else 0, tag=3 if universal else count - 1, count=count, tabs=tabs,
                    universal=universal)  # fmt: skip
    names = [found.name(index) for index in range(count)]
    for option, name in (("--input", word), ("--target", tag)):
        if name is not None and name not in names:
            raise unknown_name(f"column of {path.name}", name, names, where=option)
    chosen = found.word if word is None else names.index(word), found.tag if tag is None else names.index(tag)
    if chosen[0] == chosen[1]:
        raise UsageError(
            where="--input and --target",
            expected="two columns",
            got=f"{names[chosen[0]]} for both",
            cure=f"Columns: {', '.join(names)}.",
        )
    return Columns(*chosen, count=count, tabs=tabs, universal=universal)


def _blocks(lines: Sequence[str], columns: Columns) -> Iterator[tuple[int, list[tuple[int, list[str]]]]]:
    """For each sentence the number of its first line, and its lines with theirs."""
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate((*lines, ""), start=1):
        ends = not line.strip() or line.startswith("-DOCSTART-")
        if ends:
            if rows:
                yield rows[0][0], rows
            rows = []
            continue
        cells = _cells(line, tabs=columns.tabs)
        if not _is_comment(line, cells, columns) and not _is_header(number, cells):
            rows.append((number, cells))


def _is_comment(line: str, cells: Sequence[str], columns: Columns) -> bool:
    return line.startswith("#") and (
        len(cells) != columns.count or (not columns.tabs and line[1:2] == " " and "=" in cells)
    )


def _is_header(number: int, cells: Sequence[str]) -> bool:
    """Whether the first line only names the columns."""
    return number == 1 and len(cells) > 1 and all(cell.strip().casefold() in HEADS for cell in cells)


def _has_tag(cells: Sequence[str], columns: Columns) -> bool:
    if len(cells) != columns.count and columns.tag != columns.count - 1:
        return False
    return len(cells) > max(1, columns.word) and bool(_tag(cells, columns))


def _tag(cells: Sequence[str], columns: Columns) -> str:
    """The tag of a line; the last column is the last one, also where a line has more than the others."""
    return cells[-1] if columns.tag == columns.count - 1 else cells[columns.tag]
