"""The last operations before a loss, read from its autograd graph: which loss it is, and what it is given.

The graph says what was really computed, whoever wrote it: a loss of torch.nn, of torch.nn.functional or by hand.
``B`` is the number of samples, ``C`` of classes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netwright.checks.optrace import Op, record
from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, Subject
from netwright.tasks.emitted import RESHAPES

MOST = 2_000
NLL = ("NllLossBackward", "NllLoss2DBackward", "NllLossNdBackward")
# Activations that bound their result, by the name of their node.
BOUNDS = {"Softmax": (0.0, 1.0), "Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Relu": (0.0, float("inf"))}


@dataclass(frozen=True, slots=True)
class Tail:
    """One loss in the graph.

    Attributes:
        kind: nll, bce, bce_logits, mse, l1, smooth_l1.
        node: Its node.
        given: The tensor that it compares, as saved; None where it is not saved.
        target: The targets, as saved.
        chain: Names of the nodes beneath it, past those that only move values, without "Backward0".
        sign: -1 where the loss that is descended is the negative of it.
    """

    kind: str
    node: Any
    given: Tensor | None
    target: Tensor | None
    chain: tuple[str, ...]
    sign: int = 1

    def saved(self, name: str) -> Any:
        """Another thing that the node saved; None without."""
        try:
            return getattr(self.node, f"_saved_{name}", None)
        except RuntimeError:
            return None


def name_of(node: Any) -> str:
    """A node's operation, as Softmax."""
    return type(node).__name__.removesuffix("0").removesuffix("1").removesuffix("Backward")


def moves(node: Any) -> bool:
    """Whether it only moves values about."""
    return type(node).__name__.startswith(RESHAPES)


def beneath(node: Any) -> Any:
    """The next node that computes something, past those that move values; None at a leaf."""
    while node is not None and moves(node):
        node = node.next_functions[0][0] if node.next_functions else None
    return node


def chain_from(node: Any, most: int = 6) -> tuple[str, ...]:
    """Names of the nodes from one on, along the first input of each."""
    names: list[str] = []
    node = beneath(node)
    while node is not None and len(names) < most:
        names.append(name_of(node))
        node = beneath(node.next_functions[0][0]) if node.next_functions else None
    return tuple(names)


KINDS = {
    **dict.fromkeys(("NllLoss", "NllLoss2D", "NllLossNd"), "nll"),
    "BinaryCrossEntropy": "bce",
    "BinaryCrossEntropyWithLogits": "bce_logits",
    "MseLoss": "mse",
    "L1Loss": "l1",
    "SmoothL1Loss": "smooth_l1",
    "HuberLoss": "huber",
}


def tails(loss: Tensor) -> Iterator[Tail]:
    """The losses in a graph, nearest the end first."""
    root = loss.grad_fn
    if root is None:
        return
    seen = {root}
    queue: deque[tuple[Any, int]] = deque([(root, 1)])
    while queue and len(seen) < MOST:
        node, sign = queue.popleft()
        kind = KINDS.get(name_of(node))
        if kind is not None:
            inner = node.next_functions[0][0]
            yield Tail(kind, node, _saved(node, "self"), _saved(node, "target"), chain_from(inner), sign)
            continue
        if name_of(node) == "Neg":
            sign = -sign
        for one, _ in node.next_functions:
            if one is not None and one not in seen:
                seen.add(one)
                queue.append((one, sign))


def _saved(node: Any, name: str) -> Tensor | None:
    try:
        value = getattr(node, f"_saved_{name}", None)
    except RuntimeError:
        return None
    return value.detach() if isinstance(value, Tensor) else None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a module ends, and the loss that is taken of it, on one batch in train mode.

    Attributes:
        answer: What the module gave, with its graph.
        chain: Names of its last operations.
        loss: 0-d, with its graph; None where it is not known.
        tails: The losses in the graph.
        ops: Operations of the module; ``loss_ops`` of the loss.
    """

    answer: Tensor
    targets: Any
    chain: tuple[str, ...]
    loss: Tensor | None
    tails: tuple[Tail, ...]
    ops: tuple[Op, ...]
    loss_ops: tuple[Op, ...]
    loss_place: Place | None = None

    def place(self, *names: str) -> Place | None:
        """The person's line of the last operation of such a name; else the line that calls the loss."""
        for op in reversed((*self.ops, *self.loss_ops)):
            if op.short in names and op.place is not None:
                return op.place
        return self.loss_place


def ending_of(subject: Subject) -> Ending:
    """How the subject's module ends; found once.

    Raises:
        NotCheckedError: The module raised, or gave no tensor.
    """
    if "ending" not in subject.cache:
        subject.cache["ending"] = _ending(subject)
    ending: Ending = subject.cache["ending"]
    return ending


def _ending(subject: Subject) -> Ending:
    inputs, targets = subject.rows(min(64, subject.pool_size))
    model = subject.fresh(train=True)
    returned, ops = record(lambda: subject.call(model, inputs, grad=True))
    found = subject.found(returned)
    answer = found
    if isinstance(found, dict):
        tensors = [value for value in found.values() if isinstance(value, Tensor)]
        if not tensors:
            raise NotCheckedError("the module gave no tensor")
        answer = found.get("logits", tensors[0])
    loss: Tensor | None = None
    loss_ops: list[Op] = []
    try:
        loss, loss_ops = record(lambda: subject.loss_of(found, inputs, targets))
    except NotCheckedError:
        loss = None
    if not isinstance(answer, Tensor):
        raise NotCheckedError("the module gave no tensor")
    found_tails = tuple(tails(loss)) if loss is not None else ()
    seen = subject.cache.get("loss_ops_seen", ())
    return Ending(
        answer=answer,
        targets=targets,
        chain=chain_from(answer.grad_fn),
        loss=loss,
        tails=found_tails,
        ops=tuple(ops),
        loss_ops=tuple(loss_ops) or tuple(seen),
        loss_place=subject.cache.get("loss_place"),
    )


def rows_sum_to_one(values: Tensor) -> bool:
    """Whether the last axis, or of (B, C, …) axis 1, holds probabilities."""
    values = values.detach().float()
    for axis in {-1, 1} if values.ndim > 1 else set():
        sums = values.sum(axis)
        if bool((values >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
            return True
    return False
