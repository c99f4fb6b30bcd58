"""Decoded pictures on disk, so that later runs of the same files decode none, and large sets are decoded once.

A file of the cache holds the pixels of all pictures, one behind the other as uint8 (C, H, W), and at its end what is
known of each, their SHA-256 among it, and what could not be read. Its name is a digest of all that the pixels depend
on: the files' paths, sizes and times, what is done to them, and Pillow's version. It gets that name when it is whole,
and nothing in it is believed unchecked: a picture whose digest is wrong is decoded again. Losing the folder costs time
alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import features

from netwright.data.download import store
from netwright.data.picture_facts import Fact, PictureFacts, digest_of, fact_of
from netwright.data.picture_kernels import PictureKernels
from netwright.data.threads import cores, in_threads, watched
from netwright.disk import DISK, discard, remove_strays, temporary
from netwright.errors import DataError
from netwright.preprocess import DecodeImage, Preprocess, Resize, decode
from netwright.records import Choice, Unreadable

VERSION = 2  # of the files, and of what `decode` makes of a picture
# Smaller sets, 425 pictures of 224 x 224, are decoded in about a second and would only litter the disk.
FROM_BYTES = 64 * 2**20
# A file that was written later could be written once more without a change of its time (as git has it: racy).
SETTLED_S = 2.0
END = struct.Struct("<QI4s")  # length of the record at the end, its checksum, and
MAGIC = b"nwpx"
NAME = r"[0-9a-f]{64}\.pixels"


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pictures of a cache file that could be read.

    Attributes:
        pixels: Mapped into memory, uint8 (N, C, H, W); what is written there stays in this process.
        facts: Their digests, and sums of their channels.
        checked: Which were found to be as they were written, bool (N,): filled as they are asked for.
        kept: Places of the pictures among the files that were asked for.
        bad: The other files, with the reason.
        path: The cache file.
    """

    pixels: NDArray[np.uint8]
    facts: PictureFacts
    checked: NDArray[np.bool_]
    kept: tuple[int, ...]
    bad: tuple[Unreadable, ...]
    path: Path

    def picture(self, row: int) -> NDArray[np.uint8] | None:
        """The pixels of one, (C, H, W); None where they are not as they were written: the next run writes anew."""
        found: NDArray[np.uint8] = self.pixels[row]
        if not self.checked[row]:
            if digest_of(found) != self.facts.digests[row].tobytes():
                discard([self.path], DISK)
                return None
            self.checked[row] = True
        return found

    def whole(self) -> bool:
        """Whether all are as they were written: reads them all."""
        return all(found is not None for found in in_threads(self.picture, range(len(self.kept)), cores()))


def decoded_or_unreadable(
    preprocess: Preprocess, kernels: PictureKernels, path: Path
) -> NDArray[np.uint8] | Unreadable:
    """The pixels of a file, or why it has none."""
    try:
        return decode(preprocess, path, kernels.resize)
    except DataError as error:
        return Unreadable(name=str(path), reason=error.got)


def decoded_with_facts(
    preprocess: Preprocess, kernels: PictureKernels, path: Path
) -> tuple[NDArray[np.uint8], Fact] | Unreadable:
    """The pixels of a file with what is known of them, or why it has none."""
    result = decoded_or_unreadable(preprocess, kernels, path)
    return result if isinstance(result, Unreadable) else (result, fact_of(result, kernels.sums(result)))


def row_shape(preprocess: Preprocess) -> tuple[int, int, int] | None:
    """(C, H, W) of what is decoded; None where each picture has its own."""
    resize = next((one for one in preprocess.decode if isinstance(one, Resize)), None)
    mode = next((one.mode for one in preprocess.decode if isinstance(one, DecodeImage)), "RGB")
    return None if resize is None else (1 if mode == "L" else 3, resize.height, resize.width)


def decode_once(
    paths: Sequence[Path],
    preprocess: Preprocess,
    *,
    limit_bytes: float,
    check_all: bool = False,
    folder: Path | None = None,
) -> tuple[Decoded | None, tuple[Choice, ...]]:
    """The decoded pictures of files, from the cache, or decoded now and kept there.

    Args:
        limit_bytes: What the whole cache may take of the disk; the longest unused make room for new ones.
        check_all: Whether an earlier run's pictures are checked now, and not each when it is asked for.
        folder: Where the cache is; None for ``decoded`` in the store.

    Returns:
        None where nothing is kept, and then why; no reason for a set so small that nobody would ask.
    """
    shape = row_shape(preprocess)
    needed = 0 if shape is None else len(paths) * int(np.prod(shape))
    if shape is None or needed < FROM_BYTES:
        return None, ()
    folder = store() / "decoded" if folder is None else folder
    size = f"{needed / 1e9:,.2f} GB"
    if needed > limit_bytes:
        return None, _none(f"{size} of decoded pictures, and --cache-gb allows {limit_bytes / 1e9:g}")
    try:
        key, newest = _key(paths, preprocess)
        path = folder / f"{key}.pixels"
        found = _open(path, shape)
        if found is not None and check_all and not found.whole():
            found = None
        if found is None:
            if time.time() - newest < SETTLED_S:
                return None, _none("the files were changed a moment ago; the next run will keep them decoded")
            folder.mkdir(parents=True, exist_ok=True)
            reason = _make_room(folder, needed, limit_bytes)
            if reason is not None:
                return None, _none(f"{size} of decoded pictures, and {reason}")
            _write(path, paths, preprocess, shape)
            if _key(paths, preprocess)[0] != key:
                discard([path], DISK)
                return None, _none("files changed while they were read")
            found = _open(path, shape)
    except OSError as error:
        return None, _none(f"{folder} cannot be used: {error.strerror or error}")
    if found is None:
        return None, _none(f"{folder} does not give back what was written there")
    return found, (Choice(name="cache", value=size, reason=f"pictures are decoded once and kept in {folder}"),)


def _none(reason: str) -> tuple[Choice, ...]:
    return (Choice(name="cache", value="none", reason=reason),)


def _key(paths: Sequence[Path], preprocess: Preprocess) -> tuple[str, float]:
    """A digest of all that the pixels depend on, and when the newest file was changed.

    The time of change (ctime) counts too: no copying or ``touch`` sets it back.
    """
    running = hashlib.sha256()
    codecs = [features.version(name) for name in ("libjpeg_turbo", "jpg", "zlib", "webp")]
    how = [one.model_dump(mode="json") for one in preprocess.decode]
    running.update(json.dumps([VERSION, PIL.__version__, codecs, how, len(paths)]).encode())
    newest = 0.0
    for path in paths:
        try:
            found = path.stat()
        except OSError as error:  # decoding will name it
            running.update(json.dumps([str(path.absolute()), str(error)]).encode())
            continue
        newest = max(newest, found.st_mtime, found.st_ctime)
        name = json.dumps(str(path.absolute()))
        running.update(f"[{name}, {found.st_size}, {found.st_mtime_ns}, {found.st_ctime_ns}]".encode())
    return running.hexdigest(), newest


def _open(path: Path, shape: tuple[int, int, int]) -> Decoded | None:
    """A cache file; one that is damaged is removed, and None."""
    try:
        with path.open("rb") as file:
            record, known, end = _read_end(file)
        kept = tuple(int(one) for one in record["kept"])
        size = len(kept) * int(np.prod(shape))
        if tuple(record["shape"]) != shape or size != end:
            raise ValueError("another shape")
        digests = np.frombuffer(known, dtype=np.uint8, count=32 * len(kept)).reshape(-1, 32)
        sums = np.frombuffer(known, dtype="<f8", offset=digests.size).reshape(len(kept), 2, shape[0])
        facts = PictureFacts(digests, sums.astype(np.float64), shape[1] * shape[2])
        bad = tuple(Unreadable(name=str(name), reason=str(reason)) for name, reason in record["bad"])
        pixels = np.memmap(path, dtype=np.uint8, mode="c", shape=(len(kept), *shape))
        os.utime(path)  # used now: others make room first
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, struct.error, OSError):
        discard([path], DISK)
        return None
    return Decoded(np.asarray(pixels), facts, np.zeros(len(kept), dtype=np.bool_), kept, bad, path)


# Any: JSON, of which every value is checked where it is used.
def _read_end(file: BinaryIO) -> tuple[dict[str, Any], bytes, int]:
    """The record at the end, what is known of each picture, and where the pixels end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END.size))
    length, checksum, magic = END.unpack(file.read(END.size))
    begin = size - END.size - length
    if magic != MAGIC or begin < 0:
        raise ValueError("no cache file")
    file.seek(begin)
    content = file.read(length)
    if zlib.crc32(content) != checksum:
        raise ValueError("a damaged record")
    text, _, known = content.partition(b"\n")
    return json.loads(text), known, begin


def _write(path: Path, paths: Sequence[Path], preprocess: Preprocess, shape: tuple[int, int, int]) -> None:
    """Decode all files into a new cache file, which gets its name when it is whole.

    It is not flushed: what a loss of power spoils of it, the digests show.
    """
    beside = temporary(path)
    remove_strays(path.parent, NAME, DISK)
    kept, bad, known = [], [], []
    try:
        with beside.open("xb") as file:
            results = in_threads(partial(decoded_with_facts, preprocess, PictureKernels(len(paths))), paths)
            for index, result in enumerate(watched(results, len(paths), "decoding images")):
                if isinstance(result, Unreadable):
                    bad.append((result.name, result.reason))
                    continue
                pixels, fact = result
                file.write(pixels.data)
                kept.append(index)
                known.append(fact)
            text = json.dumps({"shape": shape, "kept": kept, "bad": bad}).encode()
            facts = PictureFacts.of(known, shape[1] * shape[2])
            content = text + b"\n" + facts.digests.tobytes() + facts.sums.astype("<f8").tobytes()
            file.write(content + END.pack(len(content), zlib.crc32(content), MAGIC))
        beside.replace(path)
    except BaseException:
        discard([beside], DISK)
        raise


def _make_room(folder: Path, needed: int, limit_bytes: float) -> str | None:
    """Remove the longest unused until there is room; why there is none. A process that maps one keeps it."""
    held = []
    for one in folder.iterdir():
        if re.fullmatch(NAME, one.name):
            found = one.stat()
            held.append((found.st_mtime, found.st_size, one))
    total = needed + sum(size for _, size, _ in held)
    for _, size, one in sorted(held):
        if total <= limit_bytes:
            break
        discard([one], DISK)
        total -= size
    free = DISK.free_bytes(folder)
    return None if 2 * needed <= free else f"the disk has {free / 1e9:,.2f} GB free, of which half is left to others"
