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
from netwright.plans.adopting import OWN_LOADER, adopt, some_batches
from netwright.plans.choosing import LEAST_GAIN, Make, Trials, alike, candidates, copied, time_steps
from netwright.plans.program import Program
from netwright.plans.tracing import NoProgramError, refuse
from netwright.records import Candidate, PlanReport, Settings
from netwright.session import Session, prepare, unchanged_random
from netwright.step import train_step

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
    threads = torch.get_num_threads()
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with unchanged_random(torch.device("cuda" if on_gpu else "cpu")):
        try:
            session = prepare(*_copies(model, data, given, settings))
            trials = Trials()
            found = _tried(session, trials, say or (lambda text: None))
            adopted = adopt(session, trials=trials)
        finally:
            torch.set_num_threads(threads)
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


def _tried(session: Session, trials: Trials, say: Say) -> list[Candidate]:
    """The plain update first, then each plan that the device has."""
    state = session.state
    names = tuple(candidates(state, []))
    if isinstance(session.data.train, LoaderSource):
        return [Candidate(name="eager", reason=f"not timed: {OWN_LOADER}"), *_none(names, OWN_LOADER)]
    session.model.train()
    batches = some_batches(session)
    say(f"eager: timing the plain update on {len(batches)} batches of {session.batch_size}")
    trials.plain = _plain_seconds(session, batches)
    try:
        refuse(state)
        same = alike(batches)
    except NoProgramError as reason:
        others = _none(names, str(reason))
    else:
        known = candidates(state, same)
        others = [_one(session, name, plan, same, trials, say) for name, plan in known.items()]
        others += _elsewhere(known)
    plain = trials.plain
    return [
        Candidate(name="eager", seconds=plain, cost_s=0.0, apart=0.0),
        *(one.model_copy(update={"pays_after": _pays_after(one, plain)}) for one in others),
    ]


def _pays_after(one: Candidate, plain: float) -> int | None:
    if one.seconds is None or one.cost_s is None or one.seconds > (1 - LEAST_GAIN) * plain:
        return None
    return math.ceil(one.cost_s / (plain - one.seconds))


def _plain_seconds(session: Session, batches: list[Batch]) -> float:
    try:
        return time_steps(copied(session.state), batches, most=TIMED_S)
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


def _seconds_of(session: Session, program: Program, batches: list[Batch]) -> float:
    trial = copied(session.state)
    train_step(trial, batches[0])  # which makes the optimizer's state
    trial.program = replace(program, rates=program.rates.clone())
    return time_steps(trial, batches)


def _one(
    session: Session, name: str, plan: tuple[Make, float], batches: list[Batch], trials: Trials, say: Say
) -> Candidate:
    """A plan beside the plain update, each timed twice in turns: what else the machine does only makes them longer."""
    made, expected = plan
    say(f"{name}: making it, which is expected to take some {expected:.0f} s")
    try:
        program, measured, cost = trials.of(name, session.state, batches, made)
        trials.plain = min(trials.plain or math.inf, _plain_seconds(session, batches))
        measured = replace(measured, seconds=min(measured.seconds, _seconds_of(session, program, batches)))
        trials.done[name] = program, measured, cost
    except NoProgramError as reason:
        return Candidate(name=name, reason=str(reason))
    except Exception as error:  # as memory that is full
        trials.done[name] = why = NoProgramError(f"trying it raised {type(error).__name__}")
        return Candidate(name=name, reason=str(why))
    return Candidate(name=name, seconds=measured.seconds, cost_s=cost, apart=measured.apart)


def _none(names: tuple[str, ...], reason: str) -> list[Candidate]:
    return [Candidate(name=name, reason=reason) for name in names]


def _elsewhere(known: Collection[str]) -> list[Candidate]:
    """Plans that can be asked for, and that this device does not have."""
    asked = get_args(Settings.model_fields["plan"].annotation)
    return _none(tuple(name for name in asked if name not in (*known, "auto", "eager")), "not on this device")
