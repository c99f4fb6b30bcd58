"""What a module emits, told from the values of a probe batch: logits, probabilities, values.

``B`` is the number of samples, ``C`` of classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

OutputKind = Literal["logits", "log_probs", "probs", "sigmoids", "value"]

# How far a row of float32 probabilities may be from summing to 1 and still be one: rounding of C terms.
SUM_TOLERANCE = 1e-4
# Operations of the graph that move values about and change none.
RESHAPES = (
    "Squeeze", "Unsqueeze", "View", "UnsafeView", "Reshape", "Select", "Slice", "Clone", "ToCopy", "Alias", "Permute",
    "Transpose", "TBackward", "Expand", "Contiguous",
)  # fmt: skip


def output_kind(outputs: Tensor) -> tuple[OutputKind, str]:
    """Tell what a module emits from the values of a probe batch.

    Args:
        outputs: float (B, C), or (B,) / (B, 1) for one value a sample.

    Returns:
        The kind, and the evidence in words.
    """
    values = outputs.detach().float()
    if values.ndim < 2 or values.shape[1] == 1:
        if last_operation(outputs).startswith("Sigmoid"):
            return "probs", "one value a sample, and it comes out of a sigmoid"
        return "value", "one value a sample"
    ones = torch.ones(())
    if bool((values >= 0).all()) and torch.allclose(values.sum(1), ones, atol=SUM_TOLERANCE):
        return "probs", f"{len(values)} of {len(values)} probe rows are non-negative and sum to 1"
    if torch.allclose(values.exp().sum(1), ones, atol=SUM_TOLERANCE):
        return "log_probs", f"in {len(values)} of {len(values)} probe rows exp(output) sums to 1: log-probabilities"
    if last_operation(outputs).startswith("Sigmoid"):
        return "sigmoids", "each column comes out of a sigmoid, and rows do not sum to 1"
    return "logits", "rows are unnormalised: logits"


def last_operation(outputs: Tensor) -> str:
    """Name of the last operation of the graph that changed values, past those that only change shapes."""
    node = outputs.grad_fn
    while node is not None and type(node).__name__.startswith(RESHAPES) and node.next_functions:
        node = node.next_functions[0][0]
    return "" if node is None else type(node).__name__
