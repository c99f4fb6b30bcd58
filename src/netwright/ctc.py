"""What was said, out of the probabilities of letters and of a blank frame by frame. NumPy alone.

``F`` frames, ``C`` outputs, of which the first is the blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLANK = 0


def greedy(log_probs: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The letters of the likeliest path: repeats as one, blanks left out.

    Args:
        log_probs: (F, C).

    Returns:
        int64 (S,), each in [1, C).

    Source:
        Graves et al. 2006, "Connectionist temporal classification", section 3.2: best path decoding.
    """
    if not len(log_probs):
        return np.zeros(0, dtype=np.int64)
    path = log_probs.argmax(1).astype(np.int64)
    kept = path[np.concatenate(([True], path[1:] != path[:-1]))]
    return np.asarray(kept[kept != BLANK], dtype=np.int64)


def beam_search(log_probs: NDArray[np.floating[Any]], width: int) -> tuple[NDArray[np.int64], float]:
    """The likeliest letters over all paths that spell them, as far as ``width`` beginnings at a time can tell.

    Args:
        log_probs: (F, C), of rows that sum to 1.
        width: Beginnings kept after each frame.

    Returns:
        Letters, int64 (S,), and the logarithm of their probability: that of all paths which stayed in the beam.

    Source:
        Graves 2008, "Supervised sequence labelling with recurrent neural networks", section 7.5.3, as in Hannun et
        al. 2014, arXiv:1408.2873, algorithm 1, without a language model.
    """
    parents, letters = [-1], [BLANK]  # of each beginning: what it grew from, its last letter
    children: dict[tuple[int, int], int] = {}
    beam = [0]
    blank, spoken = np.zeros(1), np.full(1, -np.inf)  # log-probabilities of ending in a blank, and in its last letter
    for frame in np.asarray(log_probs, dtype=np.float64):
        last = np.asarray([letters[one] for one in beam])
        either = np.logaddexp(blank, spoken)
        stay_blank, stay_spoken = either + frame[BLANK], np.where(last == BLANK, -np.inf, spoken + frame[last])
        grown = either[:, None] + frame[None]
        grown[np.arange(len(beam)), last] = blank + frame[last]  # twice the same letter needs a blank between
        grown[:, BLANK] = -np.inf
        places = {one: place for place, one in enumerate(beam)}
        for place, one in enumerate(beam):  # a beginning that another one grows into has both's paths
            before = places.get(parents[one])
            if before is not None:
                stay_spoken[place] = np.logaddexp(stay_spoken[place], grown[before, last[place]])
                grown[before, last[place]] = -np.inf
        scores = np.concatenate((np.logaddexp(stay_blank, stay_spoken), grown.ravel()))
        best = np.argsort(-scores, kind="stable")[:width]
        best = best[scores[best] > -np.inf]
        kept: list[int] = []
        blanks, spokens = np.full(len(best), -np.inf), np.full(len(best), -np.inf)
        for place, choice in enumerate(best.tolist()):
            if choice < len(beam):
                kept.append(beam[choice])
                blanks[place], spokens[place] = stay_blank[choice], stay_spoken[choice]
                continue
            origin, letter = divmod(choice - len(beam), len(frame))
            key = (beam[origin], letter)
            if key not in children:
                children[key] = len(parents)
                parents.append(key[0])
                letters.append(letter)
            kept.append(children[key])
            spokens[place] = grown[origin, letter]
        beam, blank, spoken = kept, blanks, spokens
    totals = np.logaddexp(blank, spoken)
    winner = int(totals.argmax())
    return _spelled(beam[winner], parents, letters), float(totals[winner])


def _spelled(one: int, parents: Sequence[int], letters: Sequence[int]) -> NDArray[np.int64]:
    found = []
    while one > 0:
        found.append(letters[one])
        one = parents[one]
    return np.asarray(found[::-1], dtype=np.int64)


def decode(
    log_probs: NDArray[np.floating[Any]], frames: NDArray[np.int64], *, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Letters of a batch, laid end to end.

    Args:
        log_probs: (B, F, C); frames behind a sound's own are not looked at.
        frames: Of each sound, int64 (B,).
        width: Of the beam; 1 takes the likeliest path.

    Returns:
        Letters int64 (M,), and where each sound's begin, and the end, int64 (B + 1,).
    """
    found = []
    for row, count in zip(log_probs, frames.tolist(), strict=True):
        found.append(greedy(row[:count]) if width == 1 else beam_search(row[:count], width)[0])
    starts = np.concatenate(([0], np.cumsum([len(one) for one in found]))).astype(np.int64)
    return np.concatenate([*found, np.zeros(0, dtype=np.int64)]), starts


def parts(values: NDArray[Any], starts: NDArray[np.int64]) -> list[NDArray[Any]]:
    """Stretches that were laid end to end, one by one."""
    return [values[begin:end] for begin, end in pairwise(starts.tolist())]
