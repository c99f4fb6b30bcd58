"""How large a thing of the script's is, before it is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

MOST_BYTES = 64_000_000
MOST_DATA = 256_000_000  # of a data set: those of small images are looked at whole
MOST_THINGS = 200_000


def is_small(value: Any, most: int = MOST_BYTES) -> bool:
    """Whether a thing, with all that it holds, is of few bytes and few objects."""
    left, things = most, 0
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or one is None or isinstance(one, (int, float, bool, type)):
            continue
        seen.add(id(one))
        things += 1
        left -= _bytes(one)
        if left < 0 or things > MOST_THINGS:
            return False
        if isinstance(one, dict):
            inner: Any = [*one.values()]
        elif isinstance(one, (list, tuple, set, frozenset)):
            inner = one
        else:
            inner = [*(getattr(one, "__dict__", None) or {}).values()]
        if len(inner) > MOST_THINGS:
            return False
        waiting.extend(inner)
    return True


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return value.nbytes
    return len(value) if isinstance(value, (str, bytes, bytearray)) else 0
