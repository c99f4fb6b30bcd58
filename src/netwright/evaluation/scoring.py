"""From predictions to an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from netwright.errors import UsageError
from netwright.evaluation.classification import score_classification
from netwright.evaluation.predictions import Predictions
from netwright.evaluation.regression import score_regression
from netwright.results import Evaluation


def score(
    predictions: Predictions,
    *,
    task: Literal["classification", "regression"],
    split: str,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score predictions: each number with its 95 % interval and how that was made.

    Args:
        predictions: Each sample once.
        task: What kind of answers they are.
        split: Its name, for the record.
        classes: Names, C of them. None: their indices.
        seed: Of the bootstrap's draws.

    Returns:
        Without baselines and worst samples, which need the data.

    Raises:
        DataError: There is nothing to score, or a target is no class.
        NonFiniteError: The model answered NaN or infinity.
        ModelError: Rows of probabilities do not sum to 1.
        UsageError: Fewer or more names than classes, or an unknown task.
    """
    if task not in ("classification", "regression"):
        raise UsageError(
            where="`task`", expected="classification or regression", got=f'"{task}"', cure="Name one of the two."
        )
    predictions.check(task, split=split)
    if task == "regression":
        return score_regression(predictions, split=split, seed=seed)
    num_classes = predictions.probs.shape[1]
    names = tuple(map(str, range(num_classes))) if classes is None else tuple(classes)
    if len(names) != num_classes:
        raise UsageError(
            where="`classes`",
            expected=f"{num_classes} names, one for each column of probabilities",
            got=f"{len(names)}",
            cure="Name each class once, in the order of the columns.",
        )
    return score_classification(predictions, split=split, classes=names, seed=seed)
