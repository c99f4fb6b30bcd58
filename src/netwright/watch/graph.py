"""Read the graph of a loss before its backward pass frees what it had saved."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor

from netwright.watch.trace import GraphNode

MOST_KEPT = 400
MOST_WALKED = 20_000
SMALL = 300_000  # numbers of a saved tensor that is kept
MARK = "netwright"
SAVED = (
    "result", "self", "target", "dim", "ignore_index", "reduction", "weight", "pos_weight", "total_weight", "exponent",
    "p", "beta", "delta",
)  # fmt: skip


def read_graph(
    loss: Tensor, known: frozenset[int], mark: tuple[int, int] = (0, 0)
) -> tuple[list[GraphNode], int, frozenset[int], list[tuple[int, ...]], int]:
    """The nodes from a loss, breadth first.

    Args:
        known: ids of registered parameters.
        mark: Of who looks, and of the turn: nodes are marked with it, so that a later look knows them again.

    Returns:
        The first nodes, how many there are, the ids of the leaves reached, shapes of those that are not known, and
        how many nodes an earlier turn had marked.
    """
    older = 0
    kept: list[GraphNode] = []
    reached: set[int] = set()
    unregistered: list[tuple[int, ...]] = []
    root = loss.grad_fn
    if root is None:
        return kept, 0, frozenset(), unregistered, older
    places: dict[Any, int] = {root: 0}
    queue = deque([(root, 0)])
    walked = 0
    pending: list[tuple[Any, tuple[Any, ...]]] = []
    while queue and walked < MOST_WALKED:
        node, depth = queue.popleft()
        walked += 1
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            reached.add(id(variable))
            if id(variable) not in known:
                unregistered.append(tuple(variable.shape))
        else:
            older += _marked(node, mark)
        following = tuple(one for one, _ in node.next_functions if one is not None)
        for one in following:
            if one not in places:
                places[one] = len(places)
                queue.append((one, depth + 1))
        if len(kept) < MOST_KEPT:
            kept.append(GraphNode(type(node).__name__, _shape(node), depth, _saved(node), ()))
            pending.append((node, following))
    # places are given in the order of the queue, so the first nodes kept have the first places
    for at, (_, following) in enumerate(pending):
        kept[at].inputs = tuple(places[one] for one in following if places[one] < len(kept))
    return kept, walked, frozenset(reached), unregistered, older


def _marked(node: Any, mark: tuple[int, int]) -> bool:
    """Mark a node; whether an earlier turn had marked it."""
    try:
        notes = node.metadata
        before = notes.get(MARK)
        notes[MARK] = before if before is not None and before[0] == mark[0] else mark
    except (AttributeError, RuntimeError, TypeError):
        return False
    return before is not None and before[0] == mark[0] and before[1] < mark[1]


def _shape(node: Any) -> tuple[int, ...]:
    try:
        return tuple(node._input_metadata[0].shape)
    except (AttributeError, IndexError, RuntimeError, TypeError):
        return ()


def _saved(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in SAVED:
        try:
            value = getattr(node, f"_saved_{name}", None)
        except RuntimeError:  # freed already
            continue
        if isinstance(value, Tensor):
            if value.numel() <= SMALL:
                with torch.no_grad():
                    found[name] = value.detach().clone()
        elif value is not None and isinstance(value, (int, float, str, bool)):
            found[name] = value
    return found
