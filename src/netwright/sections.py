"""What the sections of the report show, worked out from records: views that a template only has to lay out.

Knows nothing of files, of HTML or of a language.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from netwright import wording
from netwright.progress import scores_of
from netwright.records import Plan
from netwright.results import Baseline, CalibrationBin, ClassRow, Evaluation, Score

Row = dict[str, Any]
Verdict = Literal["clear", "unsure", "behind", "worse", "none"]

# A confusion table of more classes than this no longer fits a page; then so many of the most confused are shown.
MAX_CLASSES, MOST_CONFUSED = 20, 12
MAX_PAIRS = 8
# Rows of the per-class table; the worst come first.
MAX_CLASS_ROWS = 60
# A colour half as strong as its share would leave the usual 1 % of errors invisible; a square root lifts them.
HEAT_POWER = 0.5


@dataclass(frozen=True, slots=True)
class Mark:
    """A score's place on a line from 0 to 100: its interval and its value, and whether it lies before the line."""

    low: float
    value: float
    high: float
    before: bool = False


@dataclass(frozen=True, slots=True)
class Rival:
    """One line of the comparison that stands first: the model, or a baseline."""

    name: str
    detail: str
    score: Score
    mark: Mark
    is_model: bool


@dataclass(frozen=True, slots=True)
class Headline:
    """The score that stands first, and what it is judged by."""

    score: Score
    wrong: int | None
    words: int
    verdict: Verdict
    best: Baseline | None
    rivals: tuple[Rival, ...]
    axis: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Learning:
    """The curves of a run, by epoch where the rows tell how many updates an epoch has."""

    by_epoch: bool
    curves: dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]]]]
    monitor: str | None
    best: Row | None
    best_at: float | None
    best_is_last: bool
    epochs: int
    steps: int
    samples_per_s: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """A count of the confusion table and how strong to colour it, in [0, 1]."""

    count: int
    heat: float
    correct: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Samples of one class taken for another."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """The confusion table: all classes, or the most confused ones and how many others there are."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...], int], ...]
    others: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far what the model said of its own certainty can be believed."""

    error: float
    confidence: float
    accuracy: float
    bins: tuple[CalibrationBin, ...]


def headline(evaluation: Evaluation) -> Headline:
    """The headline score, the best baseline of the same name, and whether the model clearly beats it."""
    named = {score.name: score for score in evaluation.scores}
    score = named.get(evaluation.headline) or evaluation.scores[0]
    usable = [one for one in evaluation.baselines if one.score.name == score.name]
    best = (max if score.higher_is_better else min)(usable, key=lambda one: one.score.value, default=None)
    ordered = sorted(usable, key=lambda one: one.score.value, reverse=score.higher_is_better)
    # Weak baselines may lie before the line; else they would squeeze what matters into its end.
    held = [score, best.score] if best else [score]
    axis = _axis(held, is_share=wording.is_share(score.name))
    rivals = [Rival("", "", score, _mark(score, axis), is_model=True)]
    rivals += [Rival(one.name, one.detail, one.score, _mark(one.score, axis), is_model=False) for one in ordered]
    wrong, decided = None, sum(chain(*evaluation.confusion))
    if evaluation.confusion:
        wrong = decided - sum(row[i] for i, row in enumerate(evaluation.confusion))
    return Headline(score, wrong, decided, _verdict(score, best.score if best else None), best, tuple(rivals), axis)


def _verdict(score: Score, baseline: Score | None) -> Verdict:
    if baseline is None:
        return "none"
    sign = 1 if score.higher_is_better else -1
    ours = sorted(sign * end for end in _ends(score))
    theirs = sorted(sign * end for end in _ends(baseline))
    if ours[0] > theirs[-1]:
        return "clear"
    if ours[-1] < theirs[0]:
        return "worse"
    return "unsure" if sign * score.value > sign * baseline.value else "behind"


def _ends(score: Score) -> tuple[float, float]:
    if score.low is None or score.high is None:
        return score.value, score.value
    return score.low, score.high


def _axis(scores: Sequence[Score], *, is_share: bool) -> tuple[float, float]:
    """Ends of the line: whole tens of percent for shares, from zero or below it for other numbers."""
    ends = [end for score in scores for end in _ends(score) if math.isfinite(end)] or [0.0, 1.0]
    if is_share:
        return max(0.0, min(0.9, math.floor(min(ends) * 10 + 1e-9) / 10)), 1.0
    low, high = min(0.0, *ends), 1.15 * max(ends)
    return low, high if high > low else low + 1


def _mark(score: Score, axis: tuple[float, float]) -> Mark:
    def place(value: float) -> float:
        return (
            round(100 * min(1.0, max(0.0, (value - axis[0]) / (axis[1] - axis[0]))), 2) if math.isfinite(value) else 0.0
        )

    low, high = _ends(score)
    return Mark(place(low), place(score.value), place(high), before=score.value < axis[0])


def learning(rows: Sequence[Row], plan: Plan | None) -> Learning:
    """The curves and the best epoch, from the rows of metrics."""
    ends = [row for row in rows if row.get("epoch_end") or row.get("split") == "val"]
    per_epoch = ends[-1]["step"] / ends[-1]["epoch"] if ends and ends[-1].get("epoch") else None
    scale = per_epoch or 1.0
    curves = {}
    for name in dict.fromkeys(name for row in rows for name in scores_of(row) if name != "lr"):
        lines = tuple(
            [
                (row["step"] / scale, float(row[name]))
                for row in rows
                if row.get("split") == split and _is_number(row.get(name))
            ]
            for split in ("train", "val")
        )
        if any(lines):
            curves[name] = (lines[0], lines[1])
    monitor, higher = _monitor(rows, plan)
    best = _best(ends, monitor, higher=higher)
    last = max((row["step"] for row in ends), default=0)
    speeds = sorted(row["samples_per_s"] for row in rows if _is_number(row.get("samples_per_s")))
    return Learning(
        by_epoch=per_epoch is not None,
        curves=curves,
        monitor=monitor,
        best=best,
        best_at=best["step"] / scale if best else None,
        best_is_last=best is not None and best["step"] == last and len(ends) > 1,
        epochs=max((row.get("epoch", 0) for row in rows), default=0),
        steps=max((row["step"] for row in rows), default=0),
        samples_per_s=speeds[len(speeds) // 2] if speeds else None,
    )


def _monitor(rows: Iterable[Row], plan: Plan | None) -> tuple[str | None, bool]:
    """What the best weights are picked by, as planned, and whether more of it is better; without a plan the loss."""
    planned = {choice.name: choice.value for choice in (plan.choices if plan else ())}
    if "monitor" in planned:
        return str(planned["monitor"]), planned.get("better") == "higher"
    return ("val/loss" if any(row.get("split") == "val" for row in rows) else None), False


def _best(ends: Iterable[Row], monitor: str | None, *, higher: bool) -> Row | None:
    """The row with the best of the monitored score; of equal ones, as in training, the one with the lower loss."""
    if monitor is None:
        return None
    split, _, name = monitor.partition("/")
    rows = [row for row in ends if row.get("split") == split and _is_number(row.get(name))]
    sign = -1 if higher else 1
    return min(rows, key=lambda row: (sign * row[name], row.get("loss", 0.0)), default=None)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def confusion(evaluation: Evaluation, *, max_classes: int = MAX_CLASSES) -> Confusion | None:
    """The confusion table, cut to the most confused classes where there are many."""
    counts = evaluation.confusion
    if not counts:
        return None
    names = evaluation.classes or tuple(str(i) for i in range(len(counts)))
    totals = [sum(row) for row in counts]
    wrong = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if i != j and count]
    wrong.sort(key=lambda one: (-one[0], -one[0] / totals[one[1]], one[1], one[2]))
    pairs = tuple(Pair(names[i], names[j], count, count / totals[i]) for count, i, j in wrong[:MAX_PAIRS])
    shown = list(range(len(counts)))
    if len(shown) > max_classes:
        order = dict.fromkeys(chain(chain.from_iterable((i, j) for _, i, j in wrong), shown))
        shown = sorted(list(order)[:MOST_CONFUSED])
    peak = max((count / totals[i] for count, i, _ in wrong), default=1.0)
    rows = []
    for i in shown:
        cells = tuple(_cell(counts[i][j], totals[i], peak, correct=i == j) for j in shown)
        rows.append((names[i], totals[i], cells, totals[i] - sum(cell.count for cell in cells)))
    return Confusion(tuple(names[i] for i in shown), tuple(rows), len(counts) - len(shown), pairs)


def _cell(count: int, total: int, peak: float, *, correct: bool) -> Cell:
    share = count / total if total else 0.0
    heat = share if correct else (share / peak) ** HEAT_POWER
    return Cell(count, round(heat, 3), correct)


def class_rows(evaluation: Evaluation) -> tuple[tuple[ClassRow, ...], int]:
    """Rows of the per-class table, worst F1 first, and how many better ones are left out."""
    rows = sorted(
        evaluation.per_class, key=lambda row: (row.f1.value if math.isfinite(row.f1.value) else -1.0, row.name)
    )
    return tuple(rows[:MAX_CLASS_ROWS]), max(0, len(rows) - MAX_CLASS_ROWS)


def calibration(evaluation: Evaluation) -> Calibration | None:
    """Mean confidence against accuracy, over the bins of the reliability curve.

    Source:
        Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning", for the expected error.
    """
    bins = tuple(one for one in evaluation.calibration if one.count)
    total = sum(one.count for one in bins)
    if not total:
        return None
    confidence = sum(one.count * one.confidence for one in bins) / total
    accuracy = sum(one.count * one.accuracy for one in bins) / total
    error = sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / total
    stored = next((score.value for score in evaluation.scores if score.name in ("ece", "calibration_error")), error)
    return Calibration(stored, confidence, accuracy, bins)


def mark_share(score: Score) -> Mark:
    """A score in [0, 1] on a line of its own."""
    return _mark(score, (0.0, 1.0))


def surprise_end(evaluation: Evaluation) -> float:
    """Bits from which a token of a passage is marked as strongly as can be: what all but one of twenty stay below."""
    bits = sorted(bits for one in evaluation.worst for _, bits in one.surprise)
    return max(5.0, float(math.ceil(bits[int(0.95 * len(bits))]))) if bits else 5.0
