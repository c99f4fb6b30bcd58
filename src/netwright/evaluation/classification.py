"""Scores of a classification. ``N`` samples, ``C`` classes, ``R`` resamples.

Means over classes (``macro_``, ``weighted_``, ``balanced_accuracy``) are over the classes that have samples in the
split: scikit-learn's with ``labels=numpy.unique(targets)`` and ``zero_division=0``. The micro averages of precision,
recall and F1 all are the accuracy, and are not repeated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netwright.evaluation.notes import classification_notes
from netwright.evaluation.predictions import Predictions
from netwright.intervals import Interval, bootstrap_t, logit_normal, wilson, wilson_f1
from netwright.metrics import Area, Calibration, Confusion, TopHits, average_precision, mean_area, roc_auc
from netwright.metrics.rates import KINDS, mean_interval
from netwright.results import CalibrationBin, ClassRow, Evaluation, Score

# How each interval was made; the word that stands in the record.
WILSON, EFFECTIVE, BOOTSTRAP, DELONG, JACKKNIFE = "wilson", "wilson_effective", "bootstrap_t", "delong", "jackknife"
# Sorting N numbers for each of C classes costs about 0.1 µs a number: 4 s.
MAX_RANKED = 40_000_000


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Areas of each class against the rest; None where the class, or the rest, has no samples."""

    roc: tuple[Area | None, ...]
    precision: tuple[Area | None, ...]


def score_classification(predictions: Predictions, *, split: str, classes: tuple[str, ...], seed: int) -> Evaluation:
    """Score probabilities (N, C) that were checked before."""
    probs, targets = predictions.probs, predictions.targets.astype(np.int64)
    counts = Confusion.zero(len(classes)).update(probs.argmax(1), targets).counts
    confidence, right = probs.max(1), probs.argmax(1) == targets
    calibration = Calibration.zero().update_decided(confidence, right)
    ranking = _rank(probs, targets, classes)
    scores = [
        _share("accuracy", int(np.trace(counts)), len(targets)),
        *_means(counts),
        *_positive(counts),
        *_top(probs, targets),
        *_losses(probs, targets, seed),
        # Resampling moves this error upwards only, so no interval would hold the truth; a note says what chance does.
        Score(name="ece", value=calibration.compute(), higher_is_better=False),
        *_areas(ranking, binary=len(classes) == 2),
    ]
    return Evaluation(
        task="classification",
        split=split,
        count=len(targets),
        headline="accuracy",
        scores=tuple(scores),
        classes=classes,
        per_class=_rows(counts, classes, ranking),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        calibration=calibration_bins(calibration),
        notes=classification_notes(
            scores, counts, classes, confidence, calibration, ranked=ranking is not None, seed=seed
        ),
    )


def _scored(name: str, value: float, interval: Interval, method: str, *, lower: bool = False) -> Score:
    return Score(
        name=name, value=float(value), low=interval[0], high=interval[1], method=method, higher_is_better=not lower
    )


def _share(name: str, hits: int, count: int) -> Score:
    return _scored(name, hits / count if count else 0.0, wilson(hits, count), WILSON)


def _means(counts: NDArray[np.int64]) -> list[Score]:
    """Balanced accuracy, and the macro and weighted means of precision, recall and F1.

    The weighted recall is the accuracy again, and takes its interval.
    """
    scores = []
    for weighted in (False, True):
        for kind in KINDS:
            name = f"{'weighted' if weighted else 'macro'}_{kind}"
            if weighted and kind == "recall":
                scores.append(_share(name, int(np.trace(counts)), int(counts.sum())))
                continue
            scores.append(_scored(name, *mean_interval(counts, kind, weighted=weighted), EFFECTIVE))
            if name == "macro_recall":
                scores.insert(0, scores[-1].model_copy(update={"name": "balanced_accuracy"}))
    return scores


def _positive(counts: NDArray[np.int64]) -> list[Score]:
    """Precision, recall and F1 of class 1, where there are two."""
    if len(counts) != 2:
        return []
    return [_of_class(counts, kind, 1) for kind in KINDS]


def _of_class(counts: NDArray[np.int64], kind: str, index: int) -> Score:
    hits, support, predicted = int(counts[index, index]), int(counts[index].sum()), int(counts[:, index].sum())
    if kind == "precision":
        return _share(kind, hits, predicted)
    if kind == "recall":
        return _share(kind, hits, support)
    value = 2 * hits / (support + predicted) if support + predicted else 0.0
    return _scored("f1", value, wilson_f1(hits, support, predicted), WILSON)


def _top(probs: NDArray[np.floating], targets: NDArray[np.int64]) -> list[Score]:
    tops = (TopHits.zero(k).update(probs, targets) for k in (3, 5) if probs.shape[1] > k)
    return [_share(f"top_{top.k}_accuracy", top.hits, top.count) for top in tops]


def _losses(probs: NDArray[np.floating], targets: NDArray[np.int64], seed: int) -> list[Score]:
    """Log-loss and Brier score, as scikit-learn has them.

    Probabilities are kept one rounding step of their dtype away from 0 and 1; the Brier score of two classes is halved.
    """
    smallest = np.finfo(probs.dtype).eps
    own = probs[np.arange(len(targets)), targets]
    squares = np.einsum("nc,nc->n", probs, probs, dtype=np.float64) + 1 - 2 * own.astype(np.float64)
    own = np.clip(own, smallest, 1 - smallest).astype(np.float64)
    losses = np.stack([-np.log(own), np.maximum(squares, 0) / (2 if probs.shape[1] == 2 else 1)], axis=1)
    named = zip(("log_loss", "brier"), losses.mean(0), strict=True)
    if len(losses) < 2:  # one sample says nothing of the others
        return [Score(name=name, value=float(mean), higher_is_better=False) for name, mean in named]
    largest = -math.log(smallest), (1.0 if probs.shape[1] == 2 else 2.0)
    return [
        _scored(name, mean, (low, min(high, most)), BOOTSTRAP, lower=True)
        for (name, mean), (low, high), most in zip(named, bootstrap_t(losses, seed=seed), largest, strict=True)
    ]


def _rank(probs: NDArray[np.floating], targets: NDArray[np.int64], classes: tuple[str, ...]) -> _Ranking | None:
    if probs.size > MAX_RANKED:
        return None
    roc: list[Area | None] = []
    precision: list[Area | None] = []
    for index in range(len(classes)):
        positive = targets == index
        if not positive.any() or positive.all():
            roc.append(None)
            precision.append(None)
            continue
        column = np.ascontiguousarray(probs[:, index])
        roc.append(roc_auc(column, positive))
        precision.append(average_precision(column, positive))
    return _Ranking(tuple(roc), tuple(precision))


def _areas(ranking: _Ranking | None, *, binary: bool) -> list[Score]:
    """Areas for class 1 where there are two classes, else their means over classes against the rest."""
    scores: list[Score] = []
    if ranking is None:
        return scores
    for name, areas, method in (("roc_auc", ranking.roc, DELONG), ("average_precision", ranking.precision, JACKKNIFE)):
        there = [area for area in (areas[1:] if binary else areas) if area is not None]
        if there:
            area = there[0] if binary else mean_area(there)
            interval = logit_normal(area.value, variance=area.variance, fallback_count=area.rarer)
            scores.append(_scored(name if binary else f"macro_{name}", area.value, interval, method))
    return scores


def _rows(counts: NDArray[np.int64], classes: tuple[str, ...], ranking: _Ranking | None) -> tuple[ClassRow, ...]:
    rows = []
    for index, name in enumerate(classes):
        precision, recall, f1 = (_of_class(counts, kind, index) for kind in KINDS)
        roc = ranking.roc[index] if ranking else None
        average = ranking.precision[index] if ranking else None
        rows.append(
            ClassRow(
                name=name,
                support=int(counts[index].sum()),
                predicted=int(counts[:, index].sum()),
                precision=precision,
                recall=recall,
                f1=f1,
                roc_auc=roc.value if roc else None,
                average_precision=average.value if average else None,
            )
        )
    return tuple(rows)


def calibration_bins(calibration: Calibration) -> tuple[CalibrationBin, ...]:
    """The bins of the reliability curve, as they stand in a record."""
    edges, counts = calibration.edges, np.maximum(calibration.counts, 1)
    return tuple(
        CalibrationBin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            count=int(calibration.counts[i]),
            confidence=float(calibration.confidence[i] / counts[i]),
            accuracy=float(calibration.right[i] / counts[i]),
        )
        for i in range(len(counts))
    )
