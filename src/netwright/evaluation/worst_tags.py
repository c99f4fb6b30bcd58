"""The sentences a model tagged worst, word by word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netwright.evaluation.predictions import Predictions
from netwright.results import WordMark, WorstSample

MAX_MARKS = 80  # words of a sentence that are shown; those around its first mistake
BEFORE = 20


def worst_sentences(
    predictions: Predictions,
    classes: tuple[str, ...],
    names: Sequence[str],
    words: Sequence[Sequence[str]] | None,
    *,
    count: int = 24,
) -> tuple[WorstSample, ...]:
    """Find the sentences with the most confidently wrong tags: the largest sum of what the model gave wrong tags.

    Args:
        predictions: Of all words of a split.
        classes: Names of the tags.
        names: What to call each sentence of the split.
        words: Of each sentence of the split; None where they are not known, and then there is nothing to show.
        count: At most so many.
    """
    starts = predictions.starts
    if starts is None or words is None:
        return ()
    preds, confidence = predictions.probs.argmax(1), predictions.probs.max(1).astype(np.float64)
    wrong = (preds != predictions.targets) & (predictions.targets >= 0)
    running = np.concatenate(([0.0], np.cumsum(np.where(wrong, confidence, 0.0))))
    badness = running[starts[1:]] - running[starts[:-1]]
    # A sum of nothing may differ from 0 by rounding: whether there is a mistake is counted.
    mistakes = np.diff(np.concatenate(([0], np.cumsum(wrong)))[starts])
    order = [int(one) for one in np.argsort(-badness, kind="stable")[:count] if mistakes[one]]
    found = []
    for place in order:
        begin, end = int(starts[place]), int(starts[place + 1])
        first = begin + int(np.flatnonzero(wrong[begin:end])[0])
        low = max(begin, min(first - BEFORE, end - MAX_MARKS))
        shown = range(low, min(end, low + MAX_MARKS))
        sample_id = int(predictions.sample_ids[place])
        own = words[sample_id]
        worst = begin + int(np.argmax(np.where(wrong[begin:end], confidence[begin:end], -1.0)))
        found.append(
            WorstSample(
                sample_id=sample_id,
                name=names[sample_id],
                target=classes[int(predictions.targets[worst])],
                prediction=classes[int(preds[worst])],
                confidence=float(confidence[worst]),
                text=" ".join(own[one - begin] for one in shown),
                marks=tuple(
                    WordMark(
                        word=own[one - begin],
                        target=None if predictions.targets[one] < 0 else classes[int(predictions.targets[one])],
                        prediction=classes[int(preds[one])],
                        confidence=float(confidence[one]),
                    )
                    for one in shown
                ),
            )
        )
    return tuple(found)
