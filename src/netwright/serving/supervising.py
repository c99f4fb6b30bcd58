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
MOST_DEATHS, WITHIN_S = 5, 60.0  # one that dies more often than that would die for ever


def supervise(arguments: Sequence[str], listener: socket.socket, say: Callable[..., None]) -> int:
    """Run the server as a child, again where it dies; its exit code.

    Args:
        arguments: Of netwright, for the child; the socket is told in ``--listener``.
        listener: Listens already.
        say: Writes a line of the log.
    """
    given = [*arguments, "--listener", str(listener.fileno())]
    # The very paths of this process: `-m` would look in the folder where it is called first, which may hold anything.
    script = f"import sys; sys.path[:] = {sys.path!r}; from netwright.cli import main; sys.exit(main({given!r}))"
    command = [sys.executable, "-c", script]
    child: subprocess.Popen[bytes] | None = None
    asked_to_end = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked_to_end
        del frame
        asked_to_end = asked_to_end or number != getattr(signal, "SIGHUP", None)
        if child is not None and child.poll() is None:
            child.send_signal(number)

    for name in PASSED_ON:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), pass_on)
    deaths: list[float] = []
    while not asked_to_end:
        # A group of its own: Ctrl-C reaches the child once, through here.
        child = subprocess.Popen(command, pass_fds=[listener.fileno()], start_new_session=True, env=os.environ)
        code = child.wait()
        if asked_to_end and -code in ENDS:  # it had not begun to listen to signals yet
            return 0
        if asked_to_end or code >= 0:
            return code if code >= 0 else 1
        deaths = [one for one in deaths if one > time.monotonic() - WITHIN_S] + [time.monotonic()]
        say("error", "server died", signal=-code, deaths=len(deaths))
        if len(deaths) >= MOST_DEATHS:
            return 1
    return 0
