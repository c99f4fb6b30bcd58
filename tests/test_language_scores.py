"""Scores of next tokens: bits that compare, intervals that hold, and what counting reaches."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from netwright.errors import NonFiniteError
from netwright.evaluation.language import block_interval, language_baselines, score_language
from netwright.evaluation.ngrams import kneser_ney_nats, unigram_nats


def test_bits_are_by_character_and_perplexity_by_token() -> None:
    """Ten pairs that each cost 3 bits and are written with two characters cost 1.5 bits a character."""
    nats = np.full(10, 3 * math.log(2))
    found = score_language(nats, np.arange(10) < 4, characters=20, split="test", seed=0)
    assert found.headline == "bits_per_character"
    assert found.score("bits_per_character").value == pytest.approx(1.5)
    assert found.score("perplexity").value == pytest.approx(8.0)
    assert found.score("accuracy").value == pytest.approx(0.4)
    assert found.count == 10
    assert not found.score("bits_per_character").higher_is_better


def test_the_same_text_costs_the_same_bits_in_other_tokens() -> None:
    """A model of pairs that gives each pair the product of its characters' probabilities is no better and no worse."""
    nats = np.random.default_rng(0).exponential(1.5, 4_000)
    characters = score_language(nats, nats < 0.5, characters=4_000, split="test", seed=0)
    pairs = score_language(nats.reshape(-1, 2).sum(1), nats[::2] < 0.5, characters=4_000, split="test", seed=0)
    one, other = (each.score("bits_per_character") for each in (characters, pairs))
    assert one.value == pytest.approx(other.value)
    assert one.low == pytest.approx(other.low)
    assert characters.score("perplexity").value < pairs.score("perplexity").value


def test_an_answer_without_probability_is_refused() -> None:
    """The token is named."""
    nats = np.zeros(50)
    nats[17] = np.inf
    with pytest.raises(NonFiniteError, match="17"):
        score_language(nats, nats == 0, characters=50, split="test", seed=0)


def dependent(generator: np.random.Generator, count: int) -> np.ndarray:
    """Numbers of mean 2 of which neighbours are alike: an autoregressive series, correlated over some 50 places."""
    noise = generator.normal(0, 1, count + 500)
    series = np.zeros(count + 500)
    for i in range(1, len(series)):
        series[i] = 0.98 * series[i - 1] + noise[i]
    return 2 + 0.1 * series[500:]


def test_intervals_hold_the_truth_where_tokens_hang_together() -> None:
    """Of 200 texts of 20,000 tokens; taking each token for itself would hold it in a few of ten."""
    generator = np.random.default_rng(0)
    held = alone = 0
    for seed in range(200):
        values = dependent(generator, 20_000)
        low, high = block_interval(values, seed=seed)
        held += low <= 2 <= high
        alone += abs(values.mean() - 2) < 1.96 * values.std() / math.sqrt(len(values))
    assert 0.90 <= held / 200 <= 0.98  # 95 % less what 50 blocks and their cuts cost; 200 texts tell to 3 points
    assert alone / 200 < 0.5


def test_too_few_tokens_have_no_interval_and_a_doubt() -> None:
    """One token says nothing of others."""
    found = score_language(np.array([1.0]), np.array([True]), characters=1, split="test", seed=0)
    assert found.score("bits_per_character").low is None
    assert "1 token:" in found.notes[0]


def test_unknown_tokens_and_words_are_told() -> None:
    """What makes the bits not what they seem."""
    found = score_language(np.ones(5_000), np.ones(5_000) > 0, characters=20_000, split="t", seed=0, unknown=50,
                           kind="word")  # fmt: skip
    assert any("50 of 5,000" in note for note in found.notes)
    assert any("spaces" in note for note in found.notes)


def by_the_book(train: list[int], context: tuple[int, ...], token: int, size: int, order: int) -> float:
    """Modified Kneser-Ney of Chen & Goodman's equations 26 and 27, by recursion over dictionaries."""
    counts: dict[int, Counter] = {}
    for length in range(1, order + 1):
        runs = [tuple(train[i - length + 1 : i + 1]) for i in range(length - 1, len(train))]
        if length == order:
            counts[length] = Counter(runs)
        else:
            before = defaultdict(set)
            for i in range(length, len(train)):
                before[tuple(train[i - length + 1 : i + 1])].add(train[i - length])
            counts[length] = Counter({run: len(seen) for run, seen in before.items()})

    def discount(length: int, count: int) -> float:
        once, twice, thrice, four = (sum(c == k for c in counts[length].values()) for k in (1, 2, 3, 4))
        if not once or not twice:  # the equations say nothing then
            return 0.5 if count else 0.0
        share = once / (once + 2 * twice)
        d1, d2 = 1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice
        d3 = 3 - 4 * share * four / thrice if thrice else d2
        return {0: 0.0, 1: min(max(d1, 0.1), 0.95), 2: min(max(d2, 0.1), 1.95)}.get(count, min(max(d3, 0.1), 2.95))

    def prob(length: int, before: tuple[int, ...]) -> float:
        if length == 0:
            return 1 / size
        tail = before[len(before) - length + 1 :]
        inside = {run: count for run, count in counts[length].items() if run[:-1] == tail}
        total = sum(inside.values())
        if not total:
            return prob(length - 1, before)
        own = inside.get((*tail, token), 0)
        left = sum(discount(length, count) for count in inside.values())
        return (own - discount(length, own)) / total + left / total * prob(length - 1, before)

    return prob(order, context)


def test_n_grams_are_those_of_the_paper() -> None:
    """Each token of a short text, against a recursion over dictionaries."""
    generator = np.random.default_rng(1)
    train = (generator.geometric(0.4, 300).clip(1, 6) - 1).tolist()
    text = (generator.geometric(0.4, 25).clip(1, 6) - 1).tolist()
    found = np.exp(-kneser_ney_nats(np.array(train), np.array(text), 6, order=3))
    whole = train + text
    for place, token in enumerate(text):
        context = tuple(whole[: len(train) + place])[-2:]
        assert found[place] == pytest.approx(by_the_book(train, context, token, 6, 3), rel=1e-9)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_n_gram_probabilities_sum_to_one(order: int) -> None:
    """Behind contexts that training had and had not."""
    generator = np.random.default_rng(2)
    train, text = generator.integers(0, 4, 80), generator.integers(0, 5, 6)
    total = sum(math.exp(-kneser_ney_nats(train, np.append(text, token), 5, order=order)[-1]) for token in range(5))
    assert total == pytest.approx(1.0)


def test_unigrams_are_frequencies() -> None:
    """With one added to each."""
    assert np.exp(-unigram_nats(np.array([0, 0, 1]), np.array([0, 2]), 3)) == pytest.approx([3 / 6, 1 / 6])


def test_counting_finds_what_there_is_to_find() -> None:
    """A text in which two tokens tell the third: unigrams stay at its entropy, n-grams come near to nothing."""
    from netwright.preprocess import Tokenise

    cycle = list(itertools.islice(itertools.cycle([2, 3, 2, 4, 5, 2]), 6_000))
    operation = Tokenise(kind="character", vocab_size=6, max_length=16, tokenizer="{}")
    found = {
        one.name: one.score.value
        for one in language_baselines(np.array(cycle[:4_000]), np.array(cycle[4_000:]), operation, characters=2_000,
                                      seed=0)
    }  # fmt: skip
    assert found["uniform"] == pytest.approx(math.log2(6))
    assert found["unigram"] == pytest.approx(-(0.5 * math.log2(0.5) + 0.5 * math.log2(1 / 6)), abs=0.01)
    assert found["n_gram"] < 0.02
