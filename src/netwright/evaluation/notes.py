"""Doubts about an evaluation, in plain words. Each says what was seen, in numbers, and what it means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from netwright.metrics import Calibration, Errors
from netwright.results import Baseline, Evaluation, Score

# Below so many samples an accuracy of 90 % is known to no better than ±6 points (Wilson).
FEW_SAMPLES = 100
# An interval wider than this, in points, cannot tell a good model from a mediocre one.
WIDE = 0.1
# The largest class has so many times the samples of the smallest: accuracy then hides the small one.
IMBALANCE = 10
# A class of fewer samples has a recall known to no better than ±25 points.
FEW_OF_CLASS = 10
CHANCE_DRAWS = 200
NAMED = 5


def classification_notes(
    scores: Sequence[Score],
    counts: NDArray[np.int64],
    classes: Sequence[str],
    confidence: NDArray[np.floating],
    calibration: Calibration,
    *,
    ranked: bool,
    seed: int,
) -> tuple[str, ...]:
    """Doubts about a classification.

    Args:
        scores: The headline first.
        counts: Confusion matrix, row is the true class.
        classes: Names.
        confidence: The largest probability of each sample, (N,).
        calibration: The same in bins.
        ranked: Whether areas under curves were computed.
        seed: Of what chance would do to the calibration.
    """
    support = counts.sum(1)
    present = support[support > 0]
    notes = [*_about_size(scores[0], int(support.sum())), *_about_classes(support, counts.sum(0), classes)]
    named = {score.name: score for score in scores}
    if len(present) > 1 and present.max() >= IMBALANCE * present.min():
        balanced = named["balanced_accuracy"]
        notes.append(
            f"Classes are uneven, from {present.min():,} to {present.max():,} samples: judge by the balanced accuracy, "
            f"{_percent(balanced.value)} ({_range(balanced)}), too."
        )
    notes += _about_calibration(confidence, calibration, seed)
    if not ranked:
        notes.append("Areas under curves were not computed: too many samples times classes to sort in a few seconds.")
    return tuple(notes)


def regression_notes(scores: Sequence[Score], sums: Errors, error: NDArray[np.float64]) -> tuple[str, ...]:
    """Doubts about a regression; ``error`` is predicted minus true, (N, D)."""
    notes = list(_about_size(scores[0], sums.count))
    if sums.count > 1 and not (sums.spread > 0).all():
        notes.append("The target never changes in this split, so R² says nothing.")
    named = {score.name: score for score in scores}
    if "r2" in named and (sums.spread > 0).all() and named["r2"].value < 0:
        notes.append(f"R² is {named['r2'].value:.3g}: always answering the split's mean would be nearer to the truth.")
    deviation = error.std(0)
    lean = error.mean(0)
    if sums.count > 1:
        leaning = np.abs(lean) > 4 * np.maximum(deviation, 1e-300) / math.sqrt(sums.count)
        leaning &= np.abs(lean) > 0.2 * np.sqrt(sums.squared / sums.count)
        if leaning.any():
            worst = int(np.argmax(np.abs(lean) * leaning))
            side = "high" if lean[worst] > 0 else "low"
            where = f" (output {worst})" if error.shape[1] > 1 else ""
            notes.append(f"Answers are too {side} by {abs(lean[worst]):.4g} on average{where}: a constant is missing.")
    return tuple(notes)


def tagging_notes(
    sentences: int,
    there: NDArray[np.int64],
    answered: NDArray[np.int64],
    names: Sequence[str],
    confidence: NDArray[np.floating],
    calibration: Calibration,
) -> tuple[str, ...]:
    """Doubts about tags.

    Args:
        sentences: How many were scored.
        there: Of each kind of tag or entity, (K,).
        answered: Likewise, those that the model gave.
        names: Of the kinds.
        confidence: The largest probability of each word, (M,).
        calibration: The same in bins.
    """
    notes = []
    if sentences < FEW_SAMPLES:
        notes.append(f"Only {sentences:,} sentence{'s' if sentences != 1 else ''}: every number here can be far off.")
    notes += _about_classes(there, answered, names)
    # Words of a sentence err together: chance is judged as if each were on its own, so this doubt comes a little early.
    notes += _about_calibration(confidence, calibration, 0)
    return tuple(notes)


def multi_label_notes(
    samples: int, wanted: NDArray[np.bool_], given: NDArray[np.bool_], classes: Sequence[str]
) -> tuple[str, ...]:
    """Doubts about labels: those there and those answered, both bool (N, C)."""
    notes = []
    if samples < FEW_SAMPLES:
        notes.append(
            f"Only {samples:,} sample{'s' if samples != 1 else ''}: every number here can be far off by chance."
        )
    bare, none = (~wanted.any(1)).mean(), (~given.any(1)).mean()
    if none > bare + 0.1:
        notes.append(
            f"The model answers no label for {_percent(none)} of the samples; {_percent(bare)} have none. Labels are "
            "answered above a probability of 0.5."
        )
    return (*notes, *_about_classes(wanted.sum(0), given.sum(0), classes))


def beside_baselines(evaluation: Evaluation, baselines: Sequence[Baseline]) -> Evaluation:
    """The evaluation with its baselines, and a doubt where the headline does not clear the best of them."""
    score = evaluation.score(evaluation.headline)
    usable = [one for one in baselines if one.score.name == score.name]
    notes = list(evaluation.notes)
    if usable:
        sign = 1 if score.higher_is_better else -1
        best = max(usable, key=lambda one: sign * one.score.value)
        ours, theirs = score, best.score
        worse_end = (ours.low if sign > 0 else ours.high) if ours.low is not None else None
        better_end = (theirs.high if sign > 0 else theirs.low) if theirs.high is not None else None
        ours_worst = ours.value if worse_end is None else worse_end
        theirs_best = theirs.value if better_end is None else better_end
        if sign * ours_worst <= sign * theirs_best:
            verb = "does not beat" if sign * ours.value <= sign * theirs.value else "beats only within chance"
            name = best.name.replace("_", " ")
            notes.append(
                f"The model {verb} a simple method: {name} scores {_number(theirs)} ({_range(theirs)}), "
                f"the model {_number(ours)} ({_range(ours)})."
            )
    return evaluation.model_copy(update={"baselines": tuple(baselines), "notes": tuple(notes)})


def _about_size(headline: Score, count: int) -> Iterable[str]:
    if count < FEW_SAMPLES:
        yield f"Only {count:,} sample{'s' if count != 1 else ''}: every number here can be far off by chance alone."
    elif headline.name == "accuracy" and headline.low is not None and headline.high is not None:
        width = headline.high - headline.low
        if width > WIDE:
            known = f"known to {100 * width:.0f} points only ({_range(headline)})"
            yield f"The accuracy is {known}: more samples would narrow it."


def _about_classes(support: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str]) -> Iterable[str]:
    absent = [classes[i] for i in np.flatnonzero(support == 0).tolist()]
    if absent:
        yield (
            f"No samples of {_names(absent)} in this split: "
            f"{'it is' if len(absent) == 1 else 'they are'} left out of the means over classes."
        )
    if (support > 0).sum() == 1:
        yield "All samples are of one class: how well classes are told apart cannot be known from them."
    never = [classes[i] for i in np.flatnonzero((predicted == 0) & (support > 0)).tolist()]
    if never:
        yield f"The model never answers {_names(never)}: precision and F1 count as 0 there."
    few = [classes[i] for i in np.flatnonzero((support > 0) & (support < FEW_OF_CLASS)).tolist()]
    if few:
        yield f"Fewer than {FEW_OF_CLASS} samples of {_names(few)}: what is said of so few is hardly more than a guess."


def _about_calibration(confidence: NDArray[np.floating], calibration: Calibration, seed: int) -> Iterable[str]:
    """A doubt where the error is larger than a perfectly calibrated model's would be in 95 of 100 cases.

    Source:
        Bröcker & Smith 2007, Weather and Forecasting 22:651: consistency resampling.
    """
    generator = np.random.default_rng(seed)
    stated = confidence[:: max(1, math.ceil(len(confidence) / 20_000))].astype(np.float64)
    bins = len(calibration.counts)
    where = np.clip(np.searchsorted(calibration.edges, stated, side="left") - 1, 0, bins - 1)
    gap = (generator.random((CHANCE_DRAWS, len(stated))) < stated) - stated
    sums = np.stack([np.bincount(where, weights=one, minlength=bins) for one in gap])
    # Fewer samples than there are would show larger chance errors, by the root of their ratio.
    chance = np.abs(sums).sum(1) / len(stated) * math.sqrt(len(stated) / len(confidence))
    limit, error = float(np.quantile(chance, 0.95)), calibration.compute()
    if error > limit and error > 0.01:
        total = calibration.counts.sum()
        over = calibration.confidence.sum() > calibration.right.sum()
        stated_mean, right_mean = calibration.confidence.sum() / total, calibration.right.sum() / total
        yield (
            f"Stated confidence is off by {100 * error:.1f} points on average (chance alone: up to {100 * limit:.1f}): "
            f"the model is {'surer than it is right' if over else 'less sure than it could be'}, "
            f"{_percent(stated_mean)} against {_percent(right_mean)}."
        )


def _names(names: Sequence[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in names[:NAMED])
    return listed if len(names) <= NAMED else f"{listed} and {len(names) - NAMED} more"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _number(score: Score) -> str:
    return _percent(score.value) if score.higher_is_better and 0 <= score.value <= 1 else _plain(score.value)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _range(score: Score) -> str:
    if score.low is None or score.high is None:
        return "no interval"
    if score.higher_is_better:
        return f"{_percent(score.low)} to {_percent(score.high)}"
    return f"{_plain(score.low)} to {_plain(score.high)}"
