"""Forward, loss and backward as the list of torch's operations that they are, recorded once and then done again.

Nothing is compiled, so that it is made within a second; the kernels are those of the plain update, in its order. Saved
is what autograd does around them, and what it does between layouts: the gradient of a flattened picture comes back
channel after channel, and a pooling that ran channels last then copies its whole input twice. The optimizer's step is
the fused one where there is such.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from netwright.batch import Batch
from netwright.outcome import Outcome
from netwright.plans.fusing import move_of
from netwright.plans.operations import NoProgramError
from netwright.plans.program import fit, shapes_of
from netwright.plans.tracing import Layout, batch_of, graph_of, layout_of, refuse, tensors_of
from netwright.randomness import random_state, set_random_state
from netwright.step import Move, Program, StepResult, TrainState, forward, stepwise
from netwright.sums import Sums

ATEN = torch.ops.aten
DETACH, CLONE, THRESHOLD = ATEN.detach.default, ATEN.clone.default, ATEN.threshold_backward
PICTURES = 4  # dimensions
# Operations that may write over their first argument, and what then does the same.
OVER = {
    ATEN.relu.default: ATEN.relu_.default,
    ATEN.mul.Tensor: ATEN.mul_.Tensor,
    ATEN.add.Tensor: ATEN.add_.Tensor,
    ATEN.div.Tensor: ATEN.div_.Tensor,
    THRESHOLD.default: THRESHOLD.grad_input,
}


@dataclass(slots=True)
class Recorded(Program):
    """Does updates of batches as the one it was made for; of others only the optimizer's step is another.

    Attributes:
        graph: Takes parameters, buffers and a batch, changes the buffers, and gives what an outcome is made of.
        sums: Of the pass for which ``tensors`` and ``trained`` of the state were looked up.
    """

    graph: GraphModule
    layout: Layout
    shapes: tuple[Any, ...]
    move: Move | None
    rounds: float = 1.0
    tensors: list[Tensor] = field(default_factory=list)
    trained: list[Tensor] = field(default_factory=list)
    sums: Sums | None = None

    def attempt(self, state: TrainState, batch: Batch) -> StepResult:
        """Do one update."""
        brought = self.layout.of_batch(batch)
        if not fit(brought, self.shapes):
            return stepwise(state, batch, move=self.move)
        return stepwise(state, batch, find=lambda state, batch: self._find(state, brought), move=self.move)

    def _find(self, state: TrainState, brought: list[Tensor]) -> Outcome:
        if state.sums is not self.sums:  # a new pass
            found = tensors_of(state.model)
            self.tensors = [one.detach() for one in found.values()]
            self.trained, self.sums = [found[name] for name, _ in self.layout.trained], state.sums
        # Nothing here requires a gradient, so none is recorded; switched off, oneDNN's LSTM would not keep what its
        # backward pass needs.
        loss, gradients, count, metrics, outputs = self.graph.forward(*self.tensors, *brought)
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient
        return Outcome(loss, count, metrics, outputs)


class _Whole(nn.Module):
    """A module with its loss and its metrics, so that all its tensors can be handed over in one call."""

    def __init__(self, state: TrainState) -> None:
        super().__init__()
        self.model = state.model
        self._state = [state]

    def forward(self, batch: Batch) -> Outcome:
        """As in the plain update."""
        return forward(self._state[0], batch, tally=self._state[0].recipe.tally)


def recorded(state: TrainState, batch: Batch) -> Callable[[], Recorded]:
    """What makes the plan for a state like this one, by batches like this one.

    Raises:
        NoProgramError: It cannot be recorded, and why.
    """
    return record(state, batch)


def record(
    state: TrainState,
    batch: Batch,
    *,
    within: AbstractContextManager[Any] | None = None,
    rewrite: Callable[[GraphModule], float] = lambda graph: 1.0,
) -> Callable[[], Recorded]:
    """As ``recorded``.

    Args:
        within: Entered while forward and backward are looked at.
        rewrite: Changes what was recorded at last, and gives ``Program.rounds`` of what comes of it.
    """
    refuse(state)
    layout, move = layout_of(state, batch), move_of(state.optimizer)
    example = arguments(state, layout, batch)
    graph = backward_graph(state, layout, example, within)
    _keep_layouts(graph)
    _write_over(graph)
    _part(graph, state, example)
    rounds = rewrite(graph)
    graph.graph.lint()
    graph.recompile()
    shapes = shapes_of(layout.of_batch(batch))
    return partial(Recorded, graph, layout, shapes, None if isinstance(move, str) else move, rounds)


def arguments(state: TrainState, layout: Layout, batch: Batch) -> list[Tensor]:
    """What ``backward_graph`` takes: parameters, buffers and a batch."""
    return [*(one.detach() for one in tensors_of(state.model).values()), *layout.of_batch(batch)]


def backward_graph(
    state: TrainState,
    layout: Layout,
    example: list[Tensor],
    within: AbstractContextManager[Any] | None = None,
) -> GraphModule:
    """Forward, loss and backward as operations on ``arguments``; gives what ``gradients_of`` does.

    Raises:
        NoProgramError: It cannot be recorded, and why.
    """
    graph = graph_of(state, gradients_of(state, layout, within), example)
    _tidy(graph)
    return graph


def gradients_of(
    state: TrainState, layout: Layout, within: AbstractContextManager[Any] | None = None
) -> Callable[..., Any]:
    """A function of weights, buffers and a batch that gives what an outcome is made of, and gradients."""
    whole = _Whole(state).train()

    def find(*given: Tensor) -> tuple[Any, ...]:
        weights = dict(zip(layout.weights, given, strict=False))
        leaves = {name: weights[name].detach().requires_grad_() for name, _ in layout.trained}
        named = {f"model.{name}": leaves.get(name, value) for name, value in weights.items()}
        batch = batch_of(layout, given[len(weights) :])
        with within or nullcontext():
            outcome: Outcome = torch.func.functional_call(whole, named, (batch,))
        gradients = torch.autograd.grad(outcome.loss, list(leaves.values()), allow_unused=True)
        if any(one is None for one in gradients):
            raise NoProgramError("a parameter has a gradient in some updates and none in others")
        return outcome.loss.detach(), list(gradients), outcome.count, outcome.metrics, outcome.outputs

    return find


def _tidy(graph: GraphModule) -> None:
    """Leave out what autograd alone needs: it is off."""
    for node in graph.graph.nodes:
        if node.target is DETACH:
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()


def _keep_layouts(graph: GraphModule) -> None:
    """Turn gradients into the layout of what they are gradients of, which each kernel would do for itself, and slower.

    The tutorial's pooling of (64, 64, 24, 24), one thread: 1.9 ms with its gradient turned first, 6.4 ms otherwise.
    """
    for node in graph.graph.nodes:
        if not str(node.target).split(".")[-2:][0].endswith("_backward") or len(node.args) < 2:
            continue
        gradient, of = node.args[:2]
        if _lies_last(of) and not _lies_last(gradient):
            with graph.graph.inserting_before(node):
                turned = graph.graph.call_function(CLONE, (gradient,), {"memory_format": torch.channels_last})
            if isinstance(value := gradient.meta.get("val"), Tensor):
                turned.meta["val"] = value.contiguous(memory_format=torch.channels_last)
            node.replace_input_with(gradient, turned)
            if node.target is THRESHOLD.default and isinstance(value := node.meta.get("val"), Tensor):
                node.meta["val"] = value.contiguous(memory_format=torch.channels_last)  # it lies as what it is made of


def _write_over(graph: GraphModule) -> None:
    """Put results where the argument lay that nobody reads again: memory that is in the cache already."""
    done: set[Node] = set()
    for node in graph.graph.nodes:
        if node.target not in OVER or not isinstance(first := node.args[0], Node):
            continue
        if set(first.users) == {node} and (first in done or _is_fresh(first)) and _alike(first, node):
            done.add(node)
            if node.target is THRESHOLD.default:
                node.kwargs = {"grad_input": first}
            node.target = OVER[node.target]


def _is_fresh(node: Node) -> bool:
    """Whether a node's memory is its own, and no view of another's."""
    source = node.args[0] if node.target is operator.getitem else node
    if not isinstance(source, Node) or not isinstance(source.target, torch._ops.OpOverload):
        return False
    if "unsafe" in str(source.target):  # views that are not declared as such
        return False
    return all(one.alias_info is None for one in source.target._schema.returns)


def _alike(first: Node, second: Node) -> bool:
    """Whether two nodes have the same shape, strides and dtype, and no number of theirs lies where another does."""
    one, other = first.meta.get("val"), second.meta.get("val")
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    dense = torch.empty_like(one).stride() == one.stride()
    return dense and (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)


def _lies_last(node: Any) -> bool:
    """Whether a node's pictures lie channels last, and not in both layouts as those of one channel do."""
    value = node.meta.get("val") if isinstance(node, Node) else None
    if not isinstance(value, Tensor) or value.ndim != PICTURES:
        return False
    return value.is_contiguous(memory_format=torch.channels_last) and not value.is_contiguous()


def _part(graph: GraphModule, state: TrainState, example: list[Tensor]) -> None:
    """Give each parameter a gradient of its own, as autograd does: clipping changes them in place."""
    given, drawn = [one.clone() for one in example], random_state(state.device)
    loss, gradients, *_ = graph.forward(*given)
    set_random_state(drawn, state.device)
    taken = {one.untyped_storage().data_ptr() for one in (loss, *given)}
    (output,) = [node for node in graph.graph.nodes if node.op == "output"]
    nodes = list(output.args[0][1])
    for place, value in enumerate(gradients):
        shared = value.untyped_storage().data_ptr() in taken
        if shared or value.stride() != torch.empty_like(value).stride():
            with graph.graph.inserting_before(output):
                nodes[place] = graph.graph.call_function(CLONE, (nodes[place],))
        taken.add(value.untyped_storage().data_ptr())
    output.args = ((output.args[0][0], nodes, *output.args[0][2:]),)
