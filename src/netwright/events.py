"""Scores as TensorBoard reads them: a file of events, appended to. Knows nothing of training.

An event is a protocol buffer in a TFRecord: a length, its checksum, the event, its checksum. Written here, since the
libraries that write them send each row through a queue and two threads, which takes as long as some small updates.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

FLUSH_S = 1.0  # rows that are younger may be lost when the process is killed
CASTAGNOLI = 0x82F63B78  # polynomial of CRC-32C, reversed: RFC 3720, section 12.1
MASK = 0xA282EAD8  # what TFRecord adds to a checksum: tensorflow/core/lib/hash/crc32c.h


class Events:
    """A file of events in a folder, its own for this process and second.

    Args:
        purge_step: TensorBoard forgets what came at this step and later: it will be told again.

    Raises:
        OSError: The file cannot be made or written.
    """

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("ab")
        self._flushed = time.monotonic()
        version = _bytes(3, b"brain.Event:2")
        self._write(version)
        if purge_step is not None:
            self._write(_integer(2, purge_step) + _bytes(7, _integer(1, 1)))  # a session log: START
        self._file.flush()

    def add(self, step: int, scores: Mapping[str, float]) -> None:
        """Scores of an update, by their names."""
        values = (
            _bytes(1, _bytes(1, name.encode("utf-8", "replace")) + b"\x15" + struct.pack("<f", _single(value)))
            for name, value in scores.items()
        )
        self._write(_integer(2, step) + _bytes(5, b"".join(values)))
        now = time.monotonic()
        if now - self._flushed >= FLUSH_S:
            self._flushed = now
            self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def _write(self, fields: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        self._file.write(length + _checksum(length) + event + _checksum(event))


def _single(value: float) -> float:
    """As float32 holds it: what is beyond its range is infinite, where Python would refuse."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _integer(field: int, value: int) -> bytes:
    """A field that holds a number of at least 0."""
    digits = bytearray((field << 3,))
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _bytes(field: int, content: bytes) -> bytes:
    """A field that holds a text or a message; its length is written as a number is."""
    return bytes((field << 3 | 2,)) + _integer(0, len(content))[1:] + content


def _checksum(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF)


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (CASTAGNOLI if value & 1 else 0)
    return value


TABLE = tuple(map(_entry, range(256)))
