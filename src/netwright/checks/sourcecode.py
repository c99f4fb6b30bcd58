"""The person's source code: syntax trees, where a layer is made and called, and what is to be ignored where.

Knows nothing of torch beyond the names of its modules.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

from netwright.traces import is_persons, show_path

# Checks call the person's module from there: what lies above is not the module's own.
_BOUNDARY = str(Path(__file__).with_name("subject.py"))
IGNORE = re.compile(r"#\s*netwright:\s*ignore(?![\w-])(?:\s*\[([^\]]*)\]?)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the person's source."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{show_path(self.file)}:{self.line}"


@dataclass(slots=True)
class Sources:
    """The person's files, read once.

    Attributes:
        files: Paths, the script or the module's file first.
    """

    files: list[str] = field(default_factory=list)
    _trees: dict[str, ast.Module | None] = field(default_factory=dict)

    def add(self, file: str | None) -> None:
        """One more file, where it is the person's and there."""
        if file and file not in self.files and persons(file) and Path(file).is_file():
            self.files.append(file)

    def add_classes_of(self, model: Any) -> None:
        """The files of a module's classes."""
        for module in model.modules():
            self.add(file_of(type(module)))

    def tree(self, file: str) -> ast.Module | None:
        """Its syntax tree, each node with ``.parent``; None where it cannot be read."""
        if file not in self._trees:
            self._trees[file] = _parse(file)
        return self._trees[file]

    def trees(self) -> Iterator[tuple[str, ast.Module]]:
        """All files with their trees; one that is known by two names is read once."""
        seen: set[Path] = set()
        for file in self.files:
            real = Path(file).resolve()
            tree = self.tree(file) if real not in seen else None
            seen.add(real)
            if tree is not None:
                yield file, tree

    def ignored(self, file: str | None, line: int | None, code: str) -> bool:
        """Whether the line, or the one above it, says ``# netwright: ignore[CODE]``."""
        if file is None or line is None:
            return False
        lines = _lines(file)
        around = lines[max(0, line - 2) : line]
        if around and len(around) == 2 and not around[0].lstrip().startswith("#"):
            around = around[1:]  # a comment above counts where it stands alone
        return any(_ignores(text, code) for text in around)

    def misread(self, known: Container[str]) -> list[str]:
        """A sentence for each comment that is to silence a code and names none, or one that there is not."""
        told = []
        for file in self.files:
            for number, text in enumerate(_lines(file), start=1):
                codes = _silenced(text) if "netwright" in text else None
                if codes is None:
                    continue
                wrong = [code for code in codes if code not in known]
                if wrong or not codes:
                    what = f"there is no code {', '.join(wrong)}" if wrong else "no code is named in the brackets"
                    told.append(f"the comment at {Place(file, number)}: {what}, so that it silences nothing by that")
        return told


def _ignores(text: str, code: str) -> bool:
    if IGNORE.search(text) is None:
        return False
    codes = _silenced(text)
    return codes is None or code in codes


def _silenced(text: str) -> list[str] | None:
    """The codes in the brackets of a comment that silences; None where there is no such comment or no brackets."""
    found = IGNORE.search(text)
    if found is None or found.group(1) is None:
        return None
    return [part.upper() for part in re.split(r"[,;\s]+", found.group(1)) if part]


@lru_cache(maxsize=512)
def persons(file: str) -> bool:
    """Whether a file is the person's own; remembered, since many frames are asked."""
    return is_persons(file)


def _lines(file: str) -> tuple[str, ...]:
    return _lines_at(file, _written(file))


def _written(file: str) -> int:
    """When a file was last written, so that what is remembered of it is not older; 0 where it is not there."""
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=128)
def _lines_at(file: str, written: int) -> tuple[str, ...]:
    del written
    try:
        return tuple(Path(file).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()


def source_line(place: Place | None) -> str:
    """The text of a line, without its indent; empty where it is not to be had."""
    if place is None:
        return ""
    lines = _lines(place.file)
    return lines[place.line - 1].strip() if 0 < place.line <= len(lines) else ""


def _parse(file: str) -> ast.Module | None:
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node  # type: ignore[attr-defined]
    return tree


def file_of(kind: type) -> str | None:
    """The file of a class; None where it has none, as in a notebook."""
    for value in vars(kind).values():  # a script that has ended is no longer the module that inspect asks for
        function = getattr(value, "__func__", value)  # of a static method, as those of an autograd.Function
        if inspect.isfunction(function) and function.__module__ == kind.__module__:
            file: str = inspect.unwrap(function).__code__.co_filename
            if not file.startswith("<string"):
                return file
    try:
        return inspect.getsourcefile(kind)
    except (TypeError, OSError):
        return None


def caller(*, skip: int = 1) -> Place | None:
    """The innermost line of the person's that is running now."""
    return place_of_frame(sys._getframe(skip))


def place_of_frame(frame: FrameType | None) -> Place | None:
    """The innermost line of the person's at or above a frame; not the line that asked for the checks."""
    while frame is not None and frame.f_code.co_filename != _BOUNDARY:
        if persons(frame.f_code.co_filename):
            return _place(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


@lru_cache(maxsize=4096)
def _place(file: str, line: int) -> Place:
    return Place(file, line)  # a frozen dataclass is slow to make, and a loop asks for the same few lines


def class_place(kind: type, method: str = "forward") -> Place | None:
    """Where a class of the person's defines a method, else where it begins."""
    kind = next((one for one in kind.__mro__ if method in vars(one) and persons(file_of(one) or "<none>")), kind)
    file = file_of(kind)
    if file is None or not persons(file):
        return None
    function = kind.__dict__.get(method)
    code = getattr(function, "__code__", None)
    if code is not None and persons(code.co_filename):
        return Place(code.co_filename, code.co_firstlineno)
    try:
        return Place(file, inspect.getsourcelines(kind)[1] or 1)
    except (OSError, TypeError):
        return None


def made_at(model: Any, layer: str) -> Place | None:
    """Where the person's class assigns a submodule or parameter: the line of ``self.NAME = …`` in its parent."""
    parent, _, name = layer.rpartition(".")
    try:
        owner = model.get_submodule(parent)
    except AttributeError:
        return None
    while name.isdigit() and parent:  # an entry of a Sequential or ModuleList: where that is assigned
        parent, _, name = parent.rpartition(".")
        owner = model.get_submodule(parent)
    for kind in type(owner).__mro__:
        file = file_of(kind)
        if file is None or not persons(file):
            continue
        tree = _parse_cached(file)
        line = _assignment(tree, kind.__name__, name) if tree is not None else None
        if line is not None:
            return Place(file, line)
    return class_place(type(owner), "__init__")


def _parse_cached(file: str) -> ast.Module | None:
    return _parse_at(file, _written(file))


@lru_cache(maxsize=64)
def _parse_at(file: str, written: int) -> ast.Module | None:
    del written
    return _parse(file)


def _assignment(tree: ast.Module, class_name: str, attribute: str) -> int | None:
    for kind in ast.walk(tree):
        if isinstance(kind, ast.ClassDef) and kind.name == class_name:
            for node in ast.walk(kind):
                if not isinstance(node, (ast.Assign, ast.AnnAssign)):
                    continue
                for target in node.targets if isinstance(node, ast.Assign) else (node.target,):
                    for one in target.elts if isinstance(target, ast.Tuple) else (target,):
                        if isinstance(one, ast.Attribute) and one.attr == attribute:
                            return node.lineno
    return None
