"""Continuing a text: how one token is drawn, and that what is written depends on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from netwright.records import Sampling
from netwright.sampling import continue_tokens, pick


def kept_by_the_book(logits: list[float], *, temperature: float, top_k: int | None, top_p: float | None) -> dict:
    """What may be drawn, and how likely, written from the papers' definitions with plain Python: token to share."""
    weights = {token: np.exp(logit / temperature) for token, logit in enumerate(logits)}
    ranked = sorted(weights, key=lambda token: -weights[token])
    ranked = ranked if top_k is None else ranked[:top_k]
    total = sum(weights[token] for token in ranked)
    nucleus, reached = [], 0.0
    for token in ranked:  # the smallest set whose probability is at least top_p
        if top_p is not None and reached >= top_p - 1e-12:
            break
        nucleus.append(token)
        reached += weights[token] / total
    total = sum(weights[token] for token in nucleus)
    return {token: weights[token] / total for token in nucleus}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (3, None), (None, 0.7), (5, 0.6), (1, None), (None, 0.01)])
def test_draws_have_the_shares_of_an_independent_implementation(
    seed: int, top_k: int | None, top_p: float | None
) -> None:
    """Over an even grid of uniform numbers each token comes as often as its probability, to the grid's step."""
    logits = np.random.default_rng(seed).normal(0, 2, 12)
    sampling = Sampling(temperature=0.7, top_k=top_k, top_p=top_p)
    wanted = kept_by_the_book(logits.tolist(), temperature=0.7, top_k=top_k, top_p=top_p)
    grid = (np.arange(4_000) + 0.5) / 4_000
    shares = np.bincount([pick(logits, sampling, u) for u in grid], minlength=12) / len(grid)
    assert set(np.flatnonzero(shares).tolist()) <= set(wanted)
    for token, share in wanted.items():
        assert shares[token] == pytest.approx(share, abs=1e-3)


def test_temperature_towards_zero_is_the_likeliest_token() -> None:
    """Zero itself, and what lies near it; a high one draws all."""
    logits = np.array([1.0, 3.0, 2.9, -np.inf])
    for temperature in (0.0, 1e-4):
        assert {pick(logits, Sampling(temperature=temperature), u) for u in (0.0, 0.5, 0.999999)} == {1}
    assert {pick(logits, Sampling(temperature=50.0), u) for u in np.linspace(0, 0.999, 200)} == {0, 1, 2}


@pytest.mark.parametrize("top_p", [None, 0.5, 1.0])
def test_what_is_forbidden_is_never_drawn(top_p: float | None) -> None:
    """Not even by the last uniform number below 1."""
    logits = np.array([0.0, -np.inf, 0.0, -np.inf])
    drawn = {pick(logits, Sampling(top_p=top_p), u) for u in (0.0, 0.49, 0.51, np.nextafter(1.0, 0.0))}
    assert drawn <= {0, 2}


def counting(tokens: np.ndarray) -> np.ndarray:
    """A model that knows one rule: after a token comes the next one, of 7, most likely."""
    assert tokens.ndim == 2
    assert tokens.shape[1] <= 4
    logits = np.zeros((len(tokens), 7))
    logits[np.arange(len(tokens)), (tokens[:, -1] + 1) % 7] = 3.0
    return logits


def test_the_likeliest_continuation_goes_on_from_the_prompt() -> None:
    """Only the last ``context`` tokens are asked for, each prompt by itself."""
    greedy = Sampling(max_new_tokens=5, temperature=0)
    prompts = np.array([[5, 6, 0, 1, 2], [0, 0, 0, 0, 0]])
    assert continue_tokens(counting, prompts, greedy, context=4).tolist() == [[3, 4, 5, 6, 0], [1, 2, 3, 4, 5]]
    assert 1 not in continue_tokens(counting, prompts, greedy, context=4, never=[1])


def test_a_seed_writes_the_same_text_and_more_tokens_only_add_to_it() -> None:
    """Another seed writes another text."""

    def written(**options: int) -> list[int]:
        sampling = Sampling(temperature=2.0, **options)
        (found,) = continue_tokens(counting, np.array([[2]]), sampling, context=4).tolist()
        both = continue_tokens(counting, np.array([[2], [2]]), sampling, context=4).tolist()
        assert both[0] == found
        assert both[1] != found
        return found

    assert written(seed=3, max_new_tokens=40) == written(seed=3, max_new_tokens=40)
    assert written(seed=3, max_new_tokens=40)[:15] == written(seed=3, max_new_tokens=15)
    assert written(seed=3, max_new_tokens=40) != written(seed=4, max_new_tokens=40)
