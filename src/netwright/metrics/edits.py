"""Edits between what was said and what was recognised. NumPy alone; ``S`` true and ``R`` recognised tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["same", "wrong", "missing", "extra"]


def edit_table(truth: Sequence[object], said: Sequence[object]) -> NDArray[np.int64]:
    """Least insertions, deletions and substitutions between all beginnings of two sequences, int64 (S + 1, R + 1).

    One row at a time: what a row owes to its own left neighbours is a running minimum.

    Source:
        Wagner & Fischer 1974, "The string-to-string correction problem", J. ACM 21:168.
    """
    codes = {token: index for index, token in enumerate(dict.fromkeys((*truth, *said)))}
    other = np.asarray([codes[token] for token in said], dtype=np.int64)
    steps = np.arange(len(said) + 1)
    table = np.empty((len(truth) + 1, len(said) + 1), dtype=np.int64)
    table[0] = steps
    for row, token in enumerate(truth, start=1):
        above = table[row - 1]
        here = table[row]
        here[0] = row
        here[1:] = np.minimum(above[1:] + 1, above[:-1] + (other != codes[token]))
        here[:] = np.minimum.accumulate(here - steps) + steps
    return table


def edit_distance(truth: Sequence[object], said: Sequence[object]) -> int:
    """Least insertions, deletions and substitutions that make one sequence of the other."""
    return int(edit_table(truth, said)[-1, -1])


def alignment(truth: Sequence[str], said: Sequence[str]) -> list[tuple[Kind, str, str]]:
    """One of the cheapest ways from the truth to what was said, step by step.

    Returns:
        For each step its kind, the true token ("" where one is extra) and the one said ("" where one is missing).
    """
    table = edit_table(truth, said)
    row, column = len(truth), len(said)
    found: list[tuple[Kind, str, str]] = []
    while row or column:
        here = table[row, column]
        same = row and column and truth[row - 1] == said[column - 1]
        if row and column and here == table[row - 1, column - 1] + (not same):
            row, column = row - 1, column - 1
            found.append(("same" if same else "wrong", truth[row], said[column]))
        elif row and here == table[row - 1, column] + 1:
            row -= 1
            found.append(("missing", truth[row], ""))
        else:
            column -= 1
            found.append(("extra", "", said[column]))
    return found[::-1]
