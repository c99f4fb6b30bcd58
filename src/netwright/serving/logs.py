"""The log: a JSON object a line, of what happened and how long it took; never of what an input holds."""

from __future__ import annotations

import json
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

FLUSH_S = 0.2  # lines of requests are written together: a system call each would cost as much as parsing a request
MOST_HELD = 256


class Log:
    """Lines to a stream.

    Args:
        stream: Where they go.
        requests: Whether each request gets a line.
    """

    def __init__(self, stream: TextIO, *, requests: bool) -> None:
        self._stream = stream
        self._requests = requests
        self._held: list[str] = []

    def say(self, level: str, event: str, **more: Any) -> None:
        """Write a line now. Values of ``more`` are JSON's."""
        self._held.append(_line(level, event, more))
        self.flush()

    def request(self, request_id: str, method: str, route: str, status: int, seconds: float, size: int) -> None:
        """Note a request that was answered; ``route`` is one of the server's own."""
        if not self._requests and status < 500:
            return
        more = {
            "id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 2),
            "bytes": size,
        }
        self._held.append(_line("info" if status < 500 else "error", "request", more))
        if len(self._held) >= MOST_HELD:
            self.flush()

    def fault(self, request_id: str, error: BaseException) -> None:
        """Note where something went wrong, without its words: they may hold what the client sent."""
        places = traceback.extract_tb(error.__traceback__)
        where = [f"{Path(place.filename).name}:{place.lineno}" for place in places]
        self.say("error", "fault", id=request_id, type=type(error).__name__, at=where[-8:])

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            lines, self._held = self._held, []
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more: answers are what the server is for
                return


def _line(level: str, event: str, more: dict[str, Any]) -> str:
    now = datetime.fromtimestamp(time.time(), timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "level": level, "event": event} | more, ensure_ascii=True) + "\n"
