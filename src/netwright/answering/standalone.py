"""What lies in a bundle beside the model: run.py, and the modules of netwright that it needs, byte by byte.

They are found by looking at what imports what, from the sources, without running them. Modules that import torch, or
that a kind of data does not need, are not among them.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
ALONE = Path(__file__).resolve().parent / "alone"
# What run.py imports, and what kinds of data import late besides.
ENTRY = "netwright.answering.asked"
LATE = {
    "image": ("netwright.pixels",),
    "table": ("netwright.pixels",),  # rows may name pictures
    "tensor": ("netwright.pixels",),
}


def runtime_files(kind: str) -> dict[str, bytes]:
    """run.py and runtime/…, for a bundle.

    Args:
        kind: Of its data, as image.

    Returns:
        Contents by their names in the bundle.
    """
    files = {
        "run.py": (ALONE / "run.py").read_bytes(),
        "runtime/pydantic_stand_in.py": (ALONE / "pydantic_stand_in.py").read_bytes(),
    }
    for module in modules_of(kind):
        path = _file_of(module)
        files[f"runtime/{path.relative_to(PACKAGE.parent).as_posix()}"] = path.read_bytes()
    return files


@functools.lru_cache(maxsize=8)
def modules_of(kind: str) -> tuple[str, ...]:
    """Names of the modules that run.py imports for a kind of data, sorted."""
    found: set[str] = set()
    todo = [ENTRY, *LATE.get(kind, ())]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        todo += [name.rpartition(".")[0]] if "." in name else []
        todo += _imported(_file_of(name))
    return tuple(sorted(found))


def _imported(path: Path) -> Iterator[str]:
    """Modules of netwright that a file imports when it is imported itself."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "netwright":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield str(node.module)
            yield from (name for name in inner if _exists(name))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "netwright")


def _exists(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _file_of(name: str) -> Path:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
