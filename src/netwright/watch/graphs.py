"""Whether graphs of earlier batches are still in memory, and which variable holds them.

A node of a graph has a dict for notes, which lives as long as the node: what is put there dies with the graph.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from torch import Tensor

from netwright.checks.sourcecode import Place, persons
from netwright.watch.trace import BatchSeen, GraphsKept

FOLLOWED = 64  # forward passes whose graphs are followed
ENOUGH = 300
FEW = 4  # graphs that a loop may well hold: of the last batch, of the best one
MARK = "netwright life"
MOST_WALKED = 3_000


class Life:
    """What dies with a graph."""

    __slots__ = ("__weakref__",)


@dataclass(slots=True)
class Graphs:
    """The graphs of the last forward passes.

    Attributes:
        seen: What dies with the graph, and of which batch it is.
        done: Findings so far: of training, of evaluation.
    """

    seen: deque[tuple[weakref.ref[Life], BatchSeen, int]] = field(default_factory=lambda: deque(maxlen=FOLLOWED))
    count: int = 0
    evaluated: int = 0
    looked: int = 0
    done: set[bool] = field(default_factory=set)

    def enough(self, train: bool) -> bool:
        """Whether so many were followed, of training or of evaluation, that a leak would have shown."""
        return (self.count - self.evaluated if train else self.evaluated) > ENOUGH

    def follow(self, output: Tensor, batch: BatchSeen, turn: int) -> None:
        """Follow the graph of an answer."""
        node = output.grad_fn
        if node is None or len(self.done) == 2:
            return
        life = Life()
        try:
            node.metadata[MARK] = life  # type: ignore[index]  # torch's stub calls it a method
        except (AttributeError, RuntimeError, TypeError):
            return
        self.seen.append((weakref.ref(life), batch, turn))
        self.count += 1
        self.evaluated += not batch.train

    def look(self, turn: int, *, ended: bool) -> GraphsKept | None:
        """Whether graphs of earlier batches still live; looked at now and then, and at the end of a pass.

        Args:
            ended: The pass over the loader has ended: no backward pass will follow on its batches.
        """
        if len(self.done) == 2 or not (ended or (self.count >= 8 and self.count & (self.count - 1) == 0)):
            return None
        if self.count == self.looked:
            return None
        self.looked = self.count
        for trained in (True, False):
            if trained in self.done or (not trained and not ended):
                continue
            older = [
                one for one in self.seen
                if one[1].used == trained and one[2] < turn - 1 and (trained or not one[1].train)
            ]  # fmt: skip
            turns = {one[2] for one in older}
            alive = {one[2] for one in older if one[0]() is not None}
            # all of several: a list of the last few, or the best batch's, is no leak
            if len(alive) > FEW and len(alive) >= 0.8 * min(len(turns), 32):
                self.done.add(trained)
                name, function, place = holder([one[0] for one in older])
                return GraphsKept(len(alive), len(turns), trained, name, function, place)
        return None


def holder(lives: list[weakref.ref[Life]]) -> tuple[str, str, Place | None]:
    """The variable of the person's running functions that holds the graphs, with the function and its line."""
    wanted = {id(life()) for life in lives if life() is not None}
    frame: FrameType | None = sys._getframe(1)
    where: Place | None = None
    while frame is not None:
        if persons(frame.f_code.co_filename):
            where = where or Place(frame.f_code.co_filename, frame.f_lineno)
            owner = frame.f_locals.get("self")
            held = dict(frame.f_locals)
            held |= {f"self.{name}": value for name, value in getattr(owner, "__dict__", {}).items()}
            for name, value in held.items():
                if _holds(value, wanted):
                    return name, frame.f_code.co_name, Place(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return "", "", where


def _holds(value: Any, wanted: set[int]) -> bool:
    """Whether a tensor's graph, or those of a list's or dict's tensors, go through at least two of the marked nodes."""
    if isinstance(value, dict):
        value = list(value.values())
    tensors = [value] if isinstance(value, Tensor) else []
    if isinstance(value, (list, tuple)):
        for one in value[-8:]:
            tensors += [one] if isinstance(one, Tensor) else []
            tensors += [two for two in one if isinstance(two, Tensor)] if isinstance(one, (list, tuple)) else []
    found: set[int] = set()
    seen: set[Any] = set()
    queue = deque(one.grad_fn for one in tensors if one.grad_fn is not None)
    while queue and len(seen) < MOST_WALKED and len(found) < 2:
        node = queue.popleft()
        if node in seen:
            continue
        seen.add(node)
        try:
            life = node.metadata.get(MARK)  # type: ignore[attr-defined]
        except (AttributeError, RuntimeError, TypeError):
            life = None
        if life is not None and id(life) in wanted:
            found.add(id(life))
        queue.extend(one for one, _ in node.next_functions if one is not None)
    return len(found) >= 2
