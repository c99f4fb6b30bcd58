"""The disk: the few operations that durable writing is made of, and small files written whole or not at all.

Everything that must survive a crash goes through a `Disk`, so that a test can put in one that records, loses or refuses
what it is told. Knows nothing of torch or of what the files mean.

A file becomes visible under its real name only after its bytes are on the disk, and stays visible only after its folder
is: write beside → fsync the file → rename → fsync the folder. A crash between two of these leaves the old file whole.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from netwright.errors import RunError

SLACK_BYTES = 64 * 1024  # folder entries, inodes and rounding up to blocks: 16 blocks of 4 KiB, far above what is used

_CURES = {
    errno.ENOSPC: "Free space on this disk, or put the run folder on another one.",
    errno.EDQUOT: "Free space within your quota, or put the run folder on another disk.",
    errno.EFBIG: "A limit on file size is set: `ulimit -f unlimited`, or put the run folder on another disk.",
    errno.EIO: "The disk reports a fault: copy the run folder to another disk now, then look at `dmesg`.",
    errno.EACCES: "Give yourself the right to write there (`chmod u+rwx`), or use another run folder.",
    errno.EPERM: "Give yourself the right to write there (`chmod u+rwx`), or use another run folder.",
    errno.EROFS: "The disk is mounted read-only: mount it for writing, or use another run folder.",
}
_CURES_ELSE = "See that the folder exists and can be written, or use another run folder."


class Disk(Protocol):
    """What writing and reading need from a disk. All may raise OSError."""

    def make_folder(self, path: Path) -> None:
        """Make one folder that is not there yet; its parent is."""

    def write_file(self, path: Path, content: bytes) -> None:
        """Write a file that is not there yet. Nothing is durable before `fsync_file`."""

    def read_file(self, path: Path) -> bytes:
        """All bytes of a file; a symbolic link is refused."""

    def fsync_file(self, path: Path) -> None:
        """Wait until the bytes of a file are on the disk."""

    def fsync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or folder another name in the same folder; a file of that name is replaced."""

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with all that is in it; a link itself, never what it points to."""

    def free_bytes(self, path: Path) -> int:
        """Bytes that this process may still write to the disk of an existing folder."""


class RealDisk:
    """The disk of this machine."""

    def make_folder(self, path: Path) -> None:
        """Make one folder."""
        path.mkdir()

    def write_file(self, path: Path, content: bytes) -> None:
        """Write a new file."""
        with path.open("xb") as file:
            file.write(content)

    def read_file(self, path: Path) -> bytes:
        """All bytes of a file."""
        # O_NONBLOCK: opening a FIFO put in a file's place must not wait for ever.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            return file.read()

    def fsync_file(self, path: Path) -> None:
        """Flush a file."""
        # Opened for writing, as Windows asks. Linux reports an error of earlier write-back to this new handle too.
        with path.open("r+b") as file:
            os.fsync(file.fileno())

    def fsync_folder(self, path: Path) -> None:
        """Flush a folder."""
        if os.name == "nt":  # Windows has no handle for a folder that can be flushed
            return
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Rename."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file or a folder."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def free_bytes(self, path: Path) -> int:
        """Free bytes for this process."""
        return shutil.disk_usage(path).free


DISK = RealDisk()


def run_error(error: OSError, path: Path, *, wanted: str, disk: Disk, kept: str) -> RunError:
    """Make the error for something the disk refused.

    Args:
        error: What the system said.
        path: What was to be written, removed or listed.
        wanted: What was to be done, with the bytes it needs.
        disk: Asked for the free bytes.
        kept: Sentence on what is still whole.
    """
    try:
        free = f"{disk.free_bytes(path.parent):,} bytes free"
    except OSError:
        free = "free bytes unknown"
    return RunError(
        where=str(path),
        expected=wanted,
        got=f"{error.strerror or error} ({errno.errorcode.get(error.errno or 0, 'OSError')}); {free}",
        cure=f"{_CURES.get(error.errno or 0, _CURES_ELSE)} {kept}",
    )


def require_space(folder: Path, needed: int, disk: Disk) -> None:
    """Raise OSError (ENOSPC) where fewer than ``needed`` bytes are free, before anything is written."""
    if disk.free_bytes(folder) < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def temporary(path: Path) -> Path:
    """The name beside ``path`` under which this process writes it first."""
    return path.with_name(f".{path.name}.tmp-{os.getpid()}")


def remove_strays(folder: Path, name: str, disk: Disk) -> None:
    """Remove what dead processes left half-written beside the files and folders called ``name``.

    Args:
        folder: Where to look.
        name: Regular expression for the whole real name.
        disk: Where to remove.

    Raises:
        OSError: The folder cannot be read, or a stray not removed.
    """
    pattern = re.compile(rf"\.(?:{name})\.tmp-(?P<pid>\d{{1,10}})")
    for entry in sorted(folder.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match and not _writes_elsewhere(int(match["pid"])):
            disk.remove(entry)


def _writes_elsewhere(pid: int) -> bool:
    """Whether another living process has this id. Our own id on a stray is that of an earlier life (containers)."""
    if pid == os.getpid():
        return False
    if os.name == "nt":  # signal 0 would end the process there
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def discard(paths: Sequence[Path], disk: Disk) -> None:
    """Remove what a failed write left, as far as the disk allows: the next write tries again."""
    for path in paths:
        try:
            disk.remove(path)
        except OSError:
            continue


def atomic_write_bytes(path: Path, content: bytes, disk: Disk = DISK) -> None:
    """Write a file whole or not at all; once this returns, it outlives a loss of power.

    Args:
        path: Its folder exists. A file of that name is replaced, and stays whole until then.
        content: All of it.
        disk: Where to.

    Raises:
        RunError: The disk is full, read-only, faulty or closed to this user; the file before is whole.
    """
    beside = temporary(path)
    try:
        remove_strays(path.parent, re.escape(path.name), disk)
        require_space(path.parent, len(content) + SLACK_BYTES, disk)
        disk.write_file(beside, content)
        disk.fsync_file(beside)
        disk.rename(beside, path)
        disk.fsync_folder(path.parent)
    except OSError as error:
        discard([beside], disk)
        kept = "The file of that name is whole." if path.exists() else "Nothing was left half-written."
        raise run_error(error, path, wanted=f"to write {len(content):,} bytes", disk=disk, kept=kept) from error
    except BaseException:
        discard([beside], disk)
        raise


def atomic_write_text(path: Path, text: str, disk: Disk = DISK) -> None:
    """Write a text file (UTF-8, newlines as given) as `atomic_write_bytes` does."""
    atomic_write_bytes(path, text.encode("utf-8"), disk)


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file for this process: whether it was free; None where the file system has no locks.

    The system frees it when the process ends, however it ends.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
