"""Sentences of words that are tagged one by one: a word stays one token, whatever is inside it.

No torch here. Training and serving both go through ``sentence`` and ``look_up``. Shapes: ``T`` words, ``K`` characters
of a word.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from netwright.errors import DataError

UNKNOWN = 1  # 0 is padding
KNOWN_FROM = 2
# Of longer words the first and the last eight characters are kept: prefixes and suffixes tell most of a word's kind.
SPELLING = 16
# Different characters that are kept; Chinese text has some 6,000 in use.
MOST_CHARACTERS = 10_000
# Signs that begin a word of their own kind, as @name and #topic, and are not cut off it.
KEPT_BEFORE = "@#"
# Share of the training words above which all are taken to be so.
MOSTLY = 0.9
# How a word is written; the first has id 1.
SHAPES = ("other", "lower", "Title", "UPPER", "U", "MiXed", "123", "a1", "signs", "@name", "#topic", "link", "empty")
_LINK = re.compile(r"(?:https?:|www\.)", re.IGNORECASE)
_DIGIT = re.compile(r"\d")


class Words(BaseModel):
    """Words to ids, int32 (T,), to those of their characters, int32 (T, K), and of their shape, int32 (T,).

    0 is padding, 1 is unknown. Words are looked up in Unicode's compatible form, in lower case, each digit as 0;
    characters as they are written, in the same form. A shape says how a word is written: see ``SHAPES``. Nothing
    inside a word cuts it.

    Attributes:
        words: Known ones, by falling frequency; the first has id 2.
        characters: Known ones, likewise.
        spelling: K; of longer words the first and the last K / 2 characters count.
        max_length: Words a sentence may have.
        split: How a string is cut into words: at white space and around punctuation ("space"); there, and each
            ideograph apart ("ideographs"); or into characters ("character").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Literal["words"] = "words"
    words: tuple[str, ...] = Field(repr=False)
    characters: str = Field(repr=False)
    spelling: int = Field(default=SPELLING, gt=0)
    max_length: int = Field(gt=0)
    split: Literal["space", "ideographs", "character"] = "space"

    @property
    def vocab_size(self) -> int:
        """Ids that a word may have."""
        return KNOWN_FROM + len(self.words)

    @property
    def num_shapes(self) -> int:
        """Ids that a shape may have."""
        return 1 + len(SHAPES)

    @property
    def num_characters(self) -> int:
        """Ids that a character may have."""
        return KNOWN_FROM + len(self.characters)


def fit_words(sentences: Sequence[Sequence[str]], *, vocab_size: int, max_length: int, rarest: int) -> Words:
    """Learn the words and characters of the training sentences.

    Args:
        sentences: Of the training split alone.
        vocab_size: Most ids of words.
        max_length: Words a sentence may have.
        rarest: Words seen less often are left unknown, so that the unknown one is trained too.
    """
    written = Counter(word for words in sentences for word in words)
    words: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    for word, count in written.items():
        words[plain(word)] += count
        for letter in _compatible(word):
            characters[letter] += count
    known = [word for word, count in _ordered(words) if count >= rarest][: max(0, vocab_size - KNOWN_FROM)]
    letters = [letter for letter, _ in _ordered(characters)][:MOST_CHARACTERS]
    return Words(
        words=tuple(known),
        characters="".join(letters),
        max_length=max_length,
        split=_split(written),
    )


def _split(written: Counter[str]) -> Literal["space", "ideographs", "character"]:
    """How strings are to be cut, so that they fall into such words as the training sentences have."""
    single, all_words = Counter[bool](), Counter[bool]()  # by whether a word has an ideograph
    for word, count in written.items():
        ideographic = not word.isascii() and any(map(is_ideograph, word))
        all_words[ideographic] += count
        single[ideographic] += count if len(word) == 1 else 0
    if single[True] <= MOSTLY * all_words[True]:
        return "space"
    return "character" if single[False] > MOSTLY * all_words[False] else "ideographs"


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """By falling frequency, equal ones by their letters: the same from any order of the sentences."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def is_ideograph(letter: str) -> bool:
    """Whether a letter is of a script that is written without spaces, in signs of a syllable or a word each."""
    return unicodedata.name(letter, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO"))


def _compatible(word: str) -> str:
    return unicodedata.normalize("NFKC", clean(word))


def clean(word: str) -> str:
    """A word without lone surrogates, as broken JSON has them: they are no Unicode text and cannot be written."""
    return word.encode("utf-8", "replace").decode("utf-8")


def plain(word: str) -> str:
    """The form in which a word is looked up: compatible, in lower case, each digit as 0."""
    return _DIGIT.sub("0", _compatible(word).lower())


def sentence(operation: Words, raw: Any) -> list[str]:
    """The words of one raw input.

    A list of words is taken as it is. A string is cut at white space; then punctuation is cut off both ends of each
    piece, sign by sign, unless the piece is a known word ("U.S."); @name and #topic stay whole. Where Chinese and
    Japanese training words were single signs, each such sign is a word; where all words were, each letter is.

    Raises:
        DataError: It is neither, or it has more words than a sentence may have.
    """
    if isinstance(raw, str):
        words = _cut(operation, clean(raw))
    elif isinstance(raw, list | tuple) and all(isinstance(word, str) for word in raw):
        words = [clean(word) for word in raw]
    else:
        kinds = sorted({type(word).__name__ for word in raw}) if isinstance(raw, list | tuple) else [type(raw).__name__]
        raise DataError(
            where="input",
            expected="a sentence: a string, or a list of words",
            got=f"a list of {', '.join(kinds)}" if isinstance(raw, list | tuple) else kinds[0],
            cure='As "He lives in Rome", or ["He", "lives", "in", "Rome"].',
        )
    if len(words) > operation.max_length:
        raise DataError(
            where="input",
            expected=f"a sentence of at most {operation.max_length:,} words",
            got=f"{len(words):,}",
            cure="Give sentences one by one, or train with a larger --max-length.",
        )
    return words


def _cut(operation: Words, text: str) -> list[str]:
    if operation.split == "character":
        return [letter for letter in text if not letter.isspace()]
    known, _ = _tables(operation)
    words: list[str] = []
    for piece in text.split():
        parts = _apart(piece) if operation.split == "ideographs" else [piece]
        words += [word for part in parts for word in _peeled(part, known)]
    return words


def _apart(piece: str) -> list[str]:
    """A piece with each ideograph on its own."""
    parts: list[str] = []
    joined = False
    for letter in piece:
        alone = is_ideograph(letter)
        if joined and not alone:
            parts[-1] += letter
        else:
            parts.append(letter)
        joined = not alone
    return parts


def _peeled(piece: str, known: dict[str, int]) -> list[str]:
    """One piece between spaces, with the punctuation around it as words of its own."""
    if piece.isalnum() or plain(piece) in known:
        return [piece]
    begin, end = 0, len(piece)
    before: list[str] = []
    after: list[str] = []
    while end - begin > 1 and _is_sign(piece[begin]) and plain(piece[begin:end]) not in known:
        if piece[begin] in KEPT_BEFORE and piece[begin + 1].isalnum():
            break
        before.append(piece[begin])
        begin += 1
    while end - begin > 1 and _is_sign(piece[end - 1]) and plain(piece[begin:end]) not in known:
        after.append(piece[end - 1])
        end -= 1
    return [*before, piece[begin:end], *reversed(after)]


def _is_sign(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "PS"


def shape(word: str) -> str:
    """How a word is written, one of ``SHAPES``: a name is told from a word that was never seen by its first letter."""
    word = _compatible(word)
    if not word:
        return "empty"
    if len(word) > 1 and word[0] in KEPT_BEFORE:
        return "@name" if word[0] == "@" else "#topic"
    if _LINK.match(word):
        return "link"
    if all(map(_is_sign, word)):
        return "signs"
    if any(letter.isdigit() for letter in word):
        return "123" if all(letter.isdigit() or _is_sign(letter) for letter in word) else "a1"
    return _case(word)


def _case(word: str) -> str:
    """The shape of a word of letters; scripts that know no case are "other"."""
    if word.islower():
        return "lower"
    if word.isupper():
        return "U" if len(word) == 1 else "UPPER"
    if word[0].isupper() and word[1:].islower():
        return "Title"
    return "MiXed" if any(map(str.isupper, word)) else "other"


def look_up(operation: Words, words: Sequence[str]) -> dict[str, NDArray[np.int32]]:
    """Ids of words and of their characters.

    Returns:
        ``tokens`` int32 (T,), ``characters`` int32 (T, K) and ``shapes`` int32 (T,).
    """
    known, letters = _tables(operation)
    distinct = {word: index for index, word in enumerate(dict.fromkeys(words))}
    ids = np.fromiter((known.get(plain(word), UNKNOWN) for word in distinct), np.int32, len(distinct))
    spelt = np.zeros((len(distinct), operation.spelling), dtype=np.int32)
    half = operation.spelling // 2
    for index, word in enumerate(distinct):
        written = _compatible(word)
        if len(written) > operation.spelling:
            written = written[: operation.spelling - half] + written[len(written) - half :]
        spelt[index, : len(written)] = [letters.get(letter, UNKNOWN) for letter in written]
    shapes = np.fromiter((1 + SHAPES.index(shape(word)) for word in distinct), np.int32, len(distinct))
    where = np.fromiter((distinct[word] for word in words), np.int64, len(words))
    return {"tokens": ids[where], "characters": spelt[where], "shapes": shapes[where]}


def look_up_all(operation: Words, sentences: Iterable[Sequence[str]]) -> list[dict[str, NDArray[np.int32]]]:
    """``look_up`` for each sentence, with each different word looked up once."""
    listed = list(sentences)
    ends = np.cumsum([len(words) for words in listed])[:-1]
    fields = look_up(operation, [word for words in listed for word in words])
    parts = {name: np.split(values, ends) for name, values in fields.items()}
    return [{name: parts[name][index] for name in parts} for index in range(len(listed))]


class _Itself:
    """An operation as a key, by what it is and not by what it holds: tens of thousands of words take 0.1 ms to hash."""

    __slots__ = ("operation",)

    def __init__(self, operation: Words) -> None:
        self.operation = operation

    def __hash__(self) -> int:
        return id(self.operation)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.operation is other.operation


def _tables(operation: Words) -> tuple[dict[str, int], dict[str, int]]:
    return _made_tables(_Itself(operation))


@functools.lru_cache(maxsize=4)
def _made_tables(key: _Itself) -> tuple[dict[str, int], dict[str, int]]:
    operation = key.operation
    words = {word: index for index, word in enumerate(operation.words, start=KNOWN_FROM)}
    return words, {letter: index for index, letter in enumerate(operation.characters, start=KNOWN_FROM)}
