"""Scores as TensorBoard reads them: a file of events, appended to. Knows nothing of training.

tensorboardX writes them, by its writer of single events: its ``SummaryWriter`` hands each row through a queue of
processes to two threads, which takes the loop's thread eight times as long (130 µs against 17).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

FLUSH_S = 1.0  # rows that are younger may be lost when the process is killed
LARGEST = 3.4028234663852886e38  # of float32, in which scores are kept


class Events:
    """A file of events in a folder, a new one each time.

    Args:
        purge_step: TensorBoard forgets what came at this step and later: it will be told again.

    Raises:
        OSError: The file cannot be made or written.
    """

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        self._event, self._summary = Event, Summary
        self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}.{time.time_ns() % 10**9:09d}")
        self._flushed = time.monotonic()
        if purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(wall_time=time.time(), step=purge_step, session_log=start))
        self._writer.flush()

    def add(self, step: int, scores: Mapping[str, float]) -> None:
        """Scores of an update, by their names."""
        values = [self._summary.Value(tag=name, simple_value=_single(value)) for name, value in scores.items()]
        self._writer.write_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))
        now = time.monotonic()
        if now - self._flushed >= FLUSH_S:
            self._flushed = now
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def _single(value: float) -> float:
    """As float32 holds it: what is beyond its range is infinite, which a protocol buffer refuses to decide."""
    return math.copysign(math.inf, value) if abs(value) > LARGEST else value
