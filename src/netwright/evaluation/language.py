"""Scores of a model that predicts each token of a text from those before it.

``M`` tokens of a split. Tokens of one text hang together, so that an interval that took each for a sample of its own
would be far too narrow: whole blocks of the text are resampled instead.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from netwright.errors import NonFiniteError
from netwright.evaluation.ngrams import kneser_ney_nats, unigram_nats
from netwright.intervals import Interval, bootstrap_bca
from netwright.results import Baseline, Evaluation, Score

if TYPE_CHECKING:
    from netwright.preprocess import Tokenise

Floats = NDArray[np.float64]

HEADLINE = "bits_per_character"
METHOD = "block_bootstrap"
# Blocks of a split. The longer a block, the more of what hangs together stays together: on Shakespeare the standard
# error grows with the block's length (0.010 bits at 128 characters, 0.017 at 2,048). Fewer than 50 are too few to draw.
BLOCKS = 50
# The longest runs an n-gram model counts. On Shakespeare's last tenth 5, 6 and 7 characters give 2.48, 2.43 and 2.42
# bits; of words and pairs most runs of 4 are met once.
ORDER_OF_CHARACTERS, ORDER = 6, 3
MOST_COUNTED = 2_000_000  # tokens an n-gram model is counted on, those nearest to the end: 4 s on one core
MOST_PREDICTED = 500_000  # tokens it is scored on
FEW_TOKENS = 1_000


def score_language(
    nats: NDArray[np.floating],
    right: NDArray[np.bool_],
    *,
    characters: int,
    split: str,
    seed: int,
    unknown: int = 0,
    kind: str = "character",
) -> Evaluation:
    """Score how surprised a model is by a text.

    Args:
        nats: Negative natural logarithm of the probability given to each token, in the text's order, (M,).
        right: Whether the likeliest token was the one that came, (M,).
        characters: That these tokens are written with.
        split: Its name.
        seed: Of the bootstrap's draws.
        unknown: Tokens that the vocabulary has not.
        kind: Of tokenizer, as ``Tokenise`` has it.

    Returns:
        Bits per character first, by which models with other tokens compare: nats per token, times tokens by character,
        over ln 2. Perplexity is e to the nats per token.

    Raises:
        NonFiniteError: The model gave NaN, or no probability at all to a token.
    """
    nats = np.asarray(nats, dtype=np.float64)
    bad = ~np.isfinite(nats)
    if bad.any():
        raise NonFiniteError(
            where=f"the model's answers on {split}",
            expected="a probability above 0 for each token",
            got=f"NaN or infinity for {bad.sum():,} of {len(bad):,} tokens, first for token {np.flatnonzero(bad)[0]:,}",
            cure="Look for overflow in the module: a large rate, a logarithm of 0, half precision.",
        )
    mean, low_high = float(nats.mean()), block_interval(nats, seed=seed)
    hit, hit_range = float(right.mean()), block_interval(right.astype(np.float64), seed=seed)
    low, high = low_high or (None, None)
    scores = (
        bits_per_character(nats, characters=characters, seed=seed),
        Score(
            name="perplexity",
            value=math.exp(min(mean, 700)),
            low=None if low is None else math.exp(min(low, 700)),
            high=None if high is None else math.exp(min(high, 700)),
            method=METHOD if low_high else None,
            higher_is_better=False,
        ),
        Score(
            name="accuracy",
            value=hit,
            low=hit_range and max(0.0, hit_range[0]),
            high=hit_range and min(1.0, hit_range[1]),
            method=METHOD if hit_range else None,
        ),
    )
    return Evaluation(
        task="next_token",
        split=split,
        count=len(nats),
        headline=HEADLINE,
        scores=scores,
        notes=tuple(_notes(len(nats), unknown, kind)),
    )


def bits_per_character(nats: NDArray[np.floating], *, characters: int, seed: int) -> Score:
    """The score that stands first, of tokens' surprise (M,) in nats."""
    factor = len(nats) / max(1, characters) / math.log(2)
    interval = block_interval(nats, seed=seed)
    return Score(
        name=HEADLINE,
        value=float(np.mean(nats)) * factor,
        low=interval and interval[0] * factor,
        high=interval and interval[1] * factor,
        method=METHOD if interval else None,
        higher_is_better=False,
    )


def block_interval(values: NDArray[np.floating], *, seed: int) -> Interval | None:
    """Enclose the mean of numbers that hang together with their neighbours.

    Blocks of equal length, about ``BLOCKS``, are drawn with replacement; what is left at the end belongs to the last.

    Args:
        values: In their order, (M,).
        seed: Of the draws.

    Returns:
        None for fewer than two blocks.

    Source:
        Carlstein 1986, Ann. Statist. 14:1171, for blocks; Efron 1987 for the correction of the ends.
    """
    count = min(BLOCKS, len(values))
    if count < 2:
        return None
    edges = np.linspace(0, len(values), count + 1).round().astype(np.int64)[:-1]
    values = np.asarray(values, dtype=np.float64)
    sums = np.add.reduceat(values, edges)
    sizes = np.diff(np.append(edges, len(values))).astype(np.float64)
    mean, size = values.mean(), sizes.mean()
    columns = np.stack((sums, sizes), axis=1)
    influence = (sums - mean * sizes) / size
    return bootstrap_bca(columns, lambda means: means[..., 0] / means[..., 1], influence, seed=seed)


def language_baselines(
    train: NDArray[np.integer], text: NDArray[np.integer], operation: Tokenise, *, characters: int, seed: int
) -> tuple[Baseline, ...]:
    """What counting scores: every token alike, tokens by their frequency, and runs of tokens.

    Args:
        train: Tokens of the training split.
        text: Tokens scored, (M,).
        operation: Says how many tokens there are, and of which kind.
        characters: That ``text`` is written with.
        seed: Of the bootstrap.
    """
    size = operation.vocab_size
    order = ORDER_OF_CHARACTERS if operation.kind == "character" else ORDER
    counted, asked = train[-MOST_COUNTED:], text[:MOST_PREDICTED]
    part = round(characters * len(asked) / len(text))
    unit = {"character": "characters", "word": "words"}.get(operation.kind, "tokens")
    scored = f"scored on {_of(len(asked), len(text))}"
    fitted = f"counted on {_of(len(counted), len(train))} of training"
    rows = (
        ("uniform", f"each of {size:,} tokens alike; {scored}", np.full(len(asked), math.log(size))),
        ("unigram", f"by frequency alone, {fitted}; {scored}", unigram_nats(counted, asked, size)),
        (
            "n_gram",
            f"runs of up to {order} {unit}, modified Kneser-Ney, {fitted}; {scored}",
            kneser_ney_nats(counted, asked, size, order=order),
        ),
    )
    return tuple(
        Baseline(name=name, detail=detail, score=bits_per_character(nats, characters=part, seed=seed))
        for name, detail, nats in rows
    )


def _notes(count: int, unknown: int, kind: str) -> list[str]:
    notes = []
    if count < FEW_TOKENS:
        notes.append(f"Only {count:,} token{'s' if count != 1 else ''}: every number here can be far off by chance.")
    if unknown:
        notes.append(
            f"{unknown:,} of {count:,} tokens ({unknown / count:.2%}) are not in the vocabulary, since training had "
            "none of them. Each counts with what the model gives to the unknown token, and cannot be written by it."
        )
    if kind == "word":
        notes.append(
            "Words leave out the spaces between them and how an unknown word is spelt: the bits per character are "
            "those of the words alone, lower than a model of characters or byte pairs could reach."
        )
    return notes


def _of(count: int, total: int) -> str:
    return f"all {count:,} tokens" if count == total else f"{count:,} of {total:,} tokens"
