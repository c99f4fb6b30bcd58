"""Backward passes, optimizer steps and the clearing of gradients."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from netwright.checks.sourcecode import caller
from netwright.watch.eye import MOST_EVENTS, Eye
from netwright.watch.graph import read_graph
from netwright.watch.looks import holders, norm
from netwright.watch.trace import BackwardSeen, Event, IteratorSeen, OptimizerSeen

MOST_GRADIENTS = 20_000_000  # numbers of a gradient that is looked at
CLOSELY = 256  # backward passes after which fewer parameters are followed
NORMS = 64  # steps at which the norm of the gradients is taken, then at powers of two


def around_backward(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note each backward pass; at some look at its graph and at the gradients before and after."""

    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if eye.quiet or not eye.mine():
            return original(tensors, *args, **kwargs)
        if eye.skim:
            eye.quiet += 1
            try:
                return original(tensors, *args, **kwargs)
            finally:
                eye.quiet -= 1
                eye.count_backward()
        began = time.perf_counter()
        eye.pause(True)
        if not isinstance(tensors, (Tensor, tuple, list)):
            tensors = tuple(tensors)  # it can be gone through once
        loss = tensors if isinstance(tensors, Tensor) else next(iter(tensors), None)
        eye.ledger.sync("growing", at=eye.trace.num_backwards, event=len(eye.trace.events))
        event = eye.note("backward", -1, _facts(eye, loss, args, kwargs))
        seen: BackwardSeen | None = None
        before: dict[int, list[Any]] = {}
        if isinstance(loss, Tensor) and eye.may_look(event.place):
            seen, before = _look_before(eye, loss, event)
        eye.spend(began)
        eye.quiet += 1
        try:
            returned = original(tensors, *args, **kwargs)
        finally:
            eye.quiet -= 1
            eye.pause(False)
        began = time.perf_counter()
        _after_backward(eye, event, seen, before)
        eye.spend(began)
        return returned

    return backward


def _facts(eye: Eye, loss: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    value: Any = None
    if isinstance(loss, Tensor) and loss.numel() == 1:
        # of a loss on a device the value is read at the end only: reading it now would wait for the device
        value = loss.item() if loss.is_cpu else loss.detach()
    return {
        "number": eye.trace.num_backwards,
        "turn": eye.items,
        "loss": value,
        "retain": bool(kwargs.get("retain_graph", args[1] if len(args) > 1 else False)),
        "inputs": kwargs.get("inputs") is not None,
        "forwards": tuple(one.event for one in eye.open),
    }


def _after_backward(eye: Eye, event: Event, seen: BackwardSeen | None, before: dict[int, list[Any]]) -> None:
    trace = eye.trace
    optimizers = eye.ledger.added(trace.num_backwards)
    trace.num_backwards += 1
    opened = tuple(one.model for one in eye.open)
    route = (event.place, opened, optimizers)
    if trace.num_backwards <= CLOSELY or route not in eye.routes:
        models = _reached(eye, optimizers)
        numbers = models | (set(opened) - eye.followed())
        eye.routes[route] = tuple(sorted(numbers)), frozenset(numbers if models else numbers | set(opened))
    reached, closed = eye.routes[route]
    event.who = reached[0] if len(reached) == 1 else -1
    event.facts["models"] = reached
    event.facts["optimizers"] = optimizers
    for number in reached:
        trace.models[number].backwards += 1
    left = []
    for batch in eye.open:
        if batch.model not in closed:
            left.append(batch)
            continue
        batch.used = True
        if batch.loader >= 0:
            trace.loaders[batch.loader].used += 1
    eye.open = left
    eye.scene.waiting.clear()
    if trace.num_backwards == CLOSELY:
        eye.ledger.thin()
    if seen is not None:
        _look_after(eye, seen, before)


def _reached(eye: Eye, optimizers: tuple[int, ...]) -> set[int]:
    """The models whose parameters the last backward pass gave a gradient."""
    number = eye.trace.num_backwards - 1
    models = eye.models_by_parameter()
    found: set[int] = set()
    for optimizer in optimizers:
        for slot in eye.ledger.slots[optimizer]:
            if slot.held and slot.held[-1] == number:
                found.update(models.get(id(slot.parameter), ()))
    return found


def _look_before(eye: Eye, loss: Tensor, event: Event) -> tuple[BackwardSeen, dict[int, list[Any]]]:
    eye.quiet += 1
    try:
        known = frozenset(id(parameter) for model in eye.trace.models for parameter in model.module.parameters())
        mark = (id(eye), eye.items)
        nodes, count, reached, unregistered, older = read_graph(loss, known, mark)
        value = float(loss.detach()) if loss.numel() == 1 else float("nan")
        at = len(eye.trace.events) - 1
        seen = BackwardSeen(
            at, eye.trace.steps, value, nodes, count, reached, unregistered, place=event.place, older=older
        )
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
    """Number each optimizer when it is made, and note iterators that it reads to their end."""

    def made(optimizer: Any, params: Any, *args: Any, **kwargs: Any) -> None:
        if not eye.mine() or eye.quiet:
            original(optimizer, params, *args, **kwargs)
            return
        given = params if isinstance(params, (list, tuple)) else [params]
        held = [one.get("params") if isinstance(one, dict) else one for one in given]
        iterators = [one for one in held if hasattr(one, "__next__")]
        original(optimizer, params, *args, **kwargs)
        number = eye.optimizer(optimizer)
        if not iterators:
            return
        place = caller(skip=2)
        sizes = {id(one): len(group["params"]) for one, group in zip(held, optimizer.param_groups, strict=False)}
        for one in iterators:
            eye.alive.append(one)
            names, function = holders(one)
            eye.trace.optimizers[number].iterators.append(
                IteratorSeen(type(one).__name__, sizes.get(id(one), 0), names, function, place)
            )

    return made


def closure_in(args: Any, kwargs: Any) -> bool:
    """Whether an optimizer's step was given a function that computes the loss anew."""
    return (len(args) > 1 and callable(args[1])) or ("closure" in kwargs and callable(kwargs["closure"]))


def before_step(eye: Eye, optimizer: Any, args: Any, kwargs: Any) -> None:
    """Note an optimizer's step; where a closure computes the gradients, after it."""
    if not eye.mine() or eye.quiet:
        return
    number = eye.optimizer(optimizer)
    seen = eye.trace.optimizers[number]
    if eye.skim:
        _note_rate(seen, optimizer)
        return
    began = time.perf_counter()
    eye.pause(True)
    if not seen.steps:
        seen.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    _note_rate(seen, optimizer)
    eye.ledger.follow(number, optimizer)
    if closure_in(args, kwargs):
        eye.pause(False)  # what the closure does is the script's
    else:
        _note_step(eye, optimizer, number)
        done = seen.steps
        eye.frozen = _versions_of_frozen(optimizer) if done < NORMS or done % 8 == 0 or eye.trace.frozen.written else []
    eye.spend(began)


def _note_rate(seen: OptimizerSeen, optimizer: Any) -> None:
    rate = float(optimizer.param_groups[0]["lr"]) if optimizer.param_groups else 0.0
    if (not seen.rates or seen.rates[-1][1] != rate) and len(seen.rates) < MOST_EVENTS:
        seen.rates.append((seen.steps, rate))


def _note_step(eye: Eye, optimizer: Any, number: int) -> None:
    done = eye.trace.optimizers[number].steps
    eye.ledger.sync("unseen", at=eye.trace.num_backwards, event=len(eye.trace.events))
    facts: dict[str, Any] = {"rate": eye.trace.optimizers[number].rates[-1][1], "held": eye.ledger.holdings(number)}
    if done < NORMS or done & (done - 1) == 0:
        gradients = [one.grad for group in optimizer.param_groups for one in group["params"]]
        if sum(one.numel() for one in gradients if one is not None) < MOST_GRADIENTS:
            facts["norm"] = norm(gradients)
        facts["without"] = sum(one is None for one in gradients)
    eye.last_step = eye.note("step", number, facts)


def _versions_of_frozen(optimizer: Any) -> list[tuple[Tensor, int]]:
    found = []
    with contextlib.suppress(RuntimeError):  # made in inference mode
        for group in optimizer.param_groups:
            found += [(one, one._version) for one in group["params"] if not one.requires_grad]
    return found


def after_step(eye: Eye, optimizer: Any, args: Any, kwargs: Any) -> None:
    """Count an optimizer's step."""
    if not eye.mine() or eye.quiet:
        return
    number = eye.optimizer(optimizer)
    if eye.skim:
        eye.trace.optimizers[number].steps += 1
        eye.trace.steps += 1
        return
    began = time.perf_counter()
    if closure_in(args, kwargs):
        _note_step(eye, optimizer, number)
    if eye.frozen and eye.last_step is not None:
        for one, version in eye.frozen:
            if one._version != version:
                eye.trace.frozen.wrote(one, number, eye.last_step.place)
    eye.frozen = []
    eye.ledger.use(number)
    eye.trace.optimizers[number].steps += 1
    eye.trace.steps += 1
    eye.pause(False)
    eye.spend(began)


def around_zero(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note that gradients are cleared, and how large they were."""

    def zeroed(thing: Any, *args: Any, **kwargs: Any) -> Any:
        if eye.skim or not eye.mine() or eye.quiet or eye.depth:
            return original(thing, *args, **kwargs)
        is_model = isinstance(thing, nn.Module)
        number = eye.numbers.get(id(thing), ("", -1))[1] if is_model else eye.optimizer(thing)
        facts: dict[str, Any] = {"of": "model" if is_model else "optimizer"}
        paused = eye.pause(True)
        if eye.trace.num_backwards < NORMS:
            parameters = (
                thing.parameters() if is_model else (one for group in thing.param_groups for one in group["params"])
            )
            gradients = [one.grad for one in parameters]
            if sum(one.numel() for one in gradients if one is not None) < MOST_GRADIENTS:
                facts["norm"] = norm(gradients)
        eye.event("zero", number, **facts)
        try:
            return original(thing, *args, **kwargs)
        finally:
            eye.ledger.sync("cleared", at=eye.trace.num_backwards, event=len(eye.trace.events) - 1)
            eye.pause(paused)

    return zeroed
