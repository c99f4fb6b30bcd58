"""Run a script, or a block of Python, under the observer; the script's output and exit code stay its own."""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from netwright.checks.asked import known_codes, refuse_seconds
from netwright.checks.sourcecode import persons
from netwright.checks.subject import first_line
from netwright.errors import MissingFileError
from netwright.records import CheckReport
from netwright.references import run_file
from netwright.watch.ending import code_of_exit, flush, tell
from netwright.watch.examine import examine
from netwright.watch.observer import Observer
from netwright.watch.paths import seen_from
from netwright.watch.trace import Trace


@dataclass(slots=True)
class Watched:
    """What was seen, and after the end what was found.

    Attributes:
        report: None as long as nothing was examined, as in a process that the script forked.
        code: The script's exit code.
    """

    trace: Trace
    report: CheckReport | None = None
    code: int = 0


@contextlib.contextmanager
def watching(*, seconds: float = 20.0, skip: Iterable[str] = frozenset(), name: str = "this code") -> Iterator[Watched]:
    """Watch what runs inside; afterwards ``report`` holds the findings.

    Args:
        seconds: The most that the examination afterwards may take.
        skip: Codes that are not told.

    Raises:
        UsageError: A code that there is not, or no time.
    """
    refuse_seconds(seconds, where="watching(seconds)")
    codes = known_codes(skip, where="watching(skip)")
    observer = Observer()
    watched = Watched(observer.trace)
    process = os.getpid()
    with observer:
        yield watched
    if os.getpid() == process:  # else it was forked inside
        watched.report = _examined(observer.trace, seconds=seconds, skip=codes, name=name)


def run_script(
    script: str, arguments: Sequence[str] = (), *, seconds: float = 20.0, skip: frozenset[str] = frozenset()
) -> Watched:
    """Run a script as ``python script.py`` would, and examine what it did.

    Its standard output and its exit code are its own; an exception that it does not catch is told as Python does.

    Raises:
        MissingFileError: There is no such file.
    """
    path = Path(script)
    if not path.is_file():
        raise MissingFileError(
            where=script, expected="a Python script", got="no such file", cure="netwright watch train.py --epochs 3"
        )
    folder, file = Path.cwd(), str(path.absolute())
    observer = Observer()
    watched = Watched(observer.trace)
    observer.trace.sources.add(file)
    process, others = os.getpid(), set(sys.modules)
    with _as_main(file, [script, *arguments]) as module:
        with observer:
            watched.code = _run(file, module)
        if os.getpid() != process:  # forked by the script, as its parent would end without us
            return watched
        for name in set(sys.modules) - others:  # what was there before is not the script's, as the tests that run it
            observer.trace.sources.add(_file_of(sys.modules.get(name)))
        report = _examined(observer.trace, seconds=seconds, skip=skip, name=script)
    watched.report = seen_from(folder, report, observer.trace.sources.files)
    return watched


def _examined(trace: Trace, *, seconds: float, skip: frozenset[str], name: str) -> CheckReport:
    """What was found; what a script has left in the way of looking is no reason to end in another way than it did."""
    try:
        return examine(trace, seconds=seconds, skip=skip, name=name)
    except (Exception, SystemExit) as error:
        why = f"everything: the examination failed with {type(error).__name__}: {first_line(error)}"
        return CheckReport(subject=name, not_checked=(why,))


@contextlib.contextmanager
def _as_main(file: str, argv: list[str]) -> Iterator[ModuleType]:
    """A module ``__main__`` as Python makes it for a script, which pickling and new processes look up by its name."""
    module = ModuleType("__main__")
    module.__file__ = file
    module.__loader__ = SourceFileLoader("__main__", file)
    vars(module).update(__builtins__=builtins, __annotations__={}, __cached__=None)
    before, folders, main = sys.argv, list(sys.path), sys.modules["__main__"]
    sys.argv, sys.path[0:0] = argv, [str(Path(file).resolve().parent)]
    sys.modules["__main__"] = module
    try:
        yield module
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = before, folders, main


def _run(file: str, module: ModuleType) -> int:
    """The script's exit code; what Python says of an exception is said here."""
    try:
        run_file(file, module)
    except SystemExit as ended:
        return code_of_exit(ended)
    except BaseException as error:
        raised = error
    else:
        flush()
        return 0
    return tell(raised, leading=(_run.__code__, run_file.__code__))  # no longer handled, as Python has it for the hook


def _file_of(module: ModuleType | None) -> str | None:
    """The file of the person's that a module was made of; a module may be anything, and refuse to be asked."""
    with contextlib.suppress(Exception):
        file = object.__getattribute__(module, "__dict__").get("__file__")  # a lazy module is not to be loaded by this
        if isinstance(file, str) and persons(file) and file.endswith(".py"):
            return file
    return None
