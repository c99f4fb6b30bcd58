"""What a trace shows: rules of the loop, then the checks of each model that was trained."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Protocol

from netwright.checks.catalogue import CODES, fold, in_order
from netwright.checks.every import CHECKS
from netwright.checks.runner import USUAL_S, TimeUpError, run_checks, silence, time_limit, untouched
from netwright.checks.subject import Budget, NotCheckedError, Subject, first_line
from netwright.records import CheckReport, Finding
from netwright.watch.borrowed import borrow
from netwright.watch.capture import subject_of
from netwright.watch.eye import MOST_TRAINED
from netwright.watch.rules import RULES
from netwright.watch.trace import Trace

MOST_MODELS = 4
RULE_S = 3.0  # that one rule may take, more where more was asked for


class Rule(Protocol):
    """A function that finds faults of the loop in a trace; ``subjects`` by the number of the model."""

    def __call__(self, trace: Trace, subjects: dict[int, Subject]) -> Iterable[Finding]:
        """Yield findings."""


def examine(
    trace: Trace, *, seconds: float, skip: frozenset[str] = frozenset(), name: str = "the script"
) -> CheckReport:
    """Findings of a trace, the gravest first.

    Args:
        seconds: The most that it may take.
    """
    began = time.perf_counter()
    budget = Budget(seconds)
    found: list[Finding] = []
    missed: list[str] = []
    silenced: list[str] = []
    with untouched(*(one.module for one in trace.trained())), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the script has warned of the same already
        subjects = _subjects(trace, budget, missed)
        if not trace.failed:  # of a run that was seen in part, what never happened may still have come
            for rule in RULES:
                missed += _apply(rule, trace, subjects, budget, found)
        for subject in subjects.values():
            report = run_checks(subject, CHECKS, skip=skip)
            found += report.findings
            missed += report.not_checked
            silenced += report.skipped
    missed += trace.sources.misread(CODES)
    missed += _unseen(trace)
    kept, more = silence(found, trace.sources, skip)
    return CheckReport(
        subject=name,
        findings=tuple(in_order(fold(kept))),
        not_checked=tuple(dict.fromkeys(missed)),
        skipped=tuple(dict.fromkeys([*silenced, *more])),
        seconds=round(time.perf_counter() - began, 3),
    )


def _subjects(trace: Trace, budget: Budget, missed: list[str]) -> dict[int, Subject]:
    """A subject for each of the first models that were trained; why there is none goes to ``missed``."""
    subjects: dict[int, Subject] = {}
    if trace.failed and not trace.steps:
        return subjects
    most = max(2.0, budget.seconds / 2)
    try:
        with time_limit(min(most, budget.left())):
            missed += borrow(trace)
    except TimeUpError:
        missed.append(f"the losses: to copy them took longer than {most:.1f} s")
        return subjects
    for model in trace.trained()[:MOST_MODELS]:
        try:
            with time_limit(min(most, budget.left())):
                subjects[model.number] = subject_of(trace, model, budget)
        except NotCheckedError as reason:
            missed.append(f"{model.name}: {reason}")
        except TimeUpError:
            missed.append(f"{model.name}: to read its data took longer than {most:.1f} s")
        except Exception as error:
            missed.append(f"{model.name}: {type(error).__name__}: {first_line(error)}")
    return subjects


def _unseen(trace: Trace) -> Iterator[str]:
    """What of the run was not seen."""
    if trace.failed:
        yield trace.failed
    if trace.more_models:
        yield f"{trace.more_models} more models: only the first {MOST_TRAINED} that are trained are looked at"
    if trace.more_optimizers:
        yield f"{trace.more_optimizers} more optimizers: only the first {MOST_TRAINED} that are used are looked at"
    if not trace.num_backwards:
        yield "the loop: no backward pass was seen"
    elif not trace.trained():
        yield "the loop: no model of the backward passes was seen"


def _apply(rule: Rule, trace: Trace, subjects: dict[int, Subject], budget: Budget, found: list[Finding]) -> list[str]:
    """Add what a rule finds, and give back why it could not be done."""
    most = min(budget.left(), RULE_S * max(1.0, budget.seconds / USUAL_S))
    what = getattr(rule, "__name__", "a rule").replace("_", " ")
    try:
        with time_limit(most):
            for one in rule(trace, subjects):
                found.append(one)
    except NotCheckedError as reason:
        return [f"{what}: {reason}"]
    except TimeUpError:
        return [f"{what}: it took longer than {most:.1f} s"]
    except Exception as error:
        return [f"{what}: it failed with {type(error).__name__}: {first_line(error)}"]
    return []
