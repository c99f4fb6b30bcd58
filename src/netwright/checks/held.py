"""Hold what a person's module, dataset or loss prints while it is checked."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO


@contextlib.contextmanager
def held_output() -> Iterator[None]:
    """Show nothing of what this thread, and those that it starts, print inside; nothing of it is kept."""
    streams = _Held(sys.stdout), _Held(sys.stderr)
    out, errors = (_text(one) for one in streams)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            yield
    finally:
        for one in streams:
            one.holding = False


def _text(held: Any) -> TextIO:  # typeshed asks for read() of what is only written to
    return io.TextIOWrapper(held, "utf-8", "replace", newline="", write_through=True)


class _Held(io.RawIOBase):
    """A stream that takes bytes and drops them.

    It passes on what threads print that ran before, and all of it once nothing is held any more: a logger that was
    made meanwhile keeps it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        self.holding = True

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: Any) -> int:  # bytes and what has a buffer of them
        if not self.holding or threading.get_ident() in self._others:
            with contextlib.suppress(Exception):  # it may be closed, or None
                self._stream.write(bytes(data).decode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None:
        if not self.holding:
            with contextlib.suppress(Exception):
                self._stream.flush()
