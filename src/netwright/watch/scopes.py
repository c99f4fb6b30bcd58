"""What the person's running functions hold: numbers that they add up, sizes, names of a thing, maps of words.

Reads local variables only; what is read is copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from types import FrameType, ModuleType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from netwright.checks.sourcecode import persons

MOST_FRAMES = 8  # of the person's, from the innermost out
MOST_NAMES = 200  # variables of one function that are looked at
MOST_ATTRIBUTES = 64  # of an object; larger ones are no counters
MOST_WORDS = 50_000  # entries of a map that is copied

_LIBRARIES = frozenset(
    {"torch", "torchvision", "numpy", "sklearn", "builtins", "argparse", "netwright", "tqdm", "accelerate"}
)
Numbers = dict[str, float]


def frames(frame: FrameType | None) -> list[FrameType]:
    """The person's frames at and above one, innermost first."""
    found: list[FrameType] = []
    while frame is not None and len(found) < MOST_FRAMES:
        if persons(frame.f_code.co_filename):
            found.append(frame)
        frame = frame.f_back
    return found


def innermost(frame: FrameType | None) -> FrameType | None:
    """The person's first frame at or above one."""
    while frame is not None and not persons(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def variables(frame: FrameType) -> Iterator[tuple[str, Any]]:
    """Names and values of a frame's variables; modules, classes and functions are left out."""
    count = 0
    for name, value in list(frame.f_locals.items()):
        if _is_code(cast(Hashable, type(value))) or name.startswith("__"):
            continue
        count += 1
        if count > MOST_NAMES:
            return
        yield name, value


@lru_cache(maxsize=512)  # questions of a type are remembered: a loop asks them at each turn
def _is_code(kind: Hashable) -> bool:
    """Whether values of a type are modules, classes or functions."""
    named = cast(type, kind).__name__ in ("function", "builtin_function_or_method", "method")
    return named or issubclass(cast(type, kind), (ModuleType, type))


def attributes(value: Any) -> dict[str, Any]:
    """Attributes of an object of the person's own class; none of a tensor or a module."""
    if not _has_attributes(cast(Hashable, type(value))):
        return {}
    own = getattr(value, "__dict__", None)
    return own if isinstance(own, dict) and len(own) <= MOST_ATTRIBUTES else {}


@lru_cache(maxsize=512)
def _has_attributes(kind: Hashable) -> bool:
    if issubclass(cast(type, kind), (Tensor, nn.Module, Mapping, str, bytes, np.ndarray)):
        return False
    return str(kind.__module__).partition(".")[0] not in _LIBRARIES


def numbers(frame: FrameType) -> Numbers:
    """The numbers that a frame's variables hold, by what one writes to get them, as ``total`` or ``self.hits``.

    Of a list its length under ``len(NAME)`` and its last entry under ``NAME[-1]``.
    """
    found: Numbers = {}
    for name, value in variables(frame):
        _add(found, name, value)
        if isinstance(value, dict) and len(value) <= 16:
            for key, one in value.items():
                if isinstance(key, str):
                    _add(found, f"{name}[{key!r}]", one)
        elif own := attributes(value):
            for key, one in list(own.items()):
                _add(found, f"{name}.{key}", one)
    return found


def _add(found: Numbers, name: str, value: Any) -> None:
    if isinstance(value, list):
        found[f"len({name})"] = len(value)
        if value and (last := number(value[-1])) is not None:
            found[f"{name}[-1]"] = last
        return
    one = number(value)
    if one is not None:
        found[name] = one


def number(value: Any) -> float | None:
    """A value as a number; None where it is none, or where reading it would wait for a device."""
    kind = type(value)
    if kind is float or kind is int:
        return float(value)
    if isinstance(value, (np.integer, np.floating)):
        return float(value)
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_cpu and value.dtype is not torch.bool:
        with contextlib.suppress(RuntimeError, TypeError):
            return float(value.detach())
    return None


def sizes(frame: FrameType) -> Numbers:
    """Lengths of what a frame's variables hold, by what one writes to get them, as ``len(loader.dataset)``."""
    found: Numbers = {}
    for name, value in named(frame):
        with contextlib.suppress(Exception):  # a stream has no length
            if isinstance(value, DataLoader):
                found[f"{name}.batch_size"] = value.batch_size or 0
                found[f"len({name})"] = len(value)
                found[f"len({name}.sampler)"] = len(value.sampler)  # type: ignore[arg-type]
                found[f"len({name}.dataset)"] = len(value.dataset)  # type: ignore[arg-type]
            elif isinstance(value, Tensor) and value.ndim:
                found |= {f"len({name})": len(value), f"{name}.size(0)": len(value), f"{name}.shape[0]": len(value)}
            elif isinstance(value, (Dataset, np.ndarray, list, tuple)):
                found[f"len({name})"] = len(value)  # type: ignore[arg-type]
                if isinstance(value, np.ndarray):
                    found[f"{name}.shape[0]"] = len(value)
    return found


def named(frame: FrameType) -> Iterator[tuple[str, Any]]:
    """Variables, attributes of what they hold, and entries of small dicts and lists, each as one writes it."""
    for name, value in variables(frame):
        yield name, value
        if isinstance(value, dict) and len(value) <= 16:
            yield from ((f"{name}[{key!r}]", one) for key, one in list(value.items()))
        elif type(value) in (list, tuple) and len(value) <= 8:
            yield from ((f"{name}[{at}]", one) for at, one in enumerate(value))
        else:
            yield from ((f"{name}.{key}", one) for key, one in list(attributes(value).items()))
    code = frame.f_code
    if frame.f_globals is not frame.f_locals:  # what a function takes from its file
        for name in code.co_names:
            value = frame.f_globals.get(name)
            if value is not None and not _is_code(cast(Hashable, type(value))):
                yield name, value


def names_of(things: dict[int, int], frame: FrameType | None) -> Iterator[tuple[int, str]]:
    """Under which names the person's running functions hold some things.

    Args:
        things: By their id the number that is given back with each name.
    """
    for one in frames(frame):
        for name, value in named(one):
            at = things.get(id(value))
            if at is not None:
                yield at, name


def maps(frame: FrameType | None) -> Iterator[tuple[str, dict[str, int]]]:
    """Dicts that give each word, or class name, a number of its own; not copied."""
    for one in frames(frame):
        for name, value in named(one):
            if is_map(value):
                yield name, value


def is_map(value: Any) -> bool:
    """Whether something is a dict from words to different whole numbers."""
    if not isinstance(value, dict) or not 2 <= len(value) <= MOST_WORDS:
        return False
    key, first = next(iter(value.items()))
    if not isinstance(key, str) or type(first) is not int:
        return False
    entries = list(value.items())
    return all(isinstance(k, str) and type(v) is int for k, v in entries) and len({v for _, v in entries}) == len(
        entries
    )
