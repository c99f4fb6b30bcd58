"""Scores as TensorBoard reads them: a file of events, appended to. Knows nothing of training.

Events and checksums are tensorboardX's, the file is our own. Its ``SummaryWriter`` hands each row through a queue of
processes to two threads, which takes the loop's thread eight times as long (130 µs against 17); its writer of single
events makes this thread wait for the disk at each flush, for which the threads of an update wait too.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST = 3.4028234663852886e38  # of float32, in which scores are kept
VERSION = "brain.Event:2"  # of the format, in the first event of each file


class Events:
    """A file of events in a folder, a new one each time. A row is with the system once it was added: only a loss of
    power takes it.

    Args:
        purge_step: TensorBoard forgets what came at this step and later: it will be told again.

    Raises:
        OSError: The file cannot be made or written.
    """  # noqa: D205

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c

        self._event, self._summary, self._checksum = Event, Summary, masked_crc32c
        now = time.time_ns()
        own = f"{socket.gethostname()}.{os.getpid()}.{now % 10**9:09d}"
        self._file = (folder / f"events.out.tfevents.{now // 10**9}.{own}").open("xb", buffering=0)
        self._write(Event(wall_time=time.time(), file_version=VERSION))
        if purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=purge_step, session_log=start))

    def add(self, step: int, scores: Mapping[str, float]) -> None:
        """Scores of an update, by their names."""
        values = [self._summary.Value(tag=name, simple_value=_single(value)) for name, value in scores.items()]
        self._write(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Any) -> None:  # a protocol buffer, which has no types
        """As TFRecord has it: the length, the event, and a checksum of each."""
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        sums = (struct.pack("<I", self._checksum(part)) for part in (length, content))
        left = memoryview(b"".join((length, next(sums), content, next(sums))))
        while left:  # a disk that is nearly full takes a part, and refuses the next
            left = left[self._file.write(left) :]


def _single(value: float) -> float:
    """As float32 holds it: what is beyond its range is infinite, which a protocol buffer refuses to decide."""
    return math.copysign(math.inf, value) if abs(value) > LARGEST else value
