"""From the recorded operations of an update to the list that the kernels for dense layers go through."""

from __future__ import annotations

import ctypes
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from netwright.plans.operations import NoProgramError
from netwright.plans.tracing import Layout

KINDS = (
    "product", "relu", "relu_back", "tanh", "tanh_back", "sigmoid", "sigmoid_back", "silu", "silu_back", "gelu",
    "gelu_back", "leaky", "leaky_back", "multiply", "add", "subtract", "absolute", "scale", "divide", "copy",
    "sum_rows", "mean_columns", "sum", "log_softmax", "log_softmax_back", "picked", "picked_back", "squares",
    "squares_back",
)  # fmt: skip
# What a kernel's place in memory begins at.
ALIGNED = 16  # floats
NOWHERE = -1
SLOTS = 3  # at most, of an optimizer's state for a parameter


class Operation(ctypes.Structure):
    """As in dense.cpp."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("kind", "rows", "columns", "inner")),
        *((name, ctypes.c_long) for name in ("a_row", "a_inner", "b_step", "b_turned")),
        *((name, ctypes.c_long) for name in ("mean", "a", "b", "c", "d")),
        ("number", ctypes.c_float),
    )


@dataclass(frozen=True, slots=True)
class Value:
    """What an operation reads or makes.

    Attributes:
        turned: Whether what lies there, row after row, is its transpose.
        whole: Whether these are int64, as classes are, and not float32.
    """

    place: int
    shape: tuple[int, ...]
    turned: bool = False
    whole: bool = False

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Given:
    """Which of the things that are given."""

    index: int


# What is done for an operation: of the translator, the node, and its arguments as values.
How = Callable[["Translator", Node, list[Any]], Any]


@dataclass(slots=True)
class Code:
    """An update's operations, and what lies at their places.

    Attributes:
        begins: For each place where it begins in the program's own memory, in floats; None where others own it.
        floats: Of that memory; ``deepest`` inner size of a product.
        weights: Places of parameters and buffers; ``brought`` of what a batch brings.
        states: The first of the places of the optimizer's state.
        given: Places that get memory of their own in each update, with their shapes: the loss, the outputs where they
            are asked for, and what metrics are made of.
        drawn: Places of what dropout leaves, with shapes and the share that is kept, in the order of drawing.
        constants: By place a number, and how many of it.
        gradients: Places, in the order of the layout.
        outputs: Whether the outputs are asked for.
        metrics: By name a sum and a count, each a number or where it is among what is given.
    """

    operations: list[Operation] = field(default_factory=list)
    begins: list[int | None] = field(default_factory=list)
    floats: int = 0
    deepest: int = 1
    weights: tuple[int, ...] = ()
    brought: tuple[int, ...] = ()
    states: int = 0
    given: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    drawn: list[tuple[int, tuple[int, ...], float]] = field(default_factory=list)
    constants: dict[int, tuple[float, int]] = field(default_factory=dict)
    gradients: tuple[int, ...] = ()
    outputs: bool = False
    metrics: dict[str, tuple[float | Given, float | Given]] = field(default_factory=dict)
    count: int = 0
    loss: int = NOWHERE


class Translator:
    """Goes through a graph's operations.

    Args:
        known: What is done for each.
    """

    def __init__(self, layout: Layout, known: Mapping[Any, How]) -> None:
        self.code, self._layout, self._known = Code(), layout, known
        self._values: dict[Node, Any] = {}
        self.own: set[int] = set()  # places whose memory is nobody else's
        self.empty: set[int] = set()  # places in which nothing was put yet

    def translate(self, graph: GraphModule) -> Code:
        """The list for a graph.

        Raises:
            NoProgramError: It holds what is not known.
        """
        inputs: list[Value] = []
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._input(node.meta["val"])
                inputs.append(self._values[node])
            elif node.op == "call_function":
                self._values[node] = self._translated(node)
            elif node.op == "output":
                self._finish(node.args[0])
            else:
                raise NoProgramError("the module holds a constant, which the kernels for dense layers do not read")
        many = len(self._layout.weights)
        self.code.weights = tuple(one.place for one in inputs[:many])
        self.code.brought = tuple(one.place for one in inputs[many:])
        self.code.states = len(self.code.begins)
        for _ in range(SLOTS * len(self._layout.trained)):
            self.place(None)
        return self.code

    def _input(self, given: Tensor) -> Value:
        return Value(self.place(None), tuple(given.shape), whole=given.dtype is not torch.float32)

    def _translated(self, node: Node) -> Any:
        if node.target is operator.getitem:
            return self._values[node.args[0]][node.args[1]]  # type: ignore[index]
        how = self._known.get(node.target)
        value = node.meta.get("val")
        for one in value if isinstance(value, tuple | list) else (value,):
            if how is None or not isinstance(one, Tensor) or one.dtype is not torch.float32:
                raise NoProgramError(f"the kernels for dense layers do not know {node.target}")
        given = [self._values[one] if isinstance(one, Node) else one for one in node.args]
        return how(self, node, given)  # type: ignore[misc]

    def place(self, floats: int | None) -> int:
        """A new place, with so much memory."""
        self.code.begins.append(None if floats is None else self.code.floats)
        if floats is not None:
            self.code.floats += -(-floats // ALIGNED) * ALIGNED
            self.own.add(len(self.code.begins) - 1)
        return len(self.code.begins) - 1

    def make(self, shape: Sequence[int]) -> Value:
        """Room for a result."""
        return Value(self.place(math.prod(shape)), tuple(shape))

    def owned(self, value: Value) -> Value:
        """A value that may be written over.

        Raises:
            NoProgramError: It is a weight, or of the batch.
        """
        if value.place not in self.own or value.place in self.code.constants:
            raise NoProgramError("forward writes over a weight or an input")
        return value

    def do(self, kind: str, made: Value, a: Value, b: Value | None = None, **more: Any) -> Value:
        """Add an operation on as many numbers as it makes, or as ``more`` says."""
        if self.empty & {one.place for one in (a, b) if one is not None}:
            raise NoProgramError("forward reads a tensor that nothing was written to")
        if a.whole or (b is not None and b.whole != kind.startswith("picked")):
            raise NoProgramError("the kernels for dense layers know float32 alone, and classes as int64")
        rows, columns = more.pop("size", (1, made.size))
        self.code.operations.append(
            Operation(
                kind=KINDS.index(kind),
                rows=rows,
                columns=columns,
                a=a.place,
                b=NOWHERE if b is None else b.place,
                c=made.place,
                d=more.pop("d", NOWHERE),
                **more,
            )  # fmt: skip
        )
        return made

    def _finish(self, output: Any) -> None:
        loss, gradients, count, metrics, outputs = output
        found = [self._values[one] for one in gradients]
        weights = dict(zip(self._layout.weights, self._values.values(), strict=False))
        for gradient, (name, _) in zip(found, self._layout.trained, strict=True):
            if gradient.turned or gradient.shape != weights[name].shape:
                raise NoProgramError(f"the gradient of {name} lies otherwise than it does")
        self.code.gradients = tuple(one.place for one in found)
        if not isinstance(count, int):
            raise NoProgramError("how many targets count depends on the batch")
        self._give(loss)
        self.code.count, self.code.loss = count, self._values[loss].place
        if outputs is not None:
            self._give(outputs)
            self.code.outputs = True
        for name, pair in metrics.items():
            total, answers = (self._give(one) if isinstance(one, Node) else float(one) for one in pair)
            self.code.metrics[name] = total, answers

    def _give(self, node: Node) -> Given:
        """Have a result lie in memory of its own."""
        value = self._values[node]
        places = [place for place, _ in self.code.given]
        fresh = value.place in self.own and self.code.begins[value.place] is not None
        if value.turned or not fresh or value.place in self.code.constants or value.place in places:
            raise NoProgramError("what is asked for of an update is not made by the kernels")
        self.code.begins[value.place] = None
        self.code.given.append((value.place, value.shape))
        return Given(len(places))
