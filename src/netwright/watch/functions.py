"""Find the person's own loss function: the function of theirs that was running when an output was first worked with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType
from typing import Any

from torch import Tensor

from netwright.checks.sourcecode import Place, persons
from netwright.watch.looks import copied

DEEPEST = 6  # frames of the person's that are looked at


@dataclass(frozen=True, slots=True)
class FunctionSeen:
    """A call of the person's function with a model's output.

    Attributes:
        function: To be called again.
        args: As it was called (detached copies).
        output: Place of the output among them; ``target`` that of the tensor of as many rows that is no output, or -1.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    output: int
    target: int
    name: str
    place: Place


def find_function(frame: FrameType | None, outputs: list[Tensor], rows: int) -> FunctionSeen | None:
    """The outermost function of the person's, at or above a frame, that was given one of the outputs and targets."""
    found = None
    seen = 0
    while frame is not None and seen < DEEPEST:
        code = frame.f_code
        if persons(code.co_filename) and code.co_name != "<module>":
            seen += 1
            found = _call_of(frame, code, outputs, rows) or found
        frame = frame.f_back
    return found


def _call_of(frame: FrameType, code: CodeType, outputs: list[Tensor], rows: int) -> FunctionSeen | None:
    names = code.co_varnames[: code.co_argcount]
    values = [frame.f_locals.get(name) for name in names]
    output = next((at for at, value in enumerate(values) if any(value is one for one in outputs)), -1)
    if output < 0 or len(values) < 2:
        return None
    target = next(
        (
            at
            for at, value in enumerate(values)
            if at != output and isinstance(value, Tensor) and value.ndim and len(value) == rows
        ),
        -1,
    )
    function = _function(frame, code, values)
    if function is None or target < 0:
        return None
    start = 1 if getattr(function, "__self__", None) is not None else 0
    return FunctionSeen(
        function=function,
        args=tuple(copied(value) for value in values[start:]),
        output=output - start,
        target=target - start,
        name=code.co_name,
        place=Place(code.co_filename, code.co_firstlineno),
    )


def _function(frame: FrameType, code: CodeType, values: list[Any]) -> Callable[..., Any] | None:
    """The function whose code runs in a frame: a global one, one of the caller's, or a method."""
    caller = frame.f_back
    places = [frame.f_globals, caller.f_locals if caller is not None else {}]
    for place in places:
        for value in list(place.values()):
            if isinstance(value, FunctionType) and value.__code__ is code:
                return value
    owner = values[0] if values else None
    method = getattr(owner, code.co_name, None) if owner is not None and not isinstance(owner, Tensor) else None
    if (
        getattr(method, "__code__", None) is code
        or getattr(getattr(method, "__func__", None), "__code__", None) is code
    ):
        return method
    return None
