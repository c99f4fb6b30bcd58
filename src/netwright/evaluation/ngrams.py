"""What counting gives: how surprised uniform, unigram and n-gram models are by each token of a text.

Arrays alone: runs of tokens are numbered by sorting, so that a million tokens take a second. ``N`` tokens learned from,
``M`` tokens scored, ``V`` different ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def unigram_nats(train: NDArray[np.integer], text: NDArray[np.integer], vocab_size: int) -> Floats:
    """Surprise of each token where only the tokens' frequencies are known, with one added to each count, (M,)."""
    counts = np.bincount(train, minlength=vocab_size).astype(np.float64) + 1
    return np.asarray(-np.log(counts[text] / counts.sum()))


def kneser_ney_nats(train: NDArray[np.integer], text: NDArray[np.integer], vocab_size: int, *, order: int) -> Floats:
    """Surprise of each token to an interpolated n-gram model with modified Kneser-Ney smoothing.

    Args:
        train: Tokens learned from, each in [0, V), (N,).
        text: Tokens to predict, each from those before it in ``text``, (M,).
        vocab_size: V.
        order: Tokens of the longest runs counted, the predicted one included; at least 1.

    Returns:
        Natural logarithms, negated, float64 (M,). Each is finite: below the unigrams stands 1 / V.

    Source:
        Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling", equations 26 and 27.
    """
    tokens = np.concatenate((np.asarray(train, dtype=np.int64), np.asarray(text, dtype=np.int64)))
    size, asked = len(train), np.arange(len(train), len(tokens))
    probs = np.full(len(asked), 1 / vocab_size)
    context = np.zeros(len(tokens), dtype=np.int64)  # the number of the run before each token; none yet
    for length in range(1, order + 1):
        runs, run = np.unique(context * vocab_size + tokens, return_inverse=True)
        parent = runs // vocab_size
        # Where a run would reach across the start of the tokens, or from training into the text, nothing is counted.
        ends = np.arange(length - 1, size)
        if length < order:  # of shorter runs it counts behind how many different tokens they stood
            behind = ends[ends >= length]
            pairs = np.unique(run[behind] * vocab_size + tokens[behind - length])
            counts = np.bincount(pairs // vocab_size, minlength=len(runs)).astype(np.float64)
        else:
            counts = np.bincount(run[ends], minlength=len(runs)).astype(np.float64)
        taken = _discounts(counts)[np.minimum(counts, 3).astype(np.int64)]
        contexts = int(context.max()) + 1
        total = np.bincount(parent, weights=counts, minlength=contexts)[context[asked]]
        left = np.bincount(parent, weights=taken, minlength=contexts)[context[asked]]
        here = run[asked]
        known = np.maximum(total, 1.0)
        probs = np.where(total > 0, (counts[here] - taken[here]) / known + left / known * probs, probs)
        context = np.concatenate(([0], run[:-1]))
    return np.asarray(-np.log(probs))


def _discounts(counts: Floats) -> Floats:
    """What is taken from counts of 0, 1, 2, and 3 or more, (4,): between nothing and the count itself."""
    once, twice, thrice, four = (float((counts == number).sum()) for number in (1, 2, 3, 4))
    if not once or not twice:
        return np.array([0.0, 0.5, 0.5, 0.5])
    share = once / (once + 2 * twice)
    wanted = [0.0, 1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice]
    wanted.append(3 - 4 * share * four / thrice if thrice else wanted[-1])
    return np.clip(wanted, [0.0, 0.1, 0.1, 0.1], [0.0, 0.95, 1.95, 2.95])
