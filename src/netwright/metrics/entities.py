"""Entities out of tags: which words belong together, and what they are.

Tags are O, or a place and a type as B-person: B begins, I (or M) goes on, E (or L) ends, S (or U) is alone; a place
without a type, as B, M, E, S of word segmentation, is of the type "". Ill-formed tags are read as the CoNLL script
does: an I or E that has nothing before it to go on with, or only one of another type, begins an entity.

``M`` words of all sentences, ``E`` entities.

Source:
    Tjong Kim Sang & Buchholz 2000, "Introduction to the CoNLL-2000 shared task: chunking", and its script conlleval.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

OUTSIDE, BEGIN, INSIDE, END, SINGLE = range(5)
PLACES = {"B": BEGIN, "I": INSIDE, "M": INSIDE, "E": END, "L": END, "S": SINGLE, "U": SINGLE}
_TAG = re.compile(r"([BIMELSU])(?:-(.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Scheme:
    """How classes stand for places and types.

    Attributes:
        types: Names, sorted; one of them is "" where tags have no type.
        places: Of each class, int64 (C,).
        type_ids: Index into ``types`` of each class, -1 for O, int64 (C,).
    """

    types: tuple[str, ...]
    places: Ints
    type_ids: Ints


@dataclass(frozen=True, slots=True)
class Entities:
    """Entities, by rising place.

    Attributes:
        begins: First word of each, int64 (E,).
        ends: One behind its last, int64 (E,).
        types: Index of its type, int64 (E,).
    """

    begins: Ints
    ends: Ints
    types: Ints

    def __len__(self) -> int:
        return len(self.begins)

    def hits(self, other: Entities) -> NDArray[np.bool_]:
        """Which of these stand in ``other`` as well: the same words, the same type; bool (E,)."""
        # Entities of one reading never overlap, so that a beginning stands for one of them alone.
        where = np.searchsorted(other.begins, self.begins)
        there = where < len(other)
        where = np.where(there, where, 0)
        if not len(other):
            return np.zeros(len(self), dtype=bool)
        same = (other.begins[where] == self.begins) & (other.ends[where] == self.ends)
        return np.asarray(there & same & (other.types[where] == self.types))


def find_scheme(classes: Sequence[str]) -> Scheme | None:
    """What the classes stand for; None where they are plain tags, as parts of speech.

    All must be O or a place with a type, and one must begin or go on; a type is needed, or all but O are bare places.
    """
    matches = [None if name == "O" else _TAG.fullmatch(name) for name in classes]
    if any(match is None for name, match in zip(classes, matches, strict=True) if name != "O"):
        return None
    found = [match for match in matches if match is not None]
    typed = [match[2] is not None for match in found]
    if not found or not (all(typed) or not any(typed)):
        return None
    if not any(match[1] in "BI" for match in found):
        return None
    types = tuple(sorted({match[2] or "" for match in found}))
    places = [OUTSIDE if match is None else PLACES[match[1]] for match in matches]
    type_ids = [-1 if match is None else types.index(match[2] or "") for match in matches]
    return Scheme(types, np.asarray(places, dtype=np.int64), np.asarray(type_ids, dtype=np.int64))


def find_entities(tags: Ints, starts: Ints, scheme: Scheme) -> Entities:
    """The entities of all sentences.

    Args:
        tags: Classes, int64 (M,); what is below 0 counts as O.
        starts: Where each sentence begins, and the end, int64 (N + 1,).
        scheme: Of the classes.
    """
    known = tags >= 0
    places = np.where(known, scheme.places[np.where(known, tags, 0)], OUTSIDE)
    types = np.where(known, scheme.type_ids[np.where(known, tags, 0)], -1)
    first = np.zeros(len(tags), dtype=bool)
    first[starts[:-1][starts[:-1] < starts[1:]]] = True
    before = np.where(first, OUTSIDE, np.roll(places, 1))
    type_before = np.where(first, -1, np.roll(types, 1))
    inside = places != OUTSIDE
    # What an I or E goes on with: an entity of its type that has not ended.
    goes_on = np.isin(places, (INSIDE, END)) & np.isin(before, (BEGIN, INSIDE)) & (types == type_before)
    begins = np.flatnonzero(inside & ~goes_on)
    # An entity ends where the next word of its sentence does not go on with it.
    ends = np.flatnonzero(inside & ~np.append(goes_on[1:], False)) + 1
    return Entities(begins, ends, types[begins])


def count_by_sentence(entities: Entities, starts: Ints, *, chosen: NDArray[np.bool_] | None = None) -> Ints:
    """How many entities each sentence has, int64 (N,); of those ``chosen`` alone."""
    begins = entities.begins if chosen is None else entities.begins[chosen]
    return np.bincount(np.searchsorted(starts[1:], begins, side="right"), minlength=len(starts) - 1).astype(np.int64)
