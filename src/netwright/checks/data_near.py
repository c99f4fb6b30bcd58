"""Neighbours of training samples, and whether what they are paired with agrees among neighbours.

A score of agreement is compared with that of the same targets in random orders, in standard deviations: so it needs no
threshold of its own for easy and hard tasks, few and many classes, real numbers and labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from netwright.checks.data_rows import classes_in, matrix, spread
from netwright.checks.facts import Samples
from netwright.checks.subject import NotCheckedError, Subject

NEIGHBOURS = 10
MOST_ROWS = 1_500
MOST_FEATURES = 1_024
DIRECTIONS = 16  # in which most of the variance lies; more only add noise to distances
ORDERS = 20  # random ones to compare with


@dataclass(frozen=True, slots=True)
class Near:
    """Samples with their neighbours.

    Attributes:
        rows: In the directions of most variance, (N, D).
        neighbours: Of each the nearest other samples, int (N, NEIGHBOURS).
        distance: To the nearest of them, (N,).
        targets: Labels as int, or real numbers, (N,); ``labels`` says which.
        ids: Index of each in its split.
    """

    rows: NDArray[np.float64]
    neighbours: NDArray[np.int64]
    distance: NDArray[np.float64]
    targets: NDArray[np.float64]
    labels: bool
    ids: NDArray[np.int64]

    def agreement(self, targets: NDArray[np.float64] | None = None, where: NDArray[np.bool_] | None = None) -> float:
        """How much better neighbours agree than in random orders, in standard deviations.

        Args:
            targets: In place of the samples' own.
            where: Samples that count, which have a target.
        """
        own = self.targets if targets is None else targets
        keep = np.ones(len(own), dtype=bool) if where is None else where
        known = np.flatnonzero(keep)
        if len(known) < 60:
            return 0.0
        place = np.full(len(own), -1)
        place[known] = np.arange(len(known))
        near = place[self.neighbours[known]]
        values = own[known]
        random = np.random.default_rng(0)
        reached = self._score(values, near)
        others = [self._score(values[random.permutation(len(values))], near) for _ in range(ORDERS)]
        return float((reached - np.mean(others)) / max(float(np.std(others)), 1e-9))

    def _score(self, values: NDArray[np.float64], near: NDArray[np.int64]) -> float:
        there = near >= 0
        if self.labels:
            return float((values[near] == values[:, None])[there].mean())
        return -float(np.abs(values[near] - values[:, None])[there].mean())

    def hits(self, targets: NDArray[np.float64]) -> float:
        """Share of labels that the vote of the neighbours finds."""
        votes = [np.bincount(targets[one].astype(int)).argmax() for one in self.neighbours[:, :5]]
        return float(np.mean(np.asarray(votes) == targets))


def near_of(subject: Subject, split: str = "train") -> Near:
    """Neighbours within a split, found once.

    Raises:
        NotCheckedError: Inputs or targets do not suit.
    """
    key = f"near {split}"
    if key not in subject.cache:
        try:
            subject.cache[key] = _near(subject, split)
        except NotCheckedError as reason:
            subject.cache[key] = reason
    found = subject.cache[key]
    if isinstance(found, NotCheckedError):
        raise NotCheckedError(str(found))
    assert_near: Near = found
    return assert_near


def _near(subject: Subject, split: str) -> Near:
    samples = subject.splits.get(split)
    if samples is None or len(samples) < 100:
        raise NotCheckedError(f"fewer than 100 samples of {split} are known")
    targets, labels = _targets(subject, samples)
    rows = matrix(subject, samples)[:MOST_ROWS]
    rows = rows[:, :: max(1, rows.shape[1] // MOST_FEATURES)]
    if not np.isfinite(rows).all() or not np.isfinite(targets).all():
        raise NotCheckedError("there is NaN or infinity among the inputs or targets")
    rows = spread(rows)
    if rows.shape[1] > DIRECTIONS:
        _, _, axes = np.linalg.svd(rows[:600], full_matrices=False)
        rows = rows @ axes[:DIRECTIONS].T
    distance, near = cKDTree(rows).query(rows, k=NEIGHBOURS + 1)
    # the nearest one is the sample itself, except among equal rows
    own = near == np.arange(len(rows))[:, None]
    own[~own.any(1), -1] = True
    others = near[~own].reshape(len(rows), NEIGHBOURS)
    return Near(rows, others, distance[:, 1], targets[: len(rows)], labels, np.asarray(samples.ids[: len(rows)]))


def _targets(subject: Subject, samples: Samples) -> tuple[NDArray[np.float64], bool]:
    labels = classes_in(subject, samples)
    if labels is not None:
        if not 2 <= len(np.unique(labels)) <= 100:
            raise NotCheckedError("there is one class, or there are too many")
        return labels.astype(np.float64), True
    values = samples.targets
    if values is None or values.dtype.kind != "f" or values.reshape(len(values), -1).shape[1] != 1:
        raise NotCheckedError("targets are neither one label nor one number")
    return values.reshape(-1).astype(np.float64), False


def clustered(rows: NDArray[np.float64]) -> float:
    """Distance to near samples over that among as many normal draws of the same covariance: below 1 in clusters."""
    random = np.random.default_rng(0)
    covariance = np.cov(rows.T).reshape(rows.shape[1], rows.shape[1])
    drawn = random.multivariate_normal(rows.mean(0), covariance, size=len(rows), method="svd")
    own = cKDTree(rows).query(rows, k=3)[0][:, 2]  # the second nearest: copies of a row alone are no structure
    normal = cKDTree(drawn).query(drawn, k=3)[0][:, 2]
    return float(np.median(own) / max(float(np.median(normal)), 1e-12))
