"""Schedulers: when they are made and stepped, and the rate after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.compiler import is_dynamo_compiling

from netwright.checks.sourcecode import caller
from netwright.watch.eye import MOST_EVENTS, Eye
from netwright.watch.guard import guarded
from netwright.watch.trace import SchedulerSeen


def around_schedule_made(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Number each scheduler when it is made; its own first step is not noted."""

    def made(scheduler: Any, /, *args: Any, **kwargs: Any) -> None:
        if is_dynamo_compiling() or eye.asleep():
            original(scheduler, *args, **kwargs)
            return
        eye.quiet += 1
        try:
            original(scheduler, *args, **kwargs)
        finally:
            eye.quiet -= 1
        _after_made(eye, scheduler)

    return made


@guarded
def _after_made(eye: Eye, scheduler: Any) -> None:
    _scheduler(eye, scheduler)


def _scheduler(eye: Eye, scheduler: Any) -> int:
    optimizer = getattr(scheduler, "optimizer", None)
    number = eye.optimizer(optimizer) if optimizer is not None else -1
    return eye.number(
        scheduler,
        "scheduler",
        lambda at: SchedulerSeen(at, scheduler, number, caller(skip=4)),
        eye.trace.schedulers,
    )


def around_schedule(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note each step of a scheduler, with the rate after it."""

    def stepped(scheduler: Any, /, *args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.asleep():
            return original(scheduler, *args, **kwargs)
        eye.quiet += 1
        try:
            returned = original(scheduler, *args, **kwargs)
        finally:
            eye.quiet -= 1
        _after_step(eye, scheduler, args[0] if args else next(iter(kwargs.values()), None))
        return returned

    return stepped


@guarded
def _after_step(eye: Eye, scheduler: Any, given: Any) -> None:
    number = _scheduler(eye, scheduler)
    if number < 0:
        return
    seen = eye.trace.schedulers[number]
    seen.step_place = seen.step_place or caller(skip=2)
    groups = getattr(getattr(scheduler, "optimizer", None), "param_groups", None)
    found = groups[0].get("lr") if groups else None
    rate = float(found) if isinstance(found, (int, float, Tensor)) else float("nan")
    done = eye.trace.optimizers[seen.optimizer].steps if seen.optimizer >= 0 else eye.trace.steps
    if len(seen.steps) < MOST_EVENTS:
        seen.steps.append((done, rate))
    known = isinstance(given, (int, float)) or (isinstance(given, Tensor) and given.numel() == 1)
    if known and len(seen.metrics) < MOST_EVENTS:
        seen.metrics.append(float(given))
    eye.event("schedule", number, rate=rate)
