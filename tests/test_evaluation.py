"""Evaluations: every score with its interval, doubts in words, and what is refused."""

import math
import time

import numpy as np
import pytest

from evaluation_fixture import classified, probabilities
from netwright.errors import DataError, ModelError, NonFiniteError, UsageError
from netwright.evaluation import Predictions, score
from netwright.results import Evaluation


def test_every_score_of_a_classification_has_its_interval() -> None:
    """Each interval holds its value and says how it was made; the calibration error alone has none."""
    for num_classes in (2, 7):
        evaluation = classified(400, num_classes)
        assert evaluation.headline == evaluation.scores[0].name == "accuracy"
        for one in evaluation.scores:
            if one.name == "ece":
                continue
            assert one.method is not None, one.name
            assert one.low <= one.value <= one.high, one.name  # type: ignore[operator]
            assert one.low < one.high, one.name  # type: ignore[operator]
        for row in evaluation.per_class:
            for one in (row.precision, row.recall, row.f1):
                assert one.low <= one.value <= one.high  # type: ignore[operator]
    names = {one.name for one in classified(50, 2).scores}
    assert {"precision", "recall", "f1", "roc_auc", "average_precision"} <= names


def test_ten_thousand_samples_are_scored_in_two_seconds() -> None:
    """Ten classes, on one core, bootstrap included."""
    targets = np.random.default_rng(0).integers(0, 10, 10_000)
    predictions = Predictions(np.arange(10_000), targets, probabilities(targets, 10))
    started = time.process_time()
    score(predictions, task="classification", split="test")
    assert time.process_time() - started < 2


def test_same_predictions_give_the_same_evaluation() -> None:
    """Also the numbers that are drawn; it goes to JSON and back unchanged."""
    evaluation = classified(200, 3, classes=("a", "b", "c"))
    assert classified(200, 3, classes=("a", "b", "c")) == evaluation
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_absent_classes_are_left_out_and_named() -> None:
    """Means are over the classes there are; the others have rows of zero support, and no number is NaN."""
    targets = np.array([0, 1] * 100)
    evaluation = score(
        Predictions(np.arange(200), targets, probabilities(targets, 4)),
        task="classification",
        split="val",
        classes=tuple("abcd"),
    )
    assert any('"c", "d"' in note for note in evaluation.notes)
    assert all(math.isfinite(one.value) for one in evaluation.scores)
    assert [row.support for row in evaluation.per_class] == [100, 100, 0, 0]
    assert evaluation.per_class[2].recall.low == 0.0
    assert evaluation.per_class[2].recall.high == 1.0
    recalls = [row.recall.value for row in evaluation.per_class[:2]]
    assert evaluation.score("balanced_accuracy").value == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("targets", [[0], [1, 1, 1], [0, 1]])
def test_tiny_splits_are_scored(targets: list[int], num_classes: int) -> None:
    """One sample, one class, two samples: numbers and doubts, no failure."""
    wanted = np.array(targets)
    predictions = Predictions(np.arange(len(wanted)), wanted, probabilities(wanted, num_classes))
    evaluation = score(predictions, task="classification", split="test")
    assert all(math.isfinite(one.value) for one in evaluation.scores)
    assert any("Only" in note for note in evaluation.notes)
    assert (evaluation.score("log_loss").low is None) == (len(wanted) == 1)
    assert any("one class" in note for note in evaluation.notes) == (len(set(targets)) == 1)


def test_perfect_answers_are_not_certain() -> None:
    """All right: the intervals of accuracy and means over classes still reach below 1."""
    targets = np.arange(200) % 4
    evaluation = score(Predictions(np.arange(200), targets, np.eye(4)[targets]), task="classification", split="test")
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_roc_auc", "macro_average_precision"):
        assert evaluation.score(name).value == 1.0
        assert evaluation.score(name).low < 0.99  # type: ignore[operator]


def test_doubts_are_said_only_where_there_are_any() -> None:
    """A calibrated model on many samples draws no note; an overconfident one on uneven classes draws two."""
    generator = np.random.default_rng(3)
    probs = generator.dirichlet(np.full(3, 0.3), 5_000)
    targets = (generator.random(5_000)[:, None] > probs.cumsum(1)).sum(1)
    well = score(Predictions(np.arange(5_000), targets, probs), task="classification", split="test")
    assert well.notes == ()
    uneven = np.where(generator.random(5_000) < 0.03, 1, 0)
    sure = probabilities(uneven, 2, margin=0.5) ** 8
    sure /= sure.sum(1, keepdims=True)
    notes = score(Predictions(np.arange(5_000), uneven, sure), task="classification", split="test").notes
    assert any("surer than it is right" in note for note in notes)
    assert any("balanced accuracy" in note for note in notes)


def test_a_class_never_answered_is_named() -> None:
    """Its precision and F1 are 0, as in scikit-learn, and a note says so."""
    targets = np.array([0, 1, 2] * 40)
    probs = np.tile([0.5, 0.3, 0.2], (120, 1))
    evaluation = score(Predictions(np.arange(120), targets, probs), task="classification", split="test")
    assert any('never answers "1", "2"' in note for note in evaluation.notes)
    assert evaluation.per_class[1].f1.value == 0.0


def test_regression_is_scored_with_intervals() -> None:
    """One output and several; the mean absolute error stands first."""
    generator = np.random.default_rng(0)
    for shape in ((300,), (300, 3)):
        targets = generator.normal(size=shape).astype(np.float32)
        values = targets + generator.normal(0, 0.3, shape).astype(np.float32)
        evaluation = score(Predictions(np.arange(300), targets, values), task="regression", split="test")
        assert evaluation.headline == "mae"
        assert evaluation.notes == ()
        for name in ("mae", "rmse", "r2"):
            one = evaluation.score(name)
            assert one.low < one.value < one.high  # type: ignore[operator]
            assert one.method is not None


def test_doubts_about_a_regression() -> None:
    """A constant target, a constant missing, answers worse than the mean, one sample."""

    def notes(targets: list[float], values: list[float]) -> str:
        given = Predictions(np.arange(len(targets)), np.array(targets), np.array(values))
        return " ".join(score(given, task="regression", split="test").notes)

    generator = np.random.default_rng(0)
    some = generator.normal(size=200)
    assert "never changes" in notes([1.0] * 200, some.tolist())
    assert "too high" in notes(some.tolist(), (some + 0.7 + 0.1 * generator.normal(size=200)).tolist())
    assert "R² is -" in notes(some.tolist(), (-some).tolist())
    assert "Only 1 sample:" in notes([1.0], [2.0])
    assert notes([0.0, 1.0] * 100, [0.0, 1.0] * 100) == ""


@pytest.mark.parametrize(
    ("targets", "answers", "error", "said"),
    [
        ([], np.zeros((0, 2)), DataError, "at least one"),
        ([0, 1], np.ones((3, 2)) / 2, DataError, "one target"),
        ([0, 1], np.array([0.3, 0.2]), DataError, "probabilities"),
        ([0, 2], np.ones((2, 2)) / 2, DataError, "0 to 1"),
        ([0, 1], np.array([[0.5, 0.5], [np.nan, 0.5]]), NonFiniteError, "1 of 2"),
        ([0, 1], np.array([[3.0, -1.0], [0.5, 0.5]]), ModelError, "softmax"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    targets: list[int], answers: np.ndarray, error: type[Exception], said: str
) -> None:
    """Each refusal names the sample or the shapes."""
    predictions = Predictions(np.arange(len(targets)), np.array(targets, dtype=np.int64), answers)
    with pytest.raises(error, match=said):
        score(predictions, task="classification", split="test")


def test_names_must_fit_the_classes() -> None:
    """And the task must be one there is."""
    with pytest.raises(UsageError, match="3 names"):
        classified(10, 3, classes=("a", "b"))
    with pytest.raises(UsageError, match="task"):
        score(Predictions(np.arange(1), np.zeros(1), np.zeros(1)), task="ranking", split="test")  # type: ignore[arg-type]
