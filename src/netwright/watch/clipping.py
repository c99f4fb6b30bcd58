"""Clipping, and the scaling of mixed precision."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.compiler import is_dynamo_compiling

from netwright.watch.eye import Eye
from netwright.watch.guard import guarded
from netwright.watch.looks import norm

CLOSELY = 512  # clips whose norms are taken


def around_clip(eye: Eye, original: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Note that gradients are clipped, of which parameters and how large they were."""

    def clipped(*args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.skim or eye.asleep():
            return original(*args, **kwargs)
        parameters: Any = args[0] if args else kwargs.get("parameters")
        empty, given = "", [parameters]
        if hasattr(parameters, "__next__"):  # it can be gone through once: what is handed on is like it
            given, kind = list(parameters), type(parameters).__name__
            empty = "" if given else kind
            parameters = (one for one in given) if inspect.isgenerator(parameters) else iter(given)
            args, kwargs = ((parameters, *args[1:]), kwargs) if args else (args, {**kwargs, "parameters": parameters})
        elif isinstance(parameters, Iterable) and not isinstance(parameters, Tensor):
            given = list(parameters)
        paused = eye.pause(True)
        limit = args[1] if len(args) > 1 else kwargs.get("max_norm", kwargs.get("clip_value"))
        _note_clip(eye, given, limit, name, empty)
        eye.quiet += 1
        try:
            return original(*args, **kwargs)
        finally:
            eye.quiet -= 1
            sync_scaled(eye)
            eye.pause(paused)

    return clipped


@guarded
def sync_scaled(eye: Eye) -> None:
    """Torch has scaled the gradients."""
    eye.ledger.sync("scaled")


@guarded
def _note_clip(eye: Eye, given: list[Any], limit: Any, name: str, exhausted: str) -> None:
    trace = eye.trace
    eye.ledger.sync("unseen", at=trace.num_backwards, event=len(trace.events))
    gradients = [one.grad for one in given]
    followed, fresh, spent = eye.ledger.pending(map(id, given))
    facts: dict[str, Any] = {
        "count": len(given), "with_grad": sum(one is not None for one in gradients), "limit": limit,
        "function": name, "followed": followed, "fresh": fresh, "spent": spent, "exhausted": exhausted,
        "ids": frozenset(map(id, given)), "backwards": trace.num_backwards,
    }  # fmt: skip
    if trace.num_backwards < CLOSELY:
        facts["norm"] = norm(gradients)
    eye.note("clip", -1, facts)


def around_scale(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note that a loss is multiplied by the scale of mixed precision."""

    def scaled(scaler: Any, /, *args: Any, **kwargs: Any) -> Any:
        returned = original(scaler, *args, **kwargs)
        if not (is_dynamo_compiling() or eye.skim or eye.asleep()):
            _note_scale(eye, scaler)
        return returned

    return scaled


@guarded
def _note_scale(eye: Eye, scaler: Any) -> None:
    eye.note("scale", -1, _scaler_facts(eye, scaler))


def around_scaler(eye: Eye, original: Callable[..., Any], kind: Any) -> Callable[..., Any]:
    """Note a scaler's ``unscale_``, ``step`` or ``update``."""

    def called(scaler: Any, /, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.skim or eye.asleep():
            return original(scaler, *args, **kwargs)
        optimizer = args[0] if args else kwargs.get("optimizer")
        paused = eye.pause(True)
        _before_scaler(eye, scaler, optimizer, kind)
        try:
            return original(scaler, *args, **kwargs)
        finally:
            _after_scaler(eye, optimizer, kind)
            eye.pause(paused)

    return called


@guarded
def _before_scaler(eye: Eye, scaler: Any, optimizer: Any, kind: Any) -> None:
    number = eye.optimizer(optimizer) if kind != "scaler_update" and optimizer is not None else -1
    eye.note(kind, number, _scaler_facts(eye, scaler))
    eye.ledger.sync("unseen", at=eye.trace.num_backwards, event=len(eye.trace.events))


@guarded
def _after_scaler(eye: Eye, optimizer: Any, kind: Any) -> None:
    eye.ledger.sync("scaled")
    number = eye.optimizer(optimizer) if kind == "scaler_step" and optimizer is not None else -1
    if number >= 0:
        eye.ledger.follow(number, optimizer)
        eye.ledger.use(number)  # also where it was skipped, since a gradient was infinite: that is its job


def _scaler_facts(eye: Eye, scaler: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"scaler": id(scaler), "enabled": bool(scaler.is_enabled())}
    if facts["enabled"] and eye.trace.num_backwards < CLOSELY:
        facts["scale"] = float(scaler.get_scale())
    return facts
