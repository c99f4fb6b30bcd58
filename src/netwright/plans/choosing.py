"""Which way of doing updates is fastest here, and does the same: measured on the person's module and batches.

The plain update is timed for a moment. Where the run is long enough to pay for compiling, the update is traced,
compiled and compared with the plain one over several batches from the same state; the fastest equal one is taken.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from netwright.batch import Batch
from netwright.plans.program import Program, Run, compiled, plainly, program_of
from netwright.plans.remembered import made_before, remember
from netwright.plans.tracing import NoProgramError, Traced, like, refuse, trace
from netwright.records import Choice
from netwright.step import TrainState, random_state, set_random_state, train_step

Make = Callable[[Traced], Run]
COMPARED = 4  # updates after which parameters and losses are compared
# Of the way that the parameters have gone; rounding differs where operations are done in another order.
TOLERANCE = 1e-3
LOSS_TOLERANCE = 1e-4
NUDGED = 3.0  # times as far as a rounding of the parameters takes the plain update from itself
TIMED_S = 0.25  # at most, for each plan
COMPILE_S = 12.0  # what compiling is expected to take, before anything is known of it
AGAIN_S = 5.0  # where it was compiled before: to trace it, to read it and to compare it
MOST_SAVED = 0.7  # share of an update
WORTH = 1.5  # times its cost a plan must save
LEAST_GAIN = 0.05  # share of an update


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds an update, and what it was compared with."""

    seconds: float
    apart: float = 0.0


def copied(state: TrainState) -> TrainState:
    """A state of its own at the same place.

    Raises:
        NoProgramError: The module cannot be copied.
    """
    try:
        model, optimizer = copy.deepcopy((state.model, state.optimizer))
    except Exception as error:
        raise NoProgramError(f"the module cannot be copied: {error}") from error
    return like(state, model, optimizer)


def time_steps(state: TrainState, batches: list[Batch], *, most: float = TIMED_S) -> float:
    """The median of seconds an update, of at least 3 and as many as ``most`` seconds allow; the state goes on."""
    for batch in batches[:2]:
        train_step(state, batch)
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 3 or (time.perf_counter() - began < most and len(taken) < 500):
        _wait(state.device)
        start = time.perf_counter()
        train_step(state, batches[len(taken) % len(batches)])
        _wait(state.device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def apart(state: TrainState, program: Program, batches: list[Batch]) -> tuple[float, float]:
    """How far a program and the plain update part, as a share of the way that the parameters go.

    Also how far the plain update parts from itself where each parameter is moved by a rounding first: a gradient that
    is nothing but rounding, as of a bias before a normalisation, goes anywhere.

    Raises:
        NoProgramError: Their losses differ, or a number is not finite.
    """
    plain, other, nudged = copied(state), copied(state), copied(state)
    start = [one.detach().clone() for one in plain.model.parameters()]
    other.program = program
    generator = torch.Generator(state.device).manual_seed(0)
    with torch.no_grad():
        for one in nudged.model.parameters():
            if one.is_floating_point():
                signs = torch.rand(one.shape, generator=generator, device=one.device).sub_(0.5).sign_()
                one.mul_(1 + signs.to(one.dtype) * torch.finfo(state.recipe.amp_dtype or one.dtype).eps)
    now = random_state(state.device)
    results = []
    for each in (plain, other, nudged):
        set_random_state(now, state.device)
        results.append([float(train_step(each, batch).loss) for batch in batches[:COMPARED]])
    set_random_state(now, state.device)
    for first, second, third in zip(*results, strict=True):
        if not abs(first - second) <= max(LOSS_TOLERANCE * max(1.0, abs(first)), NUDGED * abs(first - third)):
            raise NoProgramError(f"its loss is {second:.7g} where the plain update has {first:.7g}")
    way = _norm(zip(plain.model.parameters(), start, strict=True))
    scale = max(way, 1e-30)
    shares = [
        _norm(zip(plain.model.parameters(), one.model.parameters(), strict=True)) / scale for one in (other, nudged)
    ]
    buffers = [_norm(zip(plain.model.buffers(), one.model.buffers(), strict=True)) for one in (other, nudged)]
    size = _norm((one, torch.zeros_like(one)) for one in plain.model.buffers())
    if not math.isfinite(shares[0]) or not buffers[0] <= max(TOLERANCE * size, NUDGED * buffers[1]):
        raise NoProgramError("buffers, as the statistics of normalisation, differ")
    return shares[0], shares[1]


def _norm(pairs: object) -> float:
    total = 0.0
    for one, other in pairs:  # type: ignore[attr-defined]
        if one.numel():
            total += float((one.detach().double() - other.detach().double()).square().sum())
    return math.sqrt(total)


def try_plan(state: TrainState, batches: list[Batch], made: Make) -> tuple[Program, Measured, float]:
    """A program for a state, its time, and the seconds that it took to make.

    Args:
        made: Of a trace what runs it.

    Raises:
        NoProgramError: It cannot be made, or does not do the same.
    """
    began = time.perf_counter()
    trial = copied(state)
    train_step(trial, batches[0])  # so that it is seen which parameters have gradients
    traced = trace(trial, batches[0], at_once=made is plainly)
    run = made(traced)
    share, rounding = apart(state, program_of(traced, run), batches)
    allowed = max(TOLERANCE, NUDGED * rounding)
    if share > allowed:
        raise NoProgramError(f"parameters part by {share:.1e} of the way they go, more than {allowed:.0e}")
    cost = time.perf_counter() - began
    trial.program = program_of(traced, run)
    return program_of(traced, run), Measured(time_steps(trial, batches), share), cost


@dataclass(slots=True)
class Trials:
    """What plans were found to take, so that each is tried once.

    Attributes:
        plain: Seconds of a plain update, where it was timed already.
        done: By name what ``try_plan`` gave, or why there is none.
    """

    plain: float | None = None
    done: dict[str, tuple[Program, Measured, float] | NoProgramError] = field(default_factory=dict)

    def of(self, name: str, state: TrainState, batches: list[Batch], made: Make) -> tuple[Program, Measured, float]:
        """A plan's program, its time, and the seconds that it took to make.

        Raises:
            NoProgramError: As ``try_plan``.
        """
        if name not in self.done:
            try:
                self.done[name] = try_plan(state, batches, made)
                if made is compiled:
                    remember(name, state, batches[0])
            except NoProgramError as reason:
                self.done[name] = reason
        found = self.done[name]
        if isinstance(found, NoProgramError):
            raise found
        return found


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plan with what it is to be recorded as."""

    program: Program | None
    choice: Choice


def choose(state: TrainState, batches: list[Batch], *, steps: int, asked: str, trials: Trials | None = None) -> Chosen:
    """The way of doing updates for a run of so many; the state is left as it is.

    Args:
        state: At the start of the run.
        batches: Some of training, of one shape where there are such.
        asked: auto, eager, compiled or captured.
        trials: What was tried already.
    """
    if asked == "eager":
        return _plain("asked for", asked=True)
    forced = asked != "auto"
    drawn = random_state(state.device)
    try:
        refuse(state)
        wanted = asked if forced else None
        return _fastest(state, alike(batches), steps=steps, wanted=wanted, trials=trials or Trials())
    except NoProgramError as reason:
        return _plain(f"{asked} was asked for: {reason}" if forced else str(reason), asked=forced)
    except Exception as error:  # as memory that is full: what the module itself raises, training will tell
        return _plain(f"trying plans raised {type(error).__name__}", asked=forced)
    finally:
        set_random_state(drawn, state.device)


def candidates(state: TrainState, batches: list[Batch]) -> dict[str, tuple[Make, float]]:
    """By name what makes a plan of a trace, and the seconds that it is expected to take."""
    cold = 2 * COMPILE_S if state.device.type == "cuda" else COMPILE_S
    again = bool(batches) and made_before("compiled", state, batches[0])
    found: dict[str, tuple[Make, float]] = {"captured": (plainly, 0.6)} if state.device.type == "cuda" else {}
    return {**found, "compiled": (compiled, AGAIN_S if again else cold)}


def _fastest(state: TrainState, batches: list[Batch], *, steps: int, wanted: str | None, trials: Trials) -> Chosen:
    known = candidates(state, batches)
    forced = wanted is not None
    trial = copied(state)
    began = time.perf_counter()
    train_step(trial, batches[0])
    first = time.perf_counter() - began  # longer than the others, so where this does not pay no plan does
    if not forced and all(steps * first * MOST_SAVED < WORTH * cost for _, cost in known.values()):
        return _plain(f"{steps:,} updates, {steps * first:.1f} s at the most: less than another plan would pay for")
    plain = trials.plain or time_steps(trial, batches, most=0.0)
    if not forced and not any(_pays(plain, steps, cost) for _, cost in known.values()):
        whole = f"{in_units(plain)} an update, {steps * plain:.0f} s in all"
        return _plain(f"{whole}: less than another plan would pay for")
    plain = trials.plain or time_steps(trial, batches)
    best, chosen, said = plain, None, []
    for name in known if wanted is None else [wanted]:
        if name not in known:
            raise NoProgramError(f"there is no such plan on {state.device.type}; {', '.join(known)} are")
        made, expected = known[name]
        if not forced and not _pays(best, steps, expected):
            continue
        try:
            program, measured, cost = trials.of(name, state, batches, made)
        except NoProgramError as reason:
            said.append(f"{name}: {reason}")
            continue
        told = (
            f"{in_units(measured.seconds)} an update instead of {in_units(plain)}; made in {cost:.0f} s; after "
            f"{COMPARED} updates parameters part by {measured.apart:.0e} of the way they went"
        )
        if forced or measured.seconds < (1 - LEAST_GAIN) * best:
            best, chosen = measured.seconds, Chosen(program, Choice(name="plan", value=name, reason=told, asked=forced))
        else:
            said.append(f"{name} takes {in_units(measured.seconds)} an update instead of {in_units(best)}")
    if chosen is None and forced:
        raise NoProgramError("; ".join(said))
    return chosen or _plain("; ".join(said) or f"{in_units(plain)} an update")


def _plain(reason: str, *, asked: bool = False) -> Chosen:
    return Chosen(None, Choice(name="plan", value="eager", reason=reason, asked=asked))


def _pays(seconds: float, steps: int, cost: float) -> bool:
    """Whether a plan is expected to save what it costs: much of what is overhead, little of arithmetic."""
    share = MOST_SAVED if seconds < 1e-3 else 0.4 if seconds < 4e-3 else 0.1
    return steps * seconds * share > WORTH * cost


def alike(batches: list[Batch]) -> list[Batch]:
    """Those of the commonest shape.

    Raises:
        NoProgramError: There are not two of one.
    """
    shapes = [tuple(one.shape for one in batch.inputs.values()) for batch in batches]
    commonest = max(shapes, key=shapes.count, default=None)
    found = [batch for batch, shape in zip(batches, shapes, strict=True) if shape == commonest]
    if len(found) < 2:
        raise NoProgramError("batches differ in shape")
    return found


def in_units(seconds: float) -> str:
    """A time of an update, as ``640 µs`` or ``2.1 ms``."""
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2g} ms"
