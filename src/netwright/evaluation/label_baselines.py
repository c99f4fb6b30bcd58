"""What simple methods score on several labels a sample: one set for all, and a linear model for each label."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.evaluation.multi_label import HEADLINE, label_scores
from netwright.evaluation.text_baselines import FIT_STEPS, MAX_TEXTS, Written, tfidf_answers
from netwright.results import Baseline, Score

# Columns of more numbers are thinned out; as many samples fit in seconds on one core.
MAX_FEATURES, MAX_TRAIN, MAX_SCORED = 2_048, 5_000, 10_000


def frequent_labels(train: NDArray[Any], wanted: NDArray[Any], classes: tuple[str, ...]) -> Baseline:
    """Always the set of labels that most training samples have.

    Args:
        train: 0 or 1, (N, C).
        wanted: Of the samples scored, likewise.
        classes: Names of the labels.
    """
    sets, counts = np.unique(train > 0, axis=0, return_counts=True)
    best = sets[int(counts.argmax())]
    names = ", ".join(classes[at] for at in np.flatnonzero(best)) or "no label"
    detail = f"always {names}, the most frequent set of training; scored on all {len(wanted):,} samples"
    return Baseline(name="most_frequent_labels", detail=detail, score=_score(np.tile(best, (len(wanted), 1)), wanted))


def of_texts(
    train: tuple[Written, NDArray[Any]], scored: tuple[Written, NDArray[Any]], *, unspaced: bool, seed: int
) -> tuple[Baseline, ...]:
    """A linear model on n-grams for each label; nothing where no text has a word."""
    texts, targets = train
    picked = np.sort(np.random.default_rng(seed).permutation(len(targets))[:MAX_TEXTS])
    try:
        answers, what = tfidf_answers(
            texts.take(picked), targets[picked].astype(np.int64), scored[0], task="multi_label", unspaced=unspaced
        )
    except ValueError:
        return ()
    on = f"fitted on {len(picked):,} training samples, scored on all {len(scored[1]):,} samples"
    name, detail = "tfidf_logistic_regression", f"one for each label, on {what}; {on}"
    return (Baseline(name=name, detail=detail, score=_score(answers.reshape(scored[1].shape) > 0, scored[1])),)


def of_numbers(
    train: tuple[NDArray[Any], NDArray[Any]], scored: tuple[NDArray[Any], NDArray[Any]], *, seed: int
) -> Baseline:
    """Logistic regression for each label, on inputs (N, F) put to mean 0 and deviation 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(seed)
    rows = [
        np.sort(generator.permutation(len(targets))[:most])
        for (_, targets), most in ((train, MAX_TRAIN), (scored, MAX_SCORED))
    ]
    step = max(1, -(-train[0].shape[1] // MAX_FEATURES))
    model = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(max_iter=FIT_STEPS)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # steps are capped on purpose: it need not converge to be a yardstick
        model.fit(train[0][rows[0]][:, ::step], train[1][rows[0]].astype(np.int64))
        answers = np.asarray(model.predict(scored[0][rows[1]][:, ::step]))
    wanted = scored[1][rows[1]]
    on = f"fitted on {len(rows[0]):,} training samples, scored on {len(rows[1]):,} of {len(scored[1]):,} samples"
    detail = f"one for each label, on the raw input; {on}"
    return Baseline(name="logistic_regression", detail=detail, score=_score(answers.reshape(wanted.shape) > 0, wanted))


def _score(answers: NDArray[Any], wanted: NDArray[Any]) -> Score:
    return next(one for one in label_scores(answers > 0, wanted > 0) if one.name == HEADLINE)
