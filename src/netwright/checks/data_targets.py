"""D10, D14: an imbalance that accuracy hides; columns that are useless, give the target away or number categories."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.checks.catalogue import finding
from netwright.checks.data_rows import classes_in, column_names, data_of, share, table_of
from netwright.checks.runner import Check
from netwright.checks.subject import Budget, NotCheckedError, Subject
from netwright.records import Finding

IMBALANCE = 0.9  # share of the largest class: 9 to 1
FAIR = 0.65  # mean recall of the trained module above which accuracy hides nothing
LEAK = 0.999
CODES_FROM, CODES_TO = 6, 100  # distinct whole numbers of a column that may be a category
GAIN = 0.08  # more accuracy, or more of the variance, with categories than with a smooth curve of the numbers
OTHER_SCORES = re.compile(
    r"f1|f_?beta|fscore|recall|precision|roc|(?:^|_)auc|auprc|auroc|balanced|confusion|brier|matthews|mcc|kappa|"
    r"sensitivity|specificity|calibrat|focal|weighted|pos_weight|class_weight|classification_report|per_class|hits|resampl|smote|"
    r"(?:^|_)(?:tp|fp|tn)(?:$|_)|^fn$|positives|negatives|false_alarm|undersampl|oversampl|log_loss|lift|average_p",
    re.IGNORECASE,
)
ACCURACY = re.compile(r"(?:^|_)acc(?:$|_|uracy)|correct|right|n_ok|hit", re.IGNORECASE)


def imbalance(subject: Subject) -> Iterator[Finding]:
    """D10: one class has nine tenths, nothing weights the others, and accuracy is all that is looked at."""
    samples = data_of(subject)
    labels = classes_in(subject, samples)
    if labels is None or subject.task != "classification" or len(labels) < 50:
        return
    order = samples.order
    _, counts = np.unique(labels, return_counts=True)
    largest = counts.max() / len(labels)
    if len(counts) < 2 or largest < IMBALANCE or _weighted(subject):
        return
    drawn = np.unique(order, return_counts=True)[1] if order is not None and len(order) else counts
    if drawn.max() / drawn.sum() < IMBALANCE - 0.1:
        return  # a sampler draws the classes in other shares
    words = _identifiers(subject)
    if any(OTHER_SCORES.search(word) for word in words):
        return
    recall = _recalls(subject)
    if recall is not None and float(np.mean(recall)) > FAIR:
        return
    found = "" if recall is None else f" The trained module finds {float(min(recall)):.0%} of the rarest class."
    looked = any(ACCURACY.search(word) for word in words)
    yield finding(
        "D10",
        severity="warning" if looked or recall is not None else "note",
        where="the targets of train",
        evidence=f"{share(int(counts.max()), len(labels))} of the targets are one class: always answering it has "
        f"accuracy {largest:.3f}.{found} Neither the loss nor the sampler weights the others, and no score beside "
        f"accuracy is taken.",
        cure="CrossEntropyLoss(weight=n / (classes * counts)) or BCEWithLogitsLoss(pos_weight=negatives / positives);\n"
        "look at recall and precision of each class, or at average precision.",
    )


def _weighted(subject: Subject) -> bool:
    loss = subject.loss_fn
    held = [getattr(loss, name, None) for name in ("weight", "pos_weight", "alpha")]
    asked = subject.cache.get("asked", ())
    sampler = str(subject.cache.get("sampler", ""))
    return any(one is not None for one in held) or "Weighted" in sampler or "class_weights" in asked


def _identifiers(subject: Subject) -> set[str]:
    """All names in the person's source: variables, attributes, arguments, functions; and words that are printed."""
    words: set[str] = set()
    for _, tree in subject.sources.trees():
        for node in ast.walk(tree):
            for name in ("id", "attr", "arg", "name"):
                word = getattr(node, name, None)
                if isinstance(word, str):
                    words.add(word)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _is_docstring(node):
                words.update(re.findall(r"[A-Za-z_]\w+", node.value[:200]))
    return words


def _is_docstring(node: ast.Constant) -> bool:
    return isinstance(getattr(node, "parent", None), ast.Expr)


def _recalls(subject: Subject) -> list[float] | None:
    """Recall of each class by the trained module on evaluation or training samples; None where it is not to be had."""
    if subject.trained is None:
        return None
    for split in ("test", "val", "train"):
        samples = subject.splits.get(split)
        wanted = classes_in(subject, samples) if samples is not None else None
        if samples is None or wanted is None or set(subject.pool) - set(samples.inputs):
            continue
        try:
            inputs = {name: torch.from_numpy(samples.inputs[name][:2_000]) for name in subject.pool}
            answer = subject.answer(subject.trained.eval(), inputs)
        except NotCheckedError:
            return None
        said = _classes(answer)
        if said is None or len(said) != len(wanted[:2_000]):
            return None
        return [float((said[wanted[:2_000] == one] == one).mean()) for one in np.unique(wanted[:2_000])]
    return None


def _classes(answer: torch.Tensor) -> NDArray[Any] | None:
    if answer.ndim == 2 and answer.shape[1] > 1:
        return np.asarray(answer.argmax(1))
    flat = answer.reshape(-1)
    logits = bool(((flat < 0) | (flat > 1)).any())
    return np.asarray((flat > (0.0 if logits else 0.5)).long())


def columns(subject: Subject) -> Iterator[Finding]:
    """D14: each column of a table by itself."""
    samples = data_of(subject)
    table = table_of(subject, samples)
    if table is None or samples.targets is None or len(samples) < 100:
        return
    if subject.cache.get("fed"):
        return  # what another network makes, as for a discriminator, is meant to be told apart
    name, values = table
    if not np.isfinite(values).all() or subject.kind in ("image", "sound") or values.shape[1] < 2:
        return
    names = column_names(subject, values.shape[1])
    yield from _constant(name, values, names)
    labels = classes_in(subject, samples)
    numbers = samples.targets.reshape(len(values), -1)
    if labels is None and (numbers.shape[1] != 1 or numbers.dtype.kind != "f"):
        return
    target = labels if labels is not None else numbers[:, 0].astype(np.float64)
    yield from _leaks(subject.budget, name, values, names, target, labels is not None)
    yield from _codes(subject, name, values, names, target, labels is not None)


def _constant(name: str, values: NDArray[np.float64], names: list[str]) -> Iterator[Finding]:
    same = np.flatnonzero(values.max(0) == values.min(0))
    if not len(same) or len(same) > 0.2 * values.shape[1] or _many_alike(values, same):
        return
    plain = all(float(values[0, at]) in (0.0, 1.0) for at in same)
    yield finding(
        "D14",
        severity="note" if plain else "warning",
        where=f"{names[same[0]]} of `{name}`",
        title="A column is constant",
        evidence=f"{', '.join(names[at] for at in same[:4])}: all {len(values):,} training samples have "
        f"{', '.join(f'{values[0, at]:.4g}' for at in same[:4])}.",
        cure="Leave it out, and look why it does not vary.",
    )


def _many_alike(values: NDArray[np.float64], same: NDArray[np.int64]) -> bool:
    """Whether columns are the pixels of a picture, a histogram or indicators: of such some are constant by nature."""
    square = values.shape[1] >= 16 and round(values.shape[1] ** 0.5) ** 2 == values.shape[1]
    lowest = bool((values[0, same] == values.min()).all())
    return values.shape[1] > 40 or (square and lowest)


def _leaks(
    budget: Budget, name: str, values: NDArray[np.float64], names: list[str], target: NDArray[Any], labels: bool
) -> Iterator[Finding]:
    usual = float(np.unique(target, return_counts=True)[1].max() / len(target)) if labels else 0.0
    if usual > 0.97 or (not labels and float(target.std()) == 0):
        return
    each = ((at, _alone(budget, values[:, at], target, labels)) for at in range(values.shape[1]))
    found = [(at, told) for at, told in each if told is not None]
    if not found or len(found) > max(1, values.shape[1] // 4):
        return  # where many columns do, the task is easy
    at, (score, apart) = found[0]
    measure = "is right for" if labels else "explains"
    what = f"new samples ({usual:.1%} by always answering one class)" if labels else "the variance"
    yield finding(
        "D14",
        severity="warning" if apart else "note",
        where=f"{names[at]} of `{name}`",
        title="A column gives the target away",
        evidence=f"{names[at]} alone {measure} {score:.1%} of {what}; "
        f"none of the other {values.shape[1] - len(found)} columns does.",
        cure="Is it known when the model will be asked? If it is made of the answer, or after it, leave it out.",
    )


def _alone(
    budget: Budget, column: NDArray[np.float64], target: NDArray[Any], labels: bool
) -> tuple[float, bool] | None:
    """How well a column alone tells the target of other samples, and whether its classes lie apart in it."""
    half = np.arange(len(column)) % 2 == 0
    if not labels:
        if float(column.std()) == 0:
            return None
        score = float(np.corrcoef(column, target)[0, 1] ** 2)
        return (score, True) if score > LEAK else None
    leaves, least = max(3, 2 * min(len(np.unique(target)), 20)), min(LEAK, 1 - 1.5 / len(column))
    if np.mean([_at_most(column[part], target[part], leaves) for part in (half, ~half)]) < least - 1e-9:
        return None
    with budget.loading():
        from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0)
    scores = []
    for part in (half, ~half):
        tree.fit(column[part, None], target[part])
        scores.append(float(tree.score(column[~part, None], target[~part])))
    score = float(np.mean(scores))
    # a threshold on a smooth column is how many made-up tasks are made: only a gap, or equal values, tell of a copy
    return (score, _apart(column, target)) if score >= least else None


def _at_most(column: NDArray[np.float64], target: NDArray[Any], intervals: int) -> float:
    """A share that no rule of so many intervals of a column's values, each with its class, gets more of right.

    Without what it gets wrong, classes change along the column at the ends of its intervals alone, and each sample put
    back adds two changes at the most.
    """
    along = target[np.argsort(column)]
    changes = int((along[1:] != along[:-1]).sum())
    return 1 - max(0, changes - (intervals - 1)) / (2 * len(along))


def _apart(column: NDArray[np.float64], target: NDArray[Any]) -> bool:
    """Whether it is a copy of the classes, has one value for a whole class, or wide gaps between classes."""
    kinds, place, counts = np.unique(column, return_inverse=True, return_counts=True)
    common = int(counts.argmax())
    if len(kinds) <= 2 * len(np.unique(target)):
        return True
    if counts[common] > 0.2 * len(column):
        return len(np.unique(target[place == common])) == 1
    if len(kinds) < 0.8 * len(column):
        return False  # whole numbers, as hours: a rule of them is how many made-up tasks are made
    order = np.argsort(column)
    gaps = np.diff(column[order])
    borders = np.diff(target[order].astype(int)) != 0
    near = [np.median(gaps[max(0, at - 15) : at + 15]) for at in np.flatnonzero(borders)]
    return bool(np.median(gaps[borders]) > 30 * max(float(np.median(near)), 1e-12)) if len(near) else False


def _codes(
    subject: Subject, name: str, values: NDArray[np.float64], names: list[str], target: NDArray[Any], labels: bool
) -> Iterator[Finding]:
    """Whole numbers that stand for categories, of which neighbours have nothing in common."""
    for at in range(min(values.shape[1], 100)):
        column = values[:, at]
        kinds, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        few = CODES_FROM <= len(kinds) <= CODES_TO and float(np.median(counts)) >= 6
        if not few or not _evenly(kinds) or values.shape[1] > 60 or _is_index(subject, name, at):
            continue
        smooth, apart = _told(subject.budget, column, target, labels)
        if apart - smooth < GAIN:
            continue
        means = np.asarray([_mean(target[place == one], labels, target) for one in range(len(kinds))])
        if _neighbours_alike(means):
            continue
        yield finding(
            "D14",
            where=f"{names[at]} of `{name}`",
            title="Categories go in as numbers",
            evidence=f"{names[at]} has {len(kinds)} evenly spaced values whose neighbours have nothing in common: "
            f"as categories it tells {apart:.1%} of {'the labels' if labels else 'the variance'} of new samples, "
            f"as a number (a cubic curve) {smooth:.1%}.",
            cure=f"nn.Embedding({len(kinds)}, 8)(x[:, {at}].long()), or one_hot, in place of the number.",
        )
        return


def _evenly(kinds: NDArray[np.float64]) -> bool:
    """Whether values are whole numbers, or such standardised."""
    steps = np.diff(kinds)
    ratio = steps / steps.min()
    return bool(np.abs(ratio - np.round(ratio)).max() < 1e-2 and float(ratio.mean()) < 3)


def _mean(values: NDArray[Any], labels: bool, target: NDArray[Any]) -> float:
    common = np.bincount(target.astype(int)).argmax() if labels else 0
    return float((values == common).mean() if labels else values.mean())


def _neighbours_alike(means: NDArray[np.float64]) -> bool:
    """Whether neighbouring values have similar targets: then the numbers have an order, as hours and rooms have."""
    step = float(np.mean(np.diff(means) ** 2))
    whole = float(np.mean((means[:, None] - means[None]) ** 2)) * len(means) / (len(means) - 1)
    return step < 0.6 * whole


def _told(budget: Budget, column: NDArray[np.float64], target: NDArray[Any], labels: bool) -> tuple[float, float]:
    """What a cubic curve and what categories tell of other samples' targets: accuracy, or share of the variance."""
    scaled = (column - column.mean()) / column.std()
    curve = np.stack([scaled, scaled**2, scaled**3], axis=1)
    with budget.loading():
        from sklearn.linear_model import LinearRegression, LogisticRegression
        from sklearn.model_selection import cross_val_predict
        from sklearn.preprocessing import OneHotEncoder

    hot = OneHotEncoder(sparse_output=False).fit_transform(column[:, None])
    model = LogisticRegression(max_iter=200) if labels else LinearRegression()
    said = [cross_val_predict(model, one, target, cv=3) for one in (curve, hot)]
    if labels:
        first, second = (float((one == target).mean()) for one in said)
    else:
        first, second = (1 - float(((one - target) ** 2).mean() / target.var()) for one in said)
    return first, second


def _is_index(subject: Subject, name: str, at: int) -> bool:
    """Whether a module takes the column as an index: a little more changes nothing."""
    try:
        inputs, _ = subject.rows(min(32, subject.pool_size))
        value = inputs.get(name)
        if value is None or value.ndim != 2 or at >= value.shape[1]:
            return False
        model = subject.fresh()
        before = subject.answer(model, inputs)
        kinds = torch.unique(value[:, at])
        step = float((kinds[1:] - kinds[:-1]).min()) if len(kinds) > 1 else 1.0
        value[:, at] += 0.3 * step
        return bool(torch.allclose(before, subject.answer(model, inputs), rtol=1e-6, atol=1e-7))
    except NotCheckedError:
        return False


CHECKS: tuple[Check, ...] = (
    Check("an imbalance of classes", ("D10",), imbalance, 1.0),
    Check("columns of a table", ("D14",), columns, 2.0),
)
