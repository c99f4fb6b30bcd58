"""Try every plan on a module, its recipe and its batches without training, and say which one a run would take.

report = survey(Net(), load("mnist"), settings=Settings(epochs=20))
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import get_args

import torch
from torch import nn

from netwright.batch import Batch
from netwright.checks.assemble import copied_with
from netwright.checks.subject import NotCheckedError
from netwright.data.dataset import Data
from netwright.data.sources import LoaderSource
from netwright.errors import ModelError
from netwright.given import Given
from netwright.plans.adopting import OWN_LOADER, adopt, some_batches, with_threads
from netwright.plans.choosing import Trials, Way, candidates, usable_ways
from netwright.plans.comparing import copied, threads_as_before, time_beside, time_steps
from netwright.plans.operations import NoProgramError
from netwright.randomness import unchanged_random
from netwright.records import Candidate, PlanReport, Settings
from netwright.session import Session, prepare

Say = Callable[[str], None]
TIMED_S = 0.5  # for the plain update, each time


def survey(
    model: nn.Module,
    data: Data,
    *,
    given: Given | None = None,
    settings: Settings | None = None,
    say: Say | None = None,
    name: str | None = None,
) -> PlanReport:
    """Measure all plans, also those that a run of this length would not try. Nothing of the person's is changed.

    Args:
        model: Any ``nn.Module``; copied, and never called itself.
        say: Told what is tried next, as compiling takes its time.
        name: What to call the module and the data.

    Raises:
        ModelError: The module cannot be copied, or its update fails.
        NetwrightError: As in training, what cannot work.
    """
    began, settings, given = time.perf_counter(), settings or Settings(), given or Given()
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with unchanged_random(torch.device("cuda" if on_gpu else "cpu")), threads_as_before():
        session, trials = prepare(*_copies(model, data, given, settings)), Trials()
        session.model.train()
        batches = [] if isinstance(data.train, LoaderSource) else some_batches(session)
        session = with_threads(session, batches)
        found = _tried(session, batches, trials, say or (lambda text: None))
        adopted = adopt(session, trials=trials)
    return PlanReport(
        subject=name or f"{type(model).__name__} on {data.spec.name}",
        steps=session.total_steps,
        candidates=tuple(found),
        plan=adopted.plan.choices[-1],
        choices=adopted.plan.choices[:-1],
        seconds=round(time.perf_counter() - began, 3),
    )


def _copies(model: nn.Module, data: Data, given: Given, settings: Settings) -> tuple[nn.Module, Data, Settings, Given]:
    """What ``prepare`` takes, with a module, an optimizer and a loss of our own."""
    try:
        copied_model, own = copied_with(model, given)
        if isinstance(own.loss, nn.Module):
            own = replace(own, loss=copy.deepcopy(own.loss))
    except NotCheckedError as reason:
        raise _not_copied(model, "a module", reason) from reason
    return copied_model, data, settings, own


def _not_copied(model: nn.Module, what: str, reason: Exception) -> ModelError:
    return ModelError(
        where=type(model).__name__,
        expected=f"{what} that can be copied, so that plans are tried on a copy",
        got=str(reason),
        cure="Train with --plan eager, which needs no copy.",
    )


def _tried(session: Session, batches: list[Batch], trials: Trials, say: Say) -> list[Candidate]:
    """The plain update first, then each plan that the device has."""
    state = session.state
    names = tuple(candidates(state, []))
    if isinstance(session.data.train, LoaderSource):
        return [Candidate(name="eager", reason=f"not timed: {OWN_LOADER}"), *_none(names, OWN_LOADER)]
    say(f"eager: timing the plain update on {len(batches)} batches of {session.batch_size}")
    trials.plain = _plain_seconds(session, batches)
    try:
        usable = usable_ways(state, batches)
    except NoProgramError as reason:
        others = _none(names, str(reason))
    else:
        for name, way in usable.ways.items():
            say(f"{name}: making it, which is expected to take some {max(1, round(way.cost))} s")
            _try(session, name, way, usable.batches, trials)
        others = [
            _candidate(name, usable.ways[name], trials)
            if name in usable.ways
            else Candidate(name=name, reason=usable.others)
            for name in names
        ]
        others += _elsewhere(names)
    return [Candidate(name="eager", seconds=trials.plain, cost_s=0.0, apart=0.0), *others]


def _plain_seconds(session: Session, batches: list[Batch]) -> float:
    try:
        return time_steps([copied(session.state)], batches, most=TIMED_S)[0]
    except NoProgramError as reason:
        raise _not_copied(session.model, "a module and an optimizer", reason) from reason
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a person's module raises
        raise ModelError(
            where=f"an update of {type(session.model).__name__}",
            expected="one that works",
            got=f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}",
            cure="netwright train says in which line.",
        ) from error


def _try(session: Session, name: str, way: Way, batches: list[Batch], trials: Trials) -> None:
    """Time a plan beside the plain update, twice: what else the machine does only makes them longer."""
    try:
        new, measured, cost = trials.of(name, session.state, batches, way)
        if way.make is None:  # its own part is timed by itself
            return
        with threads_as_before():
            plain, seconds = time_beside(session.state, new, batches)
    except NoProgramError:
        return
    except Exception as error:  # as memory that is full
        trials.done[name] = NoProgramError(f"trying it raised {type(error).__name__}")
        return
    trials.plain = min(trials.plain or math.inf, measured.plain, plain)
    trials.done[name] = new, replace(measured, seconds=min(measured.seconds, seconds)), cost


def _candidate(name: str, way: Way, trials: Trials) -> Candidate:
    """A plan as it was found, beside the shortest of all plain updates."""
    found = trials.done[name]
    if isinstance(found, NoProgramError):
        return Candidate(name=name, reason=str(found))
    new, measured, cost = found
    measured = replace(measured, plain=trials.plain or measured.plain)
    trials.done[name] = new, measured, cost
    pays = None if measured.share > 1 - way.least else math.ceil(cost / (measured.plain - measured.seconds))
    return Candidate(name=name, seconds=measured.seconds, cost_s=cost, apart=measured.apart, pays_after=pays)


def _none(names: tuple[str, ...], reason: str) -> list[Candidate]:
    return [Candidate(name=name, reason=reason) for name in names]


def _elsewhere(known: Collection[str]) -> list[Candidate]:
    """Plans that can be asked for, and that this device does not have, but for the one of some modules alone."""
    asked = get_args(Settings.model_fields["plan"].annotation)
    apart = (*known, "auto", "eager", "kernels")
    return _none(tuple(name for name in asked if name not in apart), "not on this device")
