"""A person's source files: which package a file belongs to, what it imports, and copies of all that.

Files are read, never run. Knows nothing of torch or of models.
"""

from __future__ import annotations

import ast
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from netwright.traces import is_persons

_MOST_BYTES = 5_000_000  # sources beyond this are data in disguise; measured: torchvision's are 1.6 MB


@dataclass(frozen=True, slots=True)
class Place:
    """How a file is imported.

    Attributes:
        root: Folder that holds the package, or the file itself where it is alone.
        dotted: Module name below ``root``.
        package: Name made up for ``root``; None where real names do.
        alone: True where the file belongs to no package.
    """

    path: Path
    root: Path
    dotted: str
    package: str | None
    alone: bool

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders that absolute imports may look in, first one first."""
        folder = self.path.parent
        if self.package is not None or self.root == folder:
            return (folder,)
        return (folder, self.root)


def place_of(path: Path) -> Place:
    """Find the package a file belongs to, from ``__init__.py`` files and from its relative imports."""
    parts, top = [path.stem], path.parent
    while (top / "__init__.py").is_file() and "." not in top.name:
        parts.insert(0, top.name)
        top = top.parent
    if len(parts) > 1:
        dotted = ".".join(parts[:-1] if path.stem == "__init__" else parts)
        return Place(path, top, dotted, None, alone=False)
    levels = _levels_up(path)
    if levels == 0:
        return Place(path, path.parent, f"{path.stem}_{digest_of(path)}", None, alone=True)
    root = path.parents[min(levels, len(path.parents)) - 1]
    dotted = ".".join(path.relative_to(root).with_suffix("").parts)
    return Place(path, root, dotted, f"{root.name}_{digest_of(root)}", alone=False)


def digest_of(path: Path) -> str:
    """Eight hexadecimal digits that tell one path from another."""
    return hashlib.sha256(str(path).encode()).hexdigest()[:8]


def _levels_up(path: Path) -> int:
    """Folders that relative imports climb from this file, through the files they lead to; 0 without any."""
    highest, seen, waiting = 0, {path}, [(path, 0)]
    while waiting:
        file, depth = waiting.pop()
        for node in imports_of(file):
            if isinstance(node, ast.ImportFrom) and node.level:
                highest = max(highest, node.level - depth)
                folder = file.parents[min(node.level, len(file.parents)) - 1]
                for target in module_files(folder, node.module or "", [alias.name for alias in node.names]):
                    if target not in seen and target.is_relative_to(folder):
                        seen.add(target)
                        below = len(target.parent.parts) - len(path.parent.parts)
                        waiting.append((target, below))
    return highest


def parse_file(path: Path) -> ast.Module | None:
    """The syntax tree of a file; None where it has none."""
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return None  # the import itself will say so, with the line


def imports_of(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """All import statements of a file, those inside functions as well."""
    tree = parse_file(path)
    return [] if tree is None else [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]


def module_files(folder: Path, dotted: str, names: list[str]) -> list[Path]:
    """Files below ``folder`` that importing ``names`` from ``dotted`` would run; empty where it is not there."""
    files: list[Path] = []
    here = folder
    for part in filter(None, dotted.split(".")):
        here = here / part
        files += [here / "__init__.py"]
    files += [here.with_suffix(".py")] if dotted else [here / "__init__.py"]
    for name in names:
        files += [here / f"{name}.py", here / name / "__init__.py"]
    return [file for file in files if file.is_file()]


def sources_from(path: Path, folders: tuple[Path, ...]) -> list[Path]:
    """The file and all files that it imports, directly or not, from beneath ``folders``."""
    found, waiting = [path], [path]
    while waiting:
        file = waiting.pop()
        for node in imports_of(file):
            targets = [target for folder in folders for target in absolute_targets(node, folder)]
            if isinstance(node, ast.ImportFrom) and node.level:
                folder = file.parents[min(node.level, len(file.parents)) - 1]
                targets += module_files(folder, node.module or "", [alias.name for alias in node.names])
            for target in targets:
                if target not in found and is_persons(str(target)):
                    found.append(target)
                    waiting.append(target)
    return found


def absolute_targets(node: ast.AST, folder: Path) -> list[Path]:
    """Files beneath ``folder`` that an absolute import statement would run; empty for any other statement."""
    if isinstance(node, ast.Import):
        return [target for alias in node.names for target in module_files(folder, alias.name, [])]
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        return module_files(folder, node.module, [alias.name for alias in node.names])
    return []


def package_root(path: Path) -> Path:
    """The folder that absolute imports of a file's own package start from."""
    return place_of(path).root


def copy_sources_of(path: Path, folder: Path, *, text: str | None = None) -> str | None:
    """Copy a file with what it needs: its whole package, or what it imports from beneath its folder.

    Args:
        path: File, resolved.
        folder: Made where it is missing.
        text: Written in place of the file, which then need not exist.

    Returns:
        Where the file lies below ``folder``, with forward slashes; None where the sources exceed 5 MB.
    """
    if text is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_text(text, encoding="utf-8")
        beside = path.parent
        files = [f for t in _statements(text) for f in absolute_targets(t, beside) if is_persons(str(f))]
        files = [f for file in files for f in sources_from(file, (beside,))]
        return path.name if _copy(dict.fromkeys(files), beside, folder) else None
    place = place_of(path)
    files = sources_from(path, place.folders)
    if not place.alone and place.package is None:
        whole = place.root / place.dotted.partition(".")[0]
        package = [p for p in sorted(whole.rglob("*.py")) if is_persons(str(p)) and _is_shown(p.relative_to(whole))]
        if _size([*package, *files]) <= _MOST_BYTES:
            files = [*files, *package]
    return path.relative_to(place.root).as_posix() if _copy(dict.fromkeys(files), place.root, folder) else None


def _statements(text: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(text)))


def _is_shown(path: Path) -> bool:
    return not any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in set(files))


def _copy(files: dict[Path, None], root: Path, folder: Path) -> bool:
    """Copy those files that lie beneath ``root``; False where they exceed the most bytes."""
    inside = [file for file in files if file.is_relative_to(root)]
    if _size(inside) > _MOST_BYTES:
        return False
    for file in inside:
        target = folder / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return True
