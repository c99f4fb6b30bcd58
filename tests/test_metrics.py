"""Accuracy, the confusion matrix, and sums that can be merged."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.errors import DataError, UsageError
from netwright.metrics import Calibration, Confusion, Errors, Mean, TopHits, accuracy, confusion_matrix

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 1.0, 0.0], [-1.0, -2.0, -0.5]])
TARGETS = np.array([0, 1, 1, 2])  # three of four: of equal ones the first is taken


@pytest.mark.parametrize(
    "outputs",
    [
        LOGITS,
        LOGITS.tolist(),
        torch.tensor(LOGITS),
        torch.tensor(LOGITS, requires_grad=True),
        torch.tensor(LOGITS).bfloat16(),
        torch.tensor(LOGITS).softmax(1),
        [0, 1, 0, 2],
        np.array([[0], [1], [0], [2]]),
        list(torch.tensor([0, 1, 0, 2])),
    ],
)
def test_accuracy_reads_decided_classes_and_columns(outputs: object) -> None:
    """Arrays, lists and tensors; classes, logits and probabilities."""
    for targets in (TARGETS, TARGETS.tolist(), torch.tensor(TARGETS), TARGETS[:, None], TARGETS.astype(np.float32)):
        assert accuracy(outputs, targets) == 0.75


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_real_number_a_sample_is_refused(shape: tuple[int, ...]) -> None:
    """Where to cut it is not known: the error says both ways; once cut, it is counted."""
    outputs = torch.tensor([0.2, -0.3, 2.0, 0.4]).reshape(shape)
    with pytest.raises(UsageError, match="outputs > 0") as caught:
        accuracy(outputs, [1, 0, 1, 0])
    assert "0.5" in caught.value.cure
    assert accuracy(outputs > 0, [1, 0, 1, 0]) == 0.75
    assert accuracy(outputs > 0.5, torch.tensor([[1.0], [0.0], [1.0], [0.0]])) == 0.75


def test_a_column_of_targets_is_not_broadcast() -> None:
    """(N,) against (N, 1) compares sample with sample, not all with all."""
    assert accuracy([0, 1, 1], np.array([[0], [1], [0]])) == pytest.approx(2 / 3)


def test_pixels_are_samples_too() -> None:
    """Outputs (N, C, H, W) against targets (N, H, W)."""
    targets = np.random.default_rng(0).integers(0, 3, (2, 4, 5))
    assert accuracy(np.eye(3)[targets].transpose(0, 3, 1, 2), targets) == 1.0


def test_ignored_targets_are_left_out() -> None:
    """Targets of -100 count neither as right nor as wrong."""
    assert accuracy([0, 1, 1], [0, -100, 0]) == 0.5
    assert confusion_matrix([0, 1, 1], [0, -100, 0]).tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("outputs", "targets", "error", "said"),
    [
        ([0, 1], [0, 1, 1], UsageError, "shape"),
        (LOGITS, TARGETS[:3], UsageError, "shape"),
        (LOGITS, np.eye(3)[TARGETS], UsageError, "argmax"),
        ([], [], UsageError, "at least one"),
        ([0], [-100], UsageError, "at least one"),
        ([0, 1], [0, -1], DataError, "-1"),
        ([[np.nan, 1.0], [0.0, 1.0]], [0, 1], DataError, "NaN in 1 of 2"),
        ([0, 1], [0.0, 0.5], UsageError, "0.5"),
        (["cat"], ["dog"], UsageError, "numbers"),
        (3, 3, UsageError, "array"),
        (np.zeros((2, 3), np.int64), [0, 1], UsageError, "shape"),
    ],
)
def test_what_cannot_be_counted_is_refused(outputs: object, targets: object, error: type[Exception], said: str) -> None:
    """Each refusal says what was found."""
    with pytest.raises(error, match=said):
        accuracy(outputs, targets)


def test_confusion_matrix_counts_truth_by_row() -> None:
    """Row is the true class; classes that never occur have empty rows and columns."""
    table = confusion_matrix([0, 1, 1], [0, 0, 1], num_classes=3)
    assert table.dtype == np.int64
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert confusion_matrix(LOGITS, [0, 0, 0, 0]).shape == (3, 3)
    with pytest.raises(UsageError, match="num_classes"):
        confusion_matrix([0, 3], [0, 1], num_classes=3)
    with pytest.raises(UsageError, match="0 to 1"):
        confusion_matrix([0, -1], [0, 1], num_classes=2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_merged_parts_equal_the_whole(seed: int, sizes: list[int]) -> None:
    """However samples are cut into batches and merged, scores are those of all at once."""
    generator = np.random.default_rng(seed)
    count = sum(sizes)
    probs = generator.dirichlet(np.ones(6), count)
    targets = generator.integers(0, 6, count)
    values, wanted = generator.normal(1e3, 1, (2, count, 2))
    cuts = np.cumsum([0, *sizes])
    parts = [slice(low, high) for low, high in zip(cuts[:-1], cuts[1:], strict=True)]
    for zero, first, second in (
        (Confusion.zero(6), probs, targets),
        (TopHits.zero(3), probs, targets),
        (Calibration.zero(), probs, targets),
    ):
        whole, merged = zero.update(first, targets), zero
        for part in parts:
            merged = merged.merge(zero.update(first[part], second[part]))
        assert merged.compute() == pytest.approx(whole.compute(), abs=1e-12)
    merged_errors, merged_mean = Errors.zero(2), Mean.zero()
    for part in parts:
        merged_errors = merged_errors.update(values[part], wanted[part])
        merged_mean = merged_mean.merge(Mean.zero().update(values[part].sum(), values[part].size))
    whole_errors = Errors.zero(2).update(values, wanted).compute()
    assert merged_errors.compute() == pytest.approx(whole_errors, rel=1e-9, abs=1e-9)
    assert merged_mean.compute() == pytest.approx(values.mean())


def test_sums_of_different_things_do_not_merge() -> None:
    """Other classes, other k, other outputs."""
    pairs = (
        (Confusion.zero(2), Confusion.zero(3)),
        (TopHits.zero(3), TopHits.zero(5)),
        (Errors.zero(1), Errors.zero(2)),
    )
    for one, other in (*pairs, (Calibration.zero(10), Calibration.zero(15))):
        with pytest.raises(UsageError, match="shape"):
            one.merge(other)  # type: ignore[arg-type]


def test_nothing_has_no_mean() -> None:
    """The mean of no loss is NaN, not 0."""
    assert np.isnan(Mean.zero().compute())


def test_bins_hold_their_upper_end() -> None:
    """A confidence of exactly k/15 falls in the bin that ends there, 0 in the first, 1 in the last."""
    sums = Calibration.zero()
    stated = np.append(sums.edges, 0.5)
    counts = sums.update_decided(stated, np.ones(len(stated), dtype=bool)).counts
    assert counts.tolist() == [2, *[1] * 6, 2, *[1] * 7]


def test_metrics_and_evaluation_load_no_torch() -> None:
    """Scoring arrays needs no torch in the process."""
    code = (
        "import sys, numpy as np; from netwright.metrics import accuracy\n"
        "from netwright.evaluation import Predictions, score\n"
        "p = np.array([[.9, .1], [.2, .8], [.6, .4]]); accuracy(p, [0, 1, 1])\n"
        "score(Predictions(np.arange(3), np.array([0, 1, 1]), p), task='classification', split='test')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
