"""Kernels of plans: compiled once, as others are, and done by torch's own threads."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from pathlib import Path

import torch

from netwright import native
from netwright.plans.operations import NoProgramError

DENSE = Path(__file__).with_name("dense.cpp")  # which is not asked of its own module, that loads more


def library(source: Path, *macros: str) -> ctypes.CDLL:
    """As ``native.library``.

    Raises:
        NoProgramError: There is no compiler, or it does not compile it, and what it says.
    """
    try:
        return native.library(source, *macros)
    except native.NoKernelsError as error:
        raise NoProgramError(str(error)) from error


@functools.cache
def parallel() -> ctypes.c_void_p:
    """OpenMP's entry that starts a function on several of torch's threads; null where it is not GNU's."""
    with contextlib.suppress(OSError, AttributeError):
        for path in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"):
            return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p)
    return ctypes.c_void_p(None)
