"""One batch: inputs by name, targets, sample ids. Knows nothing of where it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples gathered for one forward pass. ``B`` is the number of samples.

    Attributes:
        inputs: Tensors by name, each (B, ...).
        targets: (B, ...), int64 classes or float32 values; None when predicting.
        sample_ids: Index of each sample in its split, int64 (B,).
    """

    inputs: dict[str, Tensor]
    targets: Tensor | None
    sample_ids: Tensor

    def __len__(self) -> int:
        return len(self.sample_ids)

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``; itself where it is there already."""
        return replace(
            self,
            inputs={name: value.to(device, non_blocking=True) for name, value in self.inputs.items()},
            targets=None if self.targets is None else self.targets.to(device, non_blocking=True),
        )

    def split(self, parts: int) -> tuple[Batch, ...]:
        """Up to ``parts`` micro-batches, in order, sizes as equal as can be (views, no copies)."""
        if parts <= 1:
            return (self,)
        ids = self.sample_ids.tensor_split(parts)
        inputs = {name: value.tensor_split(parts) for name, value in self.inputs.items()}
        targets = None if self.targets is None else self.targets.tensor_split(parts)
        return tuple(
            Batch(
                {name: pieces[i] for name, pieces in inputs.items()},
                None if targets is None else targets[i],
                ids[i],
            )
            for i in range(parts)
            if len(ids[i])
        )
