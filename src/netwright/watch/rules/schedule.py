"""The schedule does not fit the run (T06): the rate as it was, against the horizon that the scheduler was made for."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.optim import lr_scheduler

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.rules.schedulers import (
    given_a_value,
    horizon_of,
    in_the_wrong_mode,
    made_anew,
    never_stepped,
    of_another_optimizer,
    passes_of,
)
from netwright.watch.rules.story import sparkline, variable
from netwright.watch.trace import SchedulerSeen, Trace

AGAIN = 3
DEAD = 0.01  # of the highest rate: all of a run's second half below that is no usual schedule's doing
FAR = 5  # times as many calls as were made: a schedule so far from its end has hardly begun
NEAR = 0.05  # by which a horizon may miss the run's steps to be meant for them


@dataclass(frozen=True, slots=True)
class Run:
    """How a scheduler and its optimizer ran.

    Attributes:
        rates: Of each step of the optimizer.
        calls: Of the scheduler.
        passes: Over training loaders; 0 without a loader. ``each``: steps in one pass.
        horizon: Calls that the scheduler was made for; 0 where it has no end of its own.
    """

    scheduler: SchedulerSeen
    rates: list[float]
    calls: int
    passes: int
    each: int
    horizon: int

    @property
    def kind(self) -> str:
        """Its class."""
        return type(self.scheduler.scheduler).__name__

    @property
    def by_batch(self) -> bool:
        """Whether it is stepped for each batch."""
        return self.calls >= 0.8 * len(self.rates)

    @property
    def by_epoch(self) -> bool:
        """Whether it is stepped a few times in all, with many batches between."""
        return 0 < self.calls <= len(self.rates) / 3

    @property
    def line(self) -> str:
        """The rate over the run, as a picture."""
        return f" Rate over the run: {sparkline(self.rates)} ({self.rates[0]:.2g} to {self.rates[-1]:.2g})."


def misfit(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T06: schedulers that are never stepped, stepped too often or too rarely, or belong to another optimizer."""
    inner = {id(one) for seen in trace.schedulers for one in getattr(seen.scheduler, "_schedulers", ())}
    outer = [seen for seen in trace.schedulers if id(seen.scheduler) not in inner]
    remade = made_anew(trace, outer)
    if remade is not None:
        yield remade
        return
    told: set[tuple[Place | None, str]] = set()
    for seen in outer:
        for judge in (never_stepped, of_another_optimizer, given_a_value, in_the_wrong_mode):
            found = judge(trace, seen)
            if found is not None:
                break
        else:
            run = _run_of(trace, seen)
            judges = (_dies, _swings, _hardly_begun, _ends_high, _too_soon)
            found = None if run is None else next((one for judge in judges if (one := judge(trace, run))), None)
        if found is not None and (seen.place, found.evidence[:20]) not in told:
            told.add((seen.place, found.evidence[:20]))
            yield found


def _run_of(trace: Trace, seen: SchedulerSeen) -> Run | None:
    if seen.optimizer < 0 or not seen.steps:
        return None
    optimizer = trace.optimizers[seen.optimizer]
    if optimizer.steps < 6 or not optimizer.rates:
        return None
    rates: list[float] = []
    changes = [*optimizer.rates, (optimizer.steps, 0.0)]
    for at in range(len(changes) - 1):
        rates += [changes[at][1]] * (changes[at + 1][0] - changes[at][0])
    passes = passes_of(trace, seen.optimizer)
    each = round(len(rates) / passes) if passes else 0
    return Run(seen, rates, len(seen.steps), passes, each, horizon_of(seen.scheduler))


def _dies(trace: Trace, run: Run) -> Finding | None:
    """A rate of nearly nothing in all of the second half."""
    plateau = isinstance(run.scheduler.scheduler, lr_scheduler.ReduceLROnPlateau)
    top = max(run.rates)
    half = run.rates[len(run.rates) // 2 :]
    if top <= 0 or max(half) >= DEAD * top or (plateau and not run.by_batch):
        return None
    gone = next(at for at, _ in enumerate(run.rates) if max(run.rates[at:]) < DEAD * top)
    where = f"step {gone + 1} of {len(run.rates)}"
    if run.passes > 1:
        where += f", in epoch {gone // max(1, run.each) + 1} of {run.passes}"
    often = " It is stepped for each batch." if run.by_batch else ""
    cure = "Step it once an epoch, after the loop over batches." if run.by_batch else "Let it last the whole run."
    name = variable(run.scheduler.step_place, "step", "scheduler")
    if run.by_batch and run.passes > 1:
        cure = f"{name}.step({'val_loss' if plateau else ''})  # once an epoch, after the loop over batches"
    return finding(
        "T06",
        place=run.scheduler.step_place or run.scheduler.place,
        evidence=f"{run.kind} brings the rate below a hundredth of {top:.3g} by {where}.{often}{run.line}",
        cure=cure,
    )


def _swings(trace: Trace, run: Run) -> Finding | None:
    """A cosine whose half period is so many epochs, stepped for each batch."""
    if not isinstance(run.scheduler.scheduler, lr_scheduler.CosineAnnealingLR) or not run.by_batch or not run.horizon:
        return None
    as_epochs = run.passes > 1 and run.horizon == run.passes and run.calls >= 2 * run.horizon
    whole_epochs = run.each > 1 and run.horizon % run.each == 0
    if not as_epochs and (run.calls < 4 * run.horizon or whole_epochs):
        return None
    same = f" T_max={run.horizon} is the number of epochs." if as_epochs else f" T_max is {run.horizon}."
    return finding(
        "T06",
        place=run.scheduler.step_place or run.scheduler.place,
        evidence=(
            f"CosineAnnealingLR was stepped {run.calls} times, for each batch, and goes from top to nothing and back "
            f"every {2 * run.horizon} calls.{same}{run.line}"
        ),
        cure=f"Step it once an epoch, or T_max={run.calls}, the number of all batches.",
    )


def _hardly_begun(trace: Trace, run: Run) -> Finding | None:
    """A schedule for all batches of the run that is stepped once an epoch."""
    if not run.by_epoch or run.calls < 2:
        return None
    planned = run.horizon or _planned(run)
    if planned < FAR * run.calls:
        return None
    steps = len(run.rates)
    meant = abs(planned - steps) <= max(1.0, NEAR * steps)
    if meant and _is_loop_count(trace, planned):
        return None  # so many epochs were planned, and the run was stopped early
    if not meant and not (run.each > 1 and planned % run.each == 0 and _counts_batches(trace, run.scheduler.place)):
        return None
    name = variable(run.scheduler.step_place, "step", "scheduler")
    return finding(
        "T06",
        place=run.scheduler.step_place or run.scheduler.place,
        evidence=(
            f"{run.kind} is made for {planned} calls, as many as the run has batches, and was stepped {run.calls} "
            f"times, once an epoch: it came {run.calls / planned:.0%} of its way.{run.line}"
        ),
        cure=f"{name}.step()  # after each optimizer.step()",
    )


def _planned(run: Run) -> int:
    """Of a LambdaLR the calls after which its factor has come to its end, where that is the run's number of steps."""
    factor = _factor(run.scheduler.scheduler)
    steps = len(run.rates)
    if factor is None or steps < FAR * run.calls:
        return 0
    try:
        values = [float(factor(at)) for at in (0, run.calls, steps // 2, steps)]
        rises = [float(factor(at)) for at in range(0, steps + 1, max(1, steps // 200))]
    except Exception:  # a function of the person's, made for other numbers
        return 0
    begin, now, middle, end = values
    top = max(rises)
    falls = begin > 0 and now > 0.8 * begin and 0.1 * begin < middle < 0.9 * begin and abs(end) <= 0.02 * begin
    warms = top > 0 and begin < 0.2 * top and now < 0.2 * top and min(rises) >= 0 and run.calls >= AGAIN
    return steps if falls or warms else 0


def _factor(scheduler: Any) -> Callable[[int], float] | None:
    if isinstance(scheduler, lr_scheduler.LambdaLR) and scheduler.lr_lambdas:
        return scheduler.lr_lambdas[0]  # type: ignore[no-any-return]
    return None


def _is_loop_count(trace: Trace, count: int) -> bool:
    """Whether a loop of the source is written to run so many times: ``range(100)``, or of a name with that value."""
    for _, tree in trace.sources.trees():
        values = {
            ast.unparse(target): node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.For) and isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "range":
                for one in node.iter.args:
                    value = one.value if isinstance(one, ast.Constant) else values.get(ast.unparse(one))
                    if value == count:
                        return True
    return False


def _counts_batches(trace: Trace, place: Place | None) -> bool:
    """Whether the line that makes a scheduler counts a loader's batches."""
    tree = trace.sources.tree(place.file) if place is not None else None
    if tree is None or place is None:
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= place.line <= (node.end_lineno or 0):
            small = not isinstance(node, (ast.FunctionDef, ast.ClassDef))
            if small and re.search(r"len\(\w*load|steps_per_epoch", ast.unparse(node)):
                return True
    return False


def _ends_high(trace: Trace, run: Run) -> Finding | None:
    """A cosine that has come to its end early and climbed again: training ends at the top."""
    if not isinstance(run.scheduler.scheduler, lr_scheduler.CosineAnnealingLR) or run.calls < 1.5 * run.horizon:
        return None
    top = max(run.rates)
    if min(run.rates) > 0.1 * top or run.rates[-1] < 0.5 * top:
        return None
    return finding(
        "T06",
        place=run.scheduler.place,
        evidence=(
            f"CosineAnnealingLR has T_max={run.horizon} and was stepped {run.calls} times: after {run.horizon} the "
            f"rate climbs again, and training ends at {run.rates[-1]:.3g} of at most {top:.3g}.{run.line}"
        ),
        cure=f"CosineAnnealingLR(optimizer, T_max={run.calls})",
    )


def _too_soon(trace: Trace, run: Run) -> Finding | None:
    """Stepped before the optimizer ever was: the first rate is skipped."""
    done = [at for at, _ in run.scheduler.steps]
    if done[0] != 0 or len(done) < AGAIN or done[1] == 0 or any(True for _ in trace.of("scaler_step")):
        return None  # several calls before the first step wind a schedule forward, after a restart
    first = run.scheduler.steps[0][1]
    start = float(trace.optimizers[run.scheduler.optimizer].groups[0].get("initial_lr", run.rates[0]))
    if first >= start:  # a warm-up that leaves out its rate of 0, or nothing lost
        return None
    what = "step" if run.by_batch else "epoch"
    return finding(
        "T06",
        place=run.scheduler.step_place,
        evidence=(
            f"{run.kind} is stepped before the optimizer: the first {what} ran at {run.rates[0]:.3g} in place of "
            f"{start:.3g}, which was never used."
        ),
        cure="optimizer.step() first, then scheduler.step()",
    )


RULES = (misfit,)
