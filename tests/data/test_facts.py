"""What is worked out of values is exact, by whichever way."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from netwright.data.facts import channel_statistics
from netwright.data.picture_facts import PictureFacts, fact_of


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (700, 3, 11, 7), (3, 1, 300, 400), (2000, 5)])
def test_statistics_of_bytes_are_those_of_real_numbers(shape: tuple[int, ...]) -> None:
    """To the last bit: counting bytes is faster than summing them, and as exact."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    some = np.flatnonzero(rng.random(len(pixels)) < 0.7)
    assert channel_statistics(pixels) == channel_statistics(pixels.astype(np.float64))
    assert channel_statistics(pixels, some) == channel_statistics(pixels.astype(np.float64), some)


def test_a_constant_channel_of_bytes_is_not_divided_by_zero() -> None:
    """Its deviation is 1, as that of real numbers."""
    pixels = np.full((4, 2, 3, 3), 7, dtype=np.uint8)
    assert channel_statistics(pixels) == ((7.0, 7.0), (1.0, 1.0))


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 16, 16), (3, 300, 300), (2, 1, 255)])
def test_facts_of_single_pictures_are_those_of_all(shape: tuple[int, ...]) -> None:
    """Statistics to the last bit, of some of them and of the brightest there can be; digests tell every byte."""
    images = np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8)
    images[1] = 255
    facts = PictureFacts.of([fact_of(one) for one in images], shape[1] * shape[2])
    some = np.asarray([5, 1, 2])
    assert facts.statistics() == channel_statistics(images)
    assert facts.take(some).statistics() == channel_statistics(images[some])
    assert [one.tobytes() for one in facts.digests] == [hashlib.sha256(one.tobytes()).digest() for one in images]
