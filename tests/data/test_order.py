"""The order of samples and the numbers drawn for them depend on seed, epoch and sample alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from netwright.data.order import item_seed, keyed_uniform, permutation, stable_order


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 500), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10_000))
def test_an_order_holds_each_sample_once(count: int, seed: int, epoch: int) -> None:
    """An order is a permutation, whatever the count, seed and epoch."""
    order = permutation(count, seed=seed, epoch=epoch)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(count))


def test_the_order_never_changes() -> None:
    """The orders that published runs were trained in."""
    assert permutation(10, seed=0, epoch=0).tolist() == [0, 8, 9, 3, 7, 5, 1, 2, 6, 4]
    assert permutation(10, seed=0, epoch=1).tolist() == [3, 7, 4, 2, 9, 8, 1, 6, 5, 0]
    assert permutation(10, seed=1, epoch=0).tolist() == [2, 0, 1, 4, 5, 6, 7, 8, 3, 9]


def test_the_draws_never_change() -> None:
    """The numbers that augmentation was drawn from in published runs, to the last bit."""
    draws = keyed_uniform(np.arange(2), 2, seed=0, epoch=0, stream=0)
    assert draws.tolist() == [[0.43519867021754666, 0.7173816603081251], [0.7195904778696673, 0.5090990013842475]]
    assert [item_seed(0, 0, 0), item_seed(0, 0, 1)] == [2968811710, 3831201730]


def test_each_epoch_and_seed_has_an_order_of_its_own() -> None:
    """No two of 100 orders are alike, and (seed 0, epoch 1) is not (seed 1, epoch 0)."""
    orders = {tuple(permutation(50, seed=seed, epoch=epoch)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_every_place_is_as_likely_for_a_sample() -> None:
    """Over 5,000 epochs, sample 0 comes equally often to each of 10 places (chi-square, p above 0.001)."""
    places = [int(np.flatnonzero(permutation(10, seed=7, epoch=epoch) == 0)[0]) for epoch in range(5000)]
    assert chisquare(np.bincount(places, minlength=10)).pvalue > 0.001


def test_draws_are_uniform() -> None:
    """200,000 draws fill 100 cells evenly, in each column and over the unit square (chi-square, p above 0.001)."""
    draws = keyed_uniform(np.arange(100_000), 2, seed=3, epoch=4, stream=5)
    assert draws.dtype == np.float64
    assert draws.min() >= 0
    assert draws.max() < 1
    for column in draws.T:
        assert chisquare(np.bincount((column * 100).astype(int), minlength=100)).pvalue > 0.001
    cells = (draws * 10).astype(int)
    assert chisquare(np.bincount(cells[:, 0] * 10 + cells[:, 1], minlength=100)).pvalue > 0.001


def test_draws_of_neighbours_are_unrelated() -> None:
    """No correlation between one sample and the next, one epoch and the next, one stream and the next."""
    base = keyed_uniform(np.arange(20_000), 1, seed=0, epoch=0, stream=0)[:, 0]
    others = [
        np.roll(base, 1),
        keyed_uniform(np.arange(20_000), 1, seed=0, epoch=1, stream=0)[:, 0],
        keyed_uniform(np.arange(20_000), 1, seed=0, epoch=0, stream=1)[:, 0],
        keyed_uniform(np.arange(20_000), 1, seed=1, epoch=0, stream=0)[:, 0],
    ]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 4 / np.sqrt(20_000)  # four deviations of a chance correlation


@settings(max_examples=50, deadline=None)
@given(ids=st.lists(st.integers(0, 2**62), min_size=1, max_size=40), seed=st.integers(0, 2**63 - 1))
def test_a_samples_draws_do_not_depend_on_its_batch(ids: list[int], seed: int) -> None:
    """Drawn alone or among others, a sample gets the same numbers."""
    together = keyed_uniform(np.asarray(ids), 3, seed=seed, epoch=2, stream=1)
    for row, sample_id in zip(together, ids, strict=True):
        alone = keyed_uniform(np.asarray([sample_id]), 3, seed=seed, epoch=2, stream=1)
        assert np.array_equal(alone[0], row)


def test_fewer_draws_are_the_first_of_more() -> None:
    """Asking for one number more changes none of those before."""
    more = keyed_uniform(np.arange(10), 5, seed=0, epoch=0, stream=0)
    assert np.array_equal(more[:, :2], keyed_uniform(np.arange(10), 2, seed=0, epoch=0, stream=0))


@pytest.mark.parametrize("field", ["seed", "epoch", "index"])
def test_each_item_has_a_seed_of_its_own(field: str) -> None:
    """Seeds of items fit 32 bits, and 1,000 of them are almost surely all different."""
    seeds = {item_seed(**{"seed": 1, "epoch": 2, "index": 3, field: value}) for value in range(1000)}
    assert len(seeds) >= 999  # two alike among 1,000 of 2**32: one chance in 8,600
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("count", [0, 1, 4_000, 4_001, 50_000, 131_073])
def test_sorting_by_counting_changes_no_order(count: int) -> None:
    """Whichever way of sorting is the faster one, the order is the stable argsort of the words."""
    words = np.random.Philox(np.random.SeedSequence([5, 9])).random_raw(count)
    assert np.array_equal(permutation(count, seed=5, epoch=9), np.argsort(words, kind="stable"))


def test_equal_words_keep_their_places() -> None:
    """As a stable sort has them, so that the order is one on every machine."""
    words = np.random.default_rng(0).integers(0, 3, 20_000).astype(np.uint64) << np.uint64(40)
    assert np.array_equal(stable_order(words), np.argsort(words, kind="stable"))
