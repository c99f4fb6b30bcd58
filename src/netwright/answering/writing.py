"""Continuing texts with a bundle: how tokens are drawn, and what is written after each prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.answering.batches import Sample
from netwright.answering.model import Model
from netwright.answering.spec import Spec
from netwright.errors import BundleError, DataError, UsageError, unknown_name
from netwright.sampling import continuation

MOST_TOKENS, MOST_HEAT = 100_000, 100.0  # as records.Sampling has them


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a text is continued; the fields of ``records.Sampling``, where there are no records."""

    max_new_tokens: int = 200
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _whole("max_new_tokens", self.max_new_tokens, 1, MOST_TOKENS)
        _real("temperature", self.temperature, 0, MOST_HEAT)
        if self.top_k is not None:
            _whole("top_k", self.top_k, 1, 2**31)
        if self.top_p is not None:
            _real("top_p", self.top_p, math.ulp(0.0), 1)
        _whole("seed", self.seed, 0, 2**63 - 1)


def drawing(given: Mapping[str, Any]) -> Drawing:
    """Options of sampling by name.

    Raises:
        UnknownNameError: A name that is none; the nearest is given.
        UsageError: A value of another kind or range.
    """
    known = [field.name for field in fields(Drawing)]
    for name in given:
        if name not in known:
            raise unknown_name("option", name, known, where=name)
    return Drawing(**given)


def refuse_drawing(given: Mapping[str, Any], task: str) -> None:
    """Refuse options of sampling where no text is written.

    Raises:
        UsageError: There are such.
    """
    if given:
        raise UsageError(
            where=", ".join(f"--{name.replace('_', '-')}" for name in given),
            expected="a run that predicts next tokens, which such options are for",
            got=f"one of {task}",
            cure="Leave them out, or train on a text with --task next_token.",
        )


def written(
    spec: Spec, model: Model, samples: Sequence[Sample], names: Sequence[str], how: Drawing
) -> list[dict[str, Any]]:
    """What a graph that predicts next tokens writes after each prompt; each by itself, as it would be alone."""
    operation = spec.preprocess.text
    if operation is None:
        raise BundleError(where=spec.name, expected="tokenise", got="nothing", cure="Export the run again.")

    def ask(tokens: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        found: NDArray[np.floating[Any]] = model.run({"tokens": tokens})["log_probs"]
        return found

    found: list[dict[str, Any]] = []
    for name, sample in zip(names, samples, strict=True):
        try:
            found.append({"name": name} | continuation(ask, operation, sample["tokens"], how))
        except DataError as error:
            found.append({"name": name, "error": str(error).splitlines()[0]})
    return found


def _whole(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(name, f"a whole number from {least} to {most:,}", value)


def _real(name: str, value: Any, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise _wrong(name, f"a number from {least:g} to {most:g}", value)


def _wrong(name: str, expected: str, value: Any) -> UsageError:
    return UsageError(
        where=f"--{name.replace('_', '-')}", expected=expected, got=repr(value)[:60], cure="Give such a number."
    )
