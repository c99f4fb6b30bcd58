"""Transcripts as letters, and what a network that emits letters frame by frame has said. No torch here.

Output 0 of such a network is the blank, output ``i + 1`` the alphabet's letter ``i``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from netwright.errors import DataError

if TYPE_CHECKING:
    from netwright.records import Choice

BLANK = 0
UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # a letter that training had not; no network can answer it
# Scripts that put no spaces between words: there letters are counted, not words.
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The letters that training transcripts are written with, sorted."""

    letters: tuple[str, ...]

    @property
    def num_outputs(self) -> int:
        """Outputs that a network needs for each frame: the letters and the blank."""
        return len(self.letters) + 1

    def encode(self, text: str) -> NDArray[np.int64]:
        """Letters as outputs from 1 on, int64 (S,); one that is not in the alphabet as ``num_outputs``."""
        places = {letter: index + 1 for index, letter in enumerate(self.letters)}
        return np.asarray([places.get(letter, self.num_outputs) for letter in tidy(text)], dtype=np.int64)

    def decode(self, outputs: NDArray[np.number]) -> str:
        """The text of letters, (S,); blanks are left out."""
        return "".join(
            self.letters[one - 1] if one <= len(self.letters) else UNKNOWN
            for one in outputs.astype(np.int64).tolist()
            if one != BLANK
        )

    @property
    def unspaced(self) -> bool:
        """Whether most letters are of a script without spaces between words."""
        of_words = [letter for letter in self.letters if letter.isalnum()]
        return 2 * sum(unicodedata.name(letter, "").startswith(UNSPACED) for letter in of_words) > len(of_words)


def tidy(text: str) -> str:
    """A transcript in composed letters (NFC), with single spaces between words and none around them."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fit_alphabet(texts: Sequence[str]) -> tuple[Alphabet, tuple[Choice, ...]]:
    """The letters of the training transcripts, with what was decided.

    Raises:
        DataError: There is none.
    """
    from netwright.records import Choice  # late: letters are read where no record is

    counts: dict[str, int] = {}
    for text in texts:
        for letter in tidy(text):
            counts[letter] = counts.get(letter, 0) + 1
    if not counts:
        raise DataError(
            where="transcripts",
            expected="at least one letter in the training data",
            got="none",
            cure="Name the column of the transcripts: --target COLUMN.",
        )
    letters = tuple(sorted(counts))
    shown = "".join(letters) if len(letters) <= 60 else "".join(letters[:60]) + " …"
    reason = f"all that the training transcripts have: “{shown}”; a network answers these and a blank"
    return Alphabet(letters), (Choice(name="letters", value=len(letters), reason=reason),)


def needed_frames(targets: NDArray[np.int64]) -> int:
    """Frames that CTC needs for a transcript, (S,): one a letter, and a blank between two equal ones.

    Source:
        Graves et al. 2006, "Connectionist temporal classification", section 3.1.
    """
    return len(targets) + int((targets[1:] == targets[:-1]).sum())
