"""Check a run that was made ready, just before its first update: errors stop it, warnings are told.

The time that this takes is bounded by what an epoch takes, but for libraries that are loaded; ``netwright check`` takes
its time and looks for more.
"""

from __future__ import annotations

import time

import torch

from netwright.checks.asked import SECONDS
from netwright.checks.assemble import subject_of
from netwright.checks.every import CHECKS
from netwright.checks.runner import run_checks, untouched
from netwright.checks.shown import line, summary
from netwright.checks.subject import Budget, NotCheckedError, Subject
from netwright.errors import FaultError
from netwright.given import Given
from netwright.progress import Progress
from netwright.records import CheckReport, Finding
from netwright.session import Session

SHARE = 0.05  # of an epoch
LEAST_S = 0.5  # a handful of forward passes of a small module


def check_before(session: Session, given: Given, progress: Progress) -> tuple[Finding, ...]:
    """Findings worth keeping in the run.

    Raises:
        FaultError: A finding says that the result would be wrong, and it is not among ``--skip``.
    """
    skip = frozenset(session.settings.skip)
    if "ALL" in skip:
        return ()
    name = type(session.model).__name__
    try:
        with untouched(session.model):
            subject = subject_of(session, given=given, budget=Budget(SECONDS), original=session.model, name=name)
            subject.budget = Budget(allowed(session, subject))
            report = run_checks(subject, CHECKS, skip=skip)
    except NotCheckedError as reason:
        progress.say(f"not checked: {reason}")
        return ()
    tell(report, progress)
    refuse(report)
    return report.findings


def allowed(session: Session, subject: Subject) -> float:
    """Seconds that checking may take: a share of an epoch, within bounds."""
    try:
        inputs, targets = subject.rows()
        model = subject.fresh(train=True)
        began = time.perf_counter()
        loss = subject.loss(model, inputs, targets)
        torch.autograd.grad(loss, [one for one in model.parameters() if one.requires_grad], allow_unused=True)
        step_s = (time.perf_counter() - began) * max(1.0, session.batch_size / subject.pool_size)
    except (NotCheckedError, RuntimeError):
        return LEAST_S
    return min(SECONDS, max(LEAST_S, SHARE * session.steps_per_epoch * step_s))


def tell(report: CheckReport, progress: Progress) -> None:
    """Say what was found, a line each; notes are only counted here and kept in the run."""
    for finding in report.findings:
        if finding.severity != "note":
            progress.say(line(finding))
    if report.findings:
        progress.say(f"checked {summary(report)}; all of them: netwright check")


def refuse(report: CheckReport) -> None:
    """Stop where the result would be wrong.

    Raises:
        FaultError: There is an error among the findings.
    """
    if not report.errors:
        return
    first = report.errors[0]
    others = "".join(f"\n  {line(one)}" for one in report.errors[1:])
    codes = ",".join(dict.fromkeys(one.code for one in report.errors))
    raise FaultError(
        where=f"{first.where} ({first.code})",
        expected="a module, data and recipe whose result can be trusted",
        got=f"{first.title}. {first.evidence}",
        cure=f"{first.cure}\nTo train all the same: --skip {codes}{others}",
    )
