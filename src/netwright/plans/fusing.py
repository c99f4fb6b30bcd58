"""An update whose optimizer moves all parameters by one kernel; forward, loss and backward stay as they are.

The kernels are those of torch's ``fused=True``, called without what its optimizers do around them: 32 µs instead of
200 for six small parameters (AdamW, one thread), 56 with that option. The option itself is not set, since it would be
written into checkpoints: these stay those of the plain update.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.optim import is_watched, take_step
from netwright.plans.comparing import COMPARED, NUDGED, TOLERANCE, distance
from netwright.plans.operations import NoProgramError
from netwright.plans.tracing import refuse
from netwright.step import Move, Program, StepResult, TrainState, stepwise

Held = Sequence[dict[str, Tensor]]
# Parameters, their gradients, their states and the group's options; parameters and states are changed.
Kernel = Callable[[list[Tensor], list[Tensor], Held, Mapping[str, Any]], None]
TIMED_S, FEWEST = 0.1, 5  # at most so many seconds for both, but at least so many of each
UNSCALED: Mapping[str, None] = {"grad_scale": None, "found_inf": None}


@dataclass(frozen=True, slots=True)
class Fused(Program):
    """Does an update of any batch as ``train_step`` would, but for the optimizer's step."""

    move: Move

    def attempt(self, state: TrainState, batch: Batch) -> StepResult:
        """Do one update."""
        return stepwise(state, batch, move=self.move)


def fused(state: TrainState) -> Callable[[], Fused]:
    """What makes the plan for a state like this one.

    Raises:
        NoProgramError: There is no such kernel for its optimizer or its parameters.
    """
    refuse(state, called=True)
    move = move_of(state.optimizer)
    if isinstance(move, str):
        raise NoProgramError(move)
    return partial(Fused, move)


@dataclass(frozen=True, slots=True)
class Moves:
    """Seconds of the optimizer's step and of the kernel's, and how far parameters part by them."""

    step: float
    kernel: float
    apart: float


def try_moves(optimizer: torch.optim.Optimizer, move: Move) -> Moves:
    """Compare and time the optimizer's step and the kernel's, which are all that differs, on copies of the optimizer.

    Gradients are drawn. The module is not called, and so none of its hooks, which may know more than the module.

    Raises:
        NoProgramError: They do not do the same.
    """
    plain, other = copy.deepcopy(optimizer), copy.deepcopy(optimizer)
    first, second = _parameters(plain), _parameters(other)
    start = [one.detach().clone() for one in first]
    generator = torch.Generator("cpu").manual_seed(0)
    for _ in range(COMPARED):
        for one, two in zip(first, second, strict=True):
            one.grad = torch.empty_like(one).normal_(generator=generator)
            two.grad = one.grad.clone(memory_format=torch.preserve_format)
        take_step(plain)
        move(other)
    nothing = [torch.zeros_like(one) for one in start]
    way, far, size = (distance(zip(first, them, strict=True)) for them in (start, second, nothing))
    rounding = max((torch.finfo(one.dtype).eps for one in first), default=0.0) * size
    if not far <= max(TOLERANCE * way, NUDGED * rounding):
        raise NoProgramError(f"parameters part by {far / max(way, 1e-30):.1e} of the way they go")
    taken: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while len(taken[0]) < FEWEST or time.perf_counter() - began < TIMED_S:
        for do, its_own, found in ((take_step, plain, taken[0]), (move, other, taken[1])):
            start_s = time.perf_counter()
            do(its_own)
            found.append(time.perf_counter() - start_s)
    return Moves(statistics.median(taken[0]), statistics.median(taken[1]), far / max(way, 1e-30))


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [one for group in optimizer.param_groups for one in group["params"] if one.requires_grad]


def move_of(optimizer: torch.optim.Optimizer) -> Move | str:
    """What does an optimizer's step by one kernel for all parameters of a group, or why there is none."""
    kind = type(optimizer)
    if kind not in KERNELS:
        return f"torch has no fused kernel for {kind.__name__}"
    for group in optimizer.param_groups:
        if group.get("fused") or group.get("capturable"):
            return "the optimizer is fused or capturable already"
        if len({(one.dtype, one.device) for one in group["params"]}) > 1:
            return "a group of the optimizer has parameters of several dtypes"
        if any(torch.empty_like(one).stride() != one.stride() for one in group["params"]):
            return "a parameter lies in memory with gaps"
    return partial(_move, KERNELS[kind])


@torch.no_grad()
def _move(kernel: Kernel, optimizer: torch.optim.Optimizer) -> None:
    if is_watched(optimizer):  # since the plan was made
        take_step(optimizer)
        return
    moved: list[tuple[list[Tensor], list[Tensor], Held, Mapping[str, Any]]] = []
    for group in optimizer.param_groups:
        parameters = [one for one in group["params"] if one.grad is not None]
        states = [optimizer.state[one] for one in parameters]
        if parameters and not all(_begun(one, group) for one in states):
            take_step(optimizer)  # which makes the state of those that have none yet
            return
        for parameter, held in zip(parameters, states, strict=True):
            for name, value in held.items():
                if value is not None and value.ndim:
                    held[name] = _laid(value, parameter)
        moved.append((parameters, [_laid(one.grad, one) for one in parameters], states, group))
    for one in moved:
        if one[0]:
            kernel(*one)


def _begun(held: Mapping[str, Any], group: Mapping[str, Any]) -> bool:
    """Whether a parameter has been moved before; without momentum there is nothing to hold."""
    return not group["momentum"] or held.get("momentum_buffer") is not None if "momentum" in group else bool(held)


def _laid(value: Tensor, parameter: nn.Parameter | Tensor) -> Tensor:
    """A tensor that lies in memory as a parameter does.

    The kernels go through both from end to end and look at no stride: channels last beside channels first, as a
    checkpoint brings them, they would take the numbers of other places without a word.
    """
    if value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter).copy_(value)


def _adam(parameters: list[Tensor], gradients: list[Tensor], held: Held, group: Mapping[str, Any]) -> None:
    steps = [one["step"] for one in held]
    torch._foreach_add_(steps, 1)
    kernel = torch._fused_adamw_ if group.get("decoupled_weight_decay") else torch._fused_adam_
    kernel(
        parameters,
        gradients,
        [one["exp_avg"] for one in held],
        [one["exp_avg_sq"] for one in held],
        [one["max_exp_avg_sq"] for one in held] if group["amsgrad"] else [],
        steps,
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=group["amsgrad"],
        maximize=group["maximize"],
        **UNSCALED,
    )


def _sgd(parameters: list[Tensor], gradients: list[Tensor], held: Held, group: Mapping[str, Any]) -> None:
    torch._fused_sgd_(
        parameters,
        gradients,
        [one["momentum_buffer"] for one in held] if group["momentum"] else [],
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=group["lr"],
        dampening=group["dampening"],
        nesterov=group["nesterov"],
        maximize=group["maximize"],
        is_first_step=False,
        **UNSCALED,
    )


KERNELS: Mapping[type[torch.optim.Optimizer], Kernel] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
}
