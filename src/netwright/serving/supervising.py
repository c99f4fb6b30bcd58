"""A process over the server's: one that dies, as by a fault in a library, is followed by another within a second.

Both have the same listening socket, so that who connects meanwhile waits and is not turned away. Knows nothing of HTTP.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP")
ENDS = (signal.SIGTERM, signal.SIGINT)
YOUNG_S, MOST_YOUNG = 60.0, 5  # that many in a row which lived no longer: the next would not either
LATE_S = 10.0  # beyond the time to drain, after which a child that does not end is ended
# How a child is told of the socket's descriptor, and whose child it is: an option would be a bundle's name after `--`.
TOLD = "NETWRIGHT_SERVE_LISTENER"


def told() -> tuple[int, int] | None:
    """The listening socket's descriptor and the supervisor's process, in a child; else None."""
    fields = os.environ.pop(TOLD, "").split(":")
    return (int(fields[0]), int(fields[1])) if len(fields) == 2 and all(map(str.isdecimal, fields)) else None


def supervise(arguments: Sequence[str], listener: socket.socket, say: Callable[..., None], *, drain_s: float) -> int:
    """Run the server as a child, again where it dies; its exit code.

    Args:
        arguments: Of netwright, for the child.
        listener: Listens already.
        say: Writes a line of the log.
        drain_s: How long a child may take to end.
    """
    child: subprocess.Popen[bytes] | None = None
    asked: list[float] = []  # when the end was asked for

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        if number in ENDS:
            asked.append(time.monotonic())
        if child is not None and child.poll() is None:
            child.send_signal(number)

    for name in PASSED_ON:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), pass_on)
    young = 0
    while not asked:
        begun = time.monotonic()
        child = _begin(arguments, listener.fileno())
        if asked:  # while it was made
            child.send_signal(signal.SIGTERM)
        code = _wait(child, asked, drain_s + LATE_S)
        if asked or code >= 0:
            return 0 if -code in ENDS else abs(code)  # by a signal where it had not begun to listen to them
        young = young + 1 if time.monotonic() - begun < YOUNG_S else 1
        say("error", "server died", signal=-code, deaths=young)
        if young >= MOST_YOUNG:
            return 1
    return 0


def _begin(arguments: Sequence[str], descriptor: int) -> subprocess.Popen[bytes]:
    # The very paths of this process: `-m` would look in the folder where it is called first, which may hold anything.
    script = (
        f"import sys; sys.path[:] = {sys.path!r}; from netwright.cli import main; sys.exit(main({list(arguments)!r}))"
    )
    # A group of its own: Ctrl-C reaches the child once, through its supervisor.
    return subprocess.Popen(
        [sys.executable, "-c", script], pass_fds=[descriptor], start_new_session=True,
        env=os.environ | {TOLD: f"{descriptor}:{os.getpid()}"},
    )  # fmt: skip


def _wait(child: subprocess.Popen[bytes], asked: list[float], most: float) -> int:
    """The exit code of a child; one that does not end in time after it was asked to is killed."""
    while True:
        try:
            return child.wait(1.0)
        except subprocess.TimeoutExpired:
            if asked and time.monotonic() - asked[0] > most:
                child.kill()
