"""Continue a text: ask a module for the token that follows, draw one, and ask again.

Knows nothing of modules: what is asked is a function of tokens. ``P`` prompts, ``V`` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from netwright.data.order import keyed_uniform
from netwright.preprocess import Tokenise, detokenise

START = 0  # what stands before a text
DRAWS = 11  # the stream of random numbers that tokens are drawn with


class Sampling(Protocol):
    """How tokens are drawn; ``records.Sampling`` is such."""

    @property
    def max_new_tokens(self) -> int:
        """Tokens to write."""

    @property
    def temperature(self) -> float:
        """0 takes the likeliest."""

    @property
    def top_k(self) -> int | None:
        """Draw among so many."""

    @property
    def top_p(self) -> float | None:
        """Draw among those that hold so much probability."""

    @property
    def seed(self) -> int:
        """Of the draws."""


# From tokens int64 (P, T) to the logits of the token after the last, float (P, V).
Asked = Callable[[NDArray[np.int64]], NDArray[np.floating]]


def continue_tokens(
    ask: Asked, prompts: NDArray[np.integer], sampling: Sampling, *, context: int, never: Sequence[int] = ()
) -> NDArray[np.int64]:
    """The tokens that a model writes after each of some prompts.

    Args:
        ask: The model.
        prompts: Tokens given, (P, T), T at least 1.
        sampling: How many tokens, and how each is drawn.
        context: The last so many tokens are looked at.
        never: Tokens that are not written, as padding.

    Returns:
        int64 (P, max_new_tokens). The random numbers come from the seed and the prompt's place, so that the first one
        is continued alike whatever stands beside it.
    """
    held = np.asarray(prompts, dtype=np.int64)
    count = sampling.max_new_tokens
    drawn = keyed_uniform(np.arange(len(held)), count, seed=sampling.seed, epoch=0, stream=DRAWS)
    for uniforms in drawn.T:
        logits = np.array(ask(held[:, -context:]), dtype=np.float64)
        logits[:, list(never)] = -np.inf
        written = [pick(row, sampling, float(one)) for row, one in zip(logits, uniforms, strict=True)]
        held = np.concatenate((held, np.asarray(written, dtype=np.int64)[:, None]), axis=1)
    return held[:, len(held[0]) - count :]


def pick(logits: NDArray[np.float64], sampling: Sampling, uniform: float) -> int:
    """Draw one token.

    Args:
        logits: float64 (V,); -inf for what may not be drawn.
        sampling: Temperature 0 takes the likeliest. Else logits are divided by the temperature; then the ``top_k``
            likeliest are kept, and of those the fewest whose probabilities reach ``top_p``.
        uniform: In [0, 1).

    Source:
        Holtzman et al. 2020, arXiv:1904.09751, section 3.1, for ``top_p``; Fan et al. 2018, arXiv:1805.04833, for
        ``top_k``.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")  # of equals the first token stands first, on every machine
    ranked = logits[order] / sampling.temperature
    probs = np.exp(ranked - ranked[0])
    if sampling.top_k is not None:
        probs[sampling.top_k :] = 0
    probs /= probs.sum()
    if sampling.top_p is not None:
        before = np.cumsum(probs) - probs  # kept while what stands before does not yet reach it
        probs[1:][before[1:] >= sampling.top_p] = 0
        probs /= probs.sum()
    place = int(np.searchsorted(np.cumsum(probs), uniform, side="right"))
    return int(order[min(place, int(np.flatnonzero(probs)[-1]))])


def continuation(ask: Asked, operation: Tokenise, tokens: NDArray[np.integer], sampling: Sampling) -> dict[str, Any]:
    """What a model writes after one prompt.

    Args:
        ask: The model.
        operation: How texts become tokens.
        tokens: Of the prompt, (T,); none begins a text.
        sampling: How tokens are drawn.

    Returns:
        ``continuation``, and ``note`` where the prompt has tokens that training had not.
    """
    given = tokens[None] if len(tokens) else np.full((1, 1), START)
    (written,) = continue_tokens(ask, given, sampling, context=operation.max_length, never=unwritten(operation))
    note = _unknown(operation, tokens)
    return {"continuation": detokenise(operation, written)} | ({} if note is None else {"note": note})


def unwritten(operation: Tokenise) -> tuple[int, ...]:
    """Tokens that are no text: padding and the unknown one; of a person's own tokenizer none is known."""
    return () if operation.kind == "file" else (0, 1)


def _unknown(operation: Tokenise, tokens: NDArray[np.integer]) -> str | None:
    count = int((tokens == 1).sum()) if operation.kind != "file" else 0
    if not count:
        return None
    return f"{count} of the prompt's {len(tokens)} last tokens were not in training; the model does not know them apart"
