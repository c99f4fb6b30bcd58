"""Scores of several labels a sample. ``N`` samples, ``C`` labels.

A label is answered where its probability is above 0.5. Means over labels (``macro_``, ``mean_average_precision``) are
over the labels that a sample of the split has: scikit-learn's with ``zero_division=0`` on those columns. Micro F1
stands first: most labels are absent most of the time, so that the share of right ones is high for a model that answers
none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netwright.errors import DataError, NonFiniteError
from netwright.evaluation.clusters import mean_of_ratios, ratios
from netwright.evaluation.notes import multi_label_notes
from netwright.evaluation.predictions import Predictions
from netwright.intervals import logit_normal, wilson, wilson_f1
from netwright.metrics import Area, average_precision, mean_area, roc_auc
from netwright.results import ClassRow, Evaluation, Score

HEADLINE = "micro_f1"
THRESHOLD = 0.5
# Sorting N numbers for each of C labels costs about 0.1 µs a number: 4 s.
MAX_RANKED = 40_000_000

Flags = NDArray[np.bool_]


def score_multi_label(predictions: Predictions, *, split: str, classes: tuple[str, ...]) -> Evaluation:
    """Score probabilities (N, C) against targets (N, C) of 0 and 1.

    Raises:
        DataError: There is no sample.
        NonFiniteError: The model answered NaN or infinity.
    """
    _check(predictions, split)
    probs, wanted = predictions.probs, predictions.targets > THRESHOLD
    given = probs > THRESHOLD
    areas = _areas(probs, wanted)
    held = wanted.any(0)
    average = [area for area in (one[1] for one in areas) if area is not None]
    scores = [*label_scores(given, wanted), *_macro(given[:, held], wanted[:, held])]
    if average:
        mean = mean_area(average)
        low, high = logit_normal(mean.value, variance=mean.variance, fallback_count=mean.rarer)
        scores.append(Score(name="mean_average_precision", value=mean.value, low=low, high=high, method="jackknife"))
    rows = tuple(_row(name, given[:, at], wanted[:, at], areas[at]) for at, name in enumerate(classes))
    return Evaluation(
        task="multi_label",
        split=split,
        count=len(predictions),
        headline=HEADLINE,
        scores=tuple(scores),
        classes=classes,
        per_class=rows,
        notes=multi_label_notes(len(predictions), wanted, given, classes),
    )


def label_scores(given: Flags, wanted: Flags) -> tuple[Score, ...]:
    """Micro F1, precision and recall, the share of samples with exactly their labels, and the share of wrong labels.

    Args:
        given: Labels answered, bool (N, C).
        wanted: Labels there, bool (N, C).
    """
    hits, there, answered = ((given & wanted).sum(1), wanted.sum(1), given.sum(1))
    micro = ratios(
        ("micro_f1", "micro_precision", "micro_recall"),
        np.stack((2 * hits, hits, hits), 1),
        np.stack((there + answered, answered, there), 1),
    )
    exact = int((given == wanted).all(1).sum())
    low, high = wilson(exact, len(given))
    (wrong,) = ratios(("hamming_loss",), (given != wanted).sum(1)[:, None], np.full((len(given), 1), given.shape[1]))
    return (
        *micro,
        Score(name="subset_accuracy", value=exact / len(given), low=low, high=high, method="wilson"),
        wrong.model_copy(update={"higher_is_better": False}),
    )


def _macro(given: Flags, wanted: Flags) -> list[Score]:
    if not wanted.shape[1]:
        return []
    hits = (given & wanted).astype(np.int64)
    there, answered = wanted.astype(np.int64), given.astype(np.int64)
    return [
        mean_of_ratios("macro_f1", 2 * hits, there + answered),
        mean_of_ratios("macro_precision", hits, answered),
        mean_of_ratios("macro_recall", hits, there),
    ]


def _areas(probs: NDArray[np.floating], wanted: Flags) -> list[tuple[Area | None, Area | None]]:
    """Area under the ROC curve and average precision of each label; None where all samples have it, or none."""
    found: list[tuple[Area | None, Area | None]] = []
    for at in range(probs.shape[1]):
        positive = wanted[:, at]
        if probs.size > MAX_RANKED or not positive.any():
            found.append((None, None))
            continue
        column = np.ascontiguousarray(probs[:, at])
        found.append((None if positive.all() else roc_auc(column, positive), average_precision(column, positive)))
    return found


def _row(name: str, given: Flags, wanted: Flags, areas: tuple[Area | None, Area | None]) -> ClassRow:
    hits, there, answered = int((given & wanted).sum()), int(wanted.sum()), int(given.sum())

    def share(kind: str, value: float, ends: tuple[float, float]) -> Score:
        return Score(name=kind, value=value, low=ends[0], high=ends[1], method="wilson")

    f1 = 2 * hits / (there + answered) if there + answered else 0.0
    return ClassRow(
        name=name,
        support=there,
        predicted=answered,
        precision=share("precision", hits / answered if answered else 0.0, wilson(hits, answered)),
        recall=share("recall", hits / there if there else 0.0, wilson(hits, there)),
        f1=share("f1", f1, wilson_f1(hits, there, answered)),
        roc_auc=areas[0].value if areas[0] else None,
        average_precision=areas[1].value if areas[1] else None,
    )


def _check(predictions: Predictions, split: str) -> None:
    if not len(predictions) or predictions.probs.shape != predictions.targets.shape:
        raise DataError(
            where=f"the predictions on {split}",
            expected="at least one sample, with a target and an answer for each label, (N, C)",
            got=f"targets {predictions.targets.shape}, answers {predictions.probs.shape}",
            cure="Name another with --split.",
        )
    bad = ~np.isfinite(predictions.probs).all(1)
    if bad.any():
        raise NonFiniteError(
            where=f"the model's answers on {split}",
            expected="finite numbers",
            got=f"NaN or infinity for {bad.sum():,} of {len(bad):,} samples",
            cure="Look for overflow in the module: a large rate, a logarithm of 0, half precision.",
        )
