"""Sums from which scores are made: of bounded size, added up over batches, merged over processes.

``N`` samples, ``C`` classes, ``D`` outputs of a regression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.errors import UsageError
from netwright.metrics.arrays import confusion_matrix, to_array

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Source: Guo et al. 2017, arXiv:1706.04599, section 2: M = 15 bins in all their tables.
CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of true against predicted class, int64 (C, C)."""

    counts: Ints

    @classmethod
    def zero(cls, num_classes: int) -> Confusion:
        """Nothing seen yet."""
        return cls(np.zeros((num_classes, num_classes), dtype=np.int64))

    def update(self, outputs: Any, targets: Any) -> Confusion:
        """With these samples added."""
        return Confusion(self.counts + confusion_matrix(outputs, targets, len(self.counts)))

    def merge(self, other: Confusion) -> Confusion:
        """Both together."""
        _same(self.counts.shape, other.counts.shape)
        return Confusion(self.counts + other.counts)

    def compute(self) -> float:
        """Accuracy."""
        return float(np.trace(self.counts) / max(1, self.counts.sum()))


@dataclass(frozen=True, slots=True)
class Mean:
    """A sum and the count it is over, as of a loss."""

    total: float
    count: float

    @classmethod
    def zero(cls) -> Mean:
        """Nothing seen yet."""
        return cls(0.0, 0)

    def update(self, total: float, count: float) -> Mean:
        """With a sum over ``count`` more; a mean is handed over as ``mean * count``."""
        return Mean(self.total + float(total), self.count + float(count))

    def merge(self, other: Mean) -> Mean:
        """Both together."""
        return self.update(other.total, other.count)

    def compute(self) -> float:
        """The mean; NaN of nothing."""
        return self.total / self.count if self.count else float("nan")


@dataclass(frozen=True, slots=True)
class TopHits:
    """How often the true class was among the ``k`` most probable."""

    k: int
    hits: int
    count: int

    @classmethod
    def zero(cls, k: int) -> TopHits:
        """Nothing seen yet."""
        return cls(k, 0, 0)

    def update(self, outputs: Any, targets: Any) -> TopHits:
        """With these samples added: real (N, C), and classes (N,). Of equal outputs the later class counts as larger.

        Source:
            The order of equal ones is that of ``sklearn.metrics.top_k_accuracy_score``.
        """
        given, wanted = to_array(outputs), to_array(targets).astype(np.int64)
        own = given[np.arange(len(wanted)), wanted][:, None]
        later = np.arange(given.shape[1]) > wanted[:, None]
        rank = ((given > own) | ((given == own) & later)).sum(1)
        return TopHits(self.k, self.hits + int((rank < self.k).sum()), self.count + len(wanted))

    def merge(self, other: TopHits) -> TopHits:
        """Both together."""
        _same((self.k,), (other.k,))
        return TopHits(self.k, self.hits + other.hits, self.count + other.count)

    def compute(self) -> float:
        """The share of hits."""
        return self.hits / max(1, self.count)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Samples by stated confidence, in equally wide bins (low, high]; a confidence of 0 falls in the first.

    Attributes:
        counts: Samples, int64 (bins,).
        confidence: Sum of the largest probability, float64 (bins,).
        right: Samples whose most probable class is the true one, int64 (bins,).
    """

    counts: Ints
    confidence: Floats
    right: Ints

    @classmethod
    def zero(cls, bins: int = CALIBRATION_BINS) -> Calibration:
        """Nothing seen yet."""
        return cls(np.zeros(bins, np.int64), np.zeros(bins), np.zeros(bins, np.int64))

    def update(self, probs: Any, targets: Any) -> Calibration:
        """With these samples added: probabilities (N, C), and classes (N,)."""
        given, wanted = to_array(probs), to_array(targets)
        return self.update_decided(given.max(1), given.argmax(1) == wanted)

    def update_decided(self, confidence: NDArray[Any], right: NDArray[np.bool_]) -> Calibration:
        """With samples whose largest probability is ``confidence``."""
        bins = len(self.counts)
        stated = confidence.astype(np.float64)
        where = np.clip(np.searchsorted(self.edges, stated, side="left") - 1, 0, bins - 1)
        return Calibration(
            self.counts + np.bincount(where, minlength=bins),
            self.confidence + np.bincount(where, weights=stated, minlength=bins),
            self.right + np.bincount(where[right], minlength=bins),
        )

    @property
    def edges(self) -> Floats:
        """Ends of the bins, (bins + 1,)."""
        return np.linspace(0.0, 1.0, len(self.counts) + 1)

    def merge(self, other: Calibration) -> Calibration:
        """Both together."""
        _same(self.counts.shape, other.counts.shape)
        return Calibration(self.counts + other.counts, self.confidence + other.confidence, self.right + other.right)

    def compute(self) -> float:
        """Expected calibration error, in [0, 1]: the mean gap between stated confidence and share that was right.

        Source:
            Guo et al. 2017, arXiv:1706.04599, equation 3.
        """
        return float(np.abs(self.confidence - self.right).sum() / max(1, self.counts.sum()))


@dataclass(frozen=True, slots=True)
class Errors:
    """What the scores of a regression are made of, by output.

    Attributes:
        count: Samples.
        absolute: Sum of absolute errors, float64 (D,).
        squared: Sum of squared errors, float64 (D,).
        mean: Mean of the targets, float64 (D,).
        spread: Sum of squared distances of the targets from that mean, float64 (D,).
    """

    count: int
    absolute: Floats
    squared: Floats
    mean: Floats
    spread: Floats

    @classmethod
    def zero(cls, outputs: int = 1) -> Errors:
        """Nothing seen yet."""
        nothing = np.zeros(outputs)
        return cls(0, nothing, nothing, nothing, nothing)

    def update(self, values: Any, targets: Any) -> Errors:
        """With these samples added: both (N,) or (N, D).

        Raises:
            UsageError: They hold different numbers of values; (N, 1) against (N,) is understood.
        """
        given, wanted = to_array(values), to_array(targets)
        _same((len(given), given.size), (len(wanted), wanted.size))
        wanted = wanted.reshape(len(wanted), -1).astype(np.float64)
        error = given.reshape(wanted.shape).astype(np.float64) - wanted
        mean = wanted.mean(0)
        more = Errors(len(wanted), np.abs(error).sum(0), (error**2).sum(0), mean, ((wanted - mean) ** 2).sum(0))
        return self.merge(more)

    def merge(self, other: Errors) -> Errors:
        """Both together.

        Source:
            Chan, Golub & LeVeque 1983, Am. Stat. 37:242, for spreads about different means.
        """
        _same(self.mean.shape, other.mean.shape)
        count = self.count + other.count
        gap = other.mean - self.mean
        share = other.count / max(1, count)
        return Errors(
            count,
            self.absolute + other.absolute,
            self.squared + other.squared,
            self.mean + gap * share,
            self.spread + other.spread + gap**2 * self.count * share,
        )

    def compute(self) -> dict[str, float]:
        """Mean absolute error, root mean squared error and R², each a plain mean over outputs.

        A target that never changes has no R²: it counts 1 where it is met exactly, else 0, as in scikit-learn.
        """
        count = max(1, self.count)
        explained = np.where(self.squared == 0, 1.0, 0.0)
        varies = self.spread > 0
        explained[varies] = 1 - self.squared[varies] / self.spread[varies]
        return {
            "mae": float(np.mean(self.absolute / count)),
            "rmse": float(np.mean(np.sqrt(self.squared / count))),
            "r2": float(np.mean(explained)),
        }


def _same(ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    if ours != theirs:
        raise UsageError(
            where="sums", expected=f"shape {ours}", got=f"{theirs}", cure="Add up what has the same shape."
        )
