"""What words alone say: a linear model on the counts of n-grams, the yardstick of every network for texts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# All n-grams of more texts take minutes to fit, and gain little over so many.
MAX_TEXTS = 20_000
# scikit-learn's C: 10 beats its default of 1 on short texts (TREC questions: 0.884 to 0.854, Chinese titles: 0.866 to
# 0.845), and character 1- to 3-grams score no better than 1- to 2-grams there (0.863).
INVERSE_PENALTY = 10.0
FIT_STEPS = 200


def tfidf_answers(
    train: Sequence[str],
    targets: NDArray[Any],
    texts: Sequence[str],
    *,
    task: Literal["classification", "regression"],
    unspaced: bool,
) -> tuple[NDArray[Any], str]:
    """Fit a linear model on the training texts' n-grams, weighed by how rare they are; its answers to other texts.

    Args:
        train: At most ``MAX_TEXTS`` of them are used.
        targets: One a training text.
        texts: What to answer.
        unspaced: Whether n-grams are of characters and not of words.

    Returns:
        Answers, (len(texts),), and what the features are, in words.

    Source:
        Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval"; with sublinear counts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

    analyzer, sizes = ("char", (1, 2)) if unspaced else ("word", (1, 2))
    features = TfidfVectorizer(analyzer=analyzer, ngram_range=sizes, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=FIT_STEPS) if task == "classification" else Ridge()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge to be a yardstick; the token pattern is for words alone
        model.fit(features.fit_transform(train), targets)
        return np.asarray(model.predict(features.transform(texts))), f"{analyzer} {sizes[0]}- to {sizes[1]}-grams"
