"""Watch a training script from outside: what torch is asked to do, by whom, in which order.

Nothing is drawn from a random generator, no tensor of the script is written to, and each patched function returns what
the original returned. Costly looks are taken at the first passes and then ever more rarely.
"""

from __future__ import annotations

import hashlib
import inspect
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader
from torch.utils.data import dataloader as loaders_of_torch

from netwright.checks.optrace import Recorder, tensors_in
from netwright.checks.sourcecode import caller
from netwright.checks.subject import NotCheckedError, copy_module
from netwright.watch.graph import read_graph
from netwright.watch.patches import Patches
from netwright.watch.trace import (
    BackwardSeen,
    BatchSeen,
    Event,
    LoaderSeen,
    LossSeen,
    ModelSeen,
    OptimizerSeen,
    SchedulerSeen,
    StateSeen,
    Trace,
)

MOST_EVENTS = 50_000
MOST_COPIED = 400_000_000  # bytes of a module that is copied before its first pass
MOST_SEEN = 64_000_000  # bytes of batches that are kept of each model
CLOSE_LOOKS = 4  # of the first backward passes; then at powers of two
EVAL_BATCHES = 64  # kept of an evaluation pass
SHARE = 0.06  # of the script's time that close looks may take, after the first ones
LOSSES = (
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "ctc_loss", "multi_margin_loss",
    "multilabel_soft_margin_loss", "soft_margin_loss", "gaussian_nll_loss",
)  # fmt: skip


class Observer:
    """Watches while it is entered; ``trace`` holds what was seen."""

    def __init__(self) -> None:
        self.trace = Trace()
        self._patches = Patches()
        self._thread = threading.get_ident()
        self._depth = 0  # inside a module's call, or a function of ours
        self._quiet = 0  # inside something whose inner calls are not the person's
        self._numbers: dict[int, tuple[str, int]] = {}
        self._alive: list[Any] = []  # so that no id is given twice
        self._began = time.perf_counter()
        self._open: list[BatchSeen] = []  # forward passes since the last backward
        self._loader: tuple[int, int] = (-1, -1)
        self._item: Any = None
        self._items = 0  # given by loaders so far, to tell which forward passes belong to one batch
        self._in_loss = False
        self._recorder: Recorder | None = None
        self._recorded: BatchSeen | None = None
        self._eval_pass: dict[int, int] = {}
        self._stepped_at: dict[int, int] = {}
        self._outputs: list[tuple[weakref.ref[Tensor], int, BatchSeen]] = []

    # -- set-up ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Observer:
        """Begin to watch."""
        self._began = time.perf_counter()
        around = self._patches.around
        around(nn.Module, "__call__", self._around_call)
        around(nn.Module, "train", self._around_mode)
        around(nn.Module, "zero_grad", self._around_zero)
        around(nn.Module, "state_dict", self._around_state_dict)
        around(nn.Module, "load_state_dict", self._around_load)
        around(torch.autograd, "backward", self._around_backward)
        around(torch.autograd, "grad", lambda original: self._noting(original, "autograd_grad"))
        around(torch.optim.Optimizer, "__init__", self._around_optimizer)
        around(torch.optim.Optimizer, "zero_grad", self._around_zero)
        for name in LOSSES:
            around(functional, name, lambda original, name=name: self._around_loss(original, name))  # type: ignore[misc]
        for owner in (nn.utils, nn.utils.clip_grad):
            for name in ("clip_grad_norm_", "clip_grad_value_"):
                around(owner, name, lambda original, name=name: self._around_clip(original, name))  # type: ignore[misc]
        schedules = torch.optim.lr_scheduler
        for kind in {kind for kind in vars(schedules).values() if inspect.isclass(kind) and "step" in vars(kind)}:
            if hasattr(kind, "get_last_lr") or kind is schedules.ReduceLROnPlateau:
                around(kind, "step", self._around_schedule)
        around(schedules.LRScheduler, "__init__", self._around_schedule_made)
        around(DataLoader, "__init__", self._around_loader)
        around(loaders_of_torch._BaseDataLoaderIter, "__init__", self._around_iterator)
        around(loaders_of_torch._BaseDataLoaderIter, "__next__", self._around_next)
        around(torch.utils.data, "random_split", self._around_split)
        around(torch.utils.data.dataset, "random_split", self._around_split)
        around(torch, "manual_seed", lambda original: self._noting(original, "seed"))
        around(torch, "save", self._around_save)
        for owner, name in (
            (torch.jit, "trace"),
            (torch.jit, "script"),
            (torch.export, "export"),
            (torch.onnx, "export"),
        ):
            around(owner, name, self._around_export)
        scaler = torch.amp.GradScaler
        around(scaler, "unscale_", lambda original: self._noting(original, "unscale"))
        around(scaler, "step", lambda original: self._noting(original, "scaler_step"))
        self._hooks = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        return self

    def __exit__(self, *error: object) -> None:
        """All as before."""
        self._stop_recording()
        for hook in self._hooks:
            hook.remove()
        self._patches.undo()
        self.trace.seconds = time.perf_counter() - self._began

    # -- numbers and events ------------------------------------------------------------------------------------------

    def _mine(self) -> bool:
        return threading.get_ident() == self._thread

    def _number(self, thing: Any, kind: str, make: Callable[[int], Any], seen: list[Any]) -> int:
        found = self._numbers.get(id(thing))
        if found is not None and found[0] == kind:
            return found[1]
        number = len(seen)
        self._numbers[id(thing)] = (kind, number)
        self._alive.append(thing)
        seen.append(make(number))
        return number

    def _event(self, kind: Any, who: int = -1, **facts: Any) -> int:
        events = self.trace.events
        if len(events) >= MOST_EVENTS:
            self.trace.dropped_events += 1
            return len(events) - 1
        place = caller(skip=3)
        if place is not None and place.file not in self.trace.sources.files:
            self.trace.sources.add(place.file)
        events.append(Event(kind, who, place, self.trace.steps, facts))
        return len(events) - 1

    def _noting(self, original: Callable[..., Any], kind: Any) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            if self._mine() and not self._depth and not self._quiet:
                values = [value for value in args if isinstance(value, (int, float))]
                self._event(kind, value=values[0] if values else None)
            return original(*args, **kwargs)

        return noted

    def _model(self, module: nn.Module) -> int:
        return self._number(
            module, "model", lambda number: ModelSeen(number, module, caller(skip=4)), self.trace.models
        )

    def _optimizer(self, optimizer: torch.optim.Optimizer) -> int:
        return self._number(
            optimizer,
            "optimizer",
            lambda number: OptimizerSeen(number, optimizer, caller(skip=4)),
            self.trace.optimizers,
        )

    def _loader_number(self, loader: Any) -> int:
        return self._number(
            loader, "loader", lambda number: LoaderSeen(number, loader, caller(skip=4)), self.trace.loaders
        )

    def _spend(self, began: float) -> None:
        self.trace.overhead_s += time.perf_counter() - began

    def _may_look(self) -> bool:
        """Whether a costly look is within its share of the time."""
        done = self.trace.num_backwards
        if done < CLOSE_LOOKS:
            return True
        rare = done & (done - 1) == 0
        return rare and self.trace.overhead_s < SHARE * (time.perf_counter() - self._began)

    # -- forward -----------------------------------------------------------------------------------------------------

    def _around_call(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self._depth or self._quiet or not self._mine() or torch.compiler.is_compiling():
                return original(module, *args, **kwargs)
            began = time.perf_counter()
            seen = self._before_forward(module, args, kwargs)
            in_loss, self._in_loss = self._in_loss, seen is None  # what a loss module calls is not another loss
            self._pause(True)
            self._spend(began)
            self._depth += 1
            try:
                returned = original(module, *args, **kwargs)
            finally:
                self._depth -= 1
                self._in_loss = in_loss
                self._pause(False)
            began = time.perf_counter()
            self._after_forward(module, seen, args, kwargs, returned)
            self._spend(began)
            return returned

        return called

    def _before_forward(self, module: nn.Module, args: Any, kwargs: Any) -> BatchSeen | None:
        if next(iter(module.parameters()), None) is None:
            return None
        self._stop_recording()
        number = self._model(module)
        model = self.trace.models[number]
        grad = torch.is_grad_enabled()
        if grad and model.pristine is None and not model.why_not:
            self._copy(model)
        rows = next((len(one) for one in tensors_in((args, kwargs)) if one.ndim), 0)
        loader, epoch = self._loader
        event = self._event(
            "forward", number, train=module.training, grad=grad, loader=loader, rows=rows,
            active=_active(module) if not model.backwards or not grad or not module.training else None,
        )  # fmt: skip
        return BatchSeen(
            number,
            event,
            module.training,
            grad,
            (),
            {},
            self._item,
            None,
            None,
            loader,
            epoch,
            rows,
            self.trace.steps,
            turn=self._items,
        )

    def _copy(self, model: ModelSeen) -> None:
        held = (*model.module.parameters(), *model.module.buffers())
        size = sum(one.numel() * one.element_size() for one in held if not nn.parameter.is_lazy(one))
        if size > MOST_COPIED:
            model.why_not = f"its {size / 1e6:.0f} MB of weights are too many to copy"
            return
        self._quiet += 1
        try:
            model.pristine = copy_module(model.module)
        except NotCheckedError as error:
            model.why_not = str(error)
        finally:
            self._quiet -= 1

    def _after_forward(self, module: nn.Module, seen: BatchSeen | None, args: Any, kwargs: Any, returned: Any) -> None:
        if seen is None:
            self._after_function(module, args, kwargs, returned)
            return
        model = self.trace.models[seen.model]
        model.forwards += 1
        for output in outputs_in(returned)[:4]:
            self._outputs.append((weakref.ref(output), seen.model, seen))
        del self._outputs[:-16]
        evaluating = not seen.grad or not module.training
        if evaluating:
            self._keep_eval(model, seen, args, kwargs, returned)
        elif len(model.batches) < 512 and model.seen_bytes < MOST_SEEN:
            model.seen_bytes += self._keep(seen, args, kwargs, returned)
            model.batches.append(seen)
        if seen.grad:
            self._open.append(seen)
            del self._open[:-64]
        elif seen.loader >= 0:
            self.trace.loaders[seen.loader].evaluated += 1
        first = len(model.first_eval) <= 2 if evaluating else model.backwards < 3
        if first and seen.args + tuple(seen.kwargs.values()):
            self._start_recording(seen)

    def _keep_eval(self, model: ModelSeen, seen: BatchSeen, args: Any, kwargs: Any, returned: Any) -> None:
        """Keep the last evaluation pass, and the first batches of the first one."""
        if self._eval_pass.get(model.number) != model.backwards:
            self._eval_pass[model.number] = model.backwards
            model.eval_batches = []
            model.eval_bytes = 0
        if len(model.eval_batches) < EVAL_BATCHES and model.eval_bytes < MOST_SEEN:
            model.eval_bytes += self._keep(seen, args, kwargs, returned)
            model.eval_batches.append(seen)
            if len(model.first_eval) < 3:
                model.first_eval.append(seen)

    def _keep(self, seen: BatchSeen, args: Any, kwargs: Any, returned: Any) -> int:
        given = tensors_in((args, kwargs))
        size = sum(one.numel() * one.element_size() for one in given)
        if size > MOST_SEEN:
            return 0
        seen.args, seen.kwargs = _copied(args), _copied(kwargs)
        output = outputs_in(returned)
        seen.output = output[0].detach().clone() if output and output[0].numel() <= 2_000_000 else None
        ids = {id(one) for one in given}
        others = [one for one in tensors_in(self._item) if id(one) not in ids and one.ndim and len(one) == seen.rows]
        others.sort(key=lambda one: one.ndim)
        seen.targets = others[0].detach().clone() if others and self._item is not None else None
        seen.item = None
        return size

    def _close_turn(self) -> None:
        """A new batch has come: forward passes on the one before that no backward pass followed were evaluation."""
        for one in self._open:
            if one.loader >= 0:
                self.trace.loaders[one.loader].evaluated += 1
        self._open = [one for one in self._open if one.loader < 0]

    # -- what is done with outputs -----------------------------------------------------------------------------------

    def _start_recording(self, seen: BatchSeen) -> None:
        if self._recorder is None:
            recorder = Recorder(most=400)
            recorder.__enter__()
            self._recorder, self._recorded = recorder, seen

    def _pause(self, paused: bool) -> None:
        if self._recorder is not None:
            self._recorder.paused = paused

    def _stop_recording(self) -> None:
        recorder, seen = self._recorder, self._recorded
        if recorder is None or seen is None:
            return
        seen.ops = recorder.ops
        self._recorder = self._recorded = None
        stack = torch.overrides._get_current_function_mode_stack()
        if stack and stack[-1] is recorder:
            recorder.__exit__(None, None, None)
        else:  # the script has entered a mode of its own meanwhile: ours stays beneath it and does nothing
            recorder.paused = True

    def _source_of(self, tensor: Any) -> tuple[int, BatchSeen | None]:
        """The model whose output a tensor is, and the batch it was made of."""
        for reference, model, seen in reversed(self._outputs):
            if reference() is tensor:
                return model, seen
        return -1, None

    def _after_function(self, module: nn.Module, args: Any, kwargs: Any, returned: Any) -> None:
        """A module without parameters: a loss, where it makes one number of an output and targets."""
        tensors = [one for one in args if isinstance(one, Tensor)]
        if not isinstance(returned, Tensor) or len(tensors) < 2 or returned.numel() != 1 and len(args) < 2:
            return
        if returned.requires_grad or not torch.is_grad_enabled():
            self._loss_seen(type(module).__name__, module, args, kwargs, returned, module=module)

    def _around_loss(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def computed(*args: Any, **kwargs: Any) -> Any:
            if self._quiet or self._in_loss or not self._mine():
                return original(*args, **kwargs)
            inside = self._depth > 0
            self._in_loss = True
            try:
                returned = original(*args, **kwargs)
            finally:
                self._in_loss = False
            if isinstance(returned, Tensor) and len(self.trace.backwards) < 64:
                began = time.perf_counter()
                given = list(args)
                for key in ("input", "target"):
                    if key in kwargs:
                        given.append(kwargs[key])
                rest = {key: value for key, value in kwargs.items() if key not in ("input", "target")}
                if len(given) >= 2:
                    self._loss_seen(
                        name, lambda a, b: original(a, b, *given[2:], **rest), given, rest, returned, inside=inside
                    )
                self._spend(began)
            return returned

        return computed

    def _loss_seen(
        self,
        name: str,
        function: Any,
        args: Any,
        kwargs: Any,
        returned: Tensor,
        *,
        module: Any = None,
        inside: bool = False,
    ) -> None:
        model, batch = self._source_of(args[0])
        swapped = False
        if model < 0:
            other, other_batch = self._source_of(args[1])
            if other >= 0:
                model, batch, swapped = other, other_batch, True
        direct = model >= 0
        if batch is None and self._open:
            batch = self._open[-1]
            model = batch.model
        if batch is None or len(batch.losses) >= 8 or not (batch.args or batch.kwargs):
            return
        if not all(isinstance(one, Tensor) and one.numel() <= 4_000_000 for one in args[:1]):
            return
        batch.losses.append(
            LossSeen(
                name=name, function=function, input=_copied(args[0]), target=_copied(args[1]), place=caller(skip=3),
                model=model, direct=direct, swapped=swapped, inside=inside, module=module,
                options={key: value for key, value in kwargs.items() if not isinstance(value, Tensor)},
                value=float(returned.detach()) if returned.numel() == 1 and returned.device.type == "cpu" else None,
                event=len(self.trace.events),
            )
        )  # fmt: skip

    # -- backward and step -------------------------------------------------------------------------------------------

    def _around_backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if self._quiet or not self._mine():
                return original(tensors, *args, **kwargs)
            began = time.perf_counter()
            self._pause(True)
            loss = tensors if isinstance(tensors, Tensor) else next(iter(tensors), None)
            numbers = sorted({one.model for one in self._open})
            event = self._event("backward", numbers[0] if len(numbers) == 1 else -1, models=numbers)
            closely = self._may_look() and isinstance(loss, Tensor)
            seen, before = self._look_before(loss, event, numbers) if closely else (None, {})
            self._spend(began)
            self._quiet += 1
            try:
                returned = original(tensors, *args, **kwargs)
            finally:
                self._quiet -= 1
                self._pause(False)
            began = time.perf_counter()
            self.trace.num_backwards += 1
            for number in numbers:
                self.trace.models[number].backwards += 1
            for batch in self._open:
                batch.used = True
                if batch.loader >= 0:
                    self.trace.loaders[batch.loader].used += 1
            self._open = []
            if seen is not None:
                self._look_after(seen, before)
            self._spend(began)
            return returned

        return backward

    def _look_before(self, loss: Any, event: int, numbers: list[int]) -> tuple[BackwardSeen, dict[int, list[Any]]]:
        self._quiet += 1
        try:
            known = frozenset(id(parameter) for model in self.trace.models for parameter in model.module.parameters())
            nodes, count, reached, unregistered = read_graph(loss, known)
            value = float(loss.detach()) if loss.numel() == 1 else float("nan")
            seen = BackwardSeen(
                event, self.trace.steps, value, nodes, count, reached, unregistered, place=caller(skip=4)
            )
            before: dict[int, list[Any]] = {}
            for number in range(len(self.trace.models)):
                gradients = [one.grad for one in self.trace.models[number].module.parameters()]
                if sum(one.numel() for one in gradients if one is not None) > 20_000_000:
                    continue
                before[number] = [None if one is None else one.detach().clone() for one in gradients]
                seen.before[number] = _norm(before[number])
            self.trace.backwards.append(seen)
            return seen, before
        finally:
            self._quiet -= 1

    def _look_after(self, seen: BackwardSeen, before: dict[int, list[Any]]) -> None:
        self._quiet += 1
        try:
            for number, old in before.items():
                now = [one.grad for one in self.trace.models[number].module.parameters()]
                seen.after[number] = _norm(now)
                added = [
                    None if one is None else one.detach() - (0 if past is None or past.shape != one.shape else past)
                    for one, past in zip(now, old, strict=False)
                ]
                seen.new[number] = _norm(added)
        finally:
            self._quiet -= 1

    def _around_optimizer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def made(optimizer: Any, params: Any, *args: Any, **kwargs: Any) -> None:
            original(optimizer, params, *args, **kwargs)
            if self._mine():
                self._optimizer(optimizer)

        return made

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not self._mine() or self._quiet:
            return
        self._pause(True)
        number = self._optimizer(optimizer)
        seen = self.trace.optimizers[number]
        if not seen.steps:
            seen.groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        rate = float(optimizer.param_groups[0]["lr"]) if optimizer.param_groups else 0.0
        if (not seen.rates or seen.rates[-1][1] != rate) and len(seen.rates) < MOST_EVENTS:
            seen.rates.append((seen.steps, rate))
        facts: dict[str, Any] = {"rate": rate}
        if seen.steps < 64 or seen.steps & (seen.steps - 1) == 0:
            gradients = [one.grad for group in optimizer.param_groups for one in group["params"]]
            if sum(one.numel() for one in gradients if one is not None) < 20_000_000:
                facts["norm"] = _norm(gradients)
            facts["without"] = sum(one is None for one in gradients)
        self._event("step", number, **facts)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not self._mine() or self._quiet:
            return
        number = self._optimizer(optimizer)
        self.trace.optimizers[number].steps += 1
        self.trace.steps += 1
        self._pause(False)

    def _around_zero(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def zeroed(thing: Any, *args: Any, **kwargs: Any) -> Any:
            if self._mine() and not self._quiet and not self._depth:
                is_model = isinstance(thing, nn.Module)
                number = self._numbers.get(id(thing), ("", -1))[1] if is_model else self._optimizer(thing)
                facts: dict[str, Any] = {"of": "model" if is_model else "optimizer"}
                if self.trace.num_backwards < 64:
                    parameters = (
                        thing.parameters()
                        if is_model
                        else (one for group in thing.param_groups for one in group["params"])
                    )
                    gradients = [one.grad for one in parameters]
                    if sum(one.numel() for one in gradients if one is not None) < 20_000_000:
                        facts["norm"] = _norm(gradients)
                self._event("zero", number, **facts)
            return original(thing, *args, **kwargs)

        return zeroed

    def _around_clip(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def clipped(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            if self._quiet or not self._mine():
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
            self._event(
                "clip", count=len(given), with_grad=sum(one is not None for one in gradients), norm=_norm(gradients),
                limit=args[0] if args else next(iter(kwargs.values()), None), function=name,
                ids=frozenset(map(id, given)),
            )  # fmt: skip
            self._quiet += 1
            try:
                return original(parameters, *args, **kwargs)
            finally:
                self._quiet -= 1

        return clipped

    def _around_schedule_made(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def made(scheduler: Any, *args: Any, **kwargs: Any) -> None:
            self._quiet += 1
            try:
                original(scheduler, *args, **kwargs)
            finally:
                self._quiet -= 1
            if self._mine() and not self._quiet:
                self._scheduler(scheduler)

        return made

    def _scheduler(self, scheduler: Any) -> int:
        optimizer = getattr(scheduler, "optimizer", None)
        number = self._optimizer(optimizer) if optimizer is not None else -1
        return self._number(
            scheduler,
            "scheduler",
            lambda at: SchedulerSeen(at, scheduler, number, caller(skip=4)),
            self.trace.schedulers,
        )

    def _around_schedule(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if self._quiet or not self._mine():
                return original(scheduler, *args, **kwargs)
            self._quiet += 1
            try:
                returned = original(scheduler, *args, **kwargs)
            finally:
                self._quiet -= 1
            number = self._scheduler(scheduler)
            seen = self.trace.schedulers[number]
            seen.step_place = seen.step_place or caller(skip=2)
            groups = getattr(getattr(scheduler, "optimizer", None), "param_groups", None)
            rate = float(groups[0]["lr"]) if groups else float("nan")
            done = self.trace.optimizers[seen.optimizer].steps if seen.optimizer >= 0 else self.trace.steps
            if len(seen.steps) < MOST_EVENTS:
                seen.steps.append((done, rate))
            self._event("schedule", number, rate=rate)
            return returned

        return stepped

    # -- modes, states, exports --------------------------------------------------------------------------------------

    def _around_mode(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def changed(module: nn.Module, mode: bool = True) -> Any:
            if self._quiet or not self._mine():
                return original(module, mode)
            number = self._numbers.get(id(module), ("", -1))
            self._event("mode", number[1] if number[0] == "model" else -1, train=mode, of=type(module).__name__)
            self._quiet += 1
            try:
                return original(module, mode)
            finally:
                self._quiet -= 1

        return changed

    def _around_state_dict(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def state_dict(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self._quiet or self._depth or not self._mine():
                return original(module, *args, **kwargs)
            self._quiet += 1
            try:
                state = original(module, *args, **kwargs)
            finally:
                self._quiet -= 1
            number = self._numbers.get(id(module), ("", -1))
            if number[0] == "model":
                event = self._event("state_dict", number[1])
                try:
                    reference = weakref.ref(state)
                except TypeError:
                    return state
                self.trace.states.append(StateSeen(number[1], self.trace.steps, caller(skip=2), event, reference))
                del self.trace.states[:-256]
            return state

        return state_dict

    def _around_load(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def load(module: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            if self._quiet or not self._mine():
                return original(module, state_dict, *args, **kwargs)
            facts: dict[str, Any] = {"strict": kwargs.get("strict", args[0] if args else True)}
            self._quiet += 1
            try:
                own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
                given = {name: value for name, value in dict(state_dict).items() if isinstance(value, Tensor)}
                matched = [name for name in given if name in own and own[name].shape == given[name].shape]
                facts |= {
                    "own": len(own), "given": len(given), "matched": len(matched),
                    "missing": sorted(set(own) - set(given))[:20], "unexpected": sorted(set(given) - set(own))[:20],
                    "shares": sum(own[name].data_ptr() == given[name].data_ptr() for name in matched if own[name].numel()),
                    "trained": self.trace.steps, "of": type(module).__name__,
                }  # fmt: skip
                returned = original(module, state_dict, *args, **kwargs)
            finally:
                self._quiet -= 1
            self._event("load", self._numbers.get(id(module), ("", -1))[1], **facts)
            return returned

        return load

    def _around_save(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def save(thing: Any, *args: Any, **kwargs: Any) -> Any:
            if self._mine() and not self._quiet:
                self._event("save", of=type(thing).__name__)
            self._quiet += 1
            try:
                return original(thing, *args, **kwargs)
            finally:
                self._quiet -= 1

        return save

    def _around_export(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def export(*args: Any, **kwargs: Any) -> Any:
            if self._quiet or not self._mine():
                return original(*args, **kwargs)
            module = args[0] if args else None
            given = args[1] if len(args) > 1 else kwargs.get("example_inputs", kwargs.get("args"))
            facts: dict[str, Any] = {"function": f"{original.__module__}.{getattr(original, '__name__', '')}"}
            if isinstance(module, nn.Module):
                facts |= {"train": module.training, "active": _active(module), "module": module}
                facts["inputs"] = _copied(given if isinstance(given, tuple) else (given,))
                facts["dynamic"] = any(kwargs.get(name) for name in ("dynamic_axes", "dynamic_shapes"))
            event = self._event("export", self._numbers.get(id(module), ("", -1))[1], **facts)
            self._quiet += 1
            try:
                returned = original(*args, **kwargs)
            finally:
                self._quiet -= 1
            self.trace.events[event].facts["made"] = returned
            return returned

        return export

    # -- data --------------------------------------------------------------------------------------------------------

    def _around_loader(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def made(loader: Any, *args: Any, **kwargs: Any) -> None:
            original(loader, *args, **kwargs)
            if self._mine() and not self._quiet:
                self._loader_number(loader)

        return made

    def _around_iterator(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def made(iterator: Any, loader: Any, *args: Any, **kwargs: Any) -> None:
            if self._mine() and not self._quiet:
                iterator._netwright_loader = self._loader_number(loader)
            original(iterator, loader, *args, **kwargs)

        return made

    def _around_next(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def following(iterator: Any) -> Any:
            number = getattr(iterator, "_netwright_loader", None)
            if number is None or self._quiet or not self._mine():
                return original(iterator)
            seen = self.trace.loaders[number]
            if iterator._num_yielded == 0:
                seen.passes += 1
                seen.batches.append(0)
                seen.heads.append("")
                seen.ended.append(False)
                self._event("pass_begin", number)
            self._pause(True)
            self._quiet += 1
            try:
                item = original(iterator)
            except StopIteration:
                seen.ended[-1] = True
                self._event("pass_end", number)
                self._loader, self._item = (-1, -1), None
                self._items += 1
                self._close_turn()
                raise
            finally:
                self._quiet -= 1
                self._pause(False)
            self._loader, self._item = (number, seen.passes - 1), item
            self._items += 1
            self._close_turn()
            self._look_at_item(seen, item)
            return item

        return following

    def _look_at_item(self, seen: LoaderSeen, item: Any) -> None:
        began = time.perf_counter()
        seen.batches[-1] += 1
        if seen.passes == 1 or seen.batches[-1] <= 2:
            tensors = tensors_in(item)
            if seen.batches[-1] <= 2 and tensors and len(seen.heads) < 64:
                whole = hashlib.blake2b(seen.heads[-1].encode(), digest_size=8)
                for one in tensors:
                    if one.device.type == "cpu":
                        values = one.detach().contiguous().reshape(-1)[:4096]
                        whole.update(values.view(torch.uint8).numpy().tobytes() if values.numel() else b"")
                seen.heads[-1] = whole.hexdigest()
            if seen.passes == 1 and len(seen.sizes) < 4096 and tensors:
                seen.sizes.append(len(tensors[0]) if tensors[0].ndim else 1)
                labels = tensors[-1]
                if (
                    len(tensors) > 1
                    and not labels.is_floating_point()
                    and labels.ndim == 1
                    and len(seen.labels) < 20_000
                ):
                    seen.labels.extend(labels.tolist())
        self._spend(began)

    def _around_split(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def split(dataset: Any, *args: Any, **kwargs: Any) -> Any:
            parts = original(dataset, *args, **kwargs)
            if self._mine() and not self._quiet:
                self.trace.splits.append((caller(skip=2), dataset, list(parts)))
            return parts

        return split


def _active(module: nn.Module) -> tuple[str, ...]:
    """Names of the submodules in train mode whose answer depends on it: dropout, batch normalisation."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
    return tuple(
        name
        for name, one in module.named_modules()
        if one.training
        and isinstance(one, kinds)
        and getattr(one, "p", 1)
        and not (isinstance(one, nn.modules.instancenorm._InstanceNorm) and not one.track_running_stats)
    )


def outputs_in(returned: Any) -> list[Tensor]:
    """The tensors that a module returned, also in an object's attributes."""
    found = tensors_in(returned)
    return found or (tensors_in(dict(vars(returned))) if hasattr(returned, "__dict__") else [])


def _norm(values: list[Any]) -> float:
    there = [one.detach() for one in values if one is not None and not one.is_sparse]
    if not there:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one.float()) for one in there])))


def _copied(value: Any) -> Any:
    """Tensors cloned without their graph; other things as they are."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_copied(one) for one in value)
    return value
