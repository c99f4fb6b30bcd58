"""Splits keep the share of each class, tear no group apart, and depend on the split seed alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netwright.data as nd
from netwright.data.facts import choose_splits
from netwright.data.splits import split_off
from netwright.errors import DataError
from netwright.records import LoadOptions


def labels(*counts: int) -> np.ndarray:
    values = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(values)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(2, 80), min_size=2, max_size=6),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 2**31),
)
def test_each_class_keeps_its_share(counts: list[int], share: float, seed: int) -> None:
    """Both parts together are everything, once; each class is split by its share, to one sample where that can be."""
    targets = labels(*counts)
    kept, taken = split_off(targets, share, seed=seed, classes=[str(i) for i in range(len(counts))])
    assert np.array_equal(np.sort(np.concatenate([kept, taken])), np.arange(len(targets)))
    actual = len(taken) / len(targets)
    for index, count in enumerate(counts):
        assert abs((targets[taken] == index).sum() - actual * count) <= 1 + 1e-9


def test_parts_are_sorted_and_repeat() -> None:
    """The same seed gives the same parts, in order; another seed gives others."""
    targets = labels(50, 50)
    first = split_off(targets, 0.2, seed=0, classes="ab")
    again = split_off(targets, 0.2, seed=0, classes="ab")
    other = split_off(targets, 0.2, seed=1, classes="ab")
    for part, same in zip(first, again, strict=True):
        assert np.array_equal(part, same)
        assert np.array_equal(part, np.sort(part))
    assert not np.array_equal(first[1], other[1])


@settings(max_examples=40, deadline=None)
@given(groups=st.lists(st.sampled_from("abcdefgh"), min_size=10, max_size=100), seed=st.integers(0, 1000))
def test_groups_are_never_torn(groups: list[str], seed: int) -> None:
    """Each group lies whole on one side."""
    if len(set(groups)) < 2:
        groups = [*groups, "i"]
    targets = np.zeros(len(groups), dtype=np.int64)
    kept, taken = split_off(targets, 0.3, seed=seed, classes=["a"], groups=groups)
    assert len(kept) and len(taken)
    assert not {groups[i] for i in kept} & {groups[i] for i in taken}
    assert len(kept) + len(taken) == len(groups)


def test_groups_stay_whole_over_three_splits() -> None:
    """Train, val and test share no group."""
    targets, groups = labels(100, 100), [f"g{i // 10}" for i in range(200)]
    parts, choices = choose_splits(targets, LoadOptions(), classes=("a", "b"), groups=groups)
    seen = [{groups[i] for i in part} for part in parts.values()]
    assert sum(map(len, seen)) == 20
    assert all("whole groups" in choice.value for choice in choices)


def test_one_group_cannot_be_split() -> None:
    """A single group is named, with the option that made it."""
    with pytest.raises(DataError, match="--group-by"):
        split_off(np.zeros(4, dtype=np.int64), 0.5, seed=0, classes=["a"], groups=["x"] * 4)


def test_a_class_with_one_sample_is_refused_by_name() -> None:
    """There would be nothing to test it on."""
    with pytest.raises(DataError, match=r"class b \(1\)"):
        split_off(np.asarray([0, 0, 0, 1]), 0.5, seed=0, classes=["a", "b"])


def test_one_sample_cannot_be_split() -> None:
    """Regression on a single sample has nothing to keep back."""
    with pytest.raises(DataError, match="enough samples"):
        split_off(np.zeros(1), 0.5, seed=0, classes=None)


def test_regression_is_split_at_random() -> None:
    """Without classes the share alone counts."""
    kept, taken = split_off(np.linspace(0, 1, 100), 0.25, seed=0, classes=None)
    assert (len(kept), len(taken)) == (75, 25)


def test_usual_shares_are_70_10_20() -> None:
    """Nothing given, nothing asked: 70 % train, 10 % val, 20 % test, stratified, each with its reason."""
    targets = labels(500, 300, 200)
    parts, choices = choose_splits(targets, LoadOptions(), classes=("a", "b", "c"))
    assert {name: len(part) for name, part in parts.items()} == {"train": 700, "val": 100, "test": 200}
    assert np.bincount(targets[parts["val"]]).tolist() == [50, 30, 20]
    assert np.bincount(targets[parts["test"]]).tolist() == [100, 60, 40]
    assert [(choice.name, choice.asked) for choice in choices] == [("test split", False), ("val split", False)]


def test_a_given_test_set_leaves_a_twelfth_for_val() -> None:
    """As 5,000 of MNIST's 60,000."""
    parts, _ = choose_splits(labels(600, 600), LoadOptions(), classes=("a", "b"), has_test=True)
    assert {name: len(part) for name, part in parts.items()} == {"train": 1100, "val": 100}


@pytest.mark.parametrize("val_fraction", [0.0, 0.05, 0.3, 0.6])
def test_val_does_not_move_the_test(val_fraction: float) -> None:
    """Whatever share goes to val, the test samples are the same ones."""
    targets = labels(200, 200)
    usual, _ = choose_splits(targets, LoadOptions(), classes=("a", "b"))
    asked, _ = choose_splits(targets, LoadOptions(val_fraction=val_fraction), classes=("a", "b"))
    assert np.array_equal(usual["test"], asked["test"])
    assert len(asked.get("val", ())) == round(val_fraction * 400)


def test_the_training_seed_does_not_move_the_splits() -> None:
    """Loading twice gives the same samples in the same splits; another split seed gives others."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(100, 3)), labels(50, 50)
    first, again = nd.load((inputs, targets)), nd.load((inputs, targets))
    other = nd.load((inputs, targets), options=LoadOptions(split_seed=1))
    assert first.spec.digest == again.spec.digest
    assert first.spec.digest != other.spec.digest


def test_the_statistics_come_from_train_alone() -> None:
    """Changing a test sample changes neither the splits nor the normalisation."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(100, 3)), labels(50, 50)
    data = nd.load((inputs, targets))
    parts, _ = choose_splits(targets, LoadOptions(), classes=("0", "1"))
    changed = inputs.copy()
    changed[np.concatenate([parts["val"], parts["test"]])] += 1000
    assert nd.load((changed, targets)).spec.preprocess == data.spec.preprocess
    changed[parts["train"][0]] += 1000
    assert nd.load((changed, targets)).spec.preprocess != data.spec.preprocess


def test_a_class_with_too_few_samples_for_all_splits_is_named() -> None:
    """At once, with its own count, and not with what is left of it after the first split."""
    labels = np.array([0] * 50 + [1] * 50 + [2, 2])
    with pytest.raises(DataError) as caught:
        nd.load((np.zeros((102, 3), dtype="float32"), labels))
    assert "2 (2)" in caught.value.where
    assert "at least 3" in caught.value.expected


@pytest.mark.parametrize(("count", "share"), [(3, 0.6), (4, 0.7)])
def test_a_class_that_a_large_test_split_uses_up_is_named(count: int, share: float) -> None:
    """With the count it had, and not only what is left of it for the second split."""
    labels = np.array([0] * 50 + [1] * 50 + [2] * count)
    with pytest.raises(DataError) as caught:
        nd.load((np.zeros((len(labels), 3), dtype="float32"), labels), options=LoadOptions(test_fraction=share))
    assert caught.value.where == f"class 2 ({count})"
    assert caught.value.got == f"1 of {count}"
    assert "--test-fraction" in caught.value.cure


def test_one_ignored_sample_is_no_class() -> None:
    """It is not asked to be in each split."""
    data = nd.load((np.zeros((101, 3), dtype="float32"), np.array([0] * 50 + [1] * 50 + [-100])))
    assert sum(split.count for split in data.spec.splits.values()) == 101


@pytest.mark.parametrize(
    "call",
    [
        "from netwright.data.splits import split_off; split_off(np.arange(20) % 2, 0.2, seed=0, classes=['a', 'b'])",
        "import netwright; netwright.load('digits')",
    ],
)
def test_what_is_loaded_for_it_draws_nothing(call: str) -> None:
    """Parts of scikit-learn draw from Python's generator when they are imported, in a new process."""
    code = (
        "import random, sys; import numpy as np; import torch; random.seed(3); before = random.getstate()\n"
        f"{call}\nassert 'sklearn' in sys.modules\nsys.exit(random.getstate() != before)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
