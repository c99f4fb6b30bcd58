"""Means over classes where a rare class decides: cases that no constant of the intervals was picked on."""

import numpy as np
import pytest

from netwright.intervals import wilson, wilson_effective, wilson_mean
from netwright.metrics.rates import class_rate, mean_interval, mean_rate

SIMULATIONS = 1_500


def true_cells(prior: list[float], recalls: list[float]) -> np.ndarray:
    """Chances of true against predicted class; mistakes fall on the other classes at random."""
    generator = np.random.default_rng(0)
    num_classes = len(prior)
    wrong = generator.dirichlet(np.ones(num_classes), num_classes) * (1 - np.eye(num_classes))
    wrong /= wrong.sum(1, keepdims=True)
    cells = (wrong * (1 - np.array(recalls))[:, None] + np.diag(recalls)) * np.array(prior)[:, None]
    return np.asarray(cells / cells.sum())


RARE = [
    ([0.95, 0.05], [0.92, 0.92], 600),
    ([0.95, 0.05], [0.97, 0.85], 600),
    ([0.98, 0.02], [0.99, 0.9], 2000),
    ([0.3, 0.25, 0.15, 0.12, 0.1, 0.05, 0.03], [0.6, 0.8, 0.9, 0.7, 0.8, 0.9, 0.8], 400),
    (np.geomspace(1, 1 / 30, 5).tolist(), [0.95, 0.9, 0.9, 0.85, 0.8], 500),
    (np.geomspace(1, 1 / 50, 10).tolist(), np.linspace(0.97, 0.8, 10).tolist(), 3000),
]


def drawn(prior: list[float], recalls: list[float], count: int) -> tuple[float, list[np.ndarray]]:
    """The true mean recall, and confusion matrices of samples."""
    cells = true_cells(prior, recalls)
    tables = np.random.default_rng(79).multinomial(count, cells.ravel(), SIMULATIONS)
    return float(class_rate(cells, "recall").value.mean()), list(tables.reshape(-1, *cells.shape))


@pytest.mark.parametrize(("prior", "recalls", "count"), RARE)
def test_balanced_accuracy_is_covered_where_a_class_is_rare(
    prior: list[float], recalls: list[float], count: int
) -> None:
    """In 93.5 % at least; up to 98.5 %, for safety costs width where so few samples decide."""
    truth, tables = drawn(prior, recalls, count)
    ends = [mean_interval(table, "recall")[1] for table in tables]
    assert 0.935 <= np.mean([low <= truth <= high for low, high in ends]) <= 0.985


def test_mistakes_of_a_large_class_are_no_evidence_for_a_small_one() -> None:
    """The twin: with all mistakes counted as evidence, the truth is held in less than 90 %."""
    truth, tables = drawn(*RARE[0])
    inside = 0
    for table in tables:
        mean = mean_rate(table, "recall")
        mistakes = float(table.sum() - np.trace(table))
        low, high = wilson_effective(
            mean.value, variance=mean.variance, plain_count=mean.plain_count, mistakes=mistakes
        )
        inside += low <= truth <= high
    assert inside / SIMULATIONS < 0.9


def test_evidence_is_all_mistakes_where_classes_are_even() -> None:
    """Ten alike classes: each mistake bears as much."""
    table = np.full((10, 10), 2) + 80 * np.eye(10, dtype=np.int64)
    assert mean_rate(table, "recall").evidence == pytest.approx(180, rel=0.02)


def test_a_mean_of_one_group_is_its_own_interval() -> None:
    """Groups without samples are left out."""
    assert wilson_mean(np.array([7, 0]), np.array([10, 0])) == pytest.approx(wilson(7, 10))
