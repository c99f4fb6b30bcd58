"""Samples as batches: padded as in training, of similar lengths, none larger than memory likes. ``B`` samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.answering.spec import Spec
from netwright.data.padding import collate_arrays
from netwright.rows import row_fields

# Positions asked at once, padding included: of sound 32 MB, and with spectra some ten times as much.
MOST_POSITIONS = 8_000_000
Sample = Mapping[str, Any]


def fields_of(sample: Sample) -> dict[str, NDArray[Any]]:
    """A sample without what only its answer needs, as its words; such names begin with an underscore."""
    return {name: value for name, value in sample.items() if name[0] != "_"}


def batch_of(samples: Sequence[Sample], spec: Spec) -> dict[str, NDArray[Any]]:
    """Stored samples as the fields that training had, each (B, ...); at least one sample."""
    rows = spec.preprocess.rows
    batch = collate_arrays([fields_of(sample) for sample in samples], spec.varying)
    if rows is not None and rows.columns:
        made = row_fields(rows, batch["numbers"], batch["categories"])
        return made | {name: batch[name] for name in spec.preprocess.fields}
    return batch


def plan(samples: Sequence[Sample], spec: Spec, batch_size: int) -> list[list[int]]:
    """Which samples are asked at once: all of one shape, or padded where that changes no answer.

    Returns:
        Indices, each once; longer ones together, so that little is padding.
    """
    if not spec.varying and not _irregular(samples):
        return [list(range(at, min(at + batch_size, len(samples)))) for at in range(0, len(samples), batch_size)]
    lengths = [_length(sample) for sample in samples]
    if spec.together and not _irregular(samples, spec.varying):
        groups = [sorted(range(len(samples)), key=lengths.__getitem__)]
    else:
        alike: dict[Any, list[int]] = {}
        for index, sample in enumerate(samples):
            key = tuple((name, value.shape) for name, value in sorted(fields_of(sample).items()))
            alike.setdefault(key, []).append(index)
        groups = list(alike.values())
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
    return sum(value.shape[0] for value in sample.values() if isinstance(value, np.ndarray) and value.ndim)


def _irregular(samples: Sequence[Sample], varying: frozenset[str] = frozenset()) -> bool:
    """Whether fields that do not vary are of several shapes, as pictures of a network that takes any size."""
    if len(samples) < 2:
        return False
    first = {name: value.shape for name, value in fields_of(samples[0]).items() if name not in varying}
    return any(sample[name].shape != shape for sample in samples[1:] for name, shape in first.items())
