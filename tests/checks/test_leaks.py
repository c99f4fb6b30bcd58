"""Whether a column by itself tells the classes: what rules a tree out may rule out none that would have told."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from netwright.checks import data_targets
from netwright.checks.subject import Budget


@pytest.mark.parametrize("seed", range(60))
def test_no_rule_of_intervals_is_better_than_the_bound(seed: int) -> None:
    """Against the best of all rules, found by trying each; with values that come several times."""
    rng = np.random.default_rng(seed)
    count, intervals = 9, int(rng.integers(1, 4))
    column = rng.integers(0, rng.integers(2, 12), count).astype(np.float64)
    target = rng.integers(0, 3, count)
    borders = np.unique(column)[1:]
    best = 0
    for cuts in itertools.combinations(borders, min(intervals - 1, len(borders))):
        part = np.searchsorted(cuts, column, side="right")
        best = max(best, sum(int(np.bincount(target[part == one]).max()) for one in np.unique(part)))
    assert best / count <= data_targets._at_most(column, target, intervals) + 1e-12


@pytest.mark.parametrize("seed", range(40))
def test_columns_tell_what_a_tree_of_each_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From noise to copies of the classes, clean and with a few wrong."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2 + seed % 3, 300)
    column = target + rng.normal(0, (0, 0.05, 0.15, 0.3, 3)[seed % 5], len(target))
    wrong = rng.permutation(len(target))[: seed % 4]
    column[wrong] += 1.0
    found = data_targets._alone(Budget(10), column, target, True)
    monkeypatch.setattr(data_targets, "_at_most", lambda *given: 1.0)
    assert found == data_targets._alone(Budget(10), column, target, True)


def test_noise_needs_no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*given: object) -> None:
        raise AssertionError("a tree was grown")

    monkeypatch.setattr(DecisionTreeClassifier, "fit", fit)
    rng = np.random.default_rng(0)
    assert data_targets._alone(Budget(10), rng.normal(size=1_000), rng.integers(0, 3, 1_000), True) is None
