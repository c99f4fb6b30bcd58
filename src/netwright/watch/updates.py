"""Backward passes, optimizer steps and the clearing of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling

from netwright.checks.sourcecode import caller
from netwright.watch.eye import MOST_EVENTS, MOST_ROUTES, Eye
from netwright.watch.graph import read_graph
from netwright.watch.guard import guarded, timed
from netwright.watch.ledger import Holding, How
from netwright.watch.looks import holders, nbytes, norm, plain, real, version
from netwright.watch.trace import BackwardSeen, Event, IteratorSeen, OptimizerSeen

MOST_GRADIENTS = 20_000_000  # numbers of a gradient that is looked at
CLOSELY = 256  # backward passes after which fewer parameters are followed
MOST_FRESH = 256  # backward passes whose batches wait for a step
NORMS = 64  # steps at which the norm of the gradients is taken, then at powers of two


def around_backward(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note each backward pass; at some look at its graph and at the gradients before and after."""

    def backward(*args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.asleep():
            return original(*args, **kwargs)
        if eye.skim:
            eye.quiet += 1
            try:
                return original(*args, **kwargs)
            finally:
                eye.quiet -= 1
                eye.count_backward()
        tensors: Any = args[0] if args else kwargs.get("tensors")
        if args and not isinstance(tensors, (Tensor, tuple, list)) and hasattr(tensors, "__next__"):
            tensors = tuple(tensors)  # it can be gone through once
            args = (tensors, *args[1:])
        looked = _before_backward(eye, tensors, args, kwargs)
        eye.pause(True)
        eye.quiet += 1
        try:
            returned = original(*args, **kwargs)
        finally:
            eye.quiet -= 1
            eye.pause(False)
        if looked is not None:
            _after_backward(eye, *looked)
        return returned

    return backward


@timed
def _before_backward(
    eye: Eye, tensors: Any, args: Any, kwargs: Any
) -> tuple[Event, BackwardSeen | None, dict[int, list[Any]]]:
    loss = tensors if isinstance(tensors, Tensor) else next(iter(tensors or ()), None)
    eye.ledger.sync("growing", at=eye.trace.num_backwards, event=len(eye.trace.events))
    event = eye.note("backward", -1, _facts(eye, loss, args, kwargs))
    if isinstance(loss, Tensor) and eye.may_look(event.place):
        return event, *_look_before(eye, loss, event)
    return event, None, {}


def _facts(eye: Eye, loss: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    value: Any = None
    if isinstance(loss, Tensor) and loss.numel() == 1:
        # of a loss on a device the value is read at the end only: reading it now would wait for the device
        value = real(loss.detach()).sum().item() if loss.is_complex() else loss.item() if loss.is_cpu else loss.detach()
    return {
        "number": eye.trace.num_backwards,
        "turn": eye.items,
        "loss": value,
        "retain": bool(kwargs.get("retain_graph", args[2] if len(args) > 2 else False)),
        "inputs": kwargs.get("inputs") is not None,
        "forwards": tuple(one.event for one in eye.open),
    }


@timed
def _after_backward(eye: Eye, event: Event, seen: BackwardSeen | None, before: dict[int, list[Any]]) -> None:
    trace = eye.trace
    optimizers = eye.ledger.added(trace.num_backwards)
    trace.num_backwards += 1
    opened = tuple(one.model for one in eye.open)
    route = (event.place, opened, optimizers)
    if len(eye.routes) > MOST_ROUTES:
        eye.routes.clear()
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
        trace.models[number].hold.keep()
    left = []
    fresh = eye.fresh[trace.num_backwards - 1] = []
    if len(eye.fresh) > 2 * MOST_FRESH:
        eye.fresh = dict(list(eye.fresh.items())[-MOST_FRESH:])
    for batch in eye.open:
        if batch.model not in closed:
            left.append(batch)
            continue
        batch.used = True
        fresh.append(batch)
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
        size = nbytes([node.saved for node in nodes])
        if not eye.take_aside(size):
            for node in nodes:
                node.saved.clear()
        value = float(loss.detach()) if loss.numel() == 1 and not loss.is_complex() else float("nan")
        at = len(eye.trace.events) - 1
        seen = BackwardSeen(
            at, eye.trace.steps, value, nodes, count, reached, unregistered, place=event.place, older=older
        )
        before: dict[int, list[Any]] = {}
        for number in range(len(eye.trace.models)):
            gradients = [one.grad for one in eye.trace.models[number].module.parameters()]
            if sum(one.numel() for one in gradients if one is not None) > MOST_GRADIENTS:
                continue
            before[number] = [one.detach().clone() if one is not None and plain(one) else None for one in gradients]
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
                one.detach() - (0 if past is None or past.shape != one.shape else past)
                if one is not None and plain(one)
                else None
                for one, past in zip(now, old, strict=False)
            ]
            seen.new[number] = norm(added)
    finally:
        eye.quiet -= 1


def around_optimizer(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Number each optimizer when it is made, and note iterators that it reads to their end."""

    def made(optimizer: Any, /, *args: Any, **kwargs: Any) -> None:
        if is_dynamo_compiling() or eye.asleep():
            original(optimizer, *args, **kwargs)
            return
        params = args[0] if args else kwargs.get("params")
        given = params if isinstance(params, (list, tuple)) else [params]
        held = [one.get("params") if isinstance(one, dict) else one for one in given]
        original(optimizer, *args, **kwargs)
        _after_made(eye, optimizer, held)

    return made


@guarded
def _after_made(eye: Eye, optimizer: Any, held: list[Any]) -> None:
    number = eye.optimizer(optimizer)
    if number < 0:
        eye.trace.more_optimizers += 1
        return
    place = caller(skip=2)
    sizes = {id(one): len(group["params"]) for one, group in zip(held, optimizer.param_groups, strict=False)}
    for one in held:
        if not hasattr(one, "__next__"):
            continue
        eye.alive.append(one)
        names, function = holders(one)
        eye.trace.optimizers[number].iterators.append(
            IteratorSeen(type(one).__name__, sizes.get(id(one), 0), names, function, place)
        )


def closure_in(args: Any, kwargs: Any) -> bool:
    """Whether an optimizer's step was given a function that computes the loss anew."""
    return (len(args) > 1 and callable(args[1])) or ("closure" in kwargs and callable(kwargs["closure"]))


def before_step(eye: Eye, optimizer: Any, args: Any, kwargs: Any) -> None:
    """Note an optimizer's step; where a closure computes the gradients, after it."""
    if is_dynamo_compiling() or eye.asleep():
        return
    if eye.skim:
        _skimmed_step(eye, optimizer)
        return
    closure = closure_in(args, kwargs)
    _before_step(eye, optimizer, closure)
    if not closure:  # what a closure does is the script's
        eye.pause(True)


@guarded
def _skimmed_step(eye: Eye, optimizer: Any) -> None:
    number = eye.optimizer(optimizer)
    if number >= 0:
        seen = eye.trace.optimizers[number]
        _note_rate(seen, optimizer)
        seen.steps += 1
    eye.trace.steps += 1


@timed
def _before_step(eye: Eye, optimizer: Any, closure: bool) -> None:
    number = eye.optimizer(optimizer)
    if number < 0:
        return
    seen = eye.trace.optimizers[number]
    if not seen.steps:
        seen.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    _note_rate(seen, optimizer)
    eye.ledger.follow(number, optimizer)
    if closure:
        return
    _note_step(eye, optimizer, number)
    done = seen.steps
    eye.frozen = _versions_of_frozen(optimizer) if done < NORMS or done % 8 == 0 or eye.trace.frozen.written else []


def _note_rate(seen: OptimizerSeen, optimizer: Any) -> None:
    given = optimizer.param_groups[0].get("lr") if optimizer.param_groups else None
    if not isinstance(given, (int, float, Tensor)):  # an optimizer of the person's own may have none
        return
    rate = float(given)
    if (not seen.rates or seen.rates[-1][1] != rate) and len(seen.rates) < MOST_EVENTS:
        seen.rates.append((seen.steps, rate))


def _note_step(eye: Eye, optimizer: Any, number: int) -> None:
    done = eye.trace.optimizers[number].steps
    eye.ledger.sync("unseen", at=eye.trace.num_backwards, event=len(eye.trace.events))
    rates, held = eye.trace.optimizers[number].rates, eye.ledger.holdings(number)
    facts: dict[str, Any] = {"rate": rates[-1][1] if rates else float("nan"), "held": held}
    _learned(eye, number, held)
    if done < NORMS or done & (done - 1) == 0:
        gradients = [one.grad for group in optimizer.param_groups for one in group["params"]]
        if sum(one.numel() for one in gradients if one is not None) < MOST_GRADIENTS:
            facts["norm"] = norm(gradients)
        facts["without"] = sum(one is None for one in gradients)
    eye.last_step = eye.note("step", number, facts)


def _learned(eye: Eye, number: int, held: tuple[Holding, ...]) -> None:
    """Mark the batches whose gradients a step uses, of the models that its optimizer trains."""
    models: frozenset[int] | None = None
    for one in (one for holding in held for one in holding.fresh):
        batches = eye.fresh.get(one)
        if batches:
            models = eye.models_of(number) if models is None else models
            for batch in batches:
                batch.trained = batch.trained or batch.model in models
            eye.fresh[one] = [batch for batch in batches if not batch.trained]


def _versions_of_frozen(optimizer: Any) -> list[tuple[Tensor, int]]:
    return [(one, version(one)) for group in optimizer.param_groups for one in group["params"] if not one.requires_grad]


def after_step(eye: Eye, optimizer: Any, args: Any, kwargs: Any) -> None:
    """Count an optimizer's step."""
    if eye.skim or is_dynamo_compiling() or eye.asleep():  # a skimmed one was counted before it
        return
    _after_step(eye, optimizer, closure_in(args, kwargs))
    eye.pause(False)


@timed
def _after_step(eye: Eye, optimizer: Any, closure: bool) -> None:
    number = eye.optimizer(optimizer)
    if number >= 0:
        _look_after_step(eye, optimizer, number, closure)
        eye.trace.optimizers[number].steps += 1
    eye.trace.steps += 1


def _look_after_step(eye: Eye, optimizer: Any, number: int, closure: bool) -> None:
    eye.trace.optimizers[number].hold.keep()
    if closure:
        _note_step(eye, optimizer, number)
    if eye.frozen and eye.last_step is not None:
        for one, before in eye.frozen:
            if version(one) != before:
                eye.trace.frozen.wrote(one, number, eye.last_step.place)
    eye.frozen = []
    eye.ledger.use(number)


def around_zero(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note that gradients are cleared, and how large they were."""

    def zeroed(thing: Any, /, *args: Any, **kwargs: Any) -> Any:
        if eye.skim or is_dynamo_compiling() or eye.depth or eye.asleep():
            return original(thing, *args, **kwargs)
        paused = eye.pause(True)
        _before_zero(eye, thing)
        try:
            return original(thing, *args, **kwargs)
        finally:
            sync(eye, "cleared")
            eye.pause(paused)

    return zeroed


@guarded
def _before_zero(eye: Eye, thing: Any) -> None:
    is_model = isinstance(thing, nn.Module)
    number = eye.numbers.get(id(thing), ("", -1))[1] if is_model else eye.optimizer(thing)
    facts: dict[str, Any] = {"of": "model" if is_model else "optimizer"}
    if eye.trace.num_backwards < NORMS:
        parameters = (
            thing.parameters() if is_model else (one for group in thing.param_groups for one in group["params"])
        )
        gradients = [one.grad for one in parameters]
        if sum(one.numel() for one in gradients if one is not None) < MOST_GRADIENTS:
            facts["norm"] = norm(gradients)
    eye.event("zero", number, **facts)


@guarded
def sync(eye: Eye, how: How) -> None:
    """Take in what happened to the gradients."""
    eye.ledger.sync(how, at=eye.trace.num_backwards, event=len(eye.trace.events) - 1)
