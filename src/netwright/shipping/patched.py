"""What stands in for parts of torch while a module is traced, and is put back afterwards."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor


@contextlib.contextmanager
def attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value of an attribute."""
    before = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def code(function: Any, stand_in: Callable[..., Any]) -> Iterator[None]:
    """Let a function of torch run other code, also for those who imported it by name: ``from … import function``.

    Args:
        function: A plain function without free variables.
        stand_in: Takes its parameters, all by position; free variables are its own, since it is called from outside.
    """
    before, globals_ = function.__code__, function.__globals__
    key = f"_netwright_{function.__name__}"
    count, names = before.co_argcount, before.co_varnames[: before.co_argcount]
    if before.co_freevars or before.co_kwonlyargcount:
        raise TypeError(f"{function.__name__} is no plain function")
    globals_[key] = stand_in
    function.__code__ = _calling(key, count).replace(
        co_varnames=names, co_filename=__file__, co_name=before.co_name, co_qualname=before.co_qualname
    )
    try:
        yield
    finally:
        function.__code__ = before
        del globals_[key]


def _calling(key: str, count: int) -> Any:
    """The code of ``def f(a, b): return key(a, b)``."""
    names = ", ".join(f"_{place}" for place in range(count))
    return compile(f"def f({names}):\n    return {key}({names})\n", __file__, "exec").co_consts[0]


@contextlib.contextmanager
def open_lengths() -> Iterator[None]:
    """Let ``len(tensor)`` be a size that varies: Python's own makes a whole number of it, which is the example's."""
    plain = builtins.len

    def length(value: Any) -> Any:
        return value.shape[0] if isinstance(value, Tensor) and value.ndim else plain(value)

    with attribute(builtins, "len", length):
        yield
