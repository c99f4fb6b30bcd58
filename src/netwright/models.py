"""Load a person's plain module, describe it, and keep its source so that it can be built again.

The module is built and returned as it is: never wrapped, renamed or patched. How files are imported stands in
``references.py``. Knows nothing of data, of training or of the run folder's layout.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from netwright.errors import ModelError, NetwrightError, UsageError, unknown_name
from netwright.extracts import class_source
from netwright.records import DataSpec, NetSpec
from netwright.references import (
    Reference,
    import_dotted,
    import_place,
    keep_for_lazy_imports,
    local_imports,
    parse_reference,
)
from netwright.sources import copy_sources_of, package_root, place_of
from netwright.traces import is_persons, own_line, own_trace

# Arguments and results of a person's constructors and functions are theirs: any type.
Arguments = Mapping[str, Any]
_ABSENT = object()


def load_model(reference: str | None, arguments: Arguments | None = None, *, root: Path | None = None) -> nn.Module:
    """Build the module that ``path/file.py:Class``, ``package.module:Class`` or ``file.py:function`` names.

    Args:
        reference: Class or factory function. None, as a run of a built-in module has it, is an error with its cure.
        arguments: Keyword arguments of the constructor or factory.
        root: Folder that relative paths and packages start from. None: the current one.

    Returns:
        A new module on the CPU, in the mode its constructor left it in.

    Raises:
        MissingFileError: No such file.
        UnknownNameError: No such class or function in it.
        UsageError: No name after the colon, or arguments that do not fit.
        ModelError: The file or the constructor raised, or what came back is no module.
    """
    if reference is None:
        raise ModelError(
            where="model",
            expected="a class or function in a Python file",
            got="a module that was built in Python and whose source is not kept",
            cure="Build it as before and pass it from Python, or put a function that builds it in a file: "
            "path/file.py:function.",
        )
    parsed = parse_reference(reference, root=root)
    place = None if parsed.path is None else place_of(parsed.path)
    with local_imports((parsed.base,) if place is None else place.folders, place):
        module = import_dotted(parsed) if place is None else import_place(place)
        made = _find(module, parsed)
        if not (inspect.isclass(made) and issubclass(made, nn.Module)) and not _is_factory(made):
            raise ModelError(
                where=reference,
                expected="a torch.nn.Module class or a function that returns one",
                got=_kind(made),
                cure=_candidates_text(module, parsed),
            )
        model = _build(made, dict(arguments or {}), reference)
    if place is not None:
        keep_for_lazy_imports(place)
    if not isinstance(model, nn.Module):
        raise ModelError(
            where=reference,
            expected="a function that returns a torch.nn.Module",
            got=f"one that returned {_kind(model)}",
            cure="Return the module at its end: `return model`.",
        )
    return model


def arguments_from(reference: str, spec: DataSpec) -> dict[str, Any]:
    """Constructor arguments whose values the data know, by their names: num_classes, vocab_size, in_channels …

    Raises:
        MissingFileError: No such file; and the other errors of ``load_model`` before the module is made.
    """
    shape = spec.inputs[0].shape
    rows, windows = spec.preprocess.rows, spec.preprocess.windows
    text, words = spec.preprocess.text, spec.preprocess.words
    vocabulary = text if words is None else words
    outputs = math.prod(spec.target.shape) if spec.classes is None else len(spec.classes)
    known: dict[str, Any] = {
        "num_classes": _num_outputs(spec, outputs),
        "vocab_size": None if vocabulary is None else vocabulary.vocab_size,
        "num_characters": None if words is None else words.num_characters,
        "num_shapes": None if words is None else words.num_shapes,
        "sample_rate": None if spec.preprocess.sound is None else spec.preprocess.sound.sample_rate,
        "num_bands": None if spec.preprocess.log_mel is None else spec.preprocess.log_mel.num_bands,
        "in_channels": _channels(spec),
        "num_outputs": outputs,
        "context": None if windows is None else windows.context,
        "horizon": None if windows is None else windows.horizon,
        "columns": None if windows is None else len(windows.columns),
        "calendar": None if windows is None else 2 * len(windows.cycles),
        "num_numbers": None if rows is None else len(rows.number_names),
        "cardinalities": None if rows is None else rows.cardinalities,
        "max_length": None if spec.preprocess.text is None else spec.preprocess.text.max_length,
        "in_features": None if spec.kind == "text" or min(shape, default=0) < 1 else math.prod(shape),
    }
    try:
        parameters = inspect.signature(load_function(reference, where=reference)).parameters
    except (TypeError, ValueError):  # a class without a signature
        return {}
    return {name: value for name, value in known.items() if value is not None and name in parameters}


def _channels(spec: DataSpec) -> int | None:
    """Of the pictures; None where there are none."""
    shapes = [field.shape for field in spec.inputs if spec.kind == "image" or field.name in spec.preprocess.fields]
    return next((shape[0] for shape in shapes if len(shape) == 3), None)


def _num_outputs(spec: DataSpec, outputs: int) -> int | None:
    """Classes; of transcripts their letters and the blank; and a network for classes may answer with numbers."""
    if spec.letters is not None:
        return len(spec.letters) + 1
    return None if spec.classes is None and spec.task != "regression" else outputs


def load_function(reference: str, *, where: str, root: Path | None = None) -> Callable[..., Any]:
    """Find the function or class that ``path/file.py:name`` names, for an option such as a loss or schedule.

    Args:
        reference: As for a model.
        where: Option that held the reference, for errors.
        root: Folder that relative paths start from. None: the current one.
    """
    parsed = parse_reference(reference, root=root)
    place = None if parsed.path is None else place_of(parsed.path)
    with local_imports((parsed.base,) if place is None else place.folders, place):
        module = import_dotted(parsed) if place is None else import_place(place)
        found = _find(module, parsed, what="function", where=where)
    if place is not None:
        keep_for_lazy_imports(place)
    if not callable(found):
        raise UsageError(
            where=where,
            expected="a function or a class",
            got=f"{parsed.name}, {_kind(found)}",
            cure=f"Functions and classes there: {', '.join(_defined(module, torch_only=False)) or 'none'}.",
        )
    function: Callable[..., Any] = found
    return function


def _is_factory(value: object) -> bool:
    return callable(value) and not inspect.isclass(value) and not isinstance(value, nn.Module)


def _kind(value: object) -> str:
    if inspect.isclass(value):
        return f"the class {value.__name__}, no subclass of torch.nn.Module"
    if isinstance(value, nn.Module):
        return f"an instance of {type(value).__name__}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _find(module: ModuleType, reference: Reference, *, what: str = "model", where: str = "") -> Any:
    """The object a reference names; dots reach into classes."""
    torch_only = what == "model"
    if not reference.name:
        raise UsageError(
            where=where or reference.text,
            expected=f"a name after the file, as {reference.module}:Class",
            got="the file alone",
            cure=_candidates_text(module, reference),
        )
    found: Any = module
    for part in reference.name.split("."):
        inside = [name for name in vars(found) if not name.startswith("_")]
        known = _defined(module, torch_only=torch_only) if found is module else inside
        inner = getattr(found, part, _ABSENT)
        if inner is _ABSENT:
            raise unknown_name(what, reference.name, known, where=where or reference.text)
        found = inner
    return found


def _defined(module: ModuleType, *, torch_only: bool = True) -> list[str]:
    """Module classes and functions of a file, sorted; those it imports where it is a package or defines none."""
    own, foreign = [], []
    for name, value in vars(module).items():
        is_module = inspect.isclass(value) and issubclass(value, nn.Module)
        if not (is_module or inspect.isfunction(value) or (inspect.isclass(value) and not torch_only)):
            continue
        if value.__module__ == module.__name__:
            own.append(name)
        elif is_module and (not value.__module__.startswith("torch.") or module.__name__.startswith("torch")):
            foreign.append(name)
    public = [name for name in own if not name.startswith("_")]
    if "__path__" in vars(module):
        return sorted(public + foreign)
    return sorted(public or own or foreign)


def _candidates_text(module: ModuleType, reference: Reference) -> str:
    names = _defined(module)
    if not names:
        return f"{reference.module} defines neither a torch.nn.Module class nor a function; define one."
    return "Name one of: " + ", ".join(f"{reference.module}:{name}" for name in names) + "."


def _build(made: Callable[..., Any], arguments: dict[str, Any], reference: str) -> Any:
    try:
        signature: inspect.Signature | None = inspect.signature(made)
    except (TypeError, ValueError):
        signature = None
    if signature is not None:
        _check_arguments(signature, arguments, reference)
    try:
        return made(**arguments)
    except NetwrightError:
        raise
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "none"
        advice = "Correct this line" + (f", or the arguments given ({given})." if arguments else ".")
        raise ModelError(
            where=own_line(error) or reference,
            expected=f"{reference} to build its module",
            got=f"{type(error).__name__}: {error}",
            cure=f"{own_trace(error)}\n{advice}".lstrip("\n"),
        ) from error


def _check_arguments(signature: inspect.Signature, arguments: dict[str, Any], reference: str) -> None:
    """Refuse arguments that the constructor does not know, and say which ones it still needs."""
    kinds = inspect.Parameter
    parameters = signature.parameters
    named = [n for n, p in parameters.items() if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    takes_any = any(p.kind is kinds.VAR_KEYWORD for p in parameters.values())
    unknown = [] if takes_any else [name for name in arguments if name not in named]
    short = reference.rpartition(":")[2]
    shown = f"{short}({', '.join(str(p) for p in parameters.values())})"
    if unknown:
        near = difflib.get_close_matches(unknown[0], named, n=1, cutoff=0.5)
        hint = f'Did you mean "{near[0]}"? ' if near else ""
        raise UsageError(
            where=f"--arg {unknown[0]}",
            expected=f"an argument of {shown}",
            got=f'"{unknown[0]}"',
            cure=f"{hint}Known: {', '.join(sorted(named)) or 'none'}.",
        )
    missing = [n for n in named if parameters[n].default is kinds.empty and n not in arguments]
    if missing:
        values = [_example(parameters[name]) for name in missing]
        flags = " ".join(f"--arg {name}={value}" for name, value in zip(missing, values, strict=True))
        code = ", ".join(f"{name}={value}" for name, value in zip(missing, values, strict=True))
        raise UsageError(
            where=reference,
            expected=f"values for {', '.join(missing)} of {shown}",
            got=f"values for {', '.join(arguments)} only" if arguments else "none",
            cure=f"Give them as {flags}; from Python pass the module itself: {short}({code}).",
        )


def _example(parameter: inspect.Parameter) -> str:
    samples = {"int": "128", "float": "0.5", "bool": "True", "str": "relu"}
    kind = parameter.annotation
    return samples.get(getattr(kind, "__name__", str(kind)), "VALUE")


def parse_arguments(texts: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """Read ``name=value`` pairs: Python literals as such, anything else as text.

    Args:
        texts: As ``["hidden=128", "act=relu", "sizes=[1,2]"]``.

    Raises:
        UsageError: Without ``=``, without a proper name, or a name given twice.
    """
    arguments: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise UsageError(
                where=f"--arg {text}", expected="NAME=VALUE", got=f'"{text}"', cure="Write it as --arg hidden=128."
            )
        if name in arguments:
            raise UsageError(
                where=f"--arg {text}",
                expected=f"one value for {name}",
                got=f"{arguments[name]!r} and {value}",
                cure=f"Give --arg {name}= once; a list is --arg '{name}=[1, 2]'.",
            )
        try:
            arguments[name] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            arguments[name] = {"true": True, "false": False, "none": None}.get(value.strip().lower(), value)
    return arguments


def copy_sources(model_or_reference: nn.Module | str, folder: Path, *, root: Path | None = None) -> str | None:
    """Copy the person's source of a module to ``folder``, keeping how the files lie to each other.

    The whole package of a file, or the file and what it imports from beneath its folder. Only ``.py`` files; never
    installed packages; never more than 5 MB. Of a class of a notebook or of the running script, only what the class
    needs is written: running that script again would train again.

    Args:
        model_or_reference: The module, or what names it.
        folder: Made where it is missing.
        root: Folder that a relative reference starts from. None: the current one.

    Returns:
        The reference for ``load_model(entry, arguments, root=folder)``; None where the module cannot be rebuilt from
        source, as for ``nn.Sequential`` and for classes made inside functions.
    """
    if isinstance(model_or_reference, str):
        parsed = parse_reference(model_or_reference, root=root)
        if parsed.path is not None:
            entry = copy_sources_of(parsed.path, folder)
            return entry and f"{entry}:{parsed.name}"
        with local_imports((parsed.base,)):
            file = getattr(import_dotted(parsed), "__file__", None)
        if not isinstance(file, str):
            return None
        if not is_persons(file):
            return model_or_reference
        entry = copy_sources_of(Path(file).resolve(), folder)
        return entry and f"{entry}:{parsed.name}"
    return _copy_class(type(model_or_reference), folder)


def _copy_class(kind: type[nn.Module], folder: Path) -> str | None:
    name = kind.__qualname__
    if kind.__module__.partition(".")[0] == "torch" or "<locals>" in name:
        return None
    try:
        file: Path | None = Path(inspect.getfile(kind)).resolve()
    except (TypeError, OSError):
        file = None
    if file is not None and not is_persons(str(file)):
        return None
    if kind.__module__ != "__main__" and file is not None and file.suffix == ".py" and file.is_file():
        entry = copy_sources_of(file, folder)
        return entry and f"{entry}:{name}"
    source = class_source(kind)
    if source is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    base = package_root(file) if file is not None and file.is_file() else Path.cwd()
    target = folder / "net.py"
    if copy_sources_of(base / "net.py", folder, text=source) is None:
        return None
    return f"{target.name}:{name}"


def net_spec(
    model: nn.Module, reference: str | None, arguments: Arguments | None = None, entry: str | None = None
) -> NetSpec:
    """Describe how to build a module again, and by what to know it.

    Args:
        model: The module as built, before training.
        reference: As the person gave it; None for an instance from Python.
        arguments: Keyword arguments it was built with.
        entry: What ``copy_sources`` returned.
    """
    parameters = [p for p in model.parameters() if not nn.parameter.is_lazy(p)]
    return NetSpec(
        reference=reference,
        entry=entry,
        arguments={name: repr(value) for name, value in (arguments or {}).items()},
        class_name=type(model).__qualname__,
        num_parameters=sum(p.numel() for p in parameters),
        fingerprint=fingerprint(model),
    )


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, shapes and dtypes of the state dict, in its order; values do not count."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        plain = isinstance(value, torch.Tensor) and not nn.parameter.is_lazy(value)
        what = f"{tuple(value.shape)} {value.dtype}" if plain else type(value).__name__
        digest.update(f"{name} {what}\n".encode())
    return digest.hexdigest()
