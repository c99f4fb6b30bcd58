"""Every torch operation of one forward pass, with its tensors and the person's line that called it.

ops = record(lambda: subject.call(model, inputs))
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level
from torch.overrides import TorchFunctionMode, get_overridable_functions, resolve_name

from netwright.checks.sourcecode import Place, place_of_frame


@dataclass(frozen=True, slots=True)
class Op:
    """One call.

    Attributes:
        name: As torch.nn.functional.softmax, torch.Tensor.view; ``short`` its last part.
        args, kwargs: As given; tensors are kept alive, so ids of tensors stay their own.
        out: What it returned.
        place: The innermost line of the person's.
        shapes: Of the tensors among the arguments, before the call.
        versions: Of these tensors, how often they had been written to before the call.
        nested: Called by another torch function, as ``F.cross_entropy`` calls ``log_softmax``.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    place: Place | None
    shapes: tuple[tuple[int, ...], ...] = ()
    versions: tuple[int, ...] = ()
    nested: bool = False

    @property
    def short(self) -> str:
        """Its last part, as softmax."""
        return self.name.rpartition(".")[2]

    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments."""
        return list(tensors_in((self.args, self.kwargs)))

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """One argument, by its place or name."""
        return self.kwargs.get(name, self.args[position] if len(self.args) > position else default)


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for one in value.values() for tensor in tensors_in(one)]
    if isinstance(value, (tuple, list)):
        return [tensor for one in value for tensor in tensors_in(one)]
    return []


@dataclass
class Recorder(TorchFunctionMode):
    """Record while entered.

    Attributes:
        most, most_bytes: Operations that are kept, and bytes of what they return.
        on_error: Gets what goes wrong in recording, which ends then; None lets it be raised.
    """

    ops: list[Op] = field(default_factory=list)
    most: int = 20_000
    most_bytes: int = 1 << 62
    bytes: int = 0
    _known: set[int] = field(default_factory=set)
    paused: bool = False
    on_frame: Callable[[FrameType], None] | None = None
    on_error: Callable[[Exception], None] | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call, and keep what it was called with."""
        kwargs = kwargs or {}
        if self.paused or len(self.ops) >= self.most or func in _UNSEEN or maybe_current_level() is not None:
            return func(*args, **kwargs)
        given = tensors_in((args, kwargs))
        shapes = tuple(_shape(one) for one in given)
        versions = tuple(_version(one) for one in given)
        out = func(*args, **kwargs)
        try:
            self._keep(func, args, kwargs, out, shapes, versions, sys._getframe(1))
        except Exception as error:
            if self.on_error is None:
                raise
            self.most = 0
            self.on_error(error)
        return out

    def _keep(self, func: Any, args: Any, kwargs: Any, out: Any, shapes: Any, versions: Any, frame: FrameType) -> None:
        if self.on_frame is not None:
            self.on_frame(frame)
        name = _name(func)
        unseen = name.endswith((".__get__", ".size", ".dim", ".numel", ".is_floating_point", ".__len__"))
        if not unseen or name == "torch.Tensor.data.__get__":  # that one cuts the graph
            self._count(out)
            if self.bytes > self.most_bytes:
                self.most = 0
                return
            self.ops.append(Op(name, tuple(args), dict(kwargs), out, place_of_frame(frame), shapes, versions))

    def _count(self, out: Any) -> None:
        """Count the memory that is new; a view of a tensor costs nothing."""
        for one in tensors_in(out):
            with contextlib.suppress(RuntimeError, NotImplementedError):  # sparse ones have no storage
                storage = one.untyped_storage()
                if storage.data_ptr() not in self._known:
                    self._known.add(storage.data_ptr())
                    self.bytes += storage.nbytes()


def _shape(tensor: Tensor) -> tuple[int, ...]:
    try:
        return tuple(tensor.shape)
    except RuntimeError:  # nested
        return ()


def _version(tensor: Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # made in inference mode
        return 0


_UNSEEN = {torch.Tensor.shape.__get__, torch.Tensor.dtype.__get__, torch.Tensor.device.__get__}  # type: ignore[attr-defined]


@functools.cache
def names_of_functions() -> dict[Any, str]:
    """What torch calls its functions, as torch.Tensor.add.

    All at once: each look that torch takes makes Python forget which warnings were shown already.
    """
    every = (function for functions in get_overridable_functions().values() for function in functions)
    return {function: name for function in every if (name := resolve_name(function))}


def _name(func: Any) -> str:
    name = names_of_functions().get(func)
    return name if name is not None else getattr(func, "__name__", str(func))


def record(call: Callable[[], Any]) -> tuple[Any, list[Op]]:
    """What a call returned, and the operations that it did."""
    recorder = Recorder()
    with recorder:
        returned = call()
    return returned, recorder.ops
