"""Optimizers and schedules by name, by file or as any callable. Knows nothing of data or of the loop."""

from __future__ import annotations

import contextlib
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch._compile import _disable_dynamo
from torch.optim import optimizer as hooks

from netwright.errors import UsageError, unknown_name

Schedule = Callable[[int], float]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

ZERO_GRAD = torch.optim.Optimizer.zero_grad
# What torch puts around the step of each optimizer: it calls hooks, and tells a profiler of it.
AROUND_STEP = torch.optim.Optimizer.profile_hook_step(lambda optimizer: None).__code__
# And within it: gradients are switched off, and torch's compiler is told to stop there.
WITHOUT_GRADIENTS = hooks._use_grad_for_differentiable(lambda optimizer: None).__code__
# What torch puts around methods that its compiler is to leave out, and where it then keeps what it calls.
LEFT_OUT, KEPT_AS = _disable_dynamo(lambda: None).__code__, "__dynamo_disable"
COMPILER = "torch._dynamo"
# Rates with which each optimizer is commonly started; used only where nothing is asked.
USUAL_LR = {"SGD": 0.01, "LBFGS": 1.0, "Adadelta": 1.0, "Adagrad": 0.01, "ASGD": 0.01, "Rprop": 0.01, "RMSprop": 0.001}


def optimizer_names() -> dict[str, type[torch.optim.Optimizer]]:
    """All optimizers of ``torch.optim``, by class name."""
    return {
        name: value
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }


def find_optimizer(name: str) -> type[torch.optim.Optimizer]:
    """The class of ``torch.optim`` called ``name``, in any case.

    Raises:
        UnknownNameError: There is none; the nearest name is given.
    """
    known = optimizer_names()
    for known_name, kind in known.items():
        if known_name.casefold() == name.casefold():
            return kind
    raise unknown_name("optimizer", name, known, where="--optimizer")


def decayed_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups: matrices and kernels with weight decay, biases and normalisations without.

    Decaying a bias or a normalisation's scale only pulls it from where it should be
    (He et al. 2019, arXiv:1812.01187, section 3.1).
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(
    kind: type[torch.optim.Optimizer], parameters: Iterable[Any], arguments: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Build a ``torch.optim`` optimizer, refusing arguments that it does not have.

    Raises:
        UnknownNameError: An argument it does not take; the nearest one is given.
        UsageError: A value it refuses.
    """
    known = [name for name in inspect.signature(kind).parameters if name != "params"]
    for name in arguments:
        if name not in known:
            raise unknown_name(f"argument of {kind.__name__}", name, known, where="--optimizer-arg")
    try:
        return kind(parameters, **arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(
            where=f"{kind.__name__}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})",
            expected="arguments that the optimizer takes",
            got=str(error).rstrip("."),
            cure="Change that argument, or leave it out to have torch's own default.",
        ) from error


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``step`` must be given a function that computes the loss again, as in LBFGS."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return isinstance(optimizer, torch.optim.LBFGS) or (closure is not None and closure.default is closure.empty)


def bring_state(optimizer: torch.optim.Optimizer) -> None:
    """Have what an optimizer of torch's holds of its parameters where they are now, as after a move to a GPU.

    Others may keep theirs elsewhere on purpose.
    """
    for one, held in optimizer.state.items() if type(optimizer) in optimizer_names().values() else ():
        for name, value in held.items():
            if isinstance(value, torch.Tensor) and name != "step":  # torch counts on the CPU, but where it was asked to
                held[name] = value.to(one.device)


def forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    """As ``zero_grad``, of which torch's own does the same in 7 microseconds: it also tells a profiler of it."""
    if getattr(optimizer.zero_grad, "__func__", None) is not ZERO_GRAD:
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its step has hooks, or is another one that somebody has put in its place."""
    return bool(
        getattr(getattr(optimizer.step, "__func__", None), "__code__", None) is not AROUND_STEP
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or hooks._global_optimizer_pre_hooks
        or hooks._global_optimizer_post_hooks
    )


def take_step(optimizer: torch.optim.Optimizer, *closure: Callable[[], Any]) -> Any:
    """As ``step``, without what torch puts around it where there is neither a hook nor a profiler.

    Nor is torch's compiler imported, where nobody has, to be told of the step; unless that calls another one's.
    """
    if is_watched(optimizer) or torch.autograd._profiler_enabled():  # type: ignore[attr-defined]
        return optimizer.step(*closure)
    step: Any = optimizer.step
    step = step.__func__.__wrapped__
    if COMPILER in sys.modules or not _is_torchs(step):
        return step(optimizer, *closure)
    with torch.set_grad_enabled(optimizer.defaults["differentiable"]):
        return step.__wrapped__(optimizer, *closure)


def needs_compiler(optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``take_step`` has torch import its compiler, which it has not yet: of steps that call another's."""
    step = getattr(getattr(optimizer.step, "__func__", None), "__wrapped__", None)
    return COMPILER not in sys.modules and not _is_torchs(step)


def _is_torchs(step: Any) -> bool:
    """Whether a step is one that torch has put its own around."""
    return getattr(step, "__code__", None) is WITHOUT_GRADIENTS


@contextlib.contextmanager
def compiler_spared() -> Iterator[None]:
    """Inside, an optimizer is made, read and set without torch's compiler being imported, which takes 2 seconds.

    torch imports it there only to have it leave the method out. Where nobody has imported it, it compiles nothing.
    """
    own = [] if COMPILER in sys.modules else [one for one in _left_out() if not hasattr(one, KEPT_AS)]
    for one in own:
        setattr(one, KEPT_AS, one)
    try:
        yield
    finally:
        for one in own:
            if getattr(one, KEPT_AS, None) is one:
                delattr(one, KEPT_AS)


def _left_out() -> list[Callable[..., Any]]:
    """The methods of optimizers that torch's compiler leaves out, as they are written."""
    methods = [one for one in vars(torch.optim.Optimizer).values() if getattr(one, "__code__", None) is LEFT_OUT]
    return [method.__wrapped__ for method in methods]


def constant(step: int, *, total_steps: int) -> float:
    """1 at every step."""
    del step, total_steps
    return 1.0


def linear(step: int, *, total_steps: int) -> float:
    """From 1 down to 0 in a straight line."""
    return max(0.0, 1.0 - step / max(1, total_steps))


def cosine(step: int, *, total_steps: int) -> float:
    """From 1 down to 0 along half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / max(1, total_steps))))


def one_cycle(step: int, *, total_steps: int) -> float:
    """Up from 1/25 over the first 30 % of the steps, then down to 0, along cosines.

    Source:
        Smith & Topin 2018, arXiv:1708.07120; the shares are those of ``torch.optim.lr_scheduler.OneCycleLR``.
    """
    done = min(1.0, step / max(1, total_steps))
    if done < 0.3:
        return 0.04 + 0.96 * 0.5 * (1.0 - math.cos(math.pi * done / 0.3))
    return 0.5 * (1.0 + math.cos(math.pi * (done - 0.3) / 0.7))


SCHEDULES = {"constant": constant, "linear": linear, "cosine": cosine, "one_cycle": one_cycle}


def make_schedule(name: str, *, total_steps: int, warmup_steps: int = 0) -> Schedule:
    """A schedule by name: from the step's index, from 0, to the factor of the learning rate.

    Args:
        name: One of ``SCHEDULES``.
        total_steps: Updates in the whole run.
        warmup_steps: Updates over which the factor rises in a straight line before the schedule starts; it takes the
            place of the rise that ``one_cycle`` has by itself.

    Raises:
        UnknownNameError: There is no such schedule.
    """
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES, where="--schedule")
    shape = cosine if name == "one_cycle" and warmup_steps else SCHEDULES[name]

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return shape(step - warmup_steps, total_steps=total_steps - warmup_steps)

    return factor
