"""A person's own Python files: import what ``path/file.py:Name`` means, and show faults at their lines.

Knows nothing of torch, of models or of the run folder. How a file is imported:

- inside a package (folders with ``__init__.py``) under its real dotted name, so relative imports work;
- with relative imports but no ``__init__.py``, as part of a package made up for its folder;
- else alone and anew each time, under a name with a digest of its path: two ``net.py`` never clash.

While it is imported and called, its folder stands first on ``sys.path``, as for ``python file.py``, and no bytecode is
written. Afterwards the folder is taken off again, except where a function of these files imports a sibling only when
called: then it stays, at the end. Modules imported from beneath stay in ``sys.modules``, are imported anew when edited,
and give way to namesakes in the next model's folder; a module that the program itself had imported is put back.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import importlib.util
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from netwright.errors import MissingFileError, ModelError, NetwrightError, UsageError
from netwright.sources import Place, absolute_targets, digest_of, parse_file, sources_from
from netwright.traces import is_persons, own_line, own_trace, show_path

_STAMP = "__netwright_stamp__"  # mtime and size of the file that a module was imported from
_PIP_NAMES = {
    "cv2": "opencv-python",
    "PIL": "Pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "PyYAML",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """What ``path/file.py:Name`` or ``package.module:Name`` names.

    Attributes:
        text: As the person wrote it.
        path: File, resolved; None for a dotted module.
        module: The part before the colon.
        name: The part after it; empty where there is none.
        base: Folder that relative paths and dotted modules start from.
    """

    text: str
    path: Path | None
    module: str
    name: str
    base: Path


def parse_reference(text: str, *, root: Path | None = None) -> Reference:
    """Split a reference into file or module and name; say so where the file is not there.

    Args:
        text: ``path/file.py:Name``, ``package.module:Name``, or the same without ``:Name``.
        root: Folder that relative paths start from. None: the current one.

    Raises:
        MissingFileError: No such file; the nearest name in its folder is in the cure.
        UsageError: It is a folder, or no ``.py`` file.
    """
    base = (root or Path.cwd()).resolve()
    module, colon, name = text.rpartition(":")
    if not colon or any(mark in name for mark in "/\\"):
        module, name = text, ""
    if not module.strip(". "):
        raise UsageError(
            where=f'"{text}"',
            expected="path/file.py:Class or package.module:Class",
            got="neither a file nor a module",
            cure="Write it as net.py:Net.",
        )
    if not (module.endswith(".py") or "/" in module or "\\" in module or (base / module).is_file()):
        return Reference(text, None, module, name, base)
    path = (base / Path(module).expanduser()).resolve()
    if not path.exists():
        raise _missing(path, module, name)
    if path.is_dir() or path.suffix != ".py":
        kind = "a folder" if path.is_dir() else f"a {path.suffix or 'nameless'} file"
        sources = sorted(p.name for p in (path if path.is_dir() else path.parent).glob("*.py"))
        raise UsageError(
            where=text,
            expected="a Python file and a name in it, as path/file.py:Class",
            got=kind,
            cure=f"Python files there: {', '.join(sources) or 'none'}.",
        )
    return Reference(text, path, module, name, base)


def _missing(path: Path, module: str, name: str) -> MissingFileError:
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    files = sorted(p.name for p in folder.iterdir() if p.suffix == ".py" or (p.is_dir() and folder != path.parent))
    near = difflib.get_close_matches(path.name if folder == path.parent else path.parent.name, files, n=1, cutoff=0.5)
    if near and folder == path.parent:
        hint = f'Did you mean "{Path(module).with_name(near[0]).as_posix()}{":" + name if name else ""}"? '
    else:
        hint = f'Did you mean "{near[0]}"? ' if near else ""
    shown = ", ".join(files[:12]) + (", …" if len(files) > 12 else "")
    cure = f"{hint}In {show_path(folder)}: {shown or 'no Python files'}."
    return MissingFileError(where=module, expected="a file", got="none of that name", cure=cure)


@contextlib.contextmanager
def local_imports(folders: tuple[Path, ...], place: Place | None = None) -> Iterator[None]:
    """Let a person's files find their siblings in ``folders`` while the block runs."""
    names = {p.stem if p.suffix == ".py" else p.name for f in folders for p in f.iterdir() if _may_hold_code(p)}
    roots = folders if place is None else (*folders, place.root)
    if place is not None and place.package is not None:
        names.add(place.package)
    put_back = _make_room(names, roots)
    before = set(sys.modules)
    paths = [str(folder) for folder in folders]
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path[:0] = paths
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = bytecode
        for path in paths:
            if path in sys.path:
                sys.path.remove(path)
        fresh = [sys.modules[name] for name in set(sys.modules) - before]
        for module in fresh:
            file = _file_of(module)
            if file is not None and any(file.is_relative_to(root) for root in roots) and is_persons(str(file)):
                module.__dict__[_STAMP] = _stamp(file)
        sys.modules.update(put_back)


def _may_hold_code(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_dir() and not path.name.startswith((".", "__")))


def _make_room(names: set[str], folders: tuple[Path, ...]) -> dict[str, ModuleType]:
    """Take modules of other folders, and edited ones, out of ``sys.modules``; return those to put back."""
    put_back: dict[str, ModuleType] = {}
    earlier: dict[str, ModuleType] = {}
    for key, module in list(sys.modules.items()):
        file = _file_of(module) if key.partition(".")[0] in names else None
        if file is None or key == "__main__" or not is_persons(str(file)):
            continue
        if _lies_where(key, file, folders):
            if _STAMP in module.__dict__:
                earlier[key] = module
            continue
        del sys.modules[key]
        if _STAMP not in module.__dict__:
            put_back[key] = module
    if any(module.__dict__[_STAMP] != _stamp(_file_of(module)) for module in earlier.values()):
        for key in earlier:
            del sys.modules[key]
    return put_back


def _lies_where(key: str, file: Path, folders: tuple[Path, ...]) -> bool:
    """Whether an import of ``key`` from these folders would find this very file."""
    top, *rest = key.split(".")
    for folder in folders:
        made_up = f"{folder.name}_{digest_of(folder)}" == top
        stem = folder.joinpath(*(rest if made_up else [top, *rest]))
        if file.resolve() in (stem / "__init__.py", stem.parent / f"{stem.name}.py"):
            return True
    return False


def _file_of(module: ModuleType) -> Path | None:
    """The file of a module, or what would be the ``__init__.py`` of a package without one."""
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return Path(file)
    paths = list(getattr(module, "__path__", ()))
    return Path(paths[0]) / "__init__.py" if paths and isinstance(paths[0], str) else None


def _stamp(file: Path | None) -> tuple[int, int]:
    if file is None:
        return (0, 0)
    try:
        stat = file.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)


def import_place(place: Place) -> ModuleType:
    """Import one file, inside ``local_imports``.

    Raises:
        ModelError: The file cannot be read as Python, raised while it was imported, or misses a package.
    """
    try:
        if place.alone:
            return _run_alone(place)
        if place.package is None:
            return importlib.import_module(place.dotted)
        if place.package not in sys.modules:
            package = ModuleType(place.package)
            package.__path__ = [str(place.root)]
            sys.modules[place.package] = package
        return importlib.import_module(f"{place.package}.{place.dotted}")
    except (Exception, SystemExit) as error:
        fault = import_fault(error, place.path)
        if place.package is None:
            raise fault from error
        # The name made up for the folder means nothing to the person.
        texts = [
            text.replace(f"{place.package}.", "").replace(place.package, place.root.name)
            for text in (fault.where, fault.expected, fault.got, fault.cure)
        ]
        raise ModelError(where=texts[0], expected=texts[1], got=texts[2], cure=texts[3]) from error


def import_dotted(reference: Reference) -> ModuleType:
    """Import ``package.module``, inside ``local_imports``; from the reference's base folder first."""
    try:
        return importlib.import_module(reference.module)
    except ModuleNotFoundError as error:
        top = reference.module.partition(".")[0]
        if error.name is None or not f"{reference.module}.".startswith(f"{error.name}."):
            raise import_fault(error, None) from error
        found = sorted(p.name for p in reference.base.glob("*.py"))
        near = difflib.get_close_matches(f"{top}.py", found, n=1, cutoff=0.5)
        hint = f'Did you mean "{near[0]}:{reference.name or "Class"}"? ' if near else ""
        raise MissingFileError(
            where=reference.text,
            expected="a Python file, or a module that can be imported",
            got=f"no module {error.name}",
            cure=f"{hint}Write path/file.py:Class, or the name of an installed module: package.module:Class.",
        ) from error
    except (Exception, SystemExit) as error:
        raise import_fault(error, None) from error


def run_file(file: str, module: ModuleType) -> None:
    """Run a file's text in a module."""
    # Compiled from the text, not from cached bytecode: an edit within one second would go unseen.
    # Without dont_inherit this file's own __future__ imports would hold for theirs.
    code = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
    exec(code, module.__dict__)


def _run_alone(place: Place) -> ModuleType:
    spec = importlib.util.spec_from_file_location(place.dotted, place.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {place.path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[place.dotted] = module  # dataclasses, pickling and compilers look a class's module up here
    linecache.checkcache(str(place.path))
    try:
        run_file(str(place.path), module)
    except BaseException:
        sys.modules.pop(place.dotted, None)
        raise
    return module


def keep_for_lazy_imports(place: Place) -> None:
    """Leave the folder at the end of ``sys.path`` where a function imports a sibling only when called."""
    for file in sources_from(place.path, place.folders):
        tree = parse_file(file)
        for function in ast.walk(tree) if tree else ():
            if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            for node in ast.walk(function):
                for folder in place.folders:
                    if absolute_targets(node, folder) and str(folder) not in sys.path:
                        sys.path.append(str(folder))


def import_fault(error: BaseException, path: Path | None) -> NetwrightError:
    """Say why a person's file could not be imported, at its line."""
    shown = show_path(path) if path else "the module"
    if isinstance(error, NetwrightError):
        return error
    if isinstance(error, SyntaxError):
        source = (error.text or "").rstrip()
        where = f"{show_path(error.filename or shown)}:{error.lineno}"
        cure = f"  {where}\n    {source.strip()}\nCorrect this line."
        return ModelError(where=where, expected="Python source", got=f"{type(error).__name__}: {error.msg}", cure=cure)
    where, trace = own_line(error) or shown, own_trace(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return ModelError(
            where=where,
            expected=f"the module {error.name}, which {shown} imports",
            got="no such module installed, nor beside the file",
            cure=f"{trace}\n{_missing_module_cure(error.name, path)}",
        )
    got = "a call of sys.exit" if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}".rstrip()
    advice = (
        'Put what the script runs under `if __name__ == "__main__":`.'
        if isinstance(error, SystemExit)
        else "Correct this line; the file is run when it is imported."
    )
    cure = f"{trace}\n{advice}".lstrip("\n")
    return ModelError(where=where, expected="a file that can be imported", got=got, cure=cure)


def _missing_module_cure(name: str, path: Path | None) -> str:
    top, _, rest = name.partition(".")
    if rest and top in sys.modules or (path and (path.parent / top).exists()):
        return f"There is no file for {name}; correct the import or add the file."
    siblings = sorted(p.stem for p in path.parent.glob("*.py") if p != path) if path else []
    near = difflib.get_close_matches(top, siblings, n=1, cutoff=0.75)
    hint = f'Did you mean "{near[0]}", beside the file? Else install it' if near else "Install it"
    return f"{hint}: pip install {_PIP_NAMES.get(top, top)}"
