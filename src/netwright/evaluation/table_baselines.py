"""What columns say by themselves: a linear model, and gradient boosted trees, the yardstick of tables."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from netwright.evaluation.predictions import Predictions
from netwright.evaluation.scoring import score
from netwright.results import Baseline
from netwright.rows import features

if TYPE_CHECKING:
    from netwright.data.tables import TableSource

Task = Literal["classification", "regression"]
# Trees on a million rows take minutes on one core, and gain little from more.
MAX_ROWS = 200_000
# scikit-learn's trees take codes below 255; columns with more values are ordered numbers to them.
MOST_CODES = 254
FIT_STEPS = 1_000
# What else of a score stands beside the headline.
BESIDE = ("roc_auc", "macro_roc_auc", "log_loss", "rmse", "r2")


def table_baselines(
    train: TableSource, scored: TableSource, *, task: Task, classes: tuple[str, ...] | None, split: str, seed: int
) -> tuple[Baseline, ...]:
    """Fit simple methods on the training rows, score them on others.

    Args:
        task: Classification or regression.
        classes: Names, in classification.
        split: Name of what is scored.
        seed: Of the rows picked where there are many, of the trees, and of the bootstrap.

    Returns:
        A linear model on all features, and scikit-learn's histogram gradient boosting on numbers and categories.
    """
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.permutation(len(train))[:MAX_ROWS])
    on = f"fitted on {len(rows):,} training rows, scored on all {len(scored):,}"
    targets = train.targets[rows]
    found = []
    for name, detail, model, inputs in (
        ("linear_model", "on numbers and one-hot categories", _linear(task), _features),
        ("gradient_boosting", "scikit-learn's histogram trees", _trees(train, task, targets, seed), _columns),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it need not converge to be a yardstick
            model.fit(inputs(train, rows), targets)
            answers = _answers(model, inputs(scored, np.arange(len(scored))), classes)
        predictions = Predictions(np.arange(len(scored)), scored.targets, answers)
        evaluation = score(predictions, task=task, split=split, classes=classes, seed=seed)
        found.append(
            Baseline(
                name=name,
                detail=f"{detail}; {on}",
                score=evaluation.score(evaluation.headline),
                others=tuple(one for one in evaluation.scores if one.name in BESIDE),
            )
        )
    return tuple(found)


# Models of scikit-learn, which has no types.
def _linear(task: Task) -> Any:
    from sklearn.linear_model import LogisticRegression, RidgeCV

    if task == "classification":
        return LogisticRegression(max_iter=FIT_STEPS)
    return RidgeCV(alphas=np.geomspace(1e-2, 1e4, 7))


def _trees(train: TableSource, task: Task, targets: NDArray[Any], seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.multioutput import MultiOutputRegressor

    small = [size <= MOST_CODES for size in train.operation.cardinalities]
    options = {"categorical_features": [False] * train.numbers.shape[1] + small, "random_state": seed}
    if task == "classification":
        return HistGradientBoostingClassifier(**options)
    model = HistGradientBoostingRegressor(**options)
    return model if targets.ndim == 1 else MultiOutputRegressor(model)


def _features(source: TableSource, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return features(source.operation, source.numbers[rows], source.categories[rows])


def _columns(source: TableSource, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.concatenate([source.numbers[rows], source.categories[rows].astype(np.float32)], axis=1)


def _answers(model: Any, inputs: NDArray[np.float32], classes: tuple[str, ...] | None) -> NDArray[Any]:
    if classes is None:
        return np.asarray(model.predict(inputs))
    probs = np.zeros((len(inputs), len(classes)))
    probs[:, np.asarray(model.classes_)] = model.predict_proba(inputs)  # a class may be absent from training
    return probs
