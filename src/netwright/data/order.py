"""The order of samples and all randomness of data, from (seed, epoch, sample index) alone.

So no number of workers, batches or ranks can change them, and a position in the stream is two integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FEW, MANY = 4_000, 2**17  # words between which four sorts by counting are faster than one that compares


def permutation(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of ``count`` samples in an epoch, int64 (count,).

    The argsort of raw Philox words, since NumPy promises that a bit generator's stream never changes, and promises
    no such thing of ``Generator.permutation``.
    """
    words = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return stable_order(words)


def stable_order(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """``np.argsort(words, kind="stable")``: sorted by 16 bits at a time, for which NumPy counts and does not compare.

    0.5 instead of 1.3 ms for 20,000 words; for more than 2**17 the memory is jumped about in too much.
    """
    if not FEW < len(words) <= MANY:
        return np.argsort(words, kind="stable").astype(np.int64)
    order = np.arange(len(words))
    for bits in (0, 16, 32, 48):
        digits = (words >> np.uint64(bits)).astype(np.uint16)
        order = order[np.argsort(digits[order], kind="stable")]
    return order.astype(np.int64)


def keyed_uniform(
    sample_ids: NDArray[np.int64], draws: int, *, seed: int, epoch: int, stream: int
) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) that belong to each sample, float64 (B, draws).

    Args:
        sample_ids: int64 (B,).
        stream: A number for each use, so that two uses draw apart.

    Source:
        Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators": SplitMix64.
    """
    key = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0]
    with np.errstate(over="ignore"):
        state = _mix(key + sample_ids.astype(np.uint64)[:, None] * GOLDEN)
        words = _mix(state + (np.arange(1, draws + 1, dtype=np.uint64) * GOLDEN)[None, :])
    uniform: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def item_seed(seed: int, epoch: int, index: int) -> int:
    """A seed below 2**32 for whatever a person's own data set draws for one sample."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint32)[0])


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed
