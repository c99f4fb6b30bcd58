"""Scores of transcripts. ``N`` utterances.

Error rates are sums of edits over sums of true words or letters, so that each counts alike; they may exceed 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from netwright.errors import DataError
from netwright.intervals import Interval, bootstrap_bca, wilson
from netwright.metrics.edits import edit_distance
from netwright.results import Baseline, Evaluation, Score

WORDS, LETTERS, EXACT = "word_error_rate", "character_error_rate", "exact_match_accuracy"
# Below so many utterances an error rate of 10 % is known to no better than a third of itself.
FEW = 100


def score_transcripts(
    truths: Sequence[str], said: Sequence[str], *, split: str, unspaced: bool, seed: int
) -> Evaluation:
    """Word error rate first; of scripts without spaces the character error rate, and no words.

    Args:
        truths: What was said, (N,).
        said: What was recognised, (N,).
        split: Its name, for the record.
        unspaced: Whether the script puts no spaces between words.
        seed: Of the bootstrap's draws, over utterances.

    Raises:
        DataError: There is nothing to score.
    """
    if not len(truths) or not any(truths):
        raise DataError(
            where=f"the {split} split",
            expected="utterances in which something is said",
            got="none",
            cure="Name another with --split.",
        )
    scores = [error_rate(truths, said, words=False, seed=seed)]
    if not unspaced:
        scores.insert(0, error_rate(truths, said, words=True, seed=seed))
    right = sum(truth == one for truth, one in zip(truths, said, strict=True))
    low, high = wilson(right, len(truths))
    scores.append(Score(name=EXACT, value=right / len(truths), low=low, high=high, method="wilson"))
    return Evaluation(
        task="transcription",
        split=split,
        count=len(truths),
        headline=scores[0].name,
        scores=tuple(scores),
        notes=_notes(truths, said, scores[0]),
    )


def tokens(text: str, *, words: bool) -> list[str]:
    """Words, or letters with single spaces among them."""
    return text.split() if words else list(text)


def error_rate(truths: Sequence[str], said: Sequence[str], *, words: bool, seed: int) -> Score:
    """Edits for each true word or letter, with a bootstrap interval over utterances."""
    pairs = [(tokens(truth, words=words), tokens(one, words=words)) for truth, one in zip(truths, said, strict=True)]
    edits = np.asarray([edit_distance(truth, one) for truth, one in pairs], dtype=np.float64)
    sizes = np.asarray([len(truth) for truth, _ in pairs], dtype=np.float64)
    value = float(edits.sum() / sizes.sum())
    low, high = _interval(edits, sizes, value, seed)
    method = "bootstrap_bca" if edits.any() else "wilson"
    name = WORDS if words else LETTERS
    return Score(name=name, value=value, low=low, high=high, method=method, higher_is_better=False)


def _interval(edits: NDArray[np.float64], sizes: NDArray[np.float64], value: float, seed: int) -> Interval:
    """Of a ratio of sums; without a single edit, as if a share of the utterances had one."""
    if not edits.any():
        return 0.0, wilson(0, len(edits))[1]
    if len(edits) < 2:  # one utterance says nothing of the others
        return value, value
    influence = (edits - value * sizes) / sizes.mean()
    low, high = bootstrap_bca(
        np.stack((edits, sizes), axis=1),
        lambda means: means[..., 0] / np.maximum(means[..., 1], 1e-12),
        influence,
        seed=seed,
    )
    return max(0.0, low), high


def transcript_baselines(
    train: Sequence[str], truths: Sequence[str], *, unspaced: bool, seed: int
) -> tuple[Baseline, ...]:
    """What answers that hear nothing score: the most frequent transcript of training, and silence."""
    frequent = Counter(train).most_common(1)[0][0] if train else ""
    shown = frequent if len(frequent) <= 40 else f"{frequent[:40]} …"
    answers: tuple[tuple[str, str, str], ...] = (
        ("most_frequent_transcript", frequent, f"always “{shown}”, the most frequent of training"),
    )
    if frequent:
        answers += (("empty_answer", "", "always nothing"),)
    return tuple(
        Baseline(
            name=name,
            detail=f"{how}; scored on all {len(truths):,} samples",
            score=error_rate(truths, [text] * len(truths), words=not unspaced, seed=seed),
        )
        for name, text, how in answers
    )


def _notes(truths: Sequence[str], said: Sequence[str], headline: Score) -> tuple[str, ...]:
    notes = []
    if len(truths) < FEW:
        notes.append(f"Only {len(truths):,} utterances: every number here can be far off by chance alone.")
    silent = sum(not one for truth, one in zip(truths, said, strict=True) if truth)
    if silent > 0.1 * len(truths):
        notes.append(
            f"Nothing was recognised in {silent:,} of {len(truths):,} utterances: networks answer blanks alone at "
            "first, so it may need more epochs."
        )
    if headline.value > 1:
        notes.append("More was answered wrongly than was said: an empty answer would score 100%.")
    return tuple(notes)
