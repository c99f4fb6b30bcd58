"""Libraries that a check loads only when it needs them: no limit of its time strikes meanwhile."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

IMPORTING = "<frozen importlib._bootstrap>"
_spent = 0.0


@contextmanager
def loading() -> Iterator[None]:
    """Import a large library inside: a limit waits meanwhile, and the time that it takes is not the check's."""
    global _spent
    began, (left, again) = time.monotonic(), (0.0, 0.0)
    limited = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if limited:
        left, again = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        _spent += time.monotonic() - began
        if left:
            signal.setitimer(signal.ITIMER_REAL, left, again)


def spent() -> float:
    """Seconds that loading has taken in this process."""
    return _spent


def imports(frame: FrameType | None) -> int:
    """How many imports are under way where this frame runs."""
    found = 0
    while frame is not None:
        found += frame.f_code.co_filename == IMPORTING
        frame = frame.f_back
    return found
