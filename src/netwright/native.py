"""Kernels in C++, compiled for this processor once, and kept in the user's cache."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import secrets
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

FLAGS = (
    "-x", "c++", "-std=c++17", "-O2", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
    "-fno-exceptions", "-fno-rtti", "-Wno-psabi", "-shared", "-fPIC",
)  # fmt: skip
COMPILERS = ("g++", "clang++", "c++")
PATIENCE_S = 60
CACHE = "TORCHINDUCTOR_CACHE_DIR"
DIGEST = 32  # bytes at the end of what is kept: a file that was cut off would end the process when it is loaded


class NoKernelsError(Exception):
    """Kernels cannot be compiled here, and why."""


# By source and macros what was made in this process, or is being made.
MADE: dict[tuple[Any, ...], Future[ctypes.CDLL | NoKernelsError]] = {}


def library(source: Path, *macros: str) -> ctypes.CDLL:
    """The functions of a file, whose headers lie beside or above it; they release Python's lock while they run.

    They are compiled once a process, and waited for where that was begun.

    Args:
        macros: As ``LANES=8``.

    Raises:
        NoKernelsError: There is no compiler, or it does not compile it, and what it says.
    """
    found = _made((source, *macros)).result()
    if isinstance(found, NoKernelsError):
        raise found
    return found


def begin(source: Path, *macros: str) -> None:
    """Compile the functions of a file beside what else is done, where that is to be done."""
    if not is_built(source, *macros):
        _made((source, *macros), beside=True)


def wait(source: Path, *macros: str) -> None:
    """Come back when nothing that was begun of this is under way, so that no compiler works beside what is timed."""
    if (begun := MADE.get((source, *macros))) is not None:
        begun.result()


def _made(asked: tuple[Any, ...], *, beside: bool = False) -> Future[ctypes.CDLL | NoKernelsError]:
    """What comes, or will come, of compiling; a thread of its own does it where it is asked for ``beside``."""
    mine: Future[ctypes.CDLL | NoKernelsError] = Future()
    found = MADE.setdefault(asked, mine)  # which one thread alone does
    if found is not mine:
        return found

    def make() -> None:
        try:
            mine.set_result(_library(*asked))
        except NoKernelsError as error:
            mine.set_result(error)
        except (OSError, RuntimeError, ValueError) as error:  # no home, no room, an unheard-of CXX
            mine.set_result(NoKernelsError(f"the kernels of {asked[0].name} cannot be made: {error}"))
        except BaseException:
            MADE.pop(asked, None)
            mine.set_result(NoKernelsError(f"making the kernels of {asked[0].name} was broken off"))
            raise

    if beside:
        with contextlib.suppress(RuntimeError):  # no thread can be started
            threading.Thread(target=make, name="netwright-kernels", daemon=True).start()
            return mine
    make()
    return mine


def _forget_unfinished() -> None:
    """In a process that was forked off, no thread goes on with what was begun."""
    for asked in [asked for asked, one in MADE.items() if not one.done()]:
        del MADE[asked]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_unfinished)


def _library(source: Path, *macros: str) -> ctypes.CDLL:
    compiler = _compiler()
    kept = _kept(compiler, source, macros)
    with tempfile.TemporaryDirectory(prefix="netwright-") as folder:
        made = kept
        if not _intact(kept):
            made = Path(folder) / f"{source.stem}.so"
            _compile(compiler, source, macros, made)
            if _keep(kept, made.read_bytes()):
                made = kept
        return ctypes.CDLL(str(made))  # which stays in memory after its file is gone


def is_built(source: Path, *macros: str) -> bool:
    """Whether it need not be compiled, or cannot be."""
    try:
        return _kept(_compiler(), source, macros).is_file()
    except (NoKernelsError, OSError, RuntimeError, ValueError):
        return True  # there is nothing to wait for


def cache_folder() -> Path:
    """Where compiled programs are kept from run to run; torch's own variable goes first.

    But not where torch has set it to its folder among temporary files, as it does when it is asked for its compiler.
    """
    asked = Path(os.environ.get(CACHE) or ".")
    if asked.name and not (asked.name.startswith("torchinductor_") and asked.parent == Path(tempfile.gettempdir())):
        return asked
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netwright" / "programs"
    except RuntimeError:  # whoever has no home, as a number without a name in a container
        return _of_this_process()


@functools.cache
def _of_this_process() -> Path:
    """A folder that nobody else can have prepared, and that goes with the process."""
    folder = tempfile.mkdtemp(prefix="netwright-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _compiler() -> list[str]:
    asked = shlex.split(os.environ.get("CXX", ""))
    for one in (asked, *([name] for name in COMPILERS)):
        found = shutil.which(one[0]) if one else None
        if found is not None:
            return [found, *one[1:]]
    raise NoKernelsError(f"there is no C++ compiler to make kernels with: neither {', '.join(COMPILERS)} nor CXX")


def _kept(compiler: list[str], source: Path, macros: Sequence[str]) -> Path:
    """Where the kernels of this source, compiler and processor are kept."""
    about = Path(compiler[0]).resolve()
    by = (str(about), about.stat().st_mtime_ns, about.stat().st_size)
    folders = source.parents[:2]  # where headers are from
    shared = tuple(one.read_bytes() for folder in folders for one in sorted(folder.glob("*.h")))
    parts = (source.read_bytes(), shared, FLAGS, tuple(macros), compiler, by, _processor())
    return cache_folder() / "kernels" / f"{source.stem}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.so"


@functools.cache
def _processor() -> tuple[str, ...]:
    """What tells whether code for this processor runs on another, since several may read one cache."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = ("model name", "flags", "Features")
        return tuple(next((one for one in lines if one.startswith(name)), "") for name in names)
    return platform.machine(), platform.processor()


def _intact(path: Path) -> bool:
    try:
        body = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(body[:-DIGEST]).digest() == body[-DIGEST:]


def _compile(compiler: list[str], source: Path, macros: Sequence[str], to: Path) -> None:
    command = [*compiler, *FLAGS, *(f"-D{one}" for one in macros), str(source), "-o", str(to)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernelsError(f"the kernels of {source.name} cannot be compiled: {error}") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or [f"{compiler[0]} failed"]
        raise NoKernelsError(f"the kernels of {source.name} cannot be compiled: {said[0][:160]}")


def _keep(path: Path, body: bytes) -> bool:
    """Put the kernels into the cache, whole or not at all; whether they are there."""
    own = path.with_name(f"{path.name}.{secrets.token_hex(8)}")  # machines that share a cache may share process ids
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(body + hashlib.sha256(body).digest())
        own.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            own.unlink()
        return False
    return True
