"""What stands around each look of ours, so that a fault in it never becomes the script's.

A look that fails is the last one: from then on the script runs alone, and the report says where watching stopped.
"""

from __future__ import annotations

import contextlib
import functools
import io
import random
import signal
import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from types import CodeType, TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import torch
from torch._C import DisableTorchFunction, _len_torch_function_stack

P = ParamSpec("P")
T = TypeVar("T")


def guarded(look: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T | None]:
    """A look that never raises: it is given the eye first, and at a fault switches the eye off.

    No mode of torch functions, the script's or our recorder, sees what a look does.
    """

    @functools.wraps(look)
    def careful(eye: Any, /, *args: Any) -> T | None:
        try:
            if _len_torch_function_stack():
                with DisableTorchFunction():
                    return given(eye, *args)
            return given(eye, *args)
        except Exception as error:
            if _of_the_script(error.__traceback__):
                raise
            eye.fail(error)
            return None

    given: Callable[..., T] = look  # by position only, which costs less
    return cast(Callable[Concatenate[Any, P], T | None], careful)


def timed(look: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T | None]:
    """A guarded look whose time is counted as ours: those that may be costly."""

    @functools.wraps(look)
    def counted(eye: Any, /, *args: Any) -> T | None:
        began = perf_counter()
        try:
            if _len_torch_function_stack():
                with DisableTorchFunction():
                    return given(eye, *args)
            return given(eye, *args)
        except Exception as error:
            if _of_the_script(error.__traceback__):
                raise
            eye.fail(error)
            return None
        finally:
            eye.trace.overhead_s += perf_counter() - began

    given: Callable[..., T] = look  # one frame less than around a guarded look: it is called at each step
    return cast(Callable[Concatenate[Any, P], T | None], counted)


def _of_the_script(trace: TracebackType | None) -> bool:
    """Whether an error was raised by a signal's handler of the script: it is meant for the script."""
    handlers = (signal.getsignal(one) for one in signal.valid_signals())
    codes = {getattr(one, "__code__", None) for one in handlers} - {None}
    own: set[CodeType] = {one for one in codes if isinstance(one, CodeType)}
    while trace is not None:
        if trace.tb_frame.f_code in own:
            return True
        trace = trace.tb_next
    return False


@contextlib.contextmanager
def still() -> Iterator[None]:
    """Leave random generators as they were and print nothing, whatever a person's ``__deepcopy__`` does."""
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = torch.cuda.get_rng_state_all() if on_gpu else []
    own, python, numpy, out = torch.get_rng_state(), random.getstate(), np.random.get_state(), sys.stdout
    sys.stdout = io.StringIO()
    try:
        yield
    finally:
        sys.stdout = out
        torch.set_rng_state(own)
        random.setstate(python)
        np.random.set_state(numpy)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
