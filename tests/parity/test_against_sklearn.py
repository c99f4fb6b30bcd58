"""Every number of an evaluation that scikit-learn has is scikit-learn's; the calibration error is a direct loop's."""

import numpy as np
import pytest
from sklearn import metrics as sk

from netwright.evaluation import Predictions, score
from netwright.metrics import accuracy, average_precision, confusion_matrix, roc_auc
from netwright.results import Evaluation

CASES = 20


def classification_case(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Probabilities and targets: any number of classes and samples, uneven or absent classes, ties, both precisions."""
    generator = np.random.default_rng(seed)
    num_classes = int(generator.choice([2, 2, 3, 4, 6, 10, 25]))
    count = int(generator.choice([12, 60, 300, 1500]))
    prior = generator.dirichlet(np.full(num_classes, generator.choice([0.3, 1.0, 20.0])))
    if num_classes > 2 and seed % 3 == 0:
        prior[generator.integers(num_classes)] = 0
        prior /= prior.sum()
    targets = generator.choice(num_classes, count, p=prior)
    targets[:2] = np.argsort(-prior)[:2]  # at least two classes, or there are no curves
    logits = generator.normal(0, 1, (count, num_classes))
    logits[np.arange(count), targets] += generator.uniform(-0.5, 4)
    if seed % 4 == 0:
        logits = logits.round()  # many equal ones
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probs.astype(np.float32 if seed % 2 else np.float64), targets, num_classes


def wanted_scores(probs: np.ndarray, targets: np.ndarray, num_classes: int) -> dict[str, float]:
    """What scikit-learn says."""
    preds, labels, present = probs.argmax(1), np.arange(num_classes), np.unique(targets)
    wanted = {"accuracy": sk.accuracy_score(targets, preds)}
    recalls = sk.recall_score(targets, preds, labels=present, average=None, zero_division=0)
    wanted["balanced_accuracy"] = float(recalls.mean())
    for average in ("macro", "weighted"):
        found = sk.precision_recall_fscore_support(targets, preds, labels=present, average=average, zero_division=0)
        wanted |= {f"{average}_{name}": found[i] for i, name in enumerate(("precision", "recall", "f1"))}
    for k in (3, 5):
        if num_classes > k:
            wanted[f"top_{k}_accuracy"] = sk.top_k_accuracy_score(targets, probs, k=k, labels=labels)
    exact = probs.astype(np.float64)
    smallest = np.finfo(probs.dtype).eps
    own = np.clip(exact[np.arange(len(targets)), targets], smallest, 1 - smallest)
    wanted["log_loss"] = float(-np.log(own).mean())
    one_hot = np.eye(num_classes)[targets]
    wanted["brier"] = float(((exact - one_hot) ** 2).sum(1).mean()) / (2 if num_classes == 2 else 1)
    if num_classes == 2:
        found = sk.precision_recall_fscore_support(targets, preds, average="binary", zero_division=0)
        wanted |= {name: found[i] for i, name in enumerate(("precision", "recall", "f1"))}
        wanted["roc_auc"] = sk.roc_auc_score(targets, probs[:, 1])
        wanted["average_precision"] = sk.average_precision_score(targets, probs[:, 1])
    else:
        wanted["macro_roc_auc"] = np.mean([sk.roc_auc_score(targets == c, probs[:, c]) for c in present])
        wanted["macro_average_precision"] = np.mean(
            [sk.average_precision_score(targets == c, probs[:, c]) for c in present]
        )
    return wanted


def direct_ece(probs: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    confidence, right = probs.max(1).astype(np.float64), probs.argmax(1) == targets
    total = 0.0
    for low, high in zip(np.linspace(0, 1, bins + 1)[:-1], np.linspace(0, 1, bins + 1)[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.sum() / len(targets) * abs(right[inside].mean() - confidence[inside].mean())
    return total


def evaluated(probs: np.ndarray, targets: np.ndarray) -> Evaluation:
    return score(Predictions(np.arange(len(targets)), targets, probs), task="classification", split="test")


@pytest.mark.parametrize("seed", range(CASES))
def test_classification_scores_are_those_of_scikit_learn(seed: int) -> None:
    """All scores agree to 1e-6, counts exactly, with absent classes, ties and any imbalance."""
    probs, targets, num_classes = classification_case(seed)
    evaluation = evaluated(probs, targets)
    found = {one.name: one.value for one in evaluation.scores}
    wanted = wanted_scores(probs, targets, num_classes)
    wanted["ece"] = direct_ece(probs, targets)
    assert found == pytest.approx(wanted, abs=1e-6)
    table = sk.confusion_matrix(targets, probs.argmax(1), labels=np.arange(num_classes))
    assert np.array_equal(evaluation.confusion, table)
    assert np.array_equal(confusion_matrix(probs, targets), table)
    assert accuracy(probs, targets) == sk.accuracy_score(targets, probs.argmax(1))


@pytest.mark.parametrize("seed", range(CASES))
def test_rows_by_class_are_those_of_scikit_learn(seed: int) -> None:
    """Support, precision, recall, F1 and areas of each class agree."""
    probs, targets, num_classes = classification_case(seed)
    labels = np.arange(num_classes)
    wanted = sk.precision_recall_fscore_support(targets, probs.argmax(1), labels=labels, average=None, zero_division=0)
    rows = evaluated(probs, targets).per_class
    for values, name in zip(wanted, ("precision", "recall", "f1"), strict=False):
        assert [getattr(row, name).value for row in rows] == pytest.approx(values.tolist(), abs=1e-12)
    assert [row.support for row in rows] == wanted[3].tolist()
    for label, row in enumerate(rows):
        if row.support:
            assert row.roc_auc == pytest.approx(sk.roc_auc_score(targets == label, probs[:, label]), abs=1e-9)
            assert row.average_precision == pytest.approx(
                sk.average_precision_score(targets == label, probs[:, label]), abs=1e-9
            )
        else:
            assert row.roc_auc is None
            assert row.average_precision is None


@pytest.mark.parametrize("num_classes", [2, 5])
def test_losses_are_those_of_scikit_learn(num_classes: int) -> None:
    """Log-loss and Brier score agree with the library's own functions, certain and wrong answers included."""
    generator = np.random.default_rng(num_classes)
    logits = generator.normal(0, 20, (400, num_classes))
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    targets = generator.integers(0, num_classes, 400)
    evaluation = evaluated(probs, targets)
    assert evaluation.score("log_loss").value == pytest.approx(sk.log_loss(targets, probs), abs=1e-6)
    if num_classes == 2:  # older versions know the score of two classes only
        assert evaluation.score("brier").value == pytest.approx(sk.brier_score_loss(targets, probs[:, 1]), abs=1e-6)
    else:
        # scikit-learn's own mean over classes against the rest
        area = sk.roc_auc_score(targets, probs, multi_class="ovr", average="macro")
        assert evaluation.score("macro_roc_auc").value == pytest.approx(area, abs=1e-6)


@pytest.mark.parametrize("seed", range(CASES))
def test_regression_scores_are_those_of_scikit_learn(seed: int) -> None:
    """Mean absolute error, root mean squared error, R² and median agree, for one output and for several."""
    generator = np.random.default_rng(seed)
    count, outputs = int(generator.choice([5, 40, 900])), int(generator.choice([1, 1, 3]))
    targets = generator.normal(generator.uniform(-1e3, 1e3), generator.uniform(0.1, 50), (count, outputs))
    if seed % 5 == 0:
        targets[:, 0] = 7.0  # never changes
    values = targets * generator.uniform(0.5, 1.1) + generator.normal(0, 10, targets.shape)
    shape = targets if outputs > 1 else targets[:, 0]
    given = values if outputs > 1 else values[:, 0]
    evaluation = score(Predictions(np.arange(count), shape, given), task="regression", split="test")
    wanted = {
        "mae": sk.mean_absolute_error(targets, values),
        "rmse": np.mean(np.sqrt(sk.mean_squared_error(targets, values, multioutput="raw_values"))),
        "r2": sk.r2_score(targets, values),
        "median_absolute_error": sk.median_absolute_error(targets, values),
    }
    assert {one.name: one.value for one in evaluation.scores} == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_influence_on_an_area_is_its_derivative(seed: int) -> None:
    """Weighing one sample a little more moves scikit-learn's area by what the influence says."""
    generator = np.random.default_rng(seed)
    scores, positive = generator.normal(size=60).round(1), generator.random(60) < 0.4
    for area, reference in ((roc_auc, sk.roc_auc_score), (average_precision, sk.average_precision_score)):
        influence = area(scores, positive).influence  # type: ignore[union-attr]
        for index in range(0, 60, 7):
            moved = []
            for nudge in (-1e-5, 1e-5):
                weights = np.ones(60)
                weights[index] += nudge
                moved.append(reference(positive, scores, sample_weight=weights))
            assert 60 * (moved[1] - moved[0]) / 2e-5 == pytest.approx(influence[index], abs=1e-4)
