"""Tagged sentences as they are shown: pieces of text, each with what is true of it and what was answered.

Reads records only; knows nothing of HTML or of a language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from netwright.metrics.answers import UNTYPED
from netwright.metrics.entities import Scheme, find_entities, find_scheme
from netwright.results import WordMark
from netwright.words import is_ideograph


@dataclass(frozen=True, slots=True)
class Piece:
    """Words that stand together.

    Attributes:
        text: The words, with what stands between them; empty between pieces of a script without spaces.
        kind: plain (nothing to say), right (an entity that was found) or wrong.
        target: The true tag or type; None for none.
        prediction: The answered one.
        gap: What stands before it.
    """

    text: str
    kind: Literal["plain", "right", "wrong"]
    target: str | None
    prediction: str | None
    gap: str


def pieces(marks: Sequence[WordMark], classes: Sequence[str]) -> list[Piece]:
    """A sentence as pieces: entities, found, missed and wrong ones; of plain tags each wrong word.

    Args:
        marks: Its words.
        classes: Names of the tags.
    """
    scheme = find_scheme(classes)
    keys = _by_word(marks) if scheme is None else _by_entity(marks, classes, scheme)
    found: list[Piece] = []
    begin = 0
    for place in range(1, len(marks) + 1):
        if place < len(marks) and keys[place][0] == keys[begin][0]:
            continue
        text = _joined([mark.word for mark in marks[begin:place]])
        gap = _gap(marks[begin - 1].word, marks[begin].word) if begin else ""
        _, kind, target, prediction = keys[begin]
        found.append(Piece(text, kind, target, prediction, gap))
        begin = place
    return found


# What a word belongs to (words with the same stand together), what to say of it, the true and the answered name.
Key = tuple[tuple[int, ...], Literal["plain", "right", "wrong"], str | None, str | None]


def _by_word(marks: Sequence[WordMark]) -> list[Key]:
    return [
        ((place,), "wrong", mark.target, mark.prediction)
        if mark.target is not None and mark.target != mark.prediction
        else ((-1,), "plain", mark.target, mark.prediction)
        for place, mark in enumerate(marks)
    ]


def _by_entity(marks: Sequence[WordMark], classes: Sequence[str], scheme: Scheme) -> list[Key]:
    ends = np.asarray([0, len(marks)])
    codes = {name: index for index, name in enumerate(classes)}
    true = find_entities(np.asarray([codes.get(mark.target or "", -1) for mark in marks]), ends, scheme)
    given = find_entities(np.asarray([codes.get(mark.prediction, -1) for mark in marks]), ends, scheme)
    of_true, of_given = (_entity_of(one.begins, one.ends, len(marks)) for one in (true, given))
    same = true.hits(given)
    keys: list[Key] = []
    for one, other in zip(of_true.tolist(), of_given.tolist(), strict=True):
        wanted = None if one < 0 else scheme.types[int(true.types[one])] or UNTYPED
        answered = None if other < 0 else scheme.types[int(given.types[other])] or UNTYPED
        if one < 0 and other < 0:
            keys.append(((-1, -1), "plain", None, None))
        else:
            keys.append(((one, other), "right" if one >= 0 and bool(same[one]) else "wrong", wanted, answered))
    return keys


def _entity_of(begins: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The entity that each word is in, -1 for none, int64 (size,)."""
    found = np.full(size, -1, dtype=np.int64)
    for index, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        found[begin:end] = index
    return found


def _joined(words: Sequence[str]) -> str:
    text = ""
    for place, word in enumerate(words):
        text += (_gap(words[place - 1], word) if place else "") + word
    return text


def _gap(left: str, right: str) -> str:
    """What stands between two words: nothing beside signs of a script without spaces."""
    return "" if (left and is_ideograph(left[-1])) or (right and is_ideograph(right[0])) else " "
