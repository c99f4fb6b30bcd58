"""One update, and everything that an update changes.

``train_step`` knows nothing of epochs, files or words. ``TrainState`` is all that must be saved for an unbroken run
and a resumed one to be the same, bit for bit.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from netwright.batch import Batch, StepFunction, Strip
from netwright.binding import Binding, ask, in_full
from netwright.gradients import Gradients
from netwright.optim import Schedule, forget_gradients, needs_closure, take_step
from netwright.outcome import Outcome, together
from netwright.sums import Sums, Tally
from netwright.tasks import Objective, Task

UNCHANGED = contextlib.nullcontext()
# What an optimizer's step does: parameters and state are changed by the gradients that are there.
Move = Callable[[torch.optim.Optimizer], object]


Rates = Sequence[Sequence[float]]  # for each update those of the optimizer's groups


class Program:
    """Another way of doing an update.

    Attributes:
        rounds: Times as far as torch's kernels those of the program round.
        at_once: Whether ``several`` may do any.
    """

    __slots__ = ()
    rounds: float = 1.0
    at_once: bool = False

    def attempt(self, state: TrainState, batch: Batch) -> StepResult | None:
        """Do the update of a state whose optimizer holds its rates already; None where this batch is not taken."""
        raise NotImplementedError

    def several(self, state: TrainState, strip: Strip, place: int, rates: Rates) -> StepResult | None:
        """Do one update after the other as ``attempt`` does each, and count them in the state.

        Args:
            strip: Batches; the first one to be taken is at ``place``.
            rates: As many as there are updates to be done, of batches that are as long as that one.

        Returns:
            What the last one gave; None where none was done. Before an update whose loss or gradient is not finite it
            ends.
        """
        raise NotImplementedError

    def rest(self) -> None:
        """Leave the machine to what comes between updates, as an evaluation."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a step does, fixed for the whole run.

    Attributes:
        step_fn: A person's own ``(model, batch) -> loss``, in place of forward and objective.
        micro_batches: Parts a batch is split into; their gradients add up to the whole batch's.
        max_grad_norm: Gradients are scaled down to this norm. None: left alone.
        amp_dtype: Precision of the forward pass. None: float32.
        check_each_loss: Look at each loss before its update, which on a GPU waits for the device.
        tally: Counts the metrics of many batches at once, where that is to be done.
    """

    task: Task
    objective: Objective
    binding: Binding
    schedule: Schedule
    step_fn: StepFunction | None = None
    micro_batches: int = 1
    max_grad_norm: float | None = None
    ema_decay: float | None = None
    amp_dtype: torch.dtype | None = None
    check_each_loss: bool = True
    tally: Tally | None = None


@dataclass(slots=True)
class TrainState:
    """All that changes while training.

    Attributes:
        step: Updates done.
        epoch: Passes over the training split that are finished.
        batch: Batches done in the present epoch.
        saved: Step, epoch and batch of the last checkpoint that this process wrote.
        closure: Whether the optimizer asks for the loss itself; found once, since looking takes 10 microseconds.
        program: Does an update in place of ``train_step``'s own operations, for the batches that it takes.
        parameters: The model's, found once: to walk through a large module takes longer than a small update.
        gradients: Of these parameters.
        others: Parameters that the optimizer does not move.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    device: torch.device
    base_lrs: list[float]
    sums: Sums
    ema: dict[str, Tensor] | None = None
    scaler: torch.amp.GradScaler | None = None
    step: int = 0
    epoch: int = 0
    batch: int = 0
    skipped: int = 0
    saved: tuple[int, int, int] | None = None
    best: dict[str, Any] = field(default_factory=dict)
    epoch_random: dict[str, Any] = field(default_factory=dict)
    closure: bool = False
    program: Program | None = None
    parameters: tuple[nn.Parameter, ...] = ()
    gradients: Gradients = field(init=False)
    others: tuple[nn.Parameter, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = tuple(self.model.parameters())
        self.gradients = Gradients(self.parameters)
        moved = {id(one) for group in self.optimizer.param_groups for one in group["params"]}
        self.others = tuple(one for one in self.parameters if id(one) not in moved)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one update gave; tensors stay on the device."""

    loss: Tensor
    finite: bool


def make_state(model: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, device: torch.device) -> TrainState:
    """A state at step 0. ``model`` is on ``device`` already."""
    ema = None
    if recipe.ema_decay is not None:
        ema = {name: value.detach().clone() for name, value in model.state_dict().items()}
    scaler = torch.amp.GradScaler(device.type) if recipe.amp_dtype is torch.float16 else None
    lrs = [float(group["lr"]) for group in optimizer.param_groups]
    return TrainState(
        model, optimizer, recipe, device, lrs, Sums.zero(device), ema, scaler, closure=needs_closure(optimizer)
    )


def train_step(state: TrainState, batch: Batch) -> StepResult:
    """Do one update: forward, loss, backward, clip, update, average.

    A loss that is not finite changes no weight. The gradients of micro-batches are weighted by their counts of
    targets, so that they add up to the gradient of the whole batch's loss.

    Args:
        batch: On the state's device.
    """
    factor = state.recipe.schedule(state.step)
    for group, base in zip(state.optimizer.param_groups, state.base_lrs, strict=True):
        group["lr"] = base * factor
    done = state.program.attempt(state, batch) if state.program is not None else None
    if done is None:
        done = _closure_step(state, batch) if state.closure else stepwise(state, batch)
    if done.finite and state.ema is not None:
        _average(state)
    state.step += 1
    state.batch += 1
    return done


def train_several(state: TrainState, strip: Strip, place: int, most: int) -> StepResult | None:
    """Do up to ``most`` updates, those of a strip's batches from ``place`` on, where the plan does several at once.

    Returns:
        What the last one gave; the state tells how many were done. None: none was.
    """
    shorter = len(strip.parts[-1]) < len(strip.parts[place])
    most = min(most, len(strip) - place - shorter)
    if most < 2 or state.program is None or not state.program.at_once or state.ema is not None:
        return None
    schedule, begin = state.recipe.schedule, state.step
    factors = [schedule(step) for step in range(begin, begin + most)]
    rates = [[base * factor for base in state.base_lrs] for factor in factors]
    done = state.program.several(state, strip, place, rates)
    if done is not None:
        for group, rate in zip(state.optimizer.param_groups, rates[state.step - begin - 1], strict=True):
            group["lr"] = rate
    return done


def stepwise(state: TrainState, batch: Batch, *, find: Find | None = None, move: Move | None = None) -> StepResult:
    """Forward, loss, backward, clip, update, one operation after the other; the optimizer holds its rates already.

    Args:
        find: In place of forward, loss and backward.
        move: In place of the optimizer's own step.
    """
    forget_gradients(state.optimizer)
    for parameter in state.others:  # else theirs would add up, and clipping count them
        parameter.grad = None
    outcome = (find or gradients)(state, batch)
    # On the CPU this reads one number; on a GPU it would wait for the device, so there the mean is looked at later.
    finite, norm = _all_finite(state, outcome.loss) if state.recipe.check_each_loss else (True, None)
    if finite:
        update(state, norm=norm, move=move)
        add_to_sums(state, batch, outcome)
    return StepResult(outcome.loss, finite)


def _all_finite(state: TrainState, loss: Tensor) -> tuple[bool, Tensor | None]:
    """Whether the loss and all gradients are numbers; also their norm, where they are to be clipped by it.

    A scaler looks at the gradients itself.
    """
    if not math.isfinite(loss.item()):
        return False, None
    if state.scaler is not None:
        return True, None
    norm = None if state.recipe.max_grad_norm is None else state.gradients.norm()
    return state.gradients.finite(norm), norm


# Leaves parameters with their gradients, of a batch.
Find = Callable[[TrainState, Batch], Outcome]


def gradients(state: TrainState, batch: Batch) -> Outcome:
    """Forward and backward over all micro-batches; the outcome of the whole batch."""
    recipe = state.recipe
    parts = (batch,) if recipe.micro_batches == 1 else batch.split(recipe.micro_batches)
    if len(parts) == 1:
        return backward_share(state, forward(state, batch, tally=recipe.tally))
    counts = [_count(recipe, part) for part in parts]
    total = sum(counts[1:], start=counts[0])
    found: list[Outcome] = []
    for part, part_count in zip(parts, counts, strict=True):
        if isinstance(part_count, Tensor) and not bool(part_count):  # all targets ignored: the mean would be 0 / 0
            continue
        share = None if recipe.objective.sums else part_count / total
        found.append(backward_share(state, forward(state, part), share))
    if not found:  # what a whole batch without a target gives too
        return Outcome(torch.full((), math.nan, device=state.device), total, {})
    return together(found, total)


def backward_share(state: TrainState, outcome: Outcome, share: Tensor | float | None = None) -> Outcome:
    """Add the gradients of an outcome's loss, or of a share of it, to those that are there; its loss is that share."""
    loss = outcome.loss if share is None else outcome.loss * share
    backward(state, loss)
    outcome.loss = loss.detach()
    return outcome


def forward(state: TrainState, batch: Batch, *, tally: Tally | None = None) -> Outcome:
    """The loss of a batch, with its graph, and what the metrics are made of; with a tally these come later."""
    recipe = state.recipe
    amp = UNCHANGED if recipe.amp_dtype is None else torch.autocast(state.device.type, dtype=recipe.amp_dtype)
    with amp:
        if recipe.step_fn is not None:
            return Outcome(recipe.step_fn(state.model, batch), len(batch), {})
        outputs = ask(recipe.binding, state.model, batch.inputs)
    if recipe.amp_dtype is not None:
        outputs = in_full(outputs)  # the loss sums many small numbers, and targets must not be rounded
    loss = recipe.objective(outputs, batch)
    if tally is not None:
        return Outcome(loss, recipe.objective.count(batch), {}, outputs.detach())
    with torch.no_grad():
        return Outcome(loss, recipe.objective.count(batch), recipe.task.running(outputs, batch))


def _count(recipe: Recipe, batch: Batch) -> Tensor | int:
    return len(batch) if recipe.step_fn is not None else recipe.objective.count(batch)


def add_to_sums(state: TrainState, batch: Batch, outcome: Outcome) -> None:
    """Add an update to the running sums, its loss as a mean."""
    loss, recipe = outcome.loss, state.recipe
    if recipe.step_fn is None:
        loss = recipe.objective.mean(loss, outcome.count)
    state.sums.update(loss, outcome.count, outcome.metrics)
    if outcome.outputs is not None and recipe.tally is not None:
        state.sums.later(outcome.outputs, batch.target, recipe.tally)


def backward(state: TrainState, loss: Tensor) -> None:
    """Add the gradients of a loss to those that are there."""
    if state.scaler is not None:
        loss = state.scaler.scale(loss)
    loss.backward()  # type: ignore[no-untyped-call]


def update(state: TrainState, *, norm: Tensor | None = None, move: Move | None = None) -> None:
    """Clip the gradients, and let the optimizer do its step, or ``move`` do it.

    Args:
        norm: Of all gradients, where it is known.
    """
    if state.scaler is not None:
        state.scaler.unscale_(state.optimizer)
    if state.recipe.max_grad_norm is not None:  # in the two steps that ``clip_grad_norm_`` has
        norm = state.gradients.norm() if norm is None else norm
        nn.utils.clip_grads_with_norm_(state.parameters, state.recipe.max_grad_norm, norm)
    if move is not None:
        move(state.optimizer)
    elif state.scaler is None:
        take_step(state.optimizer)
    else:
        state.scaler.step(state.optimizer)
        state.scaler.update()


class _NotFiniteError(ArithmeticError):
    """Leaves an optimizer's step before it has moved anything."""


def _closure_step(state: TrainState, batch: Batch) -> StepResult:
    """An optimizer that asks for the loss several times, as LBFGS; the first answer is the step's loss.

    A later one may be no number, where a line search looks too far; where the weights come out so, the step is undone.
    """
    first: list[Outcome] = []
    weights = [one.detach().clone() for one in state.parameters]

    def closure() -> Tensor:
        state.optimizer.zero_grad()
        outcome = gradients(state, batch)
        if state.recipe.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(state.parameters, state.recipe.max_grad_norm)
        if not first:
            first.append(outcome)
            if not _all_finite(state, outcome.loss)[0]:
                raise _NotFiniteError
        return outcome.loss

    try:
        with torch.enable_grad():
            take_step(state.optimizer, closure)
    except _NotFiniteError:
        return StepResult(first[0].loss, finite=False)
    if not all(bool(one.isfinite().all()) for one in state.parameters):
        with torch.no_grad():
            for one, before in zip(state.parameters, weights, strict=True):
                one.copy_(before)
        state.optimizer.state.clear()  # what it remembers is no number either; to copy it takes longer than the step
        return StepResult(first[0].loss, finite=False)
    add_to_sums(state, batch, first[0])
    return StepResult(first[0].loss, finite=True)


@torch.no_grad()
def _average(state: TrainState) -> None:
    """Move the averaged weights towards the present ones; buffers that are not real numbers are copied.

    The decay is smaller in the first steps, (1 + t) / (10 + t), so that the start is forgotten.
    """
    decay = min(state.recipe.ema_decay or 0.0, (1 + state.step) / (10 + state.step))
    for name, value in state.model.state_dict().items():
        average = (state.ema or {})[name]
        if average.is_floating_point():
            average.lerp_(value, 1 - decay)
        else:
            average.copy_(value)
