"""Whether all gradients are numbers, asked after each backward pass and so quickly. Knows nothing of training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

SMALL = 4_096  # numbers in a gradient; of a larger one it takes less to sum it up than to write it again
ONE = torch.ones((), device="cpu")


class Gradients:
    """The gradients of some parameters, which are those of one module from the begin of its training to the end."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._all = tuple(parameters)
        self._small = tuple(one for one in self._all if one.numel() <= SMALL)
        self._large = tuple(one for one in self._all if one.numel() > SMALL)
        self._on_cpu = all(one.device.type == "cpu" for one in self._all)
        self._found = torch.zeros((), device="cpu")

    def finite(self) -> bool:
        """Whether they are all finite; where parameters have none, those count that there are."""
        return (self._on_cpu and self._surely_finite()) or self._exactly_finite()

    def _surely_finite(self) -> bool:
        """Whether a quick look finds them all finite; where it does not, they may be all the same.

        What torch made for float16 is the quickest look at many small tensors: it multiplies them by a scale, here 1,
        which leaves each number as it is. A sum is finite only where all its terms are.
        """
        small = [one.grad for one in self._small if one.grad is not None]
        try:
            if small:
                torch._amp_foreach_non_finite_check_and_unscale_(small, self._found, ONE)
                if self._found.item():
                    self._found.zero_()
                    return False
            for one in self._large:
                if one.grad is not None and not math.isfinite(one.grad.sum().item()):
                    return False
        except (RuntimeError, TypeError):  # as of sparse or complex ones
            return False
        return True

    def _exactly_finite(self) -> bool:
        return have_finite_norms([_dense(one.grad) for one in self._all if one.grad is not None])


def have_finite_norms(tensors: list[Tensor]) -> bool:
    """Whether all norms are finite: then all numbers are. Synchronises with the device once."""
    if not tensors:
        return True
    norms = torch._foreach_norm(tensors)
    return all(map(math.isfinite, torch.stack(list(norms)).tolist() if _alike(norms) else map(float, norms)))


def _dense(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _alike(values: Sequence[Tensor]) -> bool:
    first = values[0]
    return all(one.dtype == first.dtype and one.device == first.device for one in values)
