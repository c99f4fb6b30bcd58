"""Where weights are used to gather values, and over which of their axes the sum runs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netwright.checks.optrace import Op, tensors_in
from netwright.checks.traced import Traced

PASSED = frozenset({
    "dropout", "transpose", "permute", "unsqueeze", "squeeze", "view", "reshape", "contiguous", "to", "float", "clone",
    "expand", "masked_fill", "half", "type_as", "nan_to_num", "flatten", "swapaxes", "movedim", "t", "mT", "T",
})  # fmt: skip
PRODUCTS = frozenset({"matmul", "bmm", "mm", "__matmul__", "__rmatmul__", "einsum", "mul", "__mul__", "baddbmm"})


@dataclass(frozen=True, slots=True)
class Use:
    """An operation that sums values with weights: the weights as it gets them, and their axis that is summed over."""

    op: Op
    weights: Tensor
    axis: int


def contracted(trace: Traced, index: int, weights: Tensor) -> Use | None:
    """Follow weights to the sum that they are used in; None where that is not seen."""
    tensor = weights
    for at in range(index + 1, len(trace.ops)):
        op = trace.ops[at]
        given = op.tensors()
        place = next((number for number, one in enumerate(given) if one is tensor), None)
        if place is None:
            continue
        if op.short in PASSED and place == 0 and isinstance(op.out, Tensor) and op.out.numel() == tensor.numel():
            tensor = op.out
        elif op.short in PRODUCTS and len(given) >= 2:
            return _product(trace, at, tensor, place, given)
        elif op.short in PASSED and place == 0 and isinstance(op.out, Tensor) and op.short == "expand":
            tensor = op.out
        else:
            return None
    return None


def _product(trace: Traced, at: int, tensor: Tensor, place: int, given: list[Tensor]) -> Use | None:
    op = trace.ops[at]
    if op.short == "einsum":
        return _einsum(op, tensor, given)
    if op.short in ("mul", "__mul__"):
        return _sum_after(trace, at, tensor)
    first = given[-2] is tensor if op.short == "baddbmm" else (place == 0) != (op.short == "__rmatmul__")
    if tensor.ndim == 1:
        return None
    return Use(op, tensor, tensor.ndim - 1 if first else tensor.ndim - 2)


def _einsum(op: Op, tensor: Tensor, given: list[Tensor]) -> Use | None:
    equation = next((one for one in op.args if isinstance(one, str)), None)
    if equation is None or "..." in equation or "->" not in equation:
        return None
    left, right = equation.replace(" ", "").split("->")
    terms = left.split(",")
    number = next((where for where, one in enumerate(given) if one is tensor), None)
    if number is None or number >= len(terms) or len(terms[number]) != tensor.ndim:
        return None
    gone = [axis for axis, letter in enumerate(terms[number]) if letter not in right]
    return Use(op, tensor, gone[0]) if len(gone) == 1 else None


def _sum_after(trace: Traced, at: int, tensor: Tensor) -> Use | None:
    """A product number by number, and the sum over one of its axes that follows."""
    product = trace.ops[at].out
    if not isinstance(product, Tensor):
        return None
    for op in trace.ops[at + 1 :]:
        if not any(one is product for one in tensors_in(op.args)):
            continue
        if op.short != "sum":
            return None
        axis = op.argument(1, "dim")
        if isinstance(axis, (tuple, list)) and len(axis) == 1:
            axis = axis[0]
        if not isinstance(axis, int):
            return None
        own = axis % product.ndim - (product.ndim - tensor.ndim)
        return Use(op, tensor, own) if own >= 0 and tensor.shape[own] > 1 else None
    return None
