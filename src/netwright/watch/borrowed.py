"""Copies of the person's own losses, so that the examination never calls what the script still works with.

A function is made anew of its code, with copies of what it reaches; one that trains, or talks to the world, is not
called at all.
"""

from __future__ import annotations

import copy
import dis
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from netwright.checks.sizes import is_small
from netwright.checks.sourcecode import persons
from netwright.checks.subject import NotCheckedError, copy_module, first_line
from netwright.watch.trace import Trace

TRAINS = frozenset({"backward", "step", "zero_grad"})
WORLD = frozenset({"open", "input", "exit", "quit", "exec", "eval", "__import__"})
# Libraries whose functions do nothing beyond giving back a value.
KNOWN = frozenset(
    {"torch", "torchvision", "torchaudio", "torchmetrics", "numpy", "scipy", "math", "cmath", "builtins", "operator"}
    | {"itertools", "functools", "collections", "typing", "dataclasses", "random", "einops", "copy", "string", "re"}
)


def borrow(trace: Trace) -> list[str]:
    """Put copies in the place of the losses that were seen; what cannot be copied, and is not called therefore."""
    missed: list[str] = []
    modules: dict[int, Any] = {}
    for model in trace.models:
        for seen in {id(one): one for one in (*model.batches, *model.eval_batches, *model.first_eval)}.values():
            for loss in seen.losses:
                if loss.module is not None:
                    loss.module, loss.function = _module(loss.module, modules, missed)
            if seen.function is not None:
                try:
                    own, args = own_function(seen.function.function, seen.function.args)
                    seen.function = replace(seen.function, function=own, args=args)
                except NotCheckedError as reason:
                    missed.append(f"the loss function {seen.function.name}: {reason}")
                    seen.function = None
    return missed


def _module(module: nn.Module, known: dict[int, Any], missed: list[str]) -> tuple[nn.Module, Callable[..., Any]]:
    if id(module) not in known:
        own: nn.Module | None = None
        try:
            if not is_small(module):
                raise NotCheckedError("it is too large to be copied")
            own = copy_module(module)
        except NotCheckedError as reason:
            missed.append(f"the loss {type(module).__name__}: {reason}")
        found = (module, _refused) if own is None else (own, own)
        known[id(module)] = (module, found)  # held, so that its id stays its own
        if own is not None:
            known[id(own)] = (own, found)
    pair: tuple[nn.Module, Callable[..., Any]] = known[id(module)][1]
    return pair


def _refused(*args: Any) -> Any:
    raise NotCheckedError("the loss cannot be copied, so it is not called")


def own_function(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function made anew of the same code, and its arguments, with copies of all that both can change.

    Raises:
        NotCheckedError: It trains, talks to the world, or reaches something that cannot be copied.
    """
    owner = getattr(function, "__self__", None)
    plain = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(plain, FunctionType):
        raise NotCheckedError("it is no plain function")
    if not is_small((owner, args)):
        raise NotCheckedError("what it is given is too large to be copied")
    try:
        memo: dict[int, Any] = {}
        own = _rebuilt(plain, memo)
        given = _copied(args, memo)
        return (own if owner is None else MethodType(own, _copied(owner, memo))), given
    except NotCheckedError:
        raise
    except Exception as error:
        raise NotCheckedError(f"it cannot be copied: {type(error).__name__}: {first_line(error)}") from error


def _rebuilt(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    """The function made anew, and with it those that it calls; what it reaches is copied once."""
    if id(function) in memo:
        known: FunctionType = memo[id(function)]
        return known
    code = function.__code__
    names = set(_names(code))
    reached = dict(function.__globals__)
    cells = tuple(CellType() for _ in function.__closure__ or ())
    own = FunctionType(code, reached, function.__name__, None, cells or None)
    memo[id(function)] = own
    for name in names & set(reached):
        reached[name] = _copied(reached[name], memo, name, names)
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        try:
            value = old.cell_contents
        except ValueError:  # not set yet
            continue
        cell.cell_contents = _copied(value, memo)
    own.__defaults__ = _copied(function.__defaults__, memo)
    own.__kwdefaults__ = _copied(function.__kwdefaults__, memo)
    return own


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function's code uses.

    Raises:
        NotCheckedError: One of them trains, or talks to the world.
    """
    for one in dis.get_instructions(code):
        if one.opname in ("LOAD_ATTR", "LOAD_METHOD") and one.argval in TRAINS:
            raise NotCheckedError(f"it calls `{one.argval}`, so it is not called again")
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME") and one.argval in WORLD:
            raise NotCheckedError(f"it calls `{one.argval}`, so it is not called again")
        if one.opname == "IMPORT_NAME" and one.argval.partition(".")[0] not in KNOWN:
            raise NotCheckedError(f"it imports `{one.argval}`, so it is not called again")
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _copied(value: Any, memo: dict[int, Any], name: str = "", names: set[str] | None = None) -> Any:
    """A copy of what a function reaches; classes, and functions of torch and of the like, are what they are."""
    if isinstance(value, FunctionType) and persons(value.__code__.co_filename):
        return _rebuilt(value, memo)
    if isinstance(value, MethodType) and isinstance(value.__func__, FunctionType):
        return MethodType(_copied(value.__func__, memo), _copied(value.__self__, memo))
    if isinstance(value, ModuleType):
        return _copied_module(value, memo, names or set())
    if isinstance(value, type) or value is None or isinstance(value, (int, float, str, bytes, bool)):
        return value
    if isinstance(value, (FunctionType, BuiltinFunctionType)):
        root = (getattr(value, "__module__", None) or "builtins").partition(".")[0].lstrip("_")
        if root not in KNOWN and root != "netwright":
            raise NotCheckedError(f"it calls `{name or value.__name__}` of {root}, so it is not called again")
        return value
    if not is_small(value):
        raise NotCheckedError(f"`{name}` is too large to be copied")
    if isinstance(value, (list, tuple)) and any(isinstance(one, FunctionType) for one in value):
        return type(value)(_copied(one, memo) for one in value)
    _detach(value, memo)
    return copy.deepcopy(value, memo)


def _copied_module(module: ModuleType, memo: dict[int, Any], names: set[str]) -> ModuleType:
    """A module of the person's with copies of what is used of it; one of a library as it is."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not persons(file):
        if module.__name__.partition(".")[0] not in KNOWN:
            raise NotCheckedError(f"it uses {module.__name__}, so it is not called again")
        return module
    if id(module) in memo:
        known: ModuleType = memo[id(module)]
        return known
    own = ModuleType(module.__name__)
    memo[id(module)] = own
    vars(own).update(vars(module))
    for name in names & set(vars(module)):
        vars(own)[name] = _copied(vars(module)[name], memo, name, names)
    return own


def _detach(value: Any, memo: dict[int, Any]) -> None:
    """Tensors with a graph cannot be copied: they are copied without it."""
    held = value if isinstance(value, (list, tuple)) else value.values() if isinstance(value, dict) else [value]
    for one in held:
        if isinstance(one, Tensor) and not one.is_leaf:
            memo[id(one)] = one.detach().clone()
