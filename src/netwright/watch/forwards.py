"""Forward passes and losses: the patched ``Module.__call__`` and the losses of ``torch.nn.functional``."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.optrace import tensors_in
from netwright.checks.sourcecode import caller
from netwright.checks.subject import NotCheckedError, copy_module
from netwright.watch.eye import Eye
from netwright.watch.looks import active, copied, outputs_in
from netwright.watch.scene import keep_waiting, look_around, may_record, modes, place_of, sources
from netwright.watch.trace import BatchSeen, LossSeen, ModelSeen

MOST_COPIED = 400_000_000  # bytes of a module that is copied before its first pass
MOST_SEEN = 64_000_000  # bytes of batches that are kept of each model
FIRST_BATCHES = 64
MOST_ROWS = 4_000  # samples that are kept of training, beyond the first batches
EVAL_BATCHES = 64  # kept of an evaluation pass at each line; MOST_EVAL of all lines
MOST_EVAL = 256
MOST_STATE = 1_000_000  # numbers of a state that is held till the next call


def around_call(eye: Eye, original: Callable[..., Any]) -> Callable[..., Any]:
    """Note each call of a module that is not made by another module."""

    def called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if eye.depth or eye.quiet or not eye.mine() or torch.compiler.is_compiling():
            return original(module, *args, **kwargs)
        if eye.skim and module.training and torch.is_grad_enabled():
            eye.depth += 1
            try:
                return original(module, *args, **kwargs)
            finally:
                eye.depth -= 1
        began = time.perf_counter()
        seen = _before_forward(eye, module, args, kwargs)
        in_loss, eye.in_loss = eye.in_loss, seen is None  # what a loss module calls is not another loss
        eye.pause(True)
        eye.spend(began)
        eye.depth += 1
        try:
            returned = original(module, *args, **kwargs)
        finally:
            eye.depth -= 1
            eye.in_loss = in_loss
            eye.pause(False)
        began = time.perf_counter()
        _after_forward(eye, module, seen, args, kwargs, returned)
        eye.spend(began)
        return returned

    return called


def _before_forward(eye: Eye, module: nn.Module, args: Any, kwargs: Any) -> BatchSeen | None:
    if not eye.has_weights(module):
        return None
    eye.stop_recording()
    number = eye.model(module)
    model = eye.trace.models[number]
    grad = torch.is_grad_enabled()
    if grad and model.pristine is None and not model.why_not:
        _copy(eye, model)
    if module.training and eye.trace.frozen.is_due(number, model.forwards, eye.loader):
        eye.trace.frozen.look(module, number, grad=grad, step=eye.trace.steps, place=caller(skip=3))
    rows = len(args[0]) if args and isinstance(args[0], Tensor) and args[0].ndim else _rows(args, kwargs)
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
        eye.item,
        None,
        None,
        loader,
        epoch,
        rows,
        eye.trace.steps,
        turn=eye.items,
        given=(copied(args), copied(kwargs)) if len(model.batches) < 2 and _bytes(args, kwargs) <= MOST_SEEN else None,
    )


def _bytes(args: Any, kwargs: Any) -> int:
    return sum(one.numel() * one.element_size() for one in tensors_in((args, kwargs)))


def _rows(args: Any, kwargs: Any) -> int:
    return next((len(one) for one in tensors_in((args, kwargs)) if one.ndim), 0)


def _copy(eye: Eye, model: ModelSeen) -> None:
    held = (*model.module.parameters(), *model.module.buffers())
    size = sum(one.numel() * one.element_size() for one in held if not nn.parameter.is_lazy(one))
    if size > MOST_COPIED:
        model.why_not = f"its {size / 1e6:.0f} MB of weights are too many to copy"
        return
    eye.quiet += 1
    try:
        model.pristine = copy_module(model.module)
    except NotCheckedError as error:
        model.why_not = str(error)
    finally:
        eye.quiet -= 1


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
        model.seen_bytes += _keep(eye, seen, args, kwargs, returned)
        model.batches.append(seen)
    else:
        eye.keeping = bool(eye.open and (eye.open[-1].args or eye.open[-1].kwargs))
        keep_waiting(eye.scene, seen, args, kwargs, found[0] if found else None)
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
        states = [one.detach() for one in found[1:] if one.numel() <= MOST_STATE]
        if states:
            eye.states[seen.model] = states


def _carried(eye: Eye, number: int, args: Any, kwargs: Any) -> tuple[str, ...]:
    """The arguments that are what the model's last call had returned besides its answer."""
    states = eye.states.get(number)
    if not states:
        return ()
    found = []
    for name, value in (*enumerate(args), *kwargs.items()):
        tensors = tensors_in(value)
        if tensors and all(any(_same(one, state) for state in states) for one in tensors):
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
        model.eval_batches = []
        model.eval_bytes = 0
        eye.scene.sites = {site: count for site, count in eye.scene.sites.items() if site[0] != model.number}
    site = (model.number, place_of(eye.trace, seen))
    done = eye.scene.sites.get(site, 0)
    if done < EVAL_BATCHES and len(model.eval_batches) < MOST_EVAL and model.eval_bytes < MOST_SEEN:
        eye.scene.sites[site] = done + 1
        eye.scene.last_eval = seen
        model.eval_bytes += _keep(eye, seen, args, kwargs, returned)
        model.eval_batches.append(seen)
        if len(model.first_eval) < 3:
            model.first_eval.append(seen)
    else:
        eye.keeping = False


def _of_another_loader(eye: Eye, model: ModelSeen, seen: BatchSeen) -> bool:
    """Whether it is given batches of a loader that never trained anything, once training has begun elsewhere."""
    return seen.loader >= 0 and model.backwards > 0 and not eye.trace.loaders[seen.loader].used


def _keep(eye: Eye, seen: BatchSeen, args: Any, kwargs: Any, returned: Any) -> int:
    given = tensors_in((args, kwargs))
    size = sum(one.numel() * one.element_size() for one in given)
    if size > MOST_SEEN:
        return 0
    seen.args, seen.kwargs = seen.given or (copied(args), copied(kwargs))
    seen.given = None
    seen.sources = sources([*enumerate(args), *kwargs.items()], eye.item)
    output = outputs_in(returned)
    answer = next((one for one in output if one.ndim), output[0] if output else None)  # a loss may come first
    seen.output = answer.detach().clone() if answer is not None and answer.numel() <= 2_000_000 else None
    ids = {id(one) for one in given}
    others = [one for one in tensors_in(eye.item) if id(one) not in ids and one.ndim and len(one) == seen.rows]
    others.sort(key=lambda one: one.ndim)
    seen.targets = others[0].detach().clone() if others and eye.item is not None else None
    seen.item = None
    return size


def _after_function(eye: Eye, module: nn.Module, args: Any, kwargs: Any, returned: Any) -> None:
    """A module without parameters: a loss, where it makes one number of an output and targets."""
    tensors = [one for one in args if isinstance(one, Tensor)]
    if not eye.keeping or not isinstance(returned, Tensor) or len(tensors) < 2:
        return
    if returned.requires_grad or not torch.is_grad_enabled():
        paused = eye.pause(True)
        _loss_seen(eye, type(module).__name__, module, args, kwargs, returned, module=module)
        eye.pause(paused)


def around_loss(eye: Eye, original: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Keep what a loss of ``torch.nn.functional`` is given."""

    def computed(*args: Any, **kwargs: Any) -> Any:
        if eye.quiet or eye.in_loss or not eye.keeping or not eye.mine():
            return original(*args, **kwargs)
        inside = eye.depth > 0
        eye.in_loss = True
        try:
            returned = original(*args, **kwargs)
        finally:
            eye.in_loss = False
        if isinstance(returned, Tensor) and len(eye.trace.backwards) < 64:
            began, paused = time.perf_counter(), eye.pause(True)
            given = list(args)
            for key in ("input", "target"):
                if key in kwargs:
                    given.append(kwargs[key])
            rest = {key: value for key, value in kwargs.items() if key not in ("input", "target")}
            if len(given) >= 2:
                more = given[2:]  # the function is kept: were it to hold the output, its graph would stay in memory
                _loss_seen(eye, name, lambda a, b: original(a, b, *more, **rest), given, rest, returned, inside=inside)
            eye.pause(paused)
            eye.spend(began)
        return returned

    return computed


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
    if not all(isinstance(one, Tensor) and one.numel() <= 4_000_000 for one in args[:1]):
        return
    batch.losses.append(
        LossSeen(
            name=name, function=function, input=copied(args[0]), target=copied(args[1]), place=caller(skip=3),
            model=model, direct=direct, swapped=swapped, inside=inside, module=module,
            options={key: value for key, value in kwargs.items() if not isinstance(value, Tensor)},
            value=float(returned.detach()) if returned.numel() == 1 and returned.device.type == "cpu" else None,
            event=len(eye.trace.events),
        )
    )  # fmt: skip
