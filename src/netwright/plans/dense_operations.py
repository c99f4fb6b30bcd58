"""The operations of torch's that the kernels for dense layers know, and what these do for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.fx import GraphModule, Node

from netwright.plans.dense_code import NOWHERE, Code, How, Translator, Value
from netwright.plans.operations import NoProgramError
from netwright.plans.tracing import Layout

ATEN = torch.ops.aten
MEAN, SUM = 1, 2  # as aten numbers reductions
# The number that an operation takes, of its arguments and keywords.
Numbers = Callable[[Sequence[Any], Mapping[str, Any]], float]


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _flat(*values: Value) -> None:
    """Refuse what does not lie as it is read, or has another shape beside it."""
    if any(one.turned for one in values) or len({one.shape for one in values}) > 1:
        raise NoProgramError("the kernels for dense layers do not know tensors of different shapes beside each other")


def _turn(to: Translator, node: Node, given: list[Any]) -> Value:
    value: Value = given[0]
    shape = tuple(reversed(value.shape))
    return replace(value, shape=shape, turned=len(shape) == 2 and 1 not in shape and not value.turned)


def _view(to: Translator, node: Node, given: list[Any]) -> Value:
    value: Value = given[0]
    if value.turned and _shape(node) != value.shape:
        raise NoProgramError("the kernels for dense layers do not know a transpose that is looked at otherwise")
    return replace(value, shape=_shape(node))


def _product(to: Translator, node: Node, given: list[Any]) -> Value:
    *bias, left, right = given
    (rows, inner), (_, columns) = left.shape, right.shape
    if node.kwargs or (bias and bias[0].shape != (columns,)):
        raise NoProgramError("the kernels for dense layers do not know such a bias")
    a_row, a_inner = (1, rows) if left.turned else (inner, 1)
    to.code.deepest = max(to.code.deepest, inner)
    return to.do(
        "product", to.make((rows, columns)), left, right, size=(rows, columns), inner=inner, a_row=a_row,
        a_inner=a_inner, b_step=inner if right.turned else columns, b_turned=right.turned,
        d=bias[0].place if bias else NOWHERE,
    )  # fmt: skip


def _each(kind: str, *, over: bool = False, numbers: Numbers | None = None) -> How:
    """An operation on each number by itself, of one tensor or of two of one shape.

    Args:
        over: Whether it writes over its first argument.
        numbers: 1 where there are none.
    """

    def how(to: Translator, node: Node, given: list[Any]) -> Value:
        values = [one for one in given if isinstance(one, Value)]
        _flat(*values)
        number = 1.0 if numbers is None else numbers(given, node.kwargs)
        made = to.owned(values[0]) if over else to.make(values[0].shape)
        return to.do(kind, made, *values, number=number)

    return how


def _scalar(given: Sequence[Any], more: Mapping[str, Any]) -> float:
    if isinstance(given[1], Value):
        return 1.0
    return float(given[1])


def _alpha(given: Sequence[Any], more: Mapping[str, Any]) -> float:
    if not isinstance(given[1], Value):
        raise NoProgramError("the kernels for dense layers add tensors alone")
    return float(more.get("alpha", 1.0))


def _threshold(given: Sequence[Any], more: Mapping[str, Any]) -> float:
    return float(given[2])


def _slope(given: Sequence[Any], more: Mapping[str, Any]) -> float:
    numbers = [one for one in given if not isinstance(one, Value)]
    return float(numbers[0]) if numbers else 0.01


def _exact(given: Sequence[Any], more: Mapping[str, Any]) -> float:
    if more.get("approximate", "none") != "none" or "tanh" in given:
        raise NoProgramError("the kernels for dense layers know GELU as it is defined, not what is near it")
    return 1.0


def _times(over: bool) -> How:
    def how(to: Translator, node: Node, given: list[Any]) -> Value:
        kind = "multiply" if isinstance(given[1], Value) else "scale"
        made: Value = _each(kind, over=over, numbers=_scalar)(to, node, given)
        return made

    return how


def _divide(over: bool) -> How:
    def how(to: Translator, node: Node, given: list[Any]) -> Value:
        if isinstance(given[1], Value):
            raise NoProgramError("the kernels for dense layers divide by numbers alone")
        made: Value = _each("divide", over=over, numbers=_scalar)(to, node, given)
        return made

    return how


def _room(to: Translator, node: Node, given: list[Any]) -> Value:
    made = Value(to.place(None), _shape(node))
    to.empty.add(made.place)
    return made


def _draw(to: Translator, node: Node, given: list[Any]) -> Value:
    value: Value = given[0]
    if value.place not in to.empty or len(given) < 2:
        raise NoProgramError("forward draws into a tensor that holds something")
    to.empty.remove(value.place)
    to.own.add(value.place)
    to.code.drawn.append((value.place, value.shape, float(given[1])))
    return value


def _ones(to: Translator, node: Node, given: list[Any]) -> Value:
    made = to.make(_shape(node))
    to.code.constants[made.place] = (1.0, made.size)
    return made


def _sum_dim(to: Translator, node: Node, given: list[Any]) -> Value:
    value, over = given[0], list(given[1])
    if value.turned or len(value.shape) != 2 or over != [0]:
        raise NoProgramError("the kernels for dense layers sum over rows alone")
    made = to.make(_shape(node))
    return to.do("sum_rows", made, value, size=value.shape)


def _mean_dim(to: Translator, node: Node, given: list[Any]) -> Value:
    value, over = given[0], list(given[1])
    if value.turned or len(value.shape) != 2 or over not in ([1], [-1]):
        raise NoProgramError("the kernels for dense layers take means over columns alone")
    return to.do("mean_columns", to.make(_shape(node)), value, size=value.shape)


def _sum(to: Translator, node: Node, given: list[Any]) -> Value:
    return to.do("sum", to.make(()), given[0], size=(1, given[0].size))


def _log_softmax(to: Translator, node: Node, given: list[Any]) -> Value:
    value, over, _ = given
    _flat(value)
    if len(value.shape) != 2 or over not in (1, -1):
        raise NoProgramError("the kernels for dense layers know log-softmax over columns alone")
    return to.do("log_softmax", to.make(value.shape), value, size=value.shape)


def _log_softmax_back(to: Translator, node: Node, given: list[Any]) -> Value:
    gradient, logs = given[:2]
    _flat(gradient, logs)
    return to.do("log_softmax_back", to.make(logs.shape), gradient, logs, size=logs.shape)


def _picked(to: Translator, node: Node, given: list[Any]) -> tuple[Value, Value]:
    logs, targets, weight, reduction, ignored = given
    _flat(logs)
    if weight is not None or reduction not in (MEAN, SUM) or len(logs.shape) != 2 or len(targets.shape) != 1:
        raise NoProgramError("the kernels for dense layers know this loss without weights, and one target a row")
    loss, counted = to.make(()), to.make(())
    to.do(
        "picked", loss, logs, targets, size=logs.shape, inner=ignored, mean=reduction == MEAN, d=counted.place,
    )  # fmt: skip
    return loss, counted


def _picked_back(to: Translator, node: Node, given: list[Any]) -> Value:
    gradient, logs, targets, _, reduction, ignored, counted = given
    return to.do(
        "picked_back", to.make(logs.shape), gradient, targets, size=logs.shape, inner=ignored, mean=reduction == MEAN,
        d=counted.place,
    )  # fmt: skip


def _squares(to: Translator, node: Node, given: list[Any]) -> Value:
    output, target, *reduction = given
    _flat(output, target)
    how = reduction[0] if reduction else MEAN
    if how not in (MEAN, SUM):
        raise NoProgramError("the kernels for dense layers know one loss a batch alone")
    return to.do("squares", to.make(()), output, target, size=(1, output.size), mean=how == MEAN)


def _squares_back(to: Translator, node: Node, given: list[Any]) -> Value:
    gradient, output, target, reduction = given
    _flat(output, target)
    return to.do("squares_back", to.make(output.shape), output, target, mean=reduction == MEAN, d=gradient.place)


def _copy(to: Translator, node: Node, given: list[Any]) -> Value:
    _flat(given[0])
    return to.do("copy", to.make(given[0].shape), given[0])


KNOWN: dict[Any, How] = {
    ATEN.t.default: _turn,
    ATEN.view.default: _view,
    ATEN._unsafe_view.default: _view,
    ATEN.squeeze.dim: _view,
    ATEN.unsqueeze.default: _view,
    ATEN.mm.default: _product,
    ATEN.addmm.default: _product,
    ATEN.relu.default: _each("relu"),
    ATEN.relu_.default: _each("relu", over=True),
    ATEN.threshold_backward.default: _each("relu_back", numbers=_threshold),
    ATEN.tanh.default: _each("tanh"),
    ATEN.tanh_backward.default: _each("tanh_back"),
    ATEN.sigmoid.default: _each("sigmoid"),
    ATEN.sigmoid_backward.default: _each("sigmoid_back"),
    ATEN.silu.default: _each("silu"),
    ATEN.silu_backward.default: _each("silu_back"),
    ATEN.gelu.default: _each("gelu", numbers=_exact),
    ATEN.gelu_backward.default: _each("gelu_back", numbers=_exact),
    ATEN.leaky_relu.default: _each("leaky", numbers=_slope),
    ATEN.leaky_relu_backward.default: _each("leaky_back", numbers=_slope),
    ATEN.mul.Tensor: _times(over=False),
    ATEN.mul_.Tensor: _times(over=True),
    ATEN.div.Scalar: _divide(over=False),
    ATEN.div_.Scalar: _divide(over=True),
    ATEN.add.Tensor: _each("add", numbers=_alpha),
    ATEN.sub.Tensor: _each("subtract", numbers=_alpha),
    ATEN.neg.default: _each("scale", numbers=lambda given, more: -1.0),
    ATEN.abs.default: _each("absolute"),
    ATEN.clone.default: _copy,
    ATEN.empty_like.default: _room,
    ATEN.bernoulli_.float: _draw,
    ATEN.ones_like.default: _ones,
    ATEN.sum.dim_IntList: _sum_dim,
    ATEN.sum.default: _sum,
    ATEN.mean.dim: _mean_dim,
    ATEN._log_softmax.default: _log_softmax,
    ATEN._log_softmax_backward_data.default: _log_softmax_back,
    ATEN.nll_loss_forward.default: _picked,
    ATEN.nll_loss_backward.default: _picked_back,
    ATEN.mse_loss.default: _squares,
    ATEN.mse_loss_backward.default: _squares_back,
}


def translate(graph: GraphModule, layout: Layout) -> Code:
    """The list for a graph of weights, buffers and a batch, as ``recording.backward_graph`` gives it.

    Raises:
        NoProgramError: It holds an operation, a dtype or a shape that the kernels do not know.
    """
    return Translator(layout, KNOWN).translate(graph)
