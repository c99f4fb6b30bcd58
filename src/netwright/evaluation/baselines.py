"""What simple methods score on the same samples: a number by itself says nothing.

Fitted on a part of the training split, on raw inputs put to mean 0 and deviation 1; a few seconds in all.
``N`` samples, ``F`` features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from netwright.errors import DataError
from netwright.evaluation.sound_baselines import BANDS, MAX_SOUNDS, band_answers
from netwright.evaluation.text_baselines import MAX_TEXTS, Written, tfidf_answers
from netwright.intervals import bootstrap_t, wilson
from netwright.metrics import IGNORE_INDEX
from netwright.results import Baseline, Score

if TYPE_CHECKING:
    from netwright.data.dataset import Data
    from netwright.data.ragged import RaggedSource
    from netwright.data.sources import Source

Task = Literal["classification", "regression"]
Floats = NDArray[np.float32]

# Measured on one core for MNIST: 5,000 samples fit in 1.5 s; the score gains under a point from five times as many.
MAX_TRAIN = 5_000
MAX_SCORED = 10_000
# Distances from 10,000 MNIST images to 5,000 take 2 s on one core, half of all; from these, 1 s.
MAX_NEIGHBOURS_SCORED = 5_000
# More columns than a 64 x 64 grey image has are averaged down or thinned out.
MAX_FEATURES = 4_096
# Numbers read from a split: 200 million uint8 pixels, which 1,300 photographs of 224 x 224 x 3 make, take seconds.
MAX_READ = 200_000_000
READ_AT_ONCE = 256
# As scikit-learn's C: on standardised pixels 0.01 to 0.1 beat its default of 1 (MNIST: 0.905 to 0.885), and fit faster.
INVERSE_PENALTY = 0.01
FIT_STEPS = 40
NEIGHBOURS = 5
FEW_FEATURES = 64
SUMMARY = "mean, deviation, least and most of each column, and the length"


@dataclass(frozen=True, slots=True)
class _Samples:
    """Features float32 (N, F), and targets."""

    features: Floats
    targets: NDArray[Any]
    is_image: bool = False


def baselines(data: Data, split: str, task: Task, *, seed: int) -> tuple[Baseline, ...]:
    """Score simple methods on a split.

    Args:
        data: With inputs as they were read.
        split: Where to score; at most 10,000 of its samples, evenly picked, where a method has to read inputs.
        task: Classification is scored by accuracy (Wilson's interval), regression by mean absolute error (bootstrap).
        seed: Of the samples picked and of the bootstrap.

    Returns:
        A constant answer, always; a linear model and the nearest neighbours where the inputs are numbers of one shape
        and there is more than one class. Each says in ``detail`` what it was fitted and scored on.
    """
    from netwright.data.ragged import RaggedSource
    from netwright.data.sound_source import SoundSource
    from netwright.data.tables import TableSource
    from netwright.evaluation.table_baselines import table_baselines

    train, scored = data.train, data.split(split)
    train_ids, scored_ids = _labelled(train, task), _labelled(scored, task)
    if not len(train_ids) or not len(scored_ids):
        return ()
    names = data.spec.classes
    targets = np.asarray(train.targets)[train_ids], np.asarray(scored.targets)[scored_ids]
    found = list(_constants(*targets, task=task, classes=names, seed=seed))
    if task == "classification" and len(np.unique(targets[0])) < 2:
        return tuple(found)
    generator = np.random.default_rng(seed)
    if isinstance(train, TableSource) and isinstance(scored, TableSource) and train.operation.columns:
        further = table_baselines(train, scored, task=task, classes=names, split=split, seed=seed)
        return (*found, *further)
    if data.spec.preprocess.text is not None:
        return (*found, *_of_texts(data, split, (train_ids, scored_ids), targets, task=task, seed=seed))
    if isinstance(train, SoundSource) and isinstance(scored, SoundSource):
        fit_on = _pick(train_ids, targets[0], MAX_SOUNDS, generator, task=task)
        score_on = _pick(scored_ids, targets[1], MAX_SOUNDS, generator, task=task)
        answers = band_answers(train, fit_on, np.asarray(train.targets)[fit_on], scored, score_on)
        on = f"fitted on {len(fit_on):,} training samples, scored on {_of(len(score_on), len(scored_ids))}"
        detail = f"on mean and deviation of {BANDS} bands; {on}"
        score = _score(answers, np.asarray(scored.targets)[score_on], task, seed)
        return (*found, Baseline(name="band_logistic_regression", detail=detail, score=score))
    shape = math.prod(max((field.shape for field in data.spec.inputs), key=math.prod, default=(1,)))
    affordable = max(100, MAX_READ // max(1, shape))
    fit_on = _pick(train_ids, targets[0], min(MAX_TRAIN, affordable), generator, task=task)
    score_on = _pick(scored_ids, targets[1], min(MAX_SCORED, affordable), generator, task=task)
    try:
        fitted, tested = _read(train, fit_on, seed), _read(scored, score_on, seed)
    except (DataError, RuntimeError, ValueError):  # several shapes, or no numbers: the constants stand alone
        return tuple(found)
    if fitted.features.shape[1] != tested.features.shape[1] or not fitted.features.shape[1]:
        return tuple(found)
    linear = (
        ("logistic_regression", "", _logistic) if task == "classification" else ("ridge", "linear regression ", _ridge)
    )
    methods: list[tuple[str, str, Callable[..., NDArray[Any]]]] = [linear]
    if split != "train":  # there each sample would find itself
        near = "" if task == "classification" else f"mean of the {NEIGHBOURS} nearest neighbours "
        methods.append(("nearest_neighbour", near, _nearest))
    what = SUMMARY if isinstance(train, RaggedSource) else "the raw input"
    for name, how, method in methods:
        asked = _thinned(tested, MAX_NEIGHBOURS_SCORED) if method is _nearest else tested
        answers = method(*_standardised(fitted, asked, alike=method is _nearest and fitted.is_image), task)
        on = f"fitted on {len(fit_on):,} training samples, scored on {_of(len(asked.targets), len(scored_ids))}"
        score = _score(answers, asked.targets, task, seed)
        found.append(Baseline(name=name, detail=f"{how}on {what}; {on}", score=score))
    return tuple(found)


def _of_texts(
    data: Data,
    split: str,
    ids: tuple[NDArray[np.int64], NDArray[np.int64]],
    targets: tuple[NDArray[Any], NDArray[Any]],
    *,
    task: Task,
    seed: int,
) -> tuple[Baseline, ...]:
    """A linear model on n-grams."""
    from netwright.data.ragged import RaggedSource

    train, scored = data.train, data.split(split)
    if not isinstance(train, RaggedSource) or not isinstance(scored, RaggedSource):
        return ()
    if train.texts is None or scored.texts is None:
        return ()
    picked = _pick(np.arange(len(ids[0])), targets[0], MAX_TEXTS, np.random.default_rng(seed), task=task)
    given = Written(train.texts, train.seconds).take(ids[0][picked])
    asked = Written(scored.texts, scored.seconds).take(ids[1])
    unspaced = data.spec.preprocess.text is not None and data.spec.preprocess.text.kind == "character"
    try:
        answers, what = tfidf_answers(given, targets[0][picked], asked, task=task, unspaced=unspaced)
    except ValueError:  # no text has a word
        return ()
    name = "tfidf_logistic_regression" if task == "classification" else "tfidf_ridge"
    on = f"fitted on {len(picked):,} training samples, scored on {_of(len(ids[1]), len(ids[1]))}"
    return (Baseline(name=name, detail=f"on {what}; {on}", score=_score(answers, targets[1], task, seed)),)


def _labelled(source: Source, task: Task) -> NDArray[np.int64]:
    """Samples whose target is not to be ignored."""
    targets = np.asarray(source.targets)
    return np.flatnonzero(targets != IGNORE_INDEX) if task == "classification" else np.arange(len(targets))


def _constants(
    train: NDArray[Any], targets: NDArray[Any], *, task: Task, classes: tuple[str, ...] | None, seed: int
) -> tuple[Baseline, ...]:
    """The best answers that look at no input."""
    on = f"scored on all {len(targets):,} samples"
    if task == "classification":
        frequent = int(np.bincount(train.astype(np.int64)).argmax())
        name = classes[frequent] if classes is not None and frequent < len(classes) else str(frequent)
        detail = f"always {name}, the most frequent class of training; {on}"
        answers = np.full(len(targets), frequent)
        return (Baseline(name="most_frequent", detail=detail, score=_score(answers, targets, task, seed)),)
    return tuple(
        Baseline(
            name=name,
            detail=f"always the {name} of training; {on}",
            score=_score(np.broadcast_to(middle(train, axis=0), targets.shape), targets, task, seed),
        )
        for name, middle in (("mean", np.mean), ("median", np.median))
    )


def _pick(
    ids: NDArray[np.int64], targets: NDArray[Any], count: int, generator: np.random.Generator, *, task: Task
) -> NDArray[np.int64]:
    """At most ``count`` samples, in proportion to their classes, in rising order."""
    if len(ids) <= count:
        return ids
    order = generator.permutation(len(ids))
    if task == "classification":
        order = order[np.argsort(targets[order], kind="stable")]
    picked = order[np.linspace(0, len(ids) - 1, count).round().astype(np.int64)]
    return np.sort(ids[picked])


def _read(source: Source, ids: NDArray[np.int64], seed: int) -> _Samples:
    """Features and targets; a person's own data set may draw random numbers, which must not move those of training."""
    from netwright.data.batches import undisturbed
    from netwright.data.ragged import RaggedSource
    from netwright.data.sources import seeded

    if isinstance(source, RaggedSource):
        return _Samples(_summaries(source, ids), source.targets[ids])

    def gather() -> _Samples:
        seeded(seed)
        features, targets = [], []
        is_image = False
        for start in range(0, len(ids), READ_AT_ONCE):
            inputs, wanted = source.gather(ids[start : start + READ_AT_ONCE])
            features.append(np.hstack([_features(value.numpy(), len(inputs)) for value in inputs.values()]))
            if isinstance(wanted, dict):
                raise ValueError("several answers are scored one by one")
            targets.append(wanted.numpy())
            is_image = all(value.ndim == 4 for value in inputs.values())
        return _Samples(np.concatenate(features), np.concatenate(targets), is_image)

    return undisturbed(gather)  # type: ignore[no-any-return]


def _summaries(source: RaggedSource, ids: NDArray[np.int64]) -> Floats:
    """Of sequences of any length mean, deviation, least and most of each column, and the length: float32 (N, F)."""
    found = []
    for index in ids:
        every = [ragged[int(index)].reshape(len(ragged[int(index)]), -1) for ragged in source.fields.values()]
        parts = [made for one in every for made in (one.mean(0), one.std(0), one.min(0), one.max(0), [len(one)])]
        found.append(np.concatenate(parts))
    return np.asarray(found, dtype=np.float32)


def _features(values: NDArray[Any], fields: int) -> Floats:
    """One input field as float32 (N, F); where there is too much, images averaged over small blocks, others thinned."""
    room = MAX_FEATURES // fields
    size = math.prod(values.shape[1:])
    if size > room and values.ndim == 4:
        block = math.ceil(math.sqrt(size / room))
        height, width = values.shape[2] // block, values.shape[3] // block
        if height and width:
            cut = values[:, :, : height * block, : width * block]
            blocks = cut.reshape(*values.shape[:2], height, block, width, block)
            return np.asarray(blocks.mean((3, 5), dtype=np.float32)).reshape(len(values), -1)
    flat = values.reshape(len(values), size)
    return np.asarray(flat[:, :: max(1, math.ceil(size / room))], dtype=np.float32)


def _thinned(samples: _Samples, count: int) -> _Samples:
    """At most ``count`` of them, evenly picked."""
    where = np.linspace(0, len(samples.targets) - 1, min(count, len(samples.targets))).round().astype(np.int64)
    return _Samples(samples.features[where], samples.targets[where], samples.is_image)


def _standardised(train: _Samples, other: _Samples, *, alike: bool) -> tuple[_Samples, _Samples]:
    """Both with the mean and deviation of training taken out; numbers that are not finite become the mean.

    Args:
        train: Where mean and deviation are from.
        other: What is put on the same scale.
        alike: Keep the columns' scale to each other, as distances between images want it (MNIST: 0.93 instead of 0.89).
    """
    finite = np.where(np.isfinite(train.features), train.features, np.float32(np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without a finite number
        mean = np.nan_to_num(np.nanmean(finite, axis=0, dtype=np.float64))
        deviation = np.nan_to_num(np.nanstd(finite, axis=0, dtype=np.float64))
    # Pixels that hardly ever change would blow up one by one: no deviation counts less than a tenth of the mean one.
    usual = max(float(deviation.mean()), 1e-12)
    deviation = np.full_like(deviation, usual) if alike else np.maximum(deviation, 0.1 * usual)

    def scaled(samples: _Samples) -> _Samples:
        features = (samples.features - mean.astype(np.float32)) / deviation.astype(np.float32)
        return _Samples(np.nan_to_num(features, posinf=0.0, neginf=0.0), samples.targets, samples.is_image)

    return scaled(train), scaled(other)


def _logistic(train: _Samples, other: _Samples, task: Task) -> NDArray[Any]:
    """Multinomial logistic regression with a penalty on its weights, by SciPy: scikit-learn takes 2 s to import.

    Steps are capped on purpose: it need not converge to be a yardstick.
    """
    del task
    from scipy.optimize import minimize

    features = train.features
    labels, codes = np.unique(train.targets, return_inverse=True)
    rows, shape = np.arange(len(codes)), (features.shape[1] + 1, len(labels))  # a last row of biases
    # For the mean over samples; of two classes scikit-learn has one vector, whose halves are the two here.
    penalty = (2 if len(labels) == 2 else 1) / (INVERSE_PENALTY * max(len(codes), MAX_TRAIN))

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(shape).astype(np.float32)
        log_probs = log_softmax(features @ weights[:-1] + weights[-1], axis=1)
        slopes = np.exp(log_probs)
        slopes[rows, codes] -= 1
        slopes /= len(codes)
        slope = np.vstack([features.T @ slopes + penalty * weights[:-1], slopes.sum(0)])
        value = -log_probs[rows, codes].mean(dtype=np.float64) + penalty / 2 * np.square(weights[:-1]).sum()
        return float(value), slope.ravel().astype(np.float64)

    found = minimize(loss, np.zeros(math.prod(shape)), jac=True, method="L-BFGS-B", options={"maxiter": FIT_STEPS})
    weights = found.x.reshape(shape).astype(np.float32)
    return np.asarray(labels[(other.features @ weights[:-1] + weights[-1]).argmax(1)])


def _ridge(train: _Samples, other: _Samples, task: Task) -> NDArray[Any]:
    del task
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=np.geomspace(1e-2, 1e4, 7))  # picked by leave-one-out on the training samples
    targets = train.targets.reshape(len(train.targets), -1).astype(np.float64)
    return np.asarray(model.fit(train.features, targets).predict(other.features)).reshape(other.targets.shape)


def _nearest(train: _Samples, other: _Samples, task: Task) -> NDArray[Any]:
    import torch

    known = torch.from_numpy(train.features)
    # Matrix products round away the distance of samples that lie close; of many features they are by far the faster.
    mode = "donot_use_mm_for_euclid_dist" if known.shape[1] <= FEW_FEATURES else "use_mm_for_euclid_dist"
    count = 1 if task == "classification" else min(NEIGHBOURS, len(train.targets))
    near = [
        torch.cdist(part, known, compute_mode=mode).topk(count, dim=1, largest=False).indices
        for part in torch.split(torch.from_numpy(other.features), READ_AT_ONCE)
    ]
    found = train.targets[torch.cat(near).numpy()]
    return np.asarray(found[:, 0] if task == "classification" else found.mean(1))


def _score(answers: NDArray[Any], targets: NDArray[Any], task: Task, seed: int) -> Score:
    if task == "regression":
        absolute = np.abs(answers.astype(np.float64) - targets).reshape(len(targets), -1).mean(1, keepdims=True)
        low, high = bootstrap_t(absolute, seed=seed)[0]
        mean = float(absolute.mean())
        return Score(name="mae", value=mean, low=low, high=high, method="bootstrap_t", higher_is_better=False)
    right = int((answers == targets).sum())
    low, high = wilson(right, len(targets))
    return Score(name="accuracy", value=right / len(targets), low=low, high=high, method="wilson")


def _of(count: int, total: int) -> str:
    return f"all {count:,} samples" if count == total else f"{count:,} of {total:,} samples, evenly picked"
