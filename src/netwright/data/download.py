"""Bring published files into the store: resumed, checked, and visible under their names only when whole.

Standard library only; knows nothing of what the files hold. Two processes that want the same file take turns.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from netwright.disk import try_lock
from netwright.errors import DownloadError, RunError

CHUNK_BYTES = 1 << 16
LONGEST_WAIT_S = 3600.0  # for another process that downloads the same file
# Answers that may be better a moment later: RFC 9110, sections 15.5.9 and 15.6, and RFC 6585 for 429.
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class _Interrupted(Exception):
    """What happened to a transfer that may go better the next time."""


class _Refused(Exception):
    """What a server said that no repetition will change."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file's addresses and digest, and how patient to be."""

    urls: tuple[str, ...]
    path: Path
    algorithm: str | None
    digest: str | None
    timeout_s: float
    retries: int
    pause_s: float


def store(env: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """The folder of downloaded data: NETWRIGHT_DATA, else ``netwright`` in the user's cache folder.

    Args:
        env: The environment; None for this process's own.
        platform: As ``sys.platform`` names it.
    """
    env = os.environ if env is None else env
    if env.get("NETWRIGHT_DATA"):
        return Path(env["NETWRIGHT_DATA"])
    if platform == "win32":
        local = env.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "netwright"
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "netwright"
    cache = env.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "netwright"


def fetch(
    urls: Sequence[str],
    path: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    timeout_s: float = 20,
    retries: int = 3,
    pause_s: float = 1,
) -> Path:
    """The file at ``path``, downloaded where it is not there.

    A file that is there is not looked into. One that is downloaded is checked; what has arrived of it is kept in
    ``<path>.part``, and the next call goes on from there where a digest can tell whether the pieces fit.

    Args:
        urls: Addresses to try, the best first; http or https.
        sha256: Digest in hexadecimal; ``md5`` likewise, where nothing better was published.
        timeout_s: Longest silence of a server.
        retries: Further attempts for each address after one that broke off.
        pause_s: Wait before the first of them, doubled for each further one.

    Raises:
        DownloadError: No address gave the whole file; each is named, with what happened.
        RunError: The store cannot be written, or has too little room.
    """
    if path.is_file():
        return path
    algorithm = "sha256" if sha256 else "md5" if md5 else None
    wanted = _Wanted(tuple(urls), path, algorithm, sha256 or md5, timeout_s, retries, pause_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path) as part:
            if not path.is_file():  # else another process brought it meanwhile
                _download(wanted, part)
    except OSError as error:
        if isinstance(error, DownloadError | RunError):
            raise
        raise _not_writable(path, error) from error
    return path


def _download(wanted: _Wanted, part: Path) -> None:
    """Try each address until one gives the whole file, and give it its name."""
    if wanted.digest is None:
        part.unlink(missing_ok=True)  # nothing could tell whether old and new pieces belong together
    problems = []
    for url in wanted.urls:
        try:
            _from_address(url, wanted, part)
        except (_Refused, _Interrupted) as problem:
            problems.append(f"{url}: {problem}")
            continue
        part.replace(wanted.path)
        _flush_folder(wanted.path.parent)
        return
    resumed = " What arrived is kept: the next attempt goes on from there." if part.exists() and wanted.digest else ""
    raise DownloadError(
        where=f"download of {wanted.path.name}",
        expected=f"the whole file, {wanted.algorithm} {wanted.digest}" if wanted.digest else "the whole file",
        got="; ".join(problems) or "no address to load it from",
        cure=f"Try again when the network is better.{resumed} Or put the file at {wanted.path} by hand, or set "
        "NETWRIGHT_DATA to a folder that has it.",
    )


def _from_address(url: str, wanted: _Wanted, part: Path) -> None:
    """Bring the whole file from one address into ``part``: again after an interruption, once more if it is damaged."""
    interruptions, damaged = 0, 0
    while True:
        try:
            _transfer(url, part, wanted)
        except _Interrupted as problem:
            interruptions += 1
            if interruptions > wanted.retries:
                attempts = f"{interruptions} attempts" if interruptions > 1 else "1 attempt"
                raise _Interrupted(f"{problem}, in {attempts}") from problem
            time.sleep(wanted.pause_s * 2 ** (interruptions - 1))
            continue
        found = _digest(part, wanted.algorithm) if wanted.algorithm else None
        if found == (wanted.digest.lower() if wanted.digest else None):
            return
        size = part.stat().st_size
        part.unlink()
        damaged += 1
        if damaged == 2:
            raise _Refused(f"{size:,} bytes with {wanted.algorithm} {found}, and again after a fresh start")


def _transfer(url: str, part: Path, wanted: _Wanted) -> None:
    """Append to ``part`` what is missing of it; start over where the server does not give ranges."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "netwright", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if not url.lower().startswith(("http://", "https://")):
        raise _Refused("not an http or https address")
    with _answer(urllib.request.Request(url, headers=headers), wanted.timeout_s, part, have) as response:
        if response is None:  # everything had arrived before
            return
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise _Interrupted("the server gave another range than was asked for")
        have = have if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        _require_space(part, total, have)
        with part.open("ab" if resumed else "wb") as file, _shown(wanted.path.name, have, total) as advance:
            for chunk in _chunks(response, wanted.timeout_s):
                file.write(chunk)
                have += len(chunk)
                advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have < total:
        raise _Interrupted(f"the connection ended after {have:,} of {total:,} bytes")


@contextmanager
def _answer(
    request: urllib.request.Request, timeout_s: float, part: Path, have: int
) -> Iterator[http.client.HTTPResponse | None]:
    """A server's answer, open to be read; None where it says that the part is the whole already."""
    try:
        response = _opener().open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:
                if error.headers.get("Content-Range", "") == f"bytes */{have}":
                    response = None
                else:
                    part.unlink()
                    raise _Interrupted(f"no range from {have:,} bytes on, so the file has changed") from error
            elif error.code in TRANSIENT:
                raise _Interrupted(f"status {error.code} {error.reason}") from error
            else:
                raise _Refused(f"status {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(_network_reason(error, timeout_s)) from error
    if response is None:
        yield None
        return
    with response:
        yield response


def _chunks(response: http.client.HTTPResponse, timeout_s: float) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(CHUNK_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _Interrupted(_network_reason(error, timeout_s)) from error
        if not chunk:
            return
        yield chunk


def _opener() -> urllib.request.OpenerDirector:
    """As ``urllib.request.build_opener``, but without file and ftp addresses, so no redirection leads to one."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _network_reason(error: BaseException, timeout_s: float) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"nothing came for {timeout_s:g} s"
    return f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason)


def _digest(path: Path, algorithm: str) -> str:
    running = hashlib.new(algorithm)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            running.update(chunk)
    return running.hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """Wait until no other process downloads this file; where to write it meanwhile.

    The lock is freed by the system when its process ends. Where the file system has no locks, each process writes a
    part of its own.
    """
    lock = path.with_name(f"{path.name}.lock")
    start, told = time.monotonic(), False
    while True:
        handle = lock.open("ab")
        held = try_lock(handle.fileno())
        if held is None:
            handle.close()
            yield path.with_name(f"{path.name}.{os.getpid()}.part")
            return
        if held and _same_file(handle.fileno(), lock):  # else the one before has just removed it
            break
        handle.close()
        waited = time.monotonic() - start
        if waited > LONGEST_WAIT_S:
            raise DownloadError(
                where=str(lock),
                expected=f"the process that downloads {path.name} to end",
                got=f"a lock that is held for {waited:.0f} seconds",
                cure="End that process; the lock goes with it, and what it has downloaded is gone on with.",
            )
        if waited > 1 and not told:
            sys.stderr.write(f"waiting for another process that downloads {path.name}\n")
            told = True
        time.sleep(0.05)
    try:
        yield path.with_name(f"{path.name}.part")
    finally:
        with suppress(OSError):  # Windows does not remove an open file
            lock.unlink()
        handle.close()


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _require_space(part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise RunError(
            where=str(part.parent),
            expected=f"room for {total - have:,} bytes",
            got=f"{free:,} bytes free",
            cure="Free space, or set NETWRIGHT_DATA to a folder on another disk.",
        )


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle for a folder that can be flushed
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _not_writable(path: Path, error: OSError) -> RunError:
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return RunError(
        where=f"data store {path.parent}",
        expected=f"to write {path.name} there",
        got=f"{error.strerror or error} ({name})",
        cure="Set NETWRIGHT_DATA to a folder that can be written and has room, or put the file there by hand.",
    )


@contextmanager
def _shown(name: str, have: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total, completed=have)
        yield lambda count: bar.update(task, advance=count)
