"""Modes, weights that are taken, loaded or saved, and exports."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from netwright.checks.sourcecode import Place, caller
from netwright.watch.eye import Eye
from netwright.watch.looks import active, copied
from netwright.watch.trace import StateSeen


def around_mode(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note ``train()`` and ``eval()``."""

    def changed(module: nn.Module, mode: bool = True) -> Any:
        if eye.quiet or not eye.mine():
            return original(module, mode)
        number = eye.numbers.get(id(module), ("", -1))
        eye.event("mode", number[1] if number[0] == "model" else -1, train=mode, of=type(module).__name__)
        eye.quiet += 1
        try:
            return original(module, mode)
        finally:
            eye.quiet -= 1

    return changed


def around_state_dict(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Remember weakly what ``state_dict()`` returned."""

    def state_dict(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if eye.quiet or eye.depth or not eye.mine():
            return original(module, *args, **kwargs)
        eye.quiet += 1
        try:
            state = original(module, *args, **kwargs)
        finally:
            eye.quiet -= 1
        number = eye.numbers.get(id(module), ("", -1))
        if number[0] == "model":
            event = eye.event("state_dict", number[1])
            try:
                reference = weakref.ref(state)
            except TypeError:
                return state
            tensors = tuple(weakref.ref(one) for one in list(state.values())[:4] if isinstance(one, Tensor))
            eye.trace.states.append(StateSeen(number[1], eye.trace.steps, caller(skip=2), event, reference, tensors))
            del eye.trace.states[:-256]
        return state

    return state_dict


def around_load(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note which weights are loaded, how many fit, and whether they are the very same memory."""

    def load(module: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        if eye.quiet or not eye.mine():
            return original(module, state_dict, *args, **kwargs)
        facts: dict[str, Any] = {"strict": kwargs.get("strict", args[0] if args else True)}
        eye.quiet += 1
        try:
            own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
            given = {name: value for name, value in dict(state_dict).items() if isinstance(value, Tensor)}
            matched = [name for name in given if name in own and own[name].shape == given[name].shape]
            facts |= {
                "own": len(own), "given": len(given), "matched": len(matched),
                "ids": frozenset(id(one) for one in module.parameters()),
                "missing": sorted(set(own) - set(given))[:20], "unexpected": sorted(set(given) - set(own))[:20],
                "shares": sum(own[name].data_ptr() == given[name].data_ptr() for name in matched if own[name].numel()),
                "trained": eye.trace.steps, "of": type(module).__name__, "module": module,
                "taken": _taken(eye, state_dict), "fit": _fit(module, own, given),
                "keys": [str(key) for key in state_dict][:6],
            }  # fmt: skip
            returned = original(module, state_dict, *args, **kwargs)
        finally:
            eye.quiet -= 1
        eye.event("load", eye.numbers.get(id(module), ("", -1))[1], **facts)
        return returned

    return load


def around_save(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note that something is saved."""

    def save(thing: Any, *args: Any, **kwargs: Any) -> Any:
        if eye.mine() and not eye.quiet:
            eye.event("save", of=type(thing).__name__, taken=_taken(eye, thing), module=isinstance(thing, nn.Module))
        eye.quiet += 1
        try:
            return original(thing, *args, **kwargs)
        finally:
            eye.quiet -= 1

    return save


def around_export(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what is traced or exported, and in which mode."""

    def export(*args: Any, **kwargs: Any) -> Any:
        if eye.quiet or not eye.mine():
            return original(*args, **kwargs)
        module = args[0] if args else None
        given = args[1] if len(args) > 1 else kwargs.get("example_inputs", kwargs.get("args"))
        facts: dict[str, Any] = {"function": f"{original.__module__}.{getattr(original, '__name__', '')}"}
        if isinstance(module, nn.Module):
            facts |= {"train": module.training, "active": active(module), "module": module}
            facts["inputs"] = copied(given if isinstance(given, tuple) else (given,))
            facts["dynamic"] = any(kwargs.get(name) for name in ("dynamic_axes", "dynamic_shapes"))
        event = eye.event("export", eye.numbers.get(id(module), ("", -1))[1], **facts)
        eye.quiet += 1
        try:
            returned = original(*args, **kwargs)
        finally:
            eye.quiet -= 1
        eye.trace.events[event].facts["made"] = returned
        return returned

    return export


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
