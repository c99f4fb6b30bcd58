"""A person's own data, from a function in a file of theirs; and data that are to be answered by a task of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from netwright.data.dataset import Data
from netwright.errors import DataError, NetwrightError, UsageError
from netwright.models import load_function
from netwright.records import Choice, LoadOptions
from netwright.traces import own_line, own_trace

SPLITS = ("train", "val", "test")


def names_function(source: object) -> bool:
    """Whether a source is ``file.py:function`` or ``package.module:function``, and no path."""
    if not isinstance(source, str) or ":" not in source or Path(source).exists():
        return False
    place, _, name = source.rpartition(":")
    if place in ("", "python"):  # what was handed over in Python is called so
        return False
    return place.endswith(".py") if not name else all(part.isidentifier() for part in name.split("."))


def load_own(reference: str, options: LoadOptions, load: Callable[..., Data]) -> Data:
    """What a person's function returns, loaded.

    Args:
        reference: ``file.py:function``; called without arguments. It returns whatever ``nw.load`` takes, or a dict of
            such with ``train``, and ``val`` and ``test`` where there are any.
        options: Of the data.
        load: Takes what came back.

    Raises:
        MissingFileError: No such file.
        UnknownNameError: No such function in it.
        DataError: The function raised, or gave back what no data can be made of.
        UsageError: It gave data that are loaded already, and options were asked for.
    """
    where = f"--data {reference}"
    function = load_function(reference, where=where)
    try:
        made = function()
    except NetwrightError:
        raise
    except Exception as error:
        raise DataError(
            where=own_line(error) or where,
            expected=f"{reference} to return data",
            got=f"{type(error).__name__}: {error}",
            cure=f"{own_trace(error)}\n{_cure(error)}".lstrip("\n"),
        ) from error
    if isinstance(made, Data) and options.model_copy(update={"task": None}) not in (LoadOptions(), made.spec.options):
        raise UsageError(
            where=where,
            expected="options that change something",
            got="data that the function has loaded already",
            cure="Give the options to nw.load inside the function, or return arrays.",
        )
    parts = made if isinstance(made, dict) and "train" in made and set(made) <= set(SPLITS) else {"train": made}
    if made is None or (isinstance(made, dict) and parts.get("train") is made):
        got = "None" if made is None else f"a dict of {', '.join(map(str, made)) or 'nothing'}"
        raise DataError(
            where=where,
            expected="(inputs, targets), a torch Dataset or DataLoader, a path, or such by train, val and test",
            got=got,
            cure="Return one of these at its end.",
        )
    data = load(parts["train"], options=options, val=parts.get("val"), test=parts.get("test"))
    file, _, name = reference.rpartition(":")
    choice = Choice(name="source", value=reference, reason="a function of the person's own", asked=True)
    spec = data.spec.model_copy(
        update={
            "name": Path(file).stem if name == "load" else name,
            "source": reference,
            "options": options,
            "choices": (choice, *data.spec.choices),
        }
    )
    return replace(data, spec=spec)


def _cure(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"Paths in the function count from the folder you are in, {Path.cwd()}."
    return "Correct this line; the function is called without arguments."


def names_own_task(options: LoadOptions) -> bool:
    """Whether the task asked for is one of the person's own."""
    return options.task is not None and ":" in options.task


def answered_by(data: Data, options: LoadOptions) -> Data:
    """Data as they were understood, to be answered by a person's own task."""
    choice = Choice(name="task", value=options.task, reason="asked for", asked=True)
    update = {"task": options.task, "options": options, "choices": (choice, *data.spec.choices)}
    return replace(data, spec=data.spec.model_copy(update=update))
