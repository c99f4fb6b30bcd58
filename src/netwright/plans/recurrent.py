"""LSTM and GRU layers of a recorded update, done by kernels of our own.

torch does an LSTM by oneDNN's kernels, and a GRU as a chain of small operations, five a step. Here a step's product
ends in its gates while they are in registers, and a part of the batch goes through all steps without waiting for the
others. Numbers are those of torch's layers to a rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.overrides import TorchFunctionMode

from netwright.plans import recurrent_kernels as kernels

ATEN = torch.ops.aten
DIVIDE, EXPAND, TRANSPOSE = ATEN.div.Scalar, ATEN.expand.default, ATEN.transpose.int
FORWARD = "netwright::recurrent(Tensor x, Tensor w_ih, Tensor w_hh, Tensor bias, Tensor h0, Tensor? c0, bool reverse)"
BACKWARD = (
    "netwright::recurrent_backward(Tensor dh, Tensor dc, Tensor w_hh, Tensor h0, Tensor? c0, Tensor states, "
    "Tensor cells, Tensor gates, bool reverse)"
)
FOUR = " -> (Tensor, Tensor, Tensor, Tensor)"
Operators = tuple[Any, Any]  # of the forward and of the backward pass


def by_kernels(graph: GraphModule) -> None:
    """Call the kernels themselves in place of their operators: torch's way around them takes some 50 µs.

    A mean over steps hands back one gradient for all, which is divided before it is spread out: the kernels read it
    where it is, and 0.8 MB (50 steps, 32 sequences, 128 wide) need not be written.
    """
    forward, backward = operators()
    for node in list(graph.graph.nodes):
        if node.target is DIVIDE and node.args[0].target is EXPAND and _reach(node, backward):
            spread = node.args[0]
            with graph.graph.inserting_before(node):
                few = graph.graph.call_function(DIVIDE, (spread.args[0], *node.args[1:]))
            node.target, node.args = EXPAND, (few, *spread.args[1:])
            if not spread.users:
                graph.graph.erase_node(spread)
    for node in graph.graph.nodes:
        if node.target is forward:
            node.target = kernels.forward
        elif node.target is backward:
            node.target, node.args = kernels.backward, (*node.args, True)  # over the gates, which nobody else reads


def _reach(node: Node, backward: Any) -> bool:
    """Whether all that reads a node, maybe with its dimensions in another order, is the kernels' backward pass."""
    return all(one.target is backward or (one.target is TRANSPOSE and _reach(one, backward)) for one in node.users)


class Layers(TorchFunctionMode):
    """Calls the kernels where torch's LSTM or GRU is called, for all that they can do."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """As ``func``, to a rounding."""
        if func in (torch.lstm, torch.gru) and not kwargs and _fit(func == torch.lstm, args):
            self.done += 1
            return layers_of(func == torch.lstm, *args)
        return func(*args, **(kwargs or {}))


def _fit(lstm: bool, args: tuple[Any, ...]) -> bool:
    """Whether a call is one of whole sequences, in float32 on the processor, with the weights it should have."""
    if len(args) != 9 or not isinstance(args[3], bool) or torch.is_autocast_enabled("cpu"):
        return False
    x, hx, weights, bias, count, _, _, both, batch_first = args
    first = hx if lstm else (hx,)
    tensors = (x, *first, *weights)
    if (
        x.dim() != 3
        or not x.numel()
        or any(one.dtype is not torch.float32 or one.device.type != "cpu" for one in tensors)
    ):
        return False
    directions, units = 2 if both else 1, first[0].shape[-1]
    rows = x.shape[0 if batch_first else 1]
    shapes = []
    for layer in range(count):
        gates = (4 if lstm else 3) * units
        own = [(gates, x.shape[2] if not layer else directions * units), (gates, units)]
        shapes += (own + ([(gates,), (gates,)] if bias else [])) * directions
    wanted = [(count * directions, rows, units)] * len(first) + shapes
    return units > 0 and [tuple(one.shape) for one in (*first, *weights)] == wanted


def layers_of(  # noqa: PLR0913  torch.lstm's own
    lstm: bool,
    x: Tensor,
    hx: Any,
    weights: Sequence[Tensor],
    bias: bool,
    count: int,
    dropout: float,
    training: bool,
    both: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """As ``torch.lstm`` or ``torch.gru``, whose arguments these are."""
    each, directions = 4 if bias else 2, 2 if both else 1
    first, cells = hx if lstm else (hx, None)
    forward = operators()[0]
    last: list[Tensor] = []
    last_cells: list[Tensor] = []
    x = x.transpose(0, 1) if batch_first else x
    for layer in range(count):
        x, found = x.contiguous(), []
        for reverse in range(directions):
            place = len(last)
            own = weights[place * each : (place + 1) * each]
            cell = None if cells is None else cells[place]
            states, end, *_ = forward(x, own[0], own[1], _bias(lstm, own), first[place], cell, bool(reverse))
            found.append(states)
            last.append(states[0 if reverse else -1])
            last_cells.append(end)
        x = torch.cat(found, -1) if both else found[0]
        if dropout and training and layer < count - 1:
            x = torch.dropout(x, dropout, True)  # of the same shape as torch's, so that it draws the same
    outputs = (x.transpose(0, 1) if batch_first else x, torch.stack(last))
    return (*outputs, torch.stack(last_cells)) if lstm else outputs


def _bias(lstm: bool, own: Sequence[Tensor]) -> Tensor:
    """Of four gates as the kernels take it."""
    units = own[1].shape[1]
    if len(own) == 2:
        return own[0].new_zeros(kernels.GATES * units)
    by_inputs, by_state = own[2:]
    if lstm:
        return by_inputs + by_state
    both = 2 * units
    return torch.cat([by_inputs[both:], by_inputs[:both] + by_state[:both], by_state[both:]])


@functools.cache
def operators() -> Operators:
    """The kernels as operators of torch's, which a trace takes as they are."""
    calls: tuple[tuple[str, Callable[..., Any]], ...] = ((FORWARD, kernels.forward), (BACKWARD, kernels.backward))
    for (name, _, rest), function in ((schema.partition("("), call) for schema, call in calls):
        made = torch.library.custom_op(name, function, mutates_args=(), schema=f"({rest}{FOUR}")
        if function is kernels.forward:
            made.register_autograd(_gradients, setup_context=_keep)
    return torch.ops.netwright.recurrent.default, torch.ops.netwright.recurrent_backward.default


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, w_ih, w_hh, _, h0, c0, ctx.reverse = inputs
    states, _, cells, gates = output
    ctx.mark_non_differentiable(cells, gates)
    ctx.save_for_backward(x, w_ih, w_hh, h0, c0, states, cells, gates)


def _gradients(ctx: Any, dh: Tensor, dc: Tensor, *rest: Any) -> tuple[Tensor | None, ...]:
    x, w_ih, w_hh, h0, c0, states, cells, gates = ctx.saved_tensors
    given = (dh, dc, w_hh, h0, c0, states, cells, gates, ctx.reverse)
    dgates, dbias, dh0, dc0 = operators()[1](*given)
    units = h0.shape[1]
    if c0 is None:  # n r z by the inputs, r z n by the state
        by_inputs, by_state = dgates[..., : 3 * units], dgates[..., units:]
        w_ih = torch.cat([w_ih[2 * units :], w_ih[: 2 * units]])
    else:
        by_inputs = by_state = dgates
    flat = by_inputs.flatten(0, 1)
    dx = (flat @ w_ih).view_as(x)
    dw_ih = (x.flatten(0, 1).t() @ flat).t()  # a seventh of the time that the other order takes where inputs are few
    if c0 is None:
        dw_ih = torch.cat([dw_ih[units:], dw_ih[:units]])
    return (
        dx,
        dw_ih,
        _of_state(by_state, states, h0, reverse=ctx.reverse),
        dbias,
        dh0,
        None if c0 is None else dc0,
        None,
    )


def _of_state(dgates: Tensor, states: Tensor, h0: Tensor, *, reverse: bool) -> Tensor:
    """The gradient of the weights that a step's state is multiplied by: that of the step before it."""
    found = dgates[-1 if reverse else 0].t() @ h0
    if len(dgates) == 1:
        return found
    later, before = (dgates[:-1], states[1:]) if reverse else (dgates[1:], states[:-1])
    return torch.addmm(found, later.flatten(0, 1).t(), before.flatten(0, 1))
