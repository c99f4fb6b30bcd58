"""Whether another way of doing updates does what the plain one does, and how long each takes: tried on copies."""

from __future__ import annotations

import contextlib
import copy
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netwright.batch import Batch
from netwright.plans.operations import NoProgramError
from netwright.plans.tracing import like, refuse_moves
from netwright.randomness import random_state, set_random_state
from netwright.step import Program, TrainState, train_step
from netwright.sums import Sums

# A program holds what belongs to one state, so that each state has one of its own.
New = Callable[[], Program]
# Of a state that may be changed, whose optimizer has its own already, and a batch like those to come.
Make = Callable[[TrainState, Batch], New]

COMPARED = 4  # updates after which parameters and losses are compared
# Of the way that the parameters have gone; rounding differs where operations are done in another order.
TOLERANCE = 1e-3
LOSS_TOLERANCE = 1e-4
METRIC_TOLERANCE = 1e-2  # a sample on the edge may fall to either side
NUDGED = 3.0  # times as far as a rounding of the parameters takes the plain update from itself
TIMED_S, TIMED = 0.15, 5  # at most so many seconds for each state, but at least so many updates
LONG_S = 5e-3  # of such updates each brings its tensors into the cache anew, whatever was done before
TURN = 8  # shorter updates one after the other
LONG_TURN = 3  # longer ones: threads of the state before are still awake during the first


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of an update and of the plain one beside it, and how far they part."""

    seconds: float
    plain: float
    apart: float = 0.0

    @property
    def share(self) -> float:
        """Of the plain update's time."""
        return self.seconds / self.plain


@contextlib.contextmanager
def threads_as_before() -> Iterator[None]:
    """As many threads after as before, whatever is chosen inside."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def copied(state: TrainState) -> TrainState:
    """A state of its own at the same place.

    Raises:
        NoProgramError: The module cannot be copied.
    """
    try:
        # The recipe too: a loss may hold what it counts.
        model, optimizer, recipe = copy.deepcopy((state.model, state.optimizer, state.recipe))
    except Exception as error:
        raise NoProgramError(f"the module cannot be copied: {error}") from error
    return replace(like(state, model, optimizer), recipe=recipe)


def time_steps(states: Sequence[TrainState], batches: list[Batch], *, most: float = TIMED_S) -> list[float]:
    """For each state the median of seconds an update, of ``TIMED`` or as many as ``most`` seconds allow.

    They go on in turns, so that what else the machine does meanwhile befalls all of them alike. Where batches differ in
    shape, each is timed once at least.
    """
    for state in states:
        for batch in batches[:2]:
            train_step(state, batch)
        _rest(state)
    taken: list[list[float]] = [[] for _ in states]
    turn, began = 1, time.perf_counter()
    least = TIMED if len(set(map(shapes_of, batches))) == 1 else max(TIMED, len(batches))
    while len(taken[0]) < least or (time.perf_counter() - began < most * len(states) and len(taken[0]) < 500):
        for state, found in zip(states, taken, strict=True):
            found += [_seconds(state, batches[(len(found) + place) % len(batches)]) for place in range(turn)]
            _rest(state)
        turn = TURN if taken[0][0] < LONG_S else LONG_TURN
    return [statistics.median(found) for found in taken]


def shapes_of(batch: Batch) -> tuple[torch.Size, ...]:
    """Of a batch's inputs."""
    return tuple(one.shape for one in batch.inputs.values())


def _rest(state: TrainState) -> None:
    if state.program is not None:
        state.program.rest()


def _seconds(state: TrainState, batch: Batch) -> float:
    _wait(state.device)
    start = time.perf_counter()
    train_step(state, batch)
    _wait(state.device)
    return time.perf_counter() - start


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
    nudge(nudged, program.rounds)
    now = random_state(state.device)
    results = []
    for each in (plain, other, nudged):
        set_random_state(now, state.device)
        results.append([float(train_step(each, batch).loss) for batch in batches[:COMPARED]])
        _rest(each)
    set_random_state(now, state.device)
    for first, second, third in zip(*results, strict=True):
        if not _near(first, second, third, LOSS_TOLERANCE):
            raise NoProgramError(f"its loss is {second:.7g} where the plain update has {first:.7g}")
    _compare_sums(*(each.sums for each in (plain, other, nudged)))
    shares = [share_of_way(start, plain.model.parameters(), one.model.parameters()) for one in (other, nudged)]
    for (name, first), second, third in zip(
        plain.model.named_buffers(), other.model.buffers(), nudged.model.buffers(), strict=True
    ):
        far, rounding, size = (distance([(first, one)]) for one in (second, third, torch.zeros_like(first)))
        # Each by itself: beside a large table a statistic that stands still would not be seen.
        if not far <= max(TOLERANCE * size, NUDGED * rounding):
            raise NoProgramError(f"{name}, which is no parameter, differs")
    if not math.isfinite(shares[0]):
        raise NoProgramError("a parameter is not finite")
    return shares[0], shares[1]


@torch.no_grad()
def nudge(state: TrainState, rounds: float = 1.0) -> None:
    """Move each parameter of a state by a rounding, or so many, up or down."""
    generator = torch.Generator(state.device).manual_seed(0)
    for one in state.model.parameters():
        if one.is_floating_point():
            signs = torch.rand(one.shape, generator=generator, device=one.device).sub_(0.5).sign_()
            rounding = rounds * torch.finfo(state.recipe.amp_dtype or one.dtype).eps
            one.mul_(1 + signs.to(one.dtype) * rounding)


def share_of_way(start: Iterable[Tensor], plain: Iterable[Tensor], other: Iterable[Tensor]) -> float:
    """How far two states' parameters part, as a share of the way that the first one's went from the start."""
    plain = list(plain)
    way = distance(zip(plain, start, strict=True))
    return distance(zip(plain, other, strict=True)) / max(way, 1e-30)


def allowed(rounding: float) -> float:
    """The share of the way that a plan may part by, where the plain update parts from itself by so much if nudged."""
    return max(TOLERANCE, NUDGED * rounding)


def _compare_sums(plain: Sums, other: Sums, nudged: Sums) -> None:
    """Metrics come out the same too: what Python or NumPy counts would be the traced batch's for ever."""
    for name, (total, count) in plain.metrics.items():
        if not any(float(one) for one in (count, other.held(name)[1], nudged.held(name)[1])):
            continue  # nothing to count in these batches, as where there is no entity
        value, found, third = (float(one[0] / one[1]) for one in ((total, count), other.held(name), nudged.held(name)))
        if not _near(value, found, third, METRIC_TOLERANCE):
            raise NoProgramError(f"its {name} is {found:.4g} where the plain update has {value:.4g}")


def _near(plain: float, other: float, nudged: float, tolerance: float) -> bool:
    """Whether a number is the plain update's, as far as that is its own where it is nudged; NaN never is."""
    return abs(plain - other) <= max(tolerance * max(1.0, abs(plain)), NUDGED * abs(plain - nudged))


def distance(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Euclidean, of all pairs of tensors together."""
    total = 0.0
    for one, other in pairs:
        if one.numel():
            total += float((one.detach().double() - other.detach().double()).square().sum())
    return math.sqrt(total)


def made(state: TrainState, batches: list[Batch], make: Make) -> New:
    """What makes a plan's programs.

    Raises:
        NoProgramError: It cannot be made.
    """
    trial = copied(state)
    refuse_moves(trial, batches[0])  # after which it is also seen which parameters have gradients
    return make(trial, batches[0])


def try_plan(state: TrainState, batches: list[Batch], make: Make) -> tuple[New, Measured, float]:
    """What makes a plan's programs, their time, and the seconds that it took to make and to compare one.

    Raises:
        NoProgramError: It cannot be made, or does not do the same.
    """
    began = time.perf_counter()
    new = made(state, batches, make)
    share, rounding = apart(state, new(), batches)
    if share > (most := allowed(rounding)):
        raise NoProgramError(f"parameters part by {share:.1e} of the way they go, more than {most:.0e}")
    cost = time.perf_counter() - began
    plain, other = time_beside(state, new, batches)
    return new, Measured(other, plain, share), cost


def time_beside(state: TrainState, new: New, batches: list[Batch]) -> tuple[float, float]:
    """Seconds of the plain update of a state, and of a program's."""
    plain, other = copied(state), copied(state)
    train_step(other, batches[0])  # which makes the optimizer's state
    other.program = new()
    seconds = time_steps((plain, other), batches)
    return seconds[0], seconds[1]


def in_units(seconds: float) -> str:
    """A time of an update, as ``640 µs`` or ``2.1 ms``."""
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2g} ms"
