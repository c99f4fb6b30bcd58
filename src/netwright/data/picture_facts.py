"""What is worked out of each picture while its pixels lie in the processor's cache: a digest, and sums of its channels.

Of these the digest and the statistics of a whole split are made, without reading a pixel once more. ``N`` pictures,
``C`` channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netwright.data.facts import from_sums

# Squares of so many bytes add up to less than 2**24, so that their sum is exact in float32, in whatever order.
EXACT = 256
AT_ONCE = 2**16  # pixels of a channel, so that they stay in the cache


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of one picture: the SHA-256 of its bytes, and sums and sums of squares, float64 (2, C)."""

    digest: bytes
    sums: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is known of several.

    Attributes:
        digests: SHA-256 of the pixels of each, uint8 (N, 32).
        sums: Those of each channel, and of its squares; whole numbers, float64 (N, 2, C).
        size: Pixels of a channel of one picture.
    """

    digests: NDArray[np.uint8]
    sums: NDArray[np.float64]
    size: int

    @classmethod
    def of(cls, each: Sequence[Fact], size: int) -> PictureFacts:
        """Of single ones; ``size`` is that of a channel, in pixels."""
        digests = np.frombuffer(b"".join(one.digest for one in each), dtype=np.uint8).reshape(-1, 32)
        sums = np.stack([one.sums for one in each]) if each else np.zeros((0, 2, 1))
        return cls(digests, sums, size)

    def take(self, where: NDArray[np.int64]) -> PictureFacts:
        """Those of some pictures."""
        return PictureFacts(self.digests[where], self.sums[where], self.size)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, those of ``channel_statistics`` to the last bit."""
        total, square = self.sums.sum(0)
        return from_sums(len(self.sums) * self.size, total, square)


def digest_of(pixels: NDArray[np.uint8]) -> bytes:
    """SHA-256 of a picture's pixels, uint8 (C, H, W)."""
    return hashlib.sha256(pixels.data).digest()


def fact_of(pixels: NDArray[np.uint8], sums: NDArray[np.float64] | None = None) -> Fact:
    """What is known of one picture, uint8 (C, H, W).

    Args:
        sums: Those of its channels and of their squares, (2, C), where they are known.
    """
    return Fact(digest_of(pixels), _sums(pixels) if sums is None else sums)


def _sums(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    flat = pixels.reshape(len(pixels), -1)
    sums = np.zeros((2, len(flat)))
    for begin in range(0, flat.shape[1], AT_ONCE):
        piece = flat[:, begin : begin + AT_ONCE]
        whole = piece.shape[1] // EXACT * EXACT
        blocks = piece[:, :whole].reshape(len(flat), -1, EXACT).astype(np.float32)
        rest = piece[:, whole:].astype(np.float64)
        sums[0] += np.einsum("cij->ci", blocks).sum(1, dtype=np.float64) + rest.sum(1)
        sums[1] += np.einsum("cij,cij->ci", blocks, blocks).sum(1, dtype=np.float64) + np.square(rest).sum(1)
    return sums
