"""One call of a module with every operation in it and the layer that did it.

seen = traced(subject, model, inputs)
seen.layer(index)    # name of the innermost submodule around an operation
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from netwright.checks.optrace import Op, Recorder, tensors_in
from netwright.checks.subject import Inputs, Subject


@dataclass(slots=True)
class Span:
    """One call of a submodule: its operations are ``begin`` to before ``end``; ``given`` are its tensors."""

    name: str
    module: nn.Module
    begin: int
    given: list[Tensor]
    end: int = 0


@dataclass(slots=True)
class Traced:
    """What a call did.

    Attributes:
        returned: What the module returned.
        makers: By the id of a tensor the index of the operation that made it last.
    """

    returned: Any
    ops: list[Op]
    spans: list[Span]
    makers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note who made what."""
        for index, op in enumerate(self.ops):
            for tensor in tensors_in(op.out):
                self.makers[id(tensor)] = index

    def maker(self, tensor: Tensor, before: int | None = None) -> int | None:
        """Index of the operation that made a tensor; None where it came from outside, or not ``before`` one."""
        index = self.makers.get(id(tensor))
        if index is None or before is None or index < before:
            return index
        for at in range(before - 1, -1, -1):  # it was written to again later
            if any(one is tensor for one in tensors_in(self.ops[at].out)):
                return at
        return None

    def around(self, index: int) -> list[Span]:
        """The calls of submodules around an operation, the innermost last."""
        return [span for span in self.spans if span.begin <= index < span.end]

    def layer(self, index: int) -> str | None:
        """Name of the innermost submodule around an operation; None in the module itself."""
        spans = self.around(index)
        return spans[-1].name or None if spans else None


def traced(subject: Subject, model: nn.Module, inputs: Inputs, *, seed: int = 0) -> Traced:
    """Call a private copy and record.

    Raises:
        NotCheckedError: The module raised.
    """
    recorder = Recorder()
    spans: list[Span] = []
    opened: list[Span] = []
    handles: list[Any] = []

    def enter(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        span = Span(name, module, len(recorder.ops), tensors_in((args, kwargs)))
        spans.append(span)
        opened.append(span)

    def leave() -> None:
        opened.pop().end = len(recorder.ops)

    for name, module in model.named_modules():
        with contextlib.suppress(RuntimeError, AttributeError):  # a scripted module takes no such hooks
            handles += [
                module.register_forward_pre_hook(lambda m, a, k, name=name: enter(name, m, a, k), with_kwargs=True),
                module.register_forward_hook(lambda *_: leave(), always_call=True),
            ]
    try:
        with recorder:
            returned = seeded_call(subject, model, inputs, seed=seed)
    finally:
        for handle in handles:
            handle.remove()
    return Traced(returned, recorder.ops, spans)


def seeded_call(subject: Subject, model: nn.Module, inputs: Inputs, *, seed: int = 0) -> Any:
    """What a module returns for copies of inputs, with the draws of Python and NumPy seeded as well.

    Raises:
        NotCheckedError: The module raised.
    """
    random.seed(seed)
    np.random.seed(seed)
    return subject.call(model, {name: value.clone() for name, value in inputs.items()}, seed=seed)
