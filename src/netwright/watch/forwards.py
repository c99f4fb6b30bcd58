"""Forward passes and losses: the patched ``Module.__call__`` and the losses of ``torch.nn.functional``."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling

from netwright.checks.optrace import tensors_in
from netwright.checks.sourcecode import caller
from netwright.checks.subject import NotCheckedError, copy_module
from netwright.watch.eye import MOST_HELD, Eye
from netwright.watch.guard import guarded, still, timed
from netwright.watch.looks import active, copied, nbytes, outputs_in, plain
from netwright.watch.scene import keep_waiting, look_around, may_record, modes, place_of, sources
from netwright.watch.trace import BatchSeen, LossSeen, ModelSeen

MOST_COPIED = 400_000_000  # bytes of a module that is copied before its first pass
MOST_SEEN = 64_000_000  # bytes of batches that are kept of each model
FIRST_BATCHES = 64
MOST_ROWS = 4_000  # samples that are kept of training, beyond the first batches
EVAL_BATCHES = 64  # kept of an evaluation pass at each line; MOST_EVAL of all lines
MOST_EVAL = 256
MOST_ANSWER = 2_000_000  # numbers of an output that is kept, and of what a loss is given
MOST_LOSS = 4_000_000
MOST_STATE = 1_000_000  # numbers of a state that is held till the next call


def around_call(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note each call of a module that is not made by another module."""

    def called(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        # in a function that is compiled, this first: it reads nothing that the compiled code would depend on
        if is_dynamo_compiling() or eye.depth or eye.asleep():
            return original(module, *args, **kwargs)
        if eye.skim and module.training and torch.is_grad_enabled():
            if eye.full:
                _count(eye, module)
            eye.depth += 1
            try:
                return original(module, *args, **kwargs)
            finally:
                eye.depth -= 1
        seen = _before_forward(eye, module, args, kwargs)
        in_loss, eye.in_loss = eye.in_loss, seen is None  # what a loss module calls is not another loss
        eye.pause(True)
        eye.depth += 1
        try:
            returned = original(module, *args, **kwargs)
        finally:
            eye.depth -= 1
            eye.in_loss = in_loss
            eye.pause(False)
        _after_forward(eye, module, seen, args, kwargs, returned)
        return returned

    return called


@guarded
def _count(eye: Eye, module: nn.Module) -> None:
    eye.count_more(module)


@timed
def _before_forward(eye: Eye, module: nn.Module, args: Any, kwargs: Any) -> BatchSeen | None:
    if not eye.has_weights(module):
        return None
    eye.stop_recording()
    number = eye.model(module)
    if number < 0:
        return None
    model = eye.trace.models[number]
    grad = torch.is_grad_enabled()
    if grad and model.pristine is None and not model.why_not:
        _copy(eye, model)
    if module.training and eye.trace.frozen.is_due(number, model.forwards, eye.loader):
        eye.trace.frozen.look(module, number, grad=grad, step=eye.trace.steps, place=caller(skip=3))
    first = args[0] if args else None
    rows = len(first) if isinstance(first, Tensor) and first.ndim and plain(first) else _rows(args, kwargs)
    loader, epoch = eye.loader
    look_around(eye, module, number, training=grad and module.training)
    event = eye.event(
        "forward", number, train=module.training, grad=grad, loader=loader, rows=rows,
        active=active(module) if not model.backwards or not grad or not module.training else None,
        carried=_carried(eye, number, args, kwargs), turn=eye.items,
    )  # fmt: skip
    return BatchSeen(
        number,
        event,
        module.training,
        grad,
        (),
        {},
        None,
        None,
        loader,
        epoch,
        rows,
        eye.trace.steps,
        turn=eye.items,
        given=(copied(args), copied(kwargs)) if len(model.batches) < 2 and _may_keep(eye, args, kwargs) else None,
    )


def _may_keep(eye: Eye, args: Any, kwargs: Any) -> bool:
    """Whether what a model is given can be kept: tensors of the usual kind, and not too many bytes."""
    given = tensors_in((args, kwargs))
    size = sum(one.numel() * one.element_size() for one in given) if all(map(plain, given)) else MOST_SEEN + 1
    return size <= min(MOST_SEEN, MOST_HELD - eye.held)


def _rows(args: Any, kwargs: Any) -> int:
    return next((len(one) for one in tensors_in((args, kwargs)) if plain(one) and one.ndim), 0)


def _copy(eye: Eye, model: ModelSeen) -> None:
    held = (*model.module.parameters(), *model.module.buffers())
    size = sum(one.numel() * one.element_size() for one in held if not nn.parameter.is_lazy(one))
    if size + eye.copied > MOST_COPIED:
        model.why_not = f"its {size / 1e6:.0f} MB of weights are too many to copy"
        return
    eye.copied += size
    eye.quiet += 1
    try:
        with still():
            model.pristine = copy_module(model.module)
    except NotCheckedError as error:
        model.why_not = str(error)
    finally:
        eye.quiet -= 1


@timed
def _after_forward(eye: Eye, module: nn.Module, seen: BatchSeen | None, args: Any, kwargs: Any, returned: Any) -> None:
    if seen is None:
        _after_function(eye, module, args, kwargs, returned)
        return
    model = eye.trace.models[seen.model]
    model.forwards += 1
    eye.keeping = True
    found = outputs_in(returned)
    evaluating = not seen.grad or not module.training or _of_another_loader(eye, model, seen)
    if evaluating:
        seen.modes = modes(module)
        _keep_eval(eye, model, seen, args, kwargs, returned)
    elif len(model.batches) < 512 and model.seen_bytes < MOST_SEEN and _wanted(model):
        model.seen_bytes += _keep(eye, seen, args, kwargs, returned, evaluating=False)
        model.batches.append(seen)
    else:
        eye.keeping = bool(eye.open and (eye.open[-1].args or eye.open[-1].kwargs))
        keep_waiting(eye.scene, seen, args, kwargs, found[0] if found else None)
    seen.given = None
    if seen.args or seen.kwargs:  # of other passes no loss is kept
        for output in found[:4]:
            eye.outputs.append((weakref.ref(output), seen.model, seen))
        del eye.outputs[:-16]
    if len(found) > 1 or eye.states:
        _keep_states(eye, seen, found)
    _follow(eye, seen, found)
    kept = bool(seen.args or seen.kwargs)
    if kept and may_record(eye, seen, (*args, *kwargs.values()), evaluating=evaluating):
        eye.start_recording(seen)


def _follow(eye: Eye, seen: BatchSeen, found: list[Tensor]) -> None:
    """Wait for the backward pass of a forward pass, and for the end of its graph."""
    if not seen.grad:
        if seen.loader >= 0:
            eye.trace.loaders[seen.loader].evaluated += 1
        return
    eye.open.append(seen)
    if len(eye.open) > 64:
        del eye.open[:-64]
    kept = eye.graphs.look(eye.items, ended=False)
    if kept is not None:
        eye.trace.kept.append(kept)
    if found and not eye.graphs.enough(seen.train):
        eye.graphs.follow(found[0], seen, eye.items)


def _keep_states(eye: Eye, seen: BatchSeen, found: list[Tensor]) -> None:
    """Hold what a model returned besides its answer, until its next call: it may be a state that is handed back."""
    eye.states.pop(seen.model, None)
    if len(found) > 1:
        states = [one.detach() for one in found[1:] if plain(one) and one.numel() <= MOST_STATE]
        if states and nbytes(states) <= MOST_SEEN:
            eye.states[seen.model] = states


def _carried(eye: Eye, number: int, args: Any, kwargs: Any) -> tuple[str, ...]:
    """The arguments that are what the model's last call had returned besides its answer."""
    states = eye.states.get(number)
    if not states:
        return ()
    found = []
    for name, value in (*enumerate(args), *kwargs.items()):
        tensors = tensors_in(value)
        if tensors and all(map(plain, tensors)) and all(any(_same(one, state) for state in states) for one in tensors):
            found.append(str(name))
    return tuple(found)


def _same(one: Tensor, state: Tensor) -> bool:
    if one.shape != state.shape or one.dtype != state.dtype or one.device != state.device:
        return False
    return one.data_ptr() == state.data_ptr() or bool(torch.equal(one.detach(), state))


def _wanted(model: ModelSeen) -> bool:
    """Whether more training batches are to be kept: at least some, and as many as make a fair sample."""
    count = len(model.batches)
    return count < FIRST_BATCHES or count * model.batches[-1].rows < MOST_ROWS


def _keep_eval(eye: Eye, model: ModelSeen, seen: BatchSeen, args: Any, kwargs: Any, returned: Any) -> None:
    """Keep the last evaluation pass, and the first batches of the first one."""
    if eye.eval_pass.get(model.number) != model.backwards:
        eye.eval_pass[model.number] = model.backwards
        first = {id(one) for one in model.first_eval}
        eye.held -= sum(one.size for one in model.eval_batches if id(one) not in first)
        model.eval_batches = []
        model.eval_bytes = 0
        eye.scene.sites = {site: count for site, count in eye.scene.sites.items() if site[0] != model.number}
    site = (model.number, place_of(eye.trace, seen))
    done = eye.scene.sites.get(site, 0)
    if done < EVAL_BATCHES and len(model.eval_batches) < MOST_EVAL and model.eval_bytes < MOST_SEEN:
        eye.scene.sites[site] = done + 1
        eye.scene.last_eval = seen
        model.eval_bytes += _keep(eye, seen, args, kwargs, returned, evaluating=True)
        model.eval_batches.append(seen)
        if len(model.first_eval) < 3:
            model.first_eval.append(seen)
    else:
        eye.keeping = False


def _of_another_loader(eye: Eye, model: ModelSeen, seen: BatchSeen) -> bool:
    """Whether it is given batches of a loader that never trained anything, once training has begun elsewhere."""
    return seen.loader >= 0 and model.backwards > 0 and not eye.trace.loaders[seen.loader].used


def _keep(eye: Eye, seen: BatchSeen, args: Any, kwargs: Any, returned: Any, *, evaluating: bool) -> int:
    """Keep copies of a batch; their bytes, 0 where there is no room."""
    given = tensors_in((args, kwargs))
    if not _may_keep(eye, args, kwargs):
        return 0
    output = [one for one in outputs_in(returned) if plain(one)]
    answer = next((one for one in output if one.ndim), output[0] if output else None)  # a loss may come first
    if answer is not None and answer.numel() > MOST_ANSWER:
        answer = None
    ids = {id(one) for one in given}
    others = [one for one in tensors_in(eye.item) if id(one) not in ids and plain(one)]
    others = sorted((one for one in others if one.ndim and len(one) == seen.rows), key=lambda one: one.ndim)
    targets = others[0] if others and nbytes(others[0]) <= MOST_SEEN else None
    size = nbytes((given, answer, targets))
    if not eye.take(size, training=not evaluating):
        return 0
    seen.size += size
    seen.args, seen.kwargs = seen.given or (copied(args), copied(kwargs))
    seen.sources = sources([*enumerate(args), *kwargs.items()], eye.item)
    seen.output, seen.targets = copied(answer), copied(targets)
    return size


def _after_function(eye: Eye, module: nn.Module, args: Any, kwargs: Any, returned: Any) -> None:
    """A module without parameters: a loss, where it makes one number of an output and targets."""
    tensors = [one for one in args if isinstance(one, Tensor)]
    if not eye.keeping or not isinstance(returned, Tensor) or len(tensors) < 2:
        return
    if returned.requires_grad or not torch.is_grad_enabled():
        _loss_seen(eye, type(module).__name__, module, args, kwargs, returned, module=module)


def around_loss(eye: Eye, original: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Keep what a loss of ``torch.nn.functional`` is given."""

    def computed(*args: Any, **kwargs: Any) -> Any:
        if is_dynamo_compiling() or eye.in_loss or not eye.keeping or eye.asleep():
            return original(*args, **kwargs)
        inside = eye.depth > 0
        eye.in_loss = True
        try:
            returned = original(*args, **kwargs)
        finally:
            eye.in_loss = False
        if isinstance(returned, Tensor) and len(eye.trace.backwards) < 64:
            _after_loss(eye, name, original, args, kwargs, returned, inside)
        return returned

    return computed


@timed
def _after_loss(
    eye: Eye, name: str, original: Callable[..., Any], args: Any, kwargs: Any, returned: Tensor, inside: bool
) -> None:
    given = list(args)
    for key in ("input", "target"):
        if key in kwargs:
            given.append(kwargs[key])
    rest = {key: value for key, value in kwargs.items() if key not in ("input", "target")}
    if len(given) >= 2:
        more = given[2:]  # the function is kept: were it to hold the output, its graph would stay in memory
        _loss_seen(eye, name, lambda a, b: original(a, b, *more, **rest), given, rest, returned, inside=inside)


def _loss_seen(
    eye: Eye,
    name: str,
    function: Any,
    args: Any,
    kwargs: Any,
    returned: Tensor,
    *,
    module: Any = None,
    inside: bool = False,
) -> None:
    model, batch = eye.source_of(args[0])
    swapped = False
    if model < 0:
        other, other_batch = eye.source_of(args[1])
        if other >= 0:
            model, batch, swapped = other, other_batch, True
    direct = model >= 0
    if batch is None and eye.open:
        batch = eye.open[-1]
        model = batch.model
    if batch is None or len(batch.losses) >= 8 or not (batch.args or batch.kwargs):
        return
    if not all(isinstance(one, Tensor) and one.numel() <= MOST_LOSS for one in args[:1]):
        return
    size = nbytes(args[:2])
    seen = eye.trace.models[batch.model]
    training = any(one is batch for one in seen.batches[-8:])
    if not all(map(plain, tensors_in(args[:2]))) or size > MOST_SEEN or not eye.take(size, training=training):
        return
    batch.size += size
    if training:
        seen.seen_bytes += size
    else:
        seen.eval_bytes += size
    batch.losses.append(
        LossSeen(
            name=name, function=function, input=copied(args[0]), target=copied(args[1]), place=caller(skip=3),
            model=model, direct=direct, swapped=swapped, inside=inside, module=module,
            options={key: value for key, value in kwargs.items() if not isinstance(value, Tensor)},
            value=float(returned.detach()) if returned.numel() == 1 and returned.device.type == "cpu" else None,
            event=len(eye.trace.events),
        )
    )  # fmt: skip
