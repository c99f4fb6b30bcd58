"""One batch: inputs by name, targets, sample ids; several, one behind the other; and what is done with one.

Knows not where they came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples gathered for one forward pass. ``B`` is the number of samples.

    Attributes:
        inputs: Tensors by name, each (B, ...).
        targets: (B, ...), int64 classes or float32 values; of several answers a dict of such; None when predicting.
        sample_ids: Index of each sample in its split, int64 (B,).
    """

    inputs: dict[str, Tensor]
    targets: Tensor | dict[str, Tensor] | None
    sample_ids: Tensor

    def __len__(self) -> int:
        return self.sample_ids.shape[0]  # ``len`` of a tensor passes through Python

    @property
    def target(self) -> Tensor:
        """The targets of one answer, (B, ...).

        Raises:
            ValueError: There are none, or they are of several answers.
        """
        if not isinstance(self.targets, Tensor):
            raise ValueError("a batch with the targets of one answer is needed here")
        return self.targets

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``; itself where it is there already."""
        if self._lies_on(device):
            return self
        return replace(
            self,
            inputs=_each(self.inputs, lambda value: value.to(device, non_blocking=True)),
            targets=_each(self.targets, lambda value: value.to(device, non_blocking=True)),
        )

    def _lies_on(self, device: torch.device) -> bool:
        targets = self.targets
        if isinstance(targets, dict):
            return all(value.device == device for value in (*self.inputs.values(), *targets.values()))
        for value in self.inputs.values():  # asked at each update, where a generator takes twice as long
            if value.device != device:
                return False
        return targets is None or targets.device == device

    def split(self, parts: int) -> tuple[Batch, ...]:
        """Up to ``parts`` micro-batches, in order, sizes as equal as can be (views, no copies)."""
        if parts <= 1:
            return (self,)
        return tuple(
            Batch(
                _each(self.inputs, lambda value: value.tensor_split(parts)[at]),  # noqa: B023 - called at once
                _each(self.targets, lambda value: value.tensor_split(parts)[at]),  # noqa: B023
                ids,
            )
            for at, ids in enumerate(self.sample_ids.tensor_split(parts))
            if len(ids)
        )


@dataclass(frozen=True, slots=True)
class Strip:
    """Batches whose rows lie behind each other in memory.

    They pass through NumPy, since torch would link its own views with each other: a module that changes one in place
    would then be told that a sibling has changed.

    Attributes:
        inputs: By name, rows of all.
        targets: Of all; by name where there are several answers.
        parts: Indices of the samples of each batch, int64; the last may be shorter.
        step: Rows from the begin of one batch to that of the next.
    """

    inputs: dict[str, NDArray[np.generic]]
    targets: NDArray[np.generic] | dict[str, NDArray[np.generic]]
    parts: Sequence[NDArray[np.int64]]
    step: int

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.batch, range(len(self.parts)))

    def batch(self, place: int) -> Batch:
        """One of them."""
        part, tensor = self.parts[place], torch.from_numpy
        begin = place * self.step
        end = begin + len(part)
        fields = {name: tensor(value[begin:end]) for name, value in self.inputs.items()}
        if isinstance(self.targets, dict):
            wanted: Tensor | dict[str, Tensor] = {
                name: tensor(value[begin:end]) for name, value in self.targets.items()
            }
        else:
            wanted = tensor(self.targets[begin:end])
        return Batch(fields, wanted, tensor(part))


# The same kind comes back as was given: a dict, a tensor, None.
def _each(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(values, dict):
        return {name: change(value) for name, value in values.items()}
    return None if values is None else change(values)


@dataclass(frozen=True, slots=True)
class Step:
    """One update, as the loop yields it.

    Attributes:
        index: Updates done so far, this one included.
        epoch: The pass it belongs to, from 1.
        loss: 0-d tensor on the device; None where a resumed run only has its evaluation left.
        epoch_end: Whether this was the last update of its pass.
    """

    index: int
    epoch: int
    loss: Tensor | None
    lr: float
    epoch_end: bool
    batch: Batch | None = None


LossFunction = Callable[[Tensor, Tensor], Tensor]
StepFunction = Callable[[nn.Module, Batch], Tensor]
