"""Split samples into train, val and test: stratified by class, or whole groups at a time. Seeded, and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.errors import DataError
from netwright.randomness import unchanged_random

Indices = NDArray[np.int64]


# From here on scikit-learn's split takes a hundred bytes a sample, a gigabyte for ten million.
MANY_SAMPLES = 2_000_000


def split_off(
    targets: NDArray[Any],
    share: float,
    *,
    seed: int,
    classes: Sequence[str] | None,
    groups: Sequence[str] | None = None,
) -> tuple[Indices, Indices]:
    """Indices of the samples that stay, and of the share that is split off; both sorted.

    Args:
        targets: (N,) classes, or any shape in regression.
        share: Of all samples, above 0 and below 1.
        classes: Names, to keep the share of each class; None in regression.
        groups: What must not be torn apart, one a sample; then classes are not stratified.

    Raises:
        DataError: A class has one sample, or there are too few groups or samples.
    """
    # Late: a second, for data that are split; some of what it imports draws from Python's generator.
    with unchanged_random(torch.device("cpu")):
        from sklearn.model_selection import GroupShuffleSplit, train_test_split

    everything = np.arange(len(targets))
    if groups is not None:
        if len(set(groups)) < 2:
            raise DataError(
                where="--group-by",
                expected="at least two groups",
                got=f"{len(set(groups))}: {', '.join(sorted(set(groups))[:3])}",
                cure="Change the expression so that it tells groups apart.",
            )
        splitter = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
        kept, taken = next(splitter.split(everything, groups=np.asarray(groups)))
        return np.sort(kept), np.sort(taken)
    stratify = None
    if classes is not None:
        counts = np.bincount(targets[targets >= 0], minlength=len(classes))
        rare = [f"{classes[i]} ({count})" for i, count in enumerate(counts) if count == 1]
        if rare:
            raise DataError(
                where=f"class {', '.join(rare)}",
                expected="at least 2 samples of each class, to learn from one and test on the other",
                got="1",
                cure="Add samples, remove the class, or give train/ and test/ folders of your own.",
            )
        stratify = np.where(targets >= 0, targets, counts.argmax() if len(counts) else 0)  # ignored ones are no class
    taken_count = max(round(share * len(targets)), 1)
    if classes is not None:  # each class in each part, where there are enough samples
        taken_count = min(max(taken_count, len(classes)), len(targets) - len(classes))
    if taken_count < 1 or taken_count >= len(targets):
        raise DataError(
            where="the data",
            expected="enough samples to split",
            got=f"{len(targets)}",
            cure="Add samples, or give the splits yourself.",
        )
    if len(targets) > MANY_SAMPLES:
        return _split_large(
            targets if stratify is None else stratify, taken_count, seed=seed, by_class=stratify is not None
        )
    kept, taken = train_test_split(everything, test_size=taken_count, random_state=seed, stratify=stratify)
    return np.sort(kept), np.sort(taken)


def _split_large(targets: NDArray[Any], taken_count: int, *, seed: int, by_class: bool) -> tuple[Indices, Indices]:
    """As ``split_off``, with a few bytes a sample: of each class the same share, rounded."""
    generator = np.random.default_rng(seed)
    share = taken_count / len(targets)
    taken = np.zeros(len(targets), dtype=bool)
    for label in np.unique(targets) if by_class else [None]:
        where = np.arange(len(targets)) if label is None else np.flatnonzero(targets == label)
        generator.shuffle(where)
        taken[where[: max(1, round(share * len(where)))]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)
