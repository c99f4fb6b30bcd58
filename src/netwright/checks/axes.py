"""Which axis of a tensor holds features, told by the operations that made it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from netwright.checks.optrace import Op, tensors_in

LAST = frozenset({
    "linear", "embedding", "layer_norm", "rms_norm", "lstm", "gru", "rnn_tanh", "rnn_relu",
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
})  # fmt: skip
SECOND = frozenset({
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "batch_norm",
    "group_norm",
    "instance_norm",
})  # fmt: skip
POOLS = ("max_pool", "avg_pool", "adaptive_", "interpolate", "upsample", "pixel_")


def feature_axes(ops: list[Op]) -> dict[int, int]:
    """By the id of a tensor the axis of its features; those of which nothing is known are missing.

    ``ops`` must be kept alive, so that no id is given twice.
    """
    axes: dict[int, int] = {}
    for op in ops:
        for out in tensors_in(op.out):
            axis = _axis(op, out, axes)
            if axis is not None:
                axes[id(out)] = axis
    return axes


def _axis(op: Op, out: Tensor, axes: dict[int, int]) -> int | None:
    if out.ndim < 2:
        return None
    if op.short in LAST:
        return out.ndim - 1
    if op.short in SECOND:
        return 1
    known = [(one, axes[id(one)]) for one in op.tensors() if id(one) in axes]
    if not known:
        return None
    value, axis = known[0]
    if op.short in ("transpose", "swapaxes", "swapdims", "transpose_"):
        return _swapped(op, value, axis)
    if op.short == "permute":
        return _permuted(op, value, axis)
    if op.short.startswith(POOLS) and out.ndim == value.ndim:
        return axis
    if op.short == "unsqueeze":
        at = op.argument(1, "dim")
        at = at + value.ndim + 1 if isinstance(at, int) and at < 0 else at
        return axis + 1 if isinstance(at, int) and at <= axis else axis
    same = [own for one, own in known if one.shape == out.shape]
    known_once = len(set(same)) == 1 and op.short not in ("view", "reshape", "matmul", "__matmul__")
    return same[0] if known_once else None


def _swapped(op: Op, value: Tensor, axis: int) -> int | None:
    first, second = op.argument(1, "dim0"), op.argument(2, "dim1")
    if not isinstance(first, int) or not isinstance(second, int):
        return None
    first, second = first % value.ndim, second % value.ndim
    return second if axis == first else first if axis == second else axis


def _permuted(op: Op, value: Tensor, axis: int) -> int | None:
    dims: Any = op.kwargs.get("dims", op.args[1:])
    if len(dims) == 1 and isinstance(dims[0], (tuple, list)):
        dims = dims[0]
    order = [one % value.ndim for one in dims if isinstance(one, int)]
    return order.index(axis) if axis in order else None
