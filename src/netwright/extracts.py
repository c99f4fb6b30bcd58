"""The source of a class that has no file of its own: written in a notebook, a prompt or a script that also trains.

Copies the class and, from the program's globals, what its code names: imports, further functions and classes,
constants. Knows nothing of torch.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from types import FunctionType, ModuleType
from typing import Any

_PLAIN = (int, float, complex, str, bytes, bool, type(None), list, tuple, dict, set, frozenset)


def class_source(kind: type) -> str | None:
    """Write a module that defines ``kind`` and all it needs; None where something has no source.

    Args:
        kind: A class at the top level of its program.
    """
    parts: dict[str, str] = {}
    imports: dict[str, str] = {}
    if not _collect(kind.__qualname__.partition(".")[0], _globals_of(kind), parts=parts, imports=imports):
        return None
    text = "\n".join(sorted(set(imports.values()))) + "\n\n\n" + "\n\n\n".join(parts.values()) + "\n"
    try:
        ast.parse(text)
    except SyntaxError:
        return None
    future = "from __future__ import annotations\n\n"  # annotations may name what was not copied
    return future + text.lstrip("\n")


# The values are whatever the person's program holds.
def _globals_of(kind: type) -> dict[str, Any]:
    for value in vars(kind).values():
        function = getattr(value, "__func__", value)
        if isinstance(function, FunctionType):
            return function.__globals__
    return {kind.__name__: kind}


def _collect(name: str, scope: dict[str, Any], *, parts: dict[str, str], imports: dict[str, str]) -> bool:
    """Add what ``name`` stands for, after what that needs itself; False where it cannot be written."""
    if name in parts or name in imports:
        return True
    value = scope[name]
    if isinstance(value, ModuleType):
        imports[name] = f"import {value.__name__}" if value.__name__ == name else f"import {value.__name__} as {name}"
        return True
    home = getattr(value, "__module__", None)
    if isinstance(home, str) and home != scope.get("__name__"):
        original = getattr(value, "__qualname__", getattr(value, "__name__", name))
        if original.isidentifier() and not isinstance(value, _PLAIN):
            imports[name] = f"from {home} import {original}" + ("" if original == name else f" as {name}")
            return True
    if not isinstance(value, (type, FunctionType)):
        return _collect_constant(name, value, parts)
    source = _source_of(value)
    if source is None:
        return False
    parts[name] = ""  # marks it as begun, since two functions may name each other
    needed = sorted(names_in(source) & scope.keys() - {name})
    if not all(_collect(other, scope, parts=parts, imports=imports) for other in needed):
        return False
    del parts[name]
    parts[name] = source
    return True


def _collect_constant(name: str, value: object, parts: dict[str, str]) -> bool:
    if isinstance(value, _PLAIN):
        text = repr(value)
        try:
            same = bool(ast.literal_eval(text) == value)
        except (ValueError, SyntaxError):
            return False
        parts[name] = f"{name} = {text}"
        return same
    return False


def names_in(source: str) -> set[str]:
    """Names that a piece of source reads and does not obviously bind itself."""
    nodes = list(ast.walk(ast.parse(source)))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    arguments = {node.arg for node in nodes if isinstance(node, ast.arg)}
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    builtin = set(dir(__builtins__)) if isinstance(__builtins__, ModuleType) else set(__builtins__)
    return read - (arguments & stored) - builtin


def _source_of(value: type | FunctionType) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError, IndentationError):
        pass
    if isinstance(value, FunctionType):
        return None
    # Before Python 3.13 a class of a notebook has no file of its own; its methods do.
    for function in vars(value).values():
        if isinstance(function, FunctionType):
            lines = linecache.getlines(function.__code__.co_filename)
            return _class_in("".join(lines), value.__name__, function.__code__.co_firstlineno)
    return None


def _class_in(text: str, name: str, line: int) -> str | None:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name and node.lineno <= line <= (node.end_lineno or 0):
            return ast.get_source_segment(text, node)
    return None
