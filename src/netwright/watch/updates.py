"""Backward passes, optimizer steps, clearing, clipping and schedules."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from netwright.checks.sourcecode import caller
from netwright.watch.eye import MOST_EVENTS, Eye
from netwright.watch.graph import read_graph
from netwright.watch.looks import norm
from netwright.watch.trace import BackwardSeen, SchedulerSeen

MOST_GRADIENTS = 20_000_000  # numbers of a gradient that is looked at


def around_backward(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note each backward pass; at some look at its graph and at the gradients before and after."""
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if eye.quiet or not eye.mine():
            return original(tensors, *args, **kwargs)
        began = time.perf_counter()
        eye.pause(True)
        loss = tensors if isinstance(tensors, Tensor) else next(iter(tensors), None)
        numbers = sorted({one.model for one in eye.open})
        event = eye.event("backward", numbers[0] if len(numbers) == 1 else -1, models=numbers)
        closely = eye.may_look() and isinstance(loss, Tensor)
        seen, before = _look_before(eye, loss, event, numbers) if closely else (None, {})
        eye.spend(began)
        eye.quiet += 1
        try:
            returned = original(tensors, *args, **kwargs)
        finally:
            eye.quiet -= 1
            eye.pause(False)
        began = time.perf_counter()
        eye.trace.num_backwards += 1
        for number in numbers:
            eye.trace.models[number].backwards += 1
        for batch in eye.open:
            batch.used = True
            if batch.loader >= 0:
                eye.trace.loaders[batch.loader].used += 1
        eye.open = []
        if seen is not None:
            _look_after(eye, seen, before)
        eye.spend(began)
        return returned

    return backward


def _look_before(eye: Eye, loss: Any, event: int, numbers: list[int]) -> tuple[BackwardSeen, dict[int, list[Any]]]:
    eye.quiet += 1
    try:
        known = frozenset(id(parameter) for model in eye.trace.models for parameter in model.module.parameters())
        nodes, count, reached, unregistered = read_graph(loss, known)
        value = float(loss.detach()) if loss.numel() == 1 else float("nan")
        seen = BackwardSeen(event, eye.trace.steps, value, nodes, count, reached, unregistered, place=caller(skip=4))
        before: dict[int, list[Any]] = {}
        for number in range(len(eye.trace.models)):
            gradients = [one.grad for one in eye.trace.models[number].module.parameters()]
            if sum(one.numel() for one in gradients if one is not None) > MOST_GRADIENTS:
                continue
            before[number] = [None if one is None else one.detach().clone() for one in gradients]
            seen.before[number] = norm(before[number])
        eye.trace.backwards.append(seen)
        return seen, before
    finally:
        eye.quiet -= 1


def _look_after(eye: Eye, seen: BackwardSeen, before: dict[int, list[Any]]) -> None:
    eye.quiet += 1
    try:
        for number, old in before.items():
            now = [one.grad for one in eye.trace.models[number].module.parameters()]
            seen.after[number] = norm(now)
            added = [
                None if one is None else one.detach() - (0 if past is None or past.shape != one.shape else past)
                for one, past in zip(now, old, strict=False)
            ]
            seen.new[number] = norm(added)
    finally:
        eye.quiet -= 1


def around_optimizer(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Number each optimizer when it is made."""
    def made(optimizer: Any, params: Any, *args: Any, **kwargs: Any) -> None:
        original(optimizer, params, *args, **kwargs)
        if eye.mine():
            eye.optimizer(optimizer)

    return made


def before_step(eye: Eye, optimizer: Any, args: Any, kwargs: Any) -> None:
    """Note an optimizer's step with its rate and the norm of its gradients."""
    if not eye.mine() or eye.quiet:
        return
    eye.pause(True)
    number = eye.optimizer(optimizer)
    seen = eye.trace.optimizers[number]
    if not seen.steps:
        seen.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    rate = float(optimizer.param_groups[0]["lr"]) if optimizer.param_groups else 0.0
    if (not seen.rates or seen.rates[-1][1] != rate) and len(seen.rates) < MOST_EVENTS:
        seen.rates.append((seen.steps, rate))
    facts: dict[str, Any] = {"rate": rate}
    if seen.steps < 64 or seen.steps & (seen.steps - 1) == 0:
        gradients = [one.grad for group in optimizer.param_groups for one in group["params"]]
        if sum(one.numel() for one in gradients if one is not None) < MOST_GRADIENTS:
            facts["norm"] = norm(gradients)
        facts["without"] = sum(one is None for one in gradients)
    eye.event("step", number, **facts)


def after_step(eye: Eye, optimizer: Any, args: Any, kwargs: Any) -> None:
    """Count an optimizer's step."""
    if not eye.mine() or eye.quiet:
        return
    number = eye.optimizer(optimizer)
    eye.trace.optimizers[number].steps += 1
    eye.trace.steps += 1
    eye.pause(False)


def around_zero(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note that gradients are cleared, and how large they were."""
    def zeroed(thing: Any, *args: Any, **kwargs: Any) -> Any:
        if eye.mine() and not eye.quiet and not eye.depth:
            is_model = isinstance(thing, nn.Module)
            number = eye.numbers.get(id(thing), ("", -1))[1] if is_model else eye.optimizer(thing)
            facts: dict[str, Any] = {"of": "model" if is_model else "optimizer"}
            if eye.trace.num_backwards < 64:
                parameters = (
                    thing.parameters() if is_model else (one for group in thing.param_groups for one in group["params"])
                )
                gradients = [one.grad for one in parameters]
                if sum(one.numel() for one in gradients if one is not None) < MOST_GRADIENTS:
                    facts["norm"] = norm(gradients)
            eye.event("zero", number, **facts)
        return original(thing, *args, **kwargs)

    return zeroed


def around_clip(eye: Eye, original: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Note that gradients are clipped, of which parameters and how large they were."""
    def clipped(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if eye.quiet or not eye.mine():
            return original(parameters, *args, **kwargs)
        if isinstance(parameters, Tensor):
            given = [parameters]
        elif hasattr(parameters, "__next__"):  # it can be gone through once: what is handed on is like it
            given = list(parameters)
            generator = inspect.isgenerator(parameters)
            parameters = (one for one in given) if generator else iter(given)
        else:
            given = list(parameters)
        gradients = [one.grad for one in given]
        eye.event(
            "clip", count=len(given), with_grad=sum(one is not None for one in gradients), norm=norm(gradients),
            limit=args[0] if args else next(iter(kwargs.values()), None), function=name,
            ids=frozenset(map(id, given)),
        )  # fmt: skip
        eye.quiet += 1
        try:
            return original(parameters, *args, **kwargs)
        finally:
            eye.quiet -= 1

    return clipped


def around_schedule_made(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Number each scheduler when it is made; its own first step is not noted."""
    def made(scheduler: Any, *args: Any, **kwargs: Any) -> None:
        eye.quiet += 1
        try:
            original(scheduler, *args, **kwargs)
        finally:
            eye.quiet -= 1
        if eye.mine() and not eye.quiet:
            _scheduler(eye, scheduler)

    return made


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
    def stepped(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        if eye.quiet or not eye.mine():
            return original(scheduler, *args, **kwargs)
        eye.quiet += 1
        try:
            returned = original(scheduler, *args, **kwargs)
        finally:
            eye.quiet -= 1
        number = _scheduler(eye, scheduler)
        seen = eye.trace.schedulers[number]
        seen.step_place = seen.step_place or caller(skip=2)
        groups = getattr(getattr(scheduler, "optimizer", None), "param_groups", None)
        rate = float(groups[0]["lr"]) if groups else float("nan")
        done = eye.trace.optimizers[seen.optimizer].steps if seen.optimizer >= 0 else eye.trace.steps
        if len(seen.steps) < MOST_EVENTS:
            seen.steps.append((done, rate))
        eye.event("schedule", number, rate=rate)
        return returned

    return stepped
