"""Join modules of JavaScript into one script, without a build tool: each stands in a block inside the one before it.

A module sees what those before it export, since their blocks are around its own; what it names itself is its own, and
``export let`` stays live. What a module between hides, by the same name, goes past it under a name of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|let|class|function)\b)", re.MULTILINE)
_NAMED = re.compile(r"^(?:export )?(?:async )?(?:const|let|class|function) ([A-Za-z_$][\w$]*)", re.MULTILINE)
_UNPACKED = re.compile(r"^const [\[{]([^\]}]+)[\]}] = ", re.MULTILINE)
# What a module loads that lies beside it.
_BESIDE = re.compile(r"new URL\(([^,()]+), import\.meta\.url\)")
# `fetch` reaches what the page holds, and nothing else.
_PRELUDE = """const BESIDE = {held};
// Of a page from the disk a worklet takes no Blob.
const script = (name) => `data:text/javascript,${{encodeURIComponent(BESIDE[name])}}`;
const beside = (name) => (name.endsWith(".json") ? name : script(name));
const fetch = async (name) => ({{ json: async () => BESIDE[name] }});
"""


def joined(entry: Path, *, instead: Mapping[Path, Path], beside: Mapping[str, object]) -> str:
    """One script of a module and all that it imports.

    Args:
        entry: The module that is run last.
        instead: Modules that are taken in place of others.
        beside: What modules load from beside themselves, by name: JSON, or the text of a script.

    Raises:
        ValueError: A module between hides a variable that changes, which no other name can stand for.
    """
    replaced = {one.resolve(): other.resolve() for one, other in instead.items()}
    order: list[Path] = []
    imports: dict[Path, list[tuple[str, Path]]] = {}
    _visit(entry.resolve(), replaced, order, imports)
    sources = {path: path.read_text(encoding="utf-8") for path in order}
    names = {path: _names(source) for path, source in sources.items()}
    after: dict[Path, set[str]] = {path: set() for path in order}
    before: dict[Path, list[str]] = {path: [] for path in order}
    for place, path in enumerate(order):
        for name, source in imports[path]:
            original, _, alias = name.partition(" as ")
            if any(original in names[one] for one in order[order.index(source) + 1 : place]):
                if re.search(rf"^export let {re.escape(original)}\b", sources[source], re.MULTILINE):
                    raise ValueError(f"{path.name} imports {original}, which changes and is hidden; name it otherwise")
                past = f"${order.index(source)}_{original}"
                after[source].add(f"const {past} = {original};")
                before[path].append(f"const {alias or original} = {past};")
            elif alias:
                before[path].append(f"const {alias} = {original};")
    parts = [_PRELUDE.format(held=json.dumps(beside, ensure_ascii=False))]
    for path in order:
        plain = _BESIDE.sub(r"beside(\1)", _EXPORT.sub("", _IMPORT.sub("", sources[path])))
        parts += [f"{{ // {path.name}", *before[path], plain, *sorted(after[path])]
    return "\n".join([*parts, "}" * len(order)])


def _visit(
    path: Path, replaced: Mapping[Path, Path], order: list[Path], imports: dict[Path, list[tuple[str, Path]]]
) -> None:
    """Put what a module imports before it."""
    if path in imports:
        return
    imports[path] = []
    for names, place in _IMPORT.findall(path.read_text(encoding="utf-8")):
        source = (path.parent / place).resolve()
        source = replaced.get(source, source)
        _visit(source, replaced, order, imports)
        imports[path] += [(" ".join(name.split()), source) for name in names.split(",") if name.strip()]
    order.append(path)


def _names(source: str) -> set[str]:
    """What a module declares at its top."""
    unpacked = {name.split(":")[-1].strip() for group in _UNPACKED.findall(source) for name in group.split(",")}
    return {*_NAMED.findall(source), *unpacked}
