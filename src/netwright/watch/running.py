"""Run a script, or a block of Python, under the observer; the script's output and exit code stay its own."""

from __future__ import annotations

import contextlib
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from netwright.checks.sourcecode import persons
from netwright.errors import MissingFileError
from netwright.records import CheckReport
from netwright.watch.examine import examine
from netwright.watch.observer import Observer
from netwright.watch.trace import Trace


@dataclass(slots=True)
class Watched:
    """What was seen, and after the end what was found.

    Attributes:
        code: The script's exit code.
    """

    trace: Trace
    report: CheckReport | None = None
    code: int = 0


@contextlib.contextmanager
def watching(
    *, seconds: float = 20.0, skip: frozenset[str] = frozenset(), name: str = "this code"
) -> Iterator[Watched]:
    """Watch what runs inside; afterwards ``report`` holds the findings.

    Args:
        seconds: The most that the examination afterwards may take.
        skip: Codes that are not told.
    """
    observer = Observer()
    watched = Watched(observer.trace)
    with observer:
        yield watched
    watched.report = examine(observer.trace, seconds=seconds, skip=skip, name=name)


def run_script(
    script: str, arguments: Sequence[str] = (), *, seconds: float = 20.0, skip: frozenset[str] = frozenset()
) -> Watched:
    """Run a script as ``python script.py`` would, and examine what it did.

    Its standard output and its exit code are its own; an exception that it does not catch is printed as Python does.

    Raises:
        MissingFileError: There is no such file.
    """
    path = Path(script)
    if not path.is_file():
        raise MissingFileError(
            where=script, expected="a Python script", got="no such file", cure="netwright watch train.py --epochs 3"
        )
    observer = Observer()
    watched = Watched(observer.trace)
    observer.trace.sources.add(str(path.resolve()))
    argv, folders, others = sys.argv, list(sys.path), set(sys.modules)
    sys.argv, sys.path[0:0] = [script, *arguments], [str(path.resolve().parent)]
    try:
        with observer:
            watched.code = _run(script)
    finally:
        sys.argv, sys.path[:] = argv, folders
    for name in set(sys.modules) - others:  # what was there before is not the script's, as the tests that run it
        file = getattr(sys.modules[name], "__file__", None)
        if isinstance(file, str) and persons(file) and file.endswith(".py"):
            observer.trace.sources.add(file)
    watched.report = examine(observer.trace, seconds=seconds, skip=skip, name=script)
    return watched


def _run(script: str) -> int:
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        sys.stdout.flush()
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        sys.stderr.write(f"{ended.code}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        sys.stdout.flush()
        _print_as_python(error)
        return 1
    sys.stdout.flush()
    return 0


def _print_as_python(error: Exception) -> None:
    """The traceback without the frames of ours and of runpy that lie around the script's."""
    trace = error.__traceback__
    while trace is not None and not persons(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace or error.__traceback__)
