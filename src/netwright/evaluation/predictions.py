"""What a model answered to the samples of a split, as arrays. ``N`` samples, ``C`` classes, ``D`` outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from netwright.errors import DataError, ModelError, NonFiniteError

# A row of half precision probabilities may be this far from summing to 1: C * 2**-11 for a few dozen classes.
SUM_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers and truths.

    Attributes:
        sample_ids: Index of each sample in its split, int64 (N,).
        targets: int64 classes (N,), or real values (N,) or (N, D); with ``starts`` those of all positions, (M, ...).
        probs: Probabilities (N, C); in regression the values, shaped as the targets; with ``starts`` whatever the task
            keeps of each position.
        starts: Where the positions of each sample begin, and the end, int64 (N + 1,). None: one target a sample.
        groups: Which series each sample is of, int64 (N,). None for other data.
        parts: Those of each of several answers, by name. None where there is one answer.
        times: When the first step of each forecast is, seconds since 1970, float64 (N,). None for other data.
        answer_starts: The same of ``probs``, where answers have other lengths than targets. None: as ``starts``.
    """

    sample_ids: NDArray[np.int64]
    targets: NDArray[Any]
    probs: NDArray[Any]
    starts: NDArray[np.int64] | None = None
    answer_starts: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None
    times: NDArray[np.float64] | None = None
    parts: dict[str, Predictions] | None = None

    @property
    def values(self) -> NDArray[Any]:
        """The answers under their name in regression."""
        return self.probs

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.sample_ids)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays there are, by name."""
        held = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "parts"}
        inner = {
            f"{name}.{key}": value for name, part in (self.parts or {}).items() for key, value in part.arrays().items()
        }
        return {name: value for name, value in (held | inner).items() if value is not None}

    @classmethod
    def join(cls, parts: Sequence[Predictions]) -> Predictions:
        """Those of several batches, in order; at least one."""
        joined: dict[str, Any] = {
            name: _join_starts([part.arrays()[name] for part in parts])
            if name in ("starts", "answer_starts")
            else np.concatenate([part.arrays()[name] for part in parts])
            for name in parts[0].arrays()
            if "." not in name
        }
        inner = parts[0].parts
        if inner is not None:
            joined["parts"] = {name: cls.join([(part.parts or {})[name] for part in parts]) for name in inner}
        return cls(**joined)

    def check(self, task: Literal["classification", "regression"], *, split: str) -> None:
        """Refuse what cannot be scored.

        Raises:
            DataError: No samples, different lengths, or a target that is no class.
            NonFiniteError: An answer is NaN or infinite.
            ModelError: Rows are no probabilities.
        """
        _check_shapes(self, task, split)
        bad = ~np.isfinite(self.probs).reshape(len(self), -1).all(1)
        if bad.any():
            raise NonFiniteError(
                where=f"the model's answers on {split}",
                expected="finite numbers",
                got=f"NaN or infinity for {bad.sum():,} of {len(bad):,} samples, first for sample "
                f"{self.sample_ids[np.flatnonzero(bad)[0]]}",
                cure="Look for overflow in the module: a large rate, a logarithm of 0, half precision.",
            )
        if task == "classification":
            _check_probabilities(self, split)


def _join_starts(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    sizes = np.concatenate([np.diff(part) for part in parts])
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)


def _check_shapes(predictions: Predictions, task: str, split: str) -> None:
    ids, targets, answers = predictions.sample_ids, predictions.targets, predictions.probs
    fits = answers.ndim == 2 and answers.shape[1] > 1 and targets.ndim == 1
    if task == "regression":
        fits = answers.size == targets.size
    if not len(targets) or not len(ids) == len(targets) == len(answers) or not fits:
        raise DataError(
            where=f"the predictions on {split}",
            expected="at least one sample, with one target and one answer each"
            + (": targets (N,), probabilities (N, C)" if task == "classification" else ", of one shape"),
            got=f"{len(ids)} ids, targets {targets.shape}, answers {answers.shape}",
            cure="Give all three of the same samples.",
        )


def _check_probabilities(predictions: Predictions, split: str) -> None:
    answers, targets = predictions.probs, predictions.targets
    off = np.abs(answers.sum(1, dtype=np.float64) - 1) > SUM_TOLERANCE
    off |= (answers < 0).any(1)
    if off.any():
        first = answers[np.flatnonzero(off)[0]]
        raise ModelError(
            where=f"the model's answers on {split}",
            expected="probabilities: none below 0, each row with sum 1",
            got=f"{off.sum():,} of {len(off):,} rows that are not, as one with sum {first.sum():.4g}",
            cure="Make probabilities of logits with softmax before they are scored.",
        )
    wrong = (targets < 0) | (targets >= answers.shape[1])
    if wrong.any():
        raise DataError(
            where=f"target of sample {predictions.sample_ids[np.flatnonzero(wrong)[0]]} in {split}",
            expected=f"a class from 0 to {answers.shape[1] - 1}",
            got=str(targets[np.flatnonzero(wrong)[0]]),
            cure="Give the model as many outputs as there are classes.",
        )
