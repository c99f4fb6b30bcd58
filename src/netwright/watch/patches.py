"""Put functions of ours around functions of torch, and take them away again."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

_MISSING = object()


class Patches:
    """Replaced attributes, put back in reverse order by ``undo``."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any]] = []

    def around(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace ``owner.name`` by what ``make`` makes of it; nothing where there is no such attribute."""
        if not hasattr(owner, name):
            return
        original: Callable[..., Any] = getattr(owner, name)
        own = vars(owner).get(name, _MISSING)
        replacement = make(original)
        with contextlib.suppress(AttributeError, TypeError):
            functools.update_wrapper(replacement, original)
        self._done.append((owner, name, own))
        setattr(owner, name, replacement)

    def undo(self) -> None:
        """All as before."""
        for owner, name, own in reversed(self._done):
            if own is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
        self._done.clear()
