"""Scores of tags: of words, and of the entities that they make up. ``M`` words, ``N`` sentences, ``C`` tags.

Intervals let the words of a sentence go together. Entities count as right where all their words and their type are, as
the CoNLL script and seqeval count them; means over types are plain ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netwright.errors import DataError, NonFiniteError
from netwright.evaluation.classification import calibration_bins
from netwright.evaluation.clusters import mean_of_ratios, ratios
from netwright.evaluation.notes import tagging_notes
from netwright.evaluation.predictions import Predictions
from netwright.metrics import Calibration, Confusion
from netwright.metrics.answers import UNTYPED
from netwright.metrics.entities import Scheme, count_by_sentence, find_entities, find_scheme
from netwright.results import ClassRow, Evaluation, Score

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Counts:
    """For each sentence and kind (tag, or type of entity), int64 (N, K): right ones, those there, those answered."""

    names: tuple[str, ...]
    hits: Ints
    there: Ints
    answered: Ints


def headline(classes: tuple[str, ...]) -> str:
    """The score that stands first: entity F1 where tags make up entities, else accuracy."""
    return "accuracy" if find_scheme(classes) is None else "entity_f1"


def score_tagging(predictions: Predictions, *, split: str, classes: tuple[str, ...]) -> Evaluation:
    """Score probabilities (M, C) of the words of sentences; words whose tag is to be ignored are left out.

    Raises:
        DataError: No word has a tag.
        NonFiniteError: The model answered NaN or infinity.
    """
    targets, starts = predictions.targets.astype(np.int64), _starts(predictions)
    kept = targets >= 0
    if not kept.any():
        raise DataError(
            where=split, expected="at least one word with a tag", got="none", cure="Name another with --split."
        )
    bad = ~np.isfinite(predictions.probs).all(1)
    if bad.any():
        raise NonFiniteError(
            where=f"the model's answers on {split}",
            expected="finite numbers",
            got=f"NaN or infinity for {bad.sum():,} of {len(bad):,} words",
            cure="Look for overflow in the module: a large rate, a logarithm of 0, half precision.",
        )
    preds = predictions.probs.argmax(1)
    confusion = Confusion.zero(len(classes)).update(preds[kept], targets[kept]).counts
    confidence = predictions.probs.max(1)[kept]
    calibration = Calibration.zero().update_decided(confidence, (preds == targets)[kept])
    tags, entities = _tag_counts(preds, targets, starts, classes), entity_counts(preds, targets, starts, classes)
    scores = headline_scores(preds, targets, starts, classes)
    if entities is None:
        scores += (_macro("macro_f1", tags),)
    else:
        scores += (_macro("macro_entity_f1", entities),)
    scores += (Score(name="ece", value=calibration.compute(), higher_is_better=False),)
    shown = tags if entities is None else entities
    return Evaluation(
        task="tagging",
        split=split,
        count=len(predictions),
        headline=headline(classes),
        scores=scores,
        classes=classes,
        per_class=_rows(shown),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        calibration=calibration_bins(calibration),
        notes=tagging_notes(
            len(predictions), shown.there.sum(0), shown.answered.sum(0), shown.names, confidence, calibration
        ),
    )


def headline_scores(preds: Ints, targets: Ints, starts: Ints, classes: tuple[str, ...]) -> tuple[Score, ...]:
    """The score that stands first, and those beside it: accuracy of words and of sentences, entities.

    Args:
        preds: Tags answered, int64 (M,).
        targets: True ones, int64 (M,); what is below 0 is left out.
        starts: Where each sentence begins, and the end, int64 (N + 1,).
        classes: Names of the tags.
    """
    kept = targets >= 0
    right = _by_sentence(kept & (preds == targets), starts)
    words = _by_sentence(kept, starts)
    whole = (right == words) & (words > 0)
    held = np.stack((words, (words > 0).astype(np.int64)), 1)
    of_words = ratios(("accuracy", "sentence_accuracy"), np.stack((right, whole.astype(np.int64)), 1), held)
    entities = entity_counts(preds, targets, starts, classes)
    if entities is None:
        return of_words
    hits, there, answered = (counts.sum(1) for counts in (entities.hits, entities.there, entities.answered))
    of_entities = ratios(
        ("entity_f1", "entity_precision", "entity_recall"),
        np.stack((2 * hits, hits, hits), 1),
        np.stack((there + answered, answered, there), 1),
    )
    return (*of_entities, *of_words)


def entity_counts(preds: Ints, targets: Ints, starts: Ints, classes: tuple[str, ...]) -> Counts | None:
    """Entities of each sentence by type; None where the classes are plain tags.

    A word whose tag is to be ignored is in no entity, whatever was answered.
    """
    scheme = find_scheme(classes)
    if scheme is None:
        return None
    wanted = find_entities(targets, starts, scheme)
    given = find_entities(np.where(targets >= 0, preds, -1), starts, scheme)
    hits = wanted.hits(given)

    def table(of: Scheme) -> tuple[Ints, ...]:
        columns = [
            (
                count_by_sentence(wanted, starts, chosen=hits & (wanted.types == kind)),
                count_by_sentence(wanted, starts, chosen=wanted.types == kind),
                count_by_sentence(given, starts, chosen=given.types == kind),
            )
            for kind in range(len(of.types))
        ]
        return tuple(np.stack(column, 1) for column in zip(*columns, strict=True))

    return Counts(tuple(name or UNTYPED for name in scheme.types), *table(scheme))


def _tag_counts(preds: Ints, targets: Ints, starts: Ints, classes: tuple[str, ...]) -> Counts:
    kept = targets >= 0
    size, sentences = len(classes), len(starts) - 1
    of = np.repeat(np.arange(sentences), np.diff(starts))

    def count(tags: Ints, chosen: NDArray[np.bool_]) -> Ints:
        places = of[chosen] * size + tags[chosen]
        return np.bincount(places, minlength=sentences * size).reshape(sentences, size)

    return Counts(classes, count(preds, kept & (preds == targets)), count(targets, kept), count(preds, kept))


def _macro(name: str, counts: Counts) -> Score:
    """The mean F1 of kinds that are there."""
    present = counts.there.sum(0) > 0
    return mean_of_ratios(name, 2 * counts.hits[:, present], (counts.there + counts.answered)[:, present])


def _rows(counts: Counts) -> tuple[ClassRow, ...]:
    names = ("precision", "recall", "f1")
    rows = []
    for place, name in enumerate(counts.names):
        hits, there, answered = counts.hits[:, place], counts.there[:, place], counts.answered[:, place]
        tops, bottoms = np.stack((hits, hits, 2 * hits), 1), np.stack((answered, there, there + answered), 1)
        precision, recall, f1 = ratios(names, tops, bottoms)
        rows.append(
            ClassRow(
                name=name,
                support=int(there.sum()),
                predicted=int(answered.sum()),
                precision=precision,
                recall=recall,
                f1=f1,
            )
        )
    return tuple(rows)


def _by_sentence(flags: NDArray[np.bool_], starts: Ints) -> Ints:
    """How many are true in each sentence, int64 (N,)."""
    running = np.concatenate(([0], np.cumsum(flags)))
    return np.asarray(running[starts[1:]] - running[starts[:-1]], dtype=np.int64)


def _starts(predictions: Predictions) -> Ints:
    if predictions.starts is None:
        raise ValueError("predictions of words carry where each sentence begins")
    return predictions.starts
