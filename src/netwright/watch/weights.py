"""Modes, weights that are taken, loaded or saved, and exports."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling

from netwright.checks.sourcecode import Place, caller
from netwright.watch.eye import Eye
from netwright.watch.guard import guarded
from netwright.watch.looks import active, copied, nbytes, plain
from netwright.watch.patches import Patches
from netwright.watch.trace import Event, Kind, StateSeen

MOST_MODULES = 8  # that are held since they were exported, or loaded before they were called
MOST_INPUTS = 64_000_000  # bytes of what a module is exported with


def around_mode(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note ``train()`` and ``eval()``."""

    def changed(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.asleep():
            return original(module, *args, **kwargs)
        _note_mode(eye, module, args[0] if args else kwargs.get("mode", True))
        eye.quiet += 1
        try:
            return original(module, *args, **kwargs)
        finally:
            eye.quiet -= 1

    return changed


@guarded
def _note_mode(eye: Eye, module: nn.Module, mode: Any) -> None:
    number = eye.numbers.get(id(module), ("", -1))
    eye.event("mode", number[1] if number[0] == "model" else -1, train=mode, of=type(module).__name__)


def around_state_dict(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Remember weakly what ``state_dict()`` returned."""

    def state_dict(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.depth or eye.asleep():
            return original(module, *args, **kwargs)
        eye.quiet += 1
        try:
            state = original(module, *args, **kwargs)
        finally:
            eye.quiet -= 1
        if id(module) in eye.numbers:
            _note_state(eye, module, state)
        return state

    return state_dict


@guarded
def _note_state(eye: Eye, module: nn.Module, state: Any) -> None:
    kind, number = eye.numbers[id(module)]
    if kind != "model":
        return
    event = eye.event("state_dict", number)
    try:
        reference = weakref.ref(state)
    except TypeError:
        return
    tensors = tuple(weakref.ref(one) for one in list(state.values())[:4] if isinstance(one, Tensor))
    eye.trace.states.append(StateSeen(number, eye.trace.steps, caller(skip=2), event, reference, tensors))
    del eye.trace.states[:-256]


def around_load(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note which weights are loaded, how many fit, and whether they are the very same memory."""

    def load(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.asleep():
            return original(module, *args, **kwargs)
        state = args[0] if args else kwargs.get("state_dict")
        facts = _facts_of_load(eye, module, state, kwargs.get("strict", args[1] if len(args) > 1 else True))
        eye.quiet += 1
        try:
            returned = original(module, *args, **kwargs)
        finally:
            eye.quiet -= 1
        if facts is not None:
            _note_load(eye, module, facts)
        return returned

    return load


@guarded
def _facts_of_load(eye: Eye, module: nn.Module, state: Any, strict: Any) -> dict[str, Any] | None:
    if not isinstance(state, Mapping) or (eye.full and id(module) not in eye.numbers):
        return None
    eye.quiet += 1
    try:
        own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
        given = {name: value for name, value in dict(state).items() if isinstance(value, Tensor)}
        missing, unexpected = sorted(set(own) - set(given))[:20], sorted(set(given) - set(own))[:20]
        lazy = {name for name, value in (*own.items(), *given.items()) if not plain(value)}  # fits whatever it is given
        own, given = ({name: one for name, one in held.items() if name not in lazy} for held in (own, given))
        matched = [name for name in given if name in own and own[name].shape == given[name].shape]
        return {
            "strict": strict, "own": len(own), "given": len(given), "matched": len(matched),
            "ids": frozenset(id(one) for one in module.parameters()), "missing": missing, "unexpected": unexpected,
            "shares": sum(own[name].data_ptr() == given[name].data_ptr() for name in matched if own[name].numel()),
            "trained": eye.trace.steps, "of": type(module).__name__, "module": module if _few(eye, "load") else None,
            "taken": _taken(eye, state), "fit": _fit(module, own, given), "keys": [str(key) for key in state][:6],
        }  # fmt: skip
    finally:
        eye.quiet -= 1


@guarded
def _note_load(eye: Eye, module: nn.Module, facts: dict[str, Any]) -> None:
    number = eye.numbers.get(id(module), ("", -1))[1]
    if number >= 0:
        facts["module"] = module  # it is held already
    eye.event("load", number, **facts)


def _few(eye: Eye, kind: Kind) -> bool:
    """Whether few events of a kind hold a thing of the script's so far."""
    return sum(one.facts.get("module") is not None for one in eye.trace.of(kind)) < MOST_MODULES


def around_save(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note that something is saved."""

    def save(*args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.asleep():
            return original(*args, **kwargs)
        _note_save(eye, args[0] if args else kwargs.get("obj"))
        eye.quiet += 1
        try:
            return original(*args, **kwargs)
        finally:
            eye.quiet -= 1

    return save


@guarded
def _note_save(eye: Eye, thing: Any) -> None:
    eye.event("save", of=type(thing).__name__, taken=_taken(eye, thing), module=isinstance(thing, nn.Module))


def around_compile(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Record no operations any more where a function is compiled: it would be compiled with our mode in it."""

    def compiled(*args: Any, **kwargs: Any) -> Any:
        if not (is_dynamo_compiling() or eye.asleep()):
            _before_compile(eye, args[0] if args else kwargs.get("model"))
        return original(*args, **kwargs)

    return compiled


@guarded
def _before_compile(eye: Eye, model: Any) -> None:
    if not (isinstance(model, nn.Module) and eye.has_weights(model)):
        eye.stop_recording()
        eye.recording.off = True


def around_export(eye: Eye, original: Callable[..., Any], patches: Patches) -> Callable[..., Any]:
    """Keep what is traced or exported, and in which mode; meanwhile torch is as it was, as its source is read."""

    def export(*args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.asleep():
            return original(*args, **kwargs)
        name = f"{original.__module__}.{getattr(original, '__name__', '')}"
        event = _before_export(eye, name, args, kwargs)
        eye.quiet += 1
        try:
            with patches.lifted():
                returned = original(*args, **kwargs)
        finally:
            eye.quiet -= 1
        if event is not None and event.facts.get("module") is not None:
            event.facts["made"] = returned
        return returned

    return export


@guarded
def _before_export(eye: Eye, name: str, args: Any, kwargs: Any) -> Event:
    eye.stop_recording()
    module = args[0] if args else None
    given = args[1] if len(args) > 1 else kwargs.get("example_inputs", kwargs.get("args"))
    facts: dict[str, Any] = {"function": name}
    if isinstance(module, nn.Module) and _few(eye, "export"):
        given = given if isinstance(given, tuple) else (given,)
        size = nbytes(given)
        facts |= {"train": module.training, "active": active(module), "module": module}
        facts["inputs"] = copied(given) if size < MOST_INPUTS and eye.take_aside(size) else ()
        facts["dynamic"] = any(kwargs.get(name) for name in ("dynamic_axes", "dynamic_shapes"))
    return eye.note("export", eye.numbers.get(id(module), ("", -1))[1], facts)


def _taken(eye: Eye, thing: Any) -> tuple[int, int, Place | None] | None:
    """Where ``state_dict()`` returned the very tensors that stand in a thing: its model, steps by then, line."""
    held = thing.values() if isinstance(thing, dict) else [thing]
    inner = [one for value in held if isinstance(value, dict) for one in value.values()]
    tensors = {id(one) for one in (*held, *inner) if isinstance(one, Tensor)}
    for seen in reversed(eye.trace.states):
        alive = [one for reference in seen.tensors if (one := reference()) is not None]
        if alive and all(id(one) in tensors for one in alive):
            return seen.model, seen.step, seen.place
    return None


def _fit(module: nn.Module, own: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Any]:
    """How names and shapes fit: numbers that are not loaded, and how many tensors only have another name."""
    trained = {name for name, _ in module.named_parameters()}
    missing = {name: one for name, one in own.items() if name not in given or given[name].shape != one.shape}
    spare = [(name, one.shape) for name, one in given.items() if name not in own]
    renamed = {}
    for name, one in missing.items():
        tail = name.split(".")[-2:]
        other = next((old for old, shape in spare if shape == one.shape and old.split(".")[-len(tail) :] == tail), None)
        if other is not None:
            renamed[name] = other
    return {
        "values": sum(one.numel() for one in own.values()),
        "absent": sum(one.numel() for name, one in missing.items() if name in trained),
        "parameters": tuple(sorted(set(missing) & trained)),
        "renamed": renamed,
    }
