"""Tracebacks trimmed to a person's own lines. Knows nothing of torch, of models or of files beyond their names."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

_INSTALLED = tuple(os.path.realpath(sysconfig.get_paths()[key]) for key in ("stdlib", "platstdlib"))
_OURS = os.path.realpath(Path(__file__).parent)


def is_persons(filename: str) -> bool:
    """Whether a file is the person's own: not Python's, not installed, not ours, not made up."""
    if filename.startswith("<") and not filename.startswith("<ipython-input"):
        return False
    if "site-packages" in filename or "dist-packages" in filename:
        return False
    real = os.path.realpath(filename)
    return not any(real.startswith(folder + os.sep) for folder in (*_INSTALLED, _OURS))


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Frames of the person's files, outermost first, after the last of ours."""
    frames = list(traceback.extract_tb(error.__traceback__))
    ours = [i for i, frame in enumerate(frames) if os.path.realpath(frame.filename).startswith(_OURS + os.sep)]
    return [frame for frame in frames[ours[-1] + 1 if ours else 0 :] if is_persons(frame.filename)]


def show_path(path: str | Path, folder: Path | None = None) -> str:
    """A path as a person would type it: relative to a folder, else the current one, where it is beneath it."""
    try:
        return Path(path).resolve().relative_to(folder or Path.cwd()).as_posix()
    except (ValueError, OSError):  # a current folder may have been removed
        return str(path)


def own_trace(error: BaseException) -> str:
    """The traceback's lines in the person's files: ``file:line, in function`` and the source line."""
    lines = []
    for frame in own_frames(error):
        lines.append(f"  {show_path(frame.filename)}:{frame.lineno}, in {frame.name}")
        if frame.line:
            lines.append(f"    {frame.line}")
    return "\n".join(lines)


def own_line(error: BaseException) -> str | None:
    """``file:line`` of the innermost frame in a person's file."""
    frames = own_frames(error)
    return f"{show_path(frames[-1].filename)}:{frames[-1].lineno}" if frames else None
