"""How a script ends: its exit code, and what Python prints of an exception that nothing caught."""

from __future__ import annotations

import contextlib
import sys
import traceback
from pathlib import Path
from types import CodeType, TracebackType

_OURS = str(Path(__file__).parent)
INTERRUPTED = 130  # what a shell makes of a program that Ctrl-C ended


def flush() -> None:
    """Write out what the script printed; its stream may be closed, or of its own making."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()


def code_of_exit(ended: SystemExit) -> int:
    """The exit code of ``sys.exit``; any other value is printed, as Python does."""
    flush()
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    with contextlib.suppress(Exception):
        sys.stderr.write(f"{ended.code}\n")
    return 1


def tell(error: BaseException, *, leading: tuple[CodeType, ...]) -> int:
    """Call the hook for exceptions that nothing caught, the script's own where it set one; the exit code.

    Args:
        leading: Code of ours that ran the script, whose frames stand above the script's.
    """
    flush()
    _take_out_ours(error, leading, set())
    code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit as ended:
        return code_of_exit(ended)
    except BaseException as second:
        second.__traceback__ = second.__traceback__.tb_next if second.__traceback__ else None
        with contextlib.suppress(Exception):
            sys.stderr.write("Error in sys.excepthook:\n")
            traceback.print_exception(type(second), second, second.__traceback__)
            sys.stderr.write("\nOriginal exception was:\n")
            sys.__excepthook__(type(error), error, error.__traceback__)
    flush()
    return code


def _take_out_ours(error: BaseException | None, leading: tuple[CodeType, ...], seen: set[int]) -> None:
    """Leave an exception, and those that it came from, the frames that they would have without us."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    error.__traceback__ = _without_ours(error.__traceback__, leading)
    _take_out_ours(error.__cause__, leading, seen)
    _take_out_ours(error.__context__, leading, seen)


def _without_ours(trace: TracebackType | None, leading: tuple[CodeType, ...]) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code in leading:
        trace = trace.tb_next
    frames = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    while frames and _is_ours(frames[-1]):  # a fault of ours, which is to be seen
        trace = frames.pop()
    for one in reversed(frames):
        if not _is_ours(one):
            trace = TracebackType(trace, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return trace


def _is_ours(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename.startswith(_OURS)
