"""What simple methods score on tags: one tag for all, and the most frequent tag of each word."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from netwright.evaluation.tagging import headline, headline_scores
from netwright.results import Baseline
from netwright.words import plain

Ints = NDArray[np.int64]


def tag_baselines(
    train: tuple[Sequence[str] | None, Ints], scored: tuple[Sequence[str] | None, Ints, Ints], classes: tuple[str, ...]
) -> tuple[Baseline, ...]:
    """Score both on a split; what is scored is what stands first in its evaluation.

    Args:
        train: Words end to end, (M,), and their tags, int64 (M,); None where words are not known.
        scored: Likewise, and where each sentence begins, int64 (N + 1,).
        classes: Names of the tags.
    """
    words, tags = train
    asked, targets, starts = scored
    kept = tags >= 0
    if not kept.any():
        return ()
    frequent = int(np.bincount(tags[kept]).argmax())
    on = f"scored on all {len(starts) - 1:,} sentences"
    answers = {
        "most_frequent_tag": (
            np.full(len(targets), frequent),
            f"always {classes[frequent]}, the most frequent tag of training; {on}",
        )
    }
    if words is not None and asked is not None:
        own = _by_word([word for word, keep in zip(words, kept, strict=True) if keep], tags[kept])
        looked_up = np.fromiter((own.get(plain(word), frequent) for word in asked), np.int64, len(asked))
        answers["most_frequent_of_word"] = (
            looked_up,
            f"the most frequent tag of each word in training, {classes[frequent]} for words it has not; {on}",
        )
    name = headline(classes)
    found = []
    for method, (preds, detail) in answers.items():
        score = next(one for one in headline_scores(preds, targets, starts, classes) if one.name == name)
        found.append(Baseline(name=method, detail=detail, score=score))
    return tuple(found)


def _by_word(words: Sequence[str], tags: Ints) -> dict[str, int]:
    """The most frequent tag of each word; of equally frequent ones the first class."""
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for word, tag in zip(words, tags.tolist(), strict=True):
        counts[plain(word)][tag] += 1
    return {word: min(of, key=lambda tag: (-of[tag], tag)) for word, of in counts.items()}
