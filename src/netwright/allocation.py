"""Memory that is freed stays with the process while a network runs.

glibc gives blocks of some megabytes back to the system when they are freed, and top of its heap too. The activations of
a convolution are such blocks: in each update they are fetched anew, and the system clears each of their pages. Kept,
they are used again. Results stay the same to the bit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

# Numbers of mallopt's parameters, from malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = 2**30  # bytes: of a block, and of what is free at the heap's top
# Where glibc's own thresholds end once blocks of this size were freed.
USUAL = 32 * 2**20
# By these people set the allocator themselves.
VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")


def can_keep(env: Mapping[str, str] = os.environ) -> bool:
    """Whether freed memory can be kept here: with glibc, where nobody has set its thresholds."""
    own = any(name in env for name in VARIABLES) or "glibc.malloc" in env.get("GLIBC_TUNABLES", "")
    return not own and _glibc() is not None


@contextlib.contextmanager
def memory_kept(device: str) -> Iterator[None]:
    """Freed memory is kept inside, and given back after; nothing changes where the network is not on the CPU."""
    library = _glibc()
    kept = device == "cpu" and can_keep()
    kept = kept and library.mallopt(MMAP_THRESHOLD, KEPT) and library.mallopt(TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        if kept:
            library.mallopt(MMAP_THRESHOLD, USUAL)
            library.mallopt(TRIM_THRESHOLD, 2 * USUAL)
            library.malloc_trim(0)


def _glibc() -> Any:  # a library has whatever functions it has
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return (
        library if all(hasattr(library, name) for name in ("mallopt", "malloc_trim", "gnu_get_libc_version")) else None
    )
