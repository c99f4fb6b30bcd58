"""Samples as batches: padded as in training, of similar lengths, none larger than memory likes. ``B`` samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.answering.spec import Spec
from netwright.data.padding import alike, collate_arrays
from netwright.errors import DataError
from netwright.rows import row_fields

# Positions asked at once, padding included: of sound 32 MB, and with spectra some ten times as much.
MOST_POSITIONS = 8_000_000
Sample = Mapping[str, Any]


def fields_of(sample: Sample) -> dict[str, NDArray[Any]]:
    """A sample without what only its answer needs, as its words; such names begin with an underscore."""
    return {name: value for name, value in sample.items() if name[0] != "_"}


def batch_of(samples: Sequence[Sample], spec: Spec) -> dict[str, NDArray[Any]]:
    """Stored samples as the fields that training had, each (B, ...); at least one sample.

    Raises:
        DataError: One is empty where the trained module takes no such; padded, its graph would answer.
    """
    for name in spec.never_empty:
        if any(name in sample and not len(sample[name]) for sample in samples):
            raise DataError(
                where="input", expected="a text of at least one token, as the network itself does",
                got=f"none in `{name}`", cure="Leave it out: the network takes no empty text.",
            )  # fmt: skip
    rows = spec.preprocess.rows
    batch = collate_arrays([fields_of(sample) for sample in samples], spec.varying)
    if rows is not None and rows.columns:
        made = row_fields(rows, batch["numbers"], batch["categories"])
        return made | {name: batch[name] for name in spec.preprocess.fields}
    return batch


def plan(samples: Sequence[Sample], batch_size: int, *, varying: frozenset[str], together: bool) -> list[list[int]]:
    """Which samples are asked at once: all of one shape, or padded where that changes no answer.

    Args:
        samples: At least one.
        batch_size: Samples asked at once.
        varying: Names of the fields whose first size is not the same for all samples.
        together: Whether samples of different lengths may be padded into one batch.

    Returns:
        Indices, each once; longer ones together, so that little is padding.
    """
    if not varying and not _irregular(samples):
        return [list(range(at, min(at + batch_size, len(samples)))) for at in range(0, len(samples), batch_size)]
    lengths = [_length(sample) for sample in samples]
    if together and not _irregular(samples, varying):
        groups = [sorted(range(len(samples)), key=lengths.__getitem__)]
    else:
        groups = alike([fields_of(sample) for sample in samples])
    batches: list[list[int]] = []
    for group in groups:
        batch: list[int] = []
        for index in group:  # by rising length, so that this one is the longest so far
            if len(batch) == batch_size or (batch and (len(batch) + 1) * lengths[index] > MOST_POSITIONS):
                batches.append(batch)
                batch = []
            batch.append(index)
        batches.append(batch)
    return batches


def _length(sample: Sample) -> int:
    each = ((name, value) for name, value in sample.items() if isinstance(value, np.ndarray) and value.ndim)
    return sum(value.size if name == "log_mel" else value.shape[0] for name, value in each)


def _irregular(samples: Sequence[Sample], varying: frozenset[str] = frozenset()) -> bool:
    """Whether fields that do not vary are of several shapes, as pictures of a network that takes any size."""
    if len(samples) < 2:
        return False
    first = {name: value.shape for name, value in fields_of(samples[0]).items() if name not in varying}
    return any(sample[name].shape != shape for sample in samples[1:] for name, shape in first.items())
