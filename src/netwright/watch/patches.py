"""Put functions of ours around functions of torch, and take them away again."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

_MISSING = object()


class Patches:
    """Replaced attributes, put back in reverse order by ``undo``."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []

    def around(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace ``owner.name`` by what ``make`` makes of it; nothing where there is no such attribute."""
        if not hasattr(owner, name):
            return
        original: Callable[..., Any] = getattr(owner, name)
        own = vars(owner).get(name, _MISSING)
        replacement = make(original)
        with contextlib.suppress(AttributeError, TypeError):
            functools.update_wrapper(replacement, original)
            # torch.jit.script compiles the original, also where a script holds ours under a name of its own
            vars(replacement).update({"__script_if_tracing_wrapper": True, "__original_fn": original})
        self._done.append((owner, name, own, replacement))
        setattr(owner, name, replacement)

    def undo(self) -> None:
        """All as before; what somebody has put around ours meanwhile stays."""
        for one in reversed(self._done):
            _put_back(*one)
        self._done.clear()

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """All as before for a while, for what reads the source of functions."""
        lifted = [one for one in reversed(self._done) if _put_back(*one)]
        try:
            yield
        finally:
            for owner, name, _, replacement in reversed(lifted):
                setattr(owner, name, replacement)


def _put_back(owner: Any, name: str, own: Any, replacement: Any) -> bool:
    """Put an attribute back where it is still ours; whether it was."""
    if vars(owner).get(name, _MISSING) is not replacement:
        return False
    if own is _MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, own)
    return True
