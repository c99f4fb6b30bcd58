"""Which way of doing updates is fastest here, and does the same: measured on the person's module and batches.

The plain update is timed for a moment. Where the run is long enough to pay for trying others, each is made, compared
with the plain one over several batches from the same state, and timed beside it; the fastest equal one is taken.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from netwright.batch import Batch
from netwright.plans.ahead import are_built
from netwright.plans.comparing import (
    COMPARED,
    Make,
    Measured,
    New,
    copied,
    in_units,
    made,
    shapes_of,
    threads_as_before,
    time_steps,
    try_plan,
)
from netwright.plans.fusing import fused, try_moves
from netwright.plans.kernels import kernels, may_save
from netwright.plans.operations import NoProgramError
from netwright.plans.program import captured, compiled
from netwright.plans.recording import recorded
from netwright.plans.remembered import made_before, remember
from netwright.plans.splitting import split
from netwright.plans.tracing import refuse
from netwright.randomness import random_state, set_random_state
from netwright.records import Choice
from netwright.step import Program, TrainState, train_step

CAPTURE_S = 0.6  # what recording is expected to take, before anything is known of it
COMPILE_S = 14.0  # with torch's compiler to load
AGAIN_S = 6.0  # where it was compiled before: to trace it, to read it and to compare it
FUSE_S = 0.3  # to compare and to time it
RECORD_S = 0.3
SPLIT_S = 0.5
KERNELS_S, BUILD_S = 0.2, 1.0  # to make and to compare it; to compile its kernels, where they were not before
TRIED = 24  # updates that trying a plan takes beside, as it is compared and timed
WORTH = 1.5  # times its cost a plan must save
LEAST_GAIN = 0.05  # share of an update
LEAST_GAIN_FUSED = 0.01  # it is the plain update but for one kernel, which is timed by itself
LEAST_UNTIMED = 1_000  # updates of a run whose module is not called to time one


@dataclass(frozen=True, slots=True)
class Way:
    """A plan that may be tried.

    Attributes:
        make: What makes it; None of the way that calls module and loss as the plain update does, hooks included, with
            batches of any shape: only the optimizer's step is another one.
        cost: Seconds that it is expected to take to be made.
        saves: Shares of an update that it may save: of one below 1 ms, below 4 ms, and of a longer one. Much of a short
            one is overhead, much of a long one arithmetic.
        least: Share of an update that it must be faster by.
        part_of: Ways that do all that this one does; where one of them is taken, this one is not tried.
    """

    make: Make | None
    cost: float
    saves: tuple[float, float, float]
    least: float = LEAST_GAIN
    part_of: tuple[str, ...] = ()

    def pays(self, seconds: float, steps: int) -> bool:
        """Whether it is expected to save what it costs to try, where an update takes so long."""
        share = self.saves[0] if seconds < 1e-3 else self.saves[1] if seconds < 4e-3 else self.saves[2]
        return steps * seconds * share > WORTH * (self.cost + TRIED * seconds)

    def may_pay(self, seconds: float, steps: int) -> bool:
        """As ``pays``, where an update may well be much shorter."""
        return steps * seconds * self.saves[0] > WORTH * self.cost


@dataclass(slots=True)
class Trials:
    """What plans were found to take, so that each is tried once.

    Attributes:
        plain: Seconds of a plain update, where it was timed already.
        done: By name what ``try_plan`` gave, or why there is none.
    """

    plain: float | None = None
    done: dict[str, tuple[New, Measured, float] | NoProgramError] = field(default_factory=dict)

    def of(self, name: str, state: TrainState, batches: list[Batch], way: Way) -> tuple[New, Measured, float]:
        """What makes a plan's programs, their time, and the seconds that it took to make.

        Where no plain update was timed, times are those of the optimizer's step alone.

        Raises:
            NoProgramError: As ``try_plan``; also where trying it raised anything else, as memory that is full.
        """
        if name not in self.done:
            try:
                with threads_as_before():  # also where it raises
                    if way.make is None:
                        self.done[name] = self._fused(state)
                    else:
                        self.done[name] = try_plan(state, batches, way.make)
                if way.make is compiled:
                    remember(name, state, batches[0])
            except NoProgramError as reason:
                self.done[name] = reason
            except Exception as error:  # the plain update works, whatever another way does
                self.done[name] = NoProgramError(f"trying it raised {type(error).__name__}")
        found = self.done[name]
        if isinstance(found, NoProgramError):
            raise found
        return found

    def _fused(self, state: TrainState) -> tuple[New, Measured, float]:
        began = time.perf_counter()
        new = fused(state)
        moves = try_moves(state.optimizer, new().move)
        plain = self.plain or moves.step
        measured = Measured(plain - moves.step + moves.kernel, plain, moves.apart)
        return new, measured, time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plan with what it is to be recorded as."""

    program: Program | None
    choice: Choice


def choose(
    state: TrainState,
    batches: list[Batch],
    *,
    steps: int,
    asked: str,
    trials: Trials | None = None,
    begun: Choice | None = None,
) -> Chosen:
    """The way of doing updates for a run of so many; the state is left as it is.

    Args:
        state: At the start of the run.
        batches: Some of training.
        asked: auto, eager, or the name of a way.
        trials: What was tried already.
        begun: Of the run that is resumed, with this plan: it was compared then, and is not judged anew.
    """
    if asked == "eager":
        return _plain("asked for", asked=True)
    forced = asked != "auto"
    drawn = random_state(state.device)
    try:
        usable = usable_ways(state, batches)
        if begun is not None:
            return _as_begun(state, usable, begun)
        if forced:
            return _forced(state, usable, asked, trials or Trials())
        return _fastest(state, usable, steps=steps, trials=trials or Trials())
    except NoProgramError as reason:
        return _plain(f"{asked} was asked for: {reason}" if forced else str(reason), asked=forced)
    except Exception as error:  # as memory that is full: what the module itself raises, training will tell
        return _plain(f"trying plans raised {type(error).__name__}", asked=forced)
    finally:
        set_random_state(drawn, state.device)


def candidates(state: TrainState, batches: list[Batch]) -> dict[str, Way]:
    """The ways that a state's device has, by name, the least costly first."""
    again = bool(batches) and made_before("compiled", state, batches[0])
    if state.device.type == "cuda":
        cost = AGAIN_S if again else 1.5 * COMPILE_S
        return {"captured": Way(captured, CAPTURE_S, (0.7, 0.4, 0.1)), "compiled": Way(compiled, cost, (0.7, 0.4, 0.1))}
    found = {"compiled": Way(compiled, AGAIN_S if again else COMPILE_S, (0.7, 0.4, 0.1))}
    if state.device.type == "cpu":
        cost, saves = KERNELS_S + (0.0 if are_built(state.model) else BUILD_S), may_save(state.model)
        found = {
            **({"kernels": Way(kernels, cost, saves)} if saves else {}),
            "recorded": Way(recorded, RECORD_S, (0.4, 0.25, 0.1)),
            "fused": Way(None, FUSE_S, (0.25, 0.15, 0.05), LEAST_GAIN_FUSED, part_of=("recorded", "kernels")),
            "split": Way(split, SPLIT_S, (0.0, 0.1, 0.2)),
            **found,
        }
    return found


@dataclass(frozen=True, slots=True)
class Usable:
    """The ways that will do for a state and its batches.

    Attributes:
        ways: By name.
        batches: To try them by.
        others: Why the other ones of the device will not do.
        names: Of all of the device.
        hooked: The module is not called to try a way: its hooks may reach what is no part of a copy.
    """

    ways: Mapping[str, Way]
    batches: list[Batch]
    others: str = ""
    names: tuple[str, ...] = ()
    hooked: bool = False


def usable_ways(state: TrainState, batches: list[Batch]) -> Usable:
    """Which ways may be tried: of batches that differ in shape, or a module with hooks, the one that calls it.

    Raises:
        NoProgramError: None, and why.
    """
    refuse(state, called=True)
    if len(batches) < 2:
        raise NoProgramError("there are fewer than two batches to try it by")
    same = _alike(batches)
    known = candidates(state, same or batches)
    hooked = False
    try:
        refuse(state)
        others = "" if same else "batches differ in shape"
    except NoProgramError as reason:
        others, hooked = str(reason), True
    ways = {name: way for name, way in known.items() if way.make is None} if others else known
    return Usable(ways, same or sorted(batches, key=_numbers, reverse=True), others, tuple(known), hooked)


def _fastest(state: TrainState, usable: Usable, *, steps: int, trials: Trials) -> Chosen:
    known, batches = usable.ways, usable.batches
    if not known:
        return _plain(usable.others)
    if usable.hooked:
        return _by_its_step(state, usable, steps=steps, trials=trials)
    why = f"{usable.others}; " if usable.others else ""
    trial = copied(state)
    began = time.perf_counter()
    train_step(trial, batches[0])
    first = time.perf_counter() - began  # longer than the others, so where this does not pay no plan does
    if not any(way.may_pay(first, steps) for way in known.values()):
        most = f"{steps:,} updates, {steps * first:.1f} s at the most"
        return _plain(f"{why}{most}: less than another plan would pay for")
    plain = trials.plain = trials.plain or time_steps([trial], batches, most=0.0)[0]
    if not any(way.pays(plain, steps) for way in known.values()):
        whole = f"{in_units(plain)} an update, {steps * plain:.0f} s in all"
        return _plain(f"{why}{whole}: less than another plan would pay for")
    share, chosen = 1.0, None
    said = [usable.others] if usable.others else []
    for name, way in known.items():
        taken = "" if chosen is None else chosen.choice.value
        if taken in way.part_of or not way.pays(share * plain, steps):
            continue
        try:
            new, measured, cost = trials.of(name, state, batches, way)
        except NoProgramError as reason:
            said.append(f"{name}: {reason}")
            continue
        if measured.share < (1 - way.least) * share:
            choice = Choice(name="plan", value=name, reason=_told(measured, cost, usable.others))
            share, chosen = measured.share, Chosen(new(), choice)
        else:
            said.append(f"{name} takes {in_units(measured.seconds)} an update instead of {in_units(measured.plain)}")
    return chosen or _plain("; ".join(said) or f"{in_units(plain)} an update")


def _by_its_step(state: TrainState, usable: Usable, *, steps: int, trials: Trials) -> Chosen:
    """What saves the most of the optimizer's step, which is all that is timed of a module that is not to be called."""
    if steps < LEAST_UNTIMED:
        return _plain(f"{usable.others}; {steps:,} updates: less than another plan would pay for")
    said = [usable.others]
    for name, way in usable.ways.items():
        try:
            new, measured, _ = trials.of(name, state, usable.batches, way)
        except NoProgramError as reason:
            said.append(f"{name}: {reason}")
            continue
        if steps * (measured.plain - measured.seconds) > WORTH * way.cost:
            return Chosen(new(), Choice(name="plan", value=name, reason=_told_step(measured, usable.others)))
        said.append(f"{name}: {_told_step(measured)}")
    return _plain("; ".join(said))


def _forced(state: TrainState, usable: Usable, name: str, trials: Trials) -> Chosen:
    """The plan that was asked for, whatever it gains."""
    way = _way(state, name, usable)
    new, measured, cost = trials.of(name, state, usable.batches, way)
    told = _told(measured, cost) if way.make else _told_step(measured)
    return Chosen(new(), Choice(name="plan", value=name, reason=told, asked=True))


def _as_begun(state: TrainState, usable: Usable, begun: Choice) -> Chosen:
    """The plan of the run that is resumed, made without a trial."""
    way = _way(state, begun.value, usable)
    with threads_as_before():
        new = fused(state) if way.make is None else made(state, usable.batches, way.make)
    return Chosen(new(), begun)


def _way(state: TrainState, name: str, usable: Usable) -> Way:
    if name in usable.ways:
        return usable.ways[name]
    if name in usable.names:
        raise NoProgramError(usable.others)
    known = ", ".join(usable.names)
    raise NoProgramError(f"there is no such plan for this module on {state.device.type}; {known} are")


def _told(measured: Measured, cost: float, others: str = "") -> str:
    times = f"{in_units(measured.seconds)} an update instead of {in_units(measured.plain)}; made in {cost:.0f} s"
    return f"{times}; {_told_apart(measured, others)}"


def _told_step(measured: Measured, others: str = "") -> str:
    saved = measured.plain - measured.seconds
    less = f"{in_units(abs(saved))} {'less' if saved > 0 else 'more'}"
    return f"the optimizer's step takes {less}; {_told_apart(measured, others)}"


def _told_apart(measured: Measured, others: str) -> str:
    told = f"after {COMPARED} updates parameters part by {measured.apart:.0e} of the way they went"
    return told + (f"; no other plan: {others}" if others else "")


def _plain(reason: str, *, asked: bool = False) -> Chosen:
    return Chosen(None, Choice(name="plan", value="eager", reason=reason, asked=asked))


def _numbers(batch: Batch) -> int:
    """How many a batch's inputs have."""
    return sum(value.numel() for value in batch.inputs.values())


def _alike(batches: list[Batch]) -> list[Batch]:
    """Those of the commonest shape; none where there are not two of one."""
    shapes = [shapes_of(batch) for batch in batches]
    commonest = max(shapes, key=shapes.count)
    found = [batch for batch, shape in zip(batches, shapes, strict=True) if shape == commonest]
    return found if len(found) > 1 else []
