"""Ctrl-C and SIGTERM: take note, finish the update, save. Knows nothing of training."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal, after it was saved.

    Attributes:
        signal_number: SIGINT or SIGTERM.
        run: Where to resume.
    """

    def __init__(self, signal_number: int, run: Path) -> None:
        self.signal_number = signal_number
        self.run = run
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; go on with --resume {run}")


@dataclass(slots=True)
class Stopper:
    """Whether a signal asked to stop."""

    received: int | None = None

    def asked(self) -> bool:
        """Whether to stop at the next chance."""
        return self.received is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stopper]:
    """Take note of SIGINT and SIGTERM instead of dying; a second one ends the process at once.

    Outside the main thread Python delivers no signals; then nothing is caught.
    """
    stopper = Stopper()
    if threading.current_thread() is not threading.main_thread():
        yield stopper
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        stopper.received = number
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopper
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
