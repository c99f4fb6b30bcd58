"""Whether all gradients are numbers, asked after each backward pass and so quickly. Knows nothing of training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

SMALL = 4_096  # numbers in a gradient; of a larger one it takes less to sum it up than to write it again
FEW = 6  # small ones, which are summed up too where there are large ones: another kernel is read from memory first
ONE = torch.ones((), device="cpu")


class Gradients:
    """The gradients of some parameters, which are those of one module from the begin of its training to the end."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._all = tuple(parameters)
        small = [one.numel() <= SMALL for one in self._all]
        summed = 0 < sum(small) <= FEW and not all(small)
        self._checked = tuple(one for one, is_small in zip(self._all, small, strict=True) if is_small and not summed)
        self._summed = tuple(one for one, is_small in zip(self._all, small, strict=True) if not is_small or summed)
        self._on_cpu = all(one.device.type == "cpu" for one in self._all)
        self._found = torch.zeros((), device="cpu")

    def finite(self, norm: Tensor | None = None) -> bool:
        """Whether they are all finite; where parameters have none, those count that there are.

        Args:
            norm: Of all of them, where it was needed for something else: it is finite only where they all are.
        """
        quick = self._on_cpu and self._surely_finite() if norm is None else math.isfinite(norm.item())
        return quick or self._exactly_finite()

    def norm(self) -> Tensor:
        """The norm of all of them together, 0-d."""
        return nn.utils.get_total_norm([one.grad for one in self._all if one.grad is not None])

    def _surely_finite(self) -> bool:
        """Whether a quick look finds them all finite; where it does not, they may be all the same.

        What torch made for float16 is the quickest look at many small tensors: it multiplies them by a scale, here 1,
        which leaves each number as it is. A sum is finite only where all its terms are.
        """
        checked = [one.grad for one in self._checked if one.grad is not None]
        try:
            if checked:
                torch._amp_foreach_non_finite_check_and_unscale_(checked, self._found, ONE)
                if self._found.item():
                    self._found.zero_()
                    return False
            for one in self._summed:
                if one.grad is not None and not math.isfinite(one.grad.sum().item()):
                    return False
        except (RuntimeError, TypeError):  # as of sparse or complex ones
            return False
        return True

    def _exactly_finite(self) -> bool:
        dense = [_dense(one.grad) for one in self._all if one.grad is not None]
        return have_finite_norms(dense) or all(bool(torch.isfinite(one).all()) for one in dense)


def have_finite_norms(tensors: list[Tensor]) -> bool:
    """Whether all norms are finite: then all numbers are, which may be so too where a norm is too large.

    Synchronises with the device once.
    """
    if not tensors:
        return True
    norms = torch._foreach_norm(tensors)
    return all(map(math.isfinite, torch.stack(list(norms)).tolist() if _alike(norms) else map(float, norms)))


def _dense(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _alike(values: Sequence[Tensor]) -> bool:
    first = values[0]
    return all(one.dtype == first.dtype and one.device == first.device for one in values)
