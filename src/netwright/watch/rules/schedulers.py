"""How a scheduler is used (T06): never stepped, made anew, of another optimizer, given a loss, in the wrong mode."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from typing import Any

from torch.optim import lr_scheduler

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place, source_line
from netwright.records import Finding
from netwright.watch.rules.story import variable
from netwright.watch.trace import SchedulerSeen, Trace

AGAIN = 3
SCORE = re.compile(r"acc|score|f1|auc|iou|dice|r2|precision|recall", re.IGNORECASE)


def passes_of(trace: Trace, optimizer: int) -> int:
    """Passes over loaders in which an optimizer stepped."""
    passes = set()
    open_pass: tuple[int, int] | None = None
    begun: Counter[int] = Counter()
    for event in trace.events:
        if event.kind == "pass_begin":
            begun[event.who] += 1
            open_pass = (event.who, begun[event.who])
        elif event.kind == "pass_end":
            open_pass = None
        elif event.kind == "forward" and event.facts["loader"] >= 0 and event.facts["grad"]:
            open_pass = (event.facts["loader"], begun[event.facts["loader"]])
        elif event.kind == "step" and event.who == optimizer and open_pass is not None:
            passes.add(open_pass)
    return len(passes)


def horizon_of(scheduler: Any) -> int:
    """The calls that a scheduler was made for; 0 where it has no end."""
    if isinstance(scheduler, lr_scheduler.OneCycleLR):
        return int(scheduler.total_steps)
    if isinstance(scheduler, lr_scheduler.CosineAnnealingLR):
        return int(scheduler.T_max)
    if isinstance(scheduler, (lr_scheduler.LinearLR, lr_scheduler.PolynomialLR)):
        return int(scheduler.total_iters)
    if isinstance(scheduler, lr_scheduler.SequentialLR):
        last = horizon_of(scheduler._schedulers[-1])
        return int(scheduler._milestones[-1]) + last if last else 0
    if isinstance(scheduler, lr_scheduler.ChainedScheduler):
        return max((horizon_of(one) for one in scheduler._schedulers), default=0)
    return 0


def never_stepped(trace: Trace, seen: SchedulerSeen) -> Finding | None:
    """Made and never stepped, though the source has no call that was only not reached."""
    if seen.steps or seen.optimizer < 0:
        return None
    steps = trace.optimizers[seen.optimizer].steps
    if steps < AGAIN or (passes_of(trace, seen.optimizer) < 2 and steps < 20):
        return None
    name = _variable_of(trace, seen.place)
    if name and _is_stepped(trace, seen.place, name):
        return None
    first = trace.optimizers[seen.optimizer].rates
    rate = f" The rate stayed at {first[0][1]:.3g}." if len(first) == 1 else ""
    bare = f" A line names {name}.step without calling it." if name and _is_named(trace, name) else ""
    how = "(val_loss)" if isinstance(seen.scheduler, lr_scheduler.ReduceLROnPlateau) else "()"
    return finding(
        "T06",
        place=seen.place,
        evidence=(
            f"The {type(seen.scheduler).__name__} was made but never stepped in {steps} steps of its optimizer.{rate}"
            f"{bare}"
        ),
        cure=f"{name or 'scheduler'}.step{how}  # after each epoch, or after each step if it counts those",
    )


def _variable_of(trace: Trace, place: Place | None) -> str:
    tree = trace.sources.tree(place.file) if place is not None else None
    if tree is None or place is None:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.lineno <= place.line <= (node.end_lineno or 0):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, (ast.Name, ast.Attribute)):
                return ast.unparse(target)
    return ""


def _is_stepped(trace: Trace, place: Place | None, name: str) -> bool:
    """Whether any ``.step`` is called of a thing of that name, or of a like attribute."""
    last = name.rpartition(".")[2]
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "step"
        and ast.unparse(node.func.value).rpartition(".")[2] == last
        for _, tree in trace.sources.trees()
        for node in ast.walk(tree)
    )


def _is_named(trace: Trace, name: str) -> bool:
    wanted = f"{name}.step"
    return any(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Attribute) and ast.unparse(node.value) == wanted
        for _, tree in trace.sources.trees()
        for node in ast.walk(tree)
    )


def of_another_optimizer(trace: Trace, seen: SchedulerSeen) -> Finding | None:
    """Stepped, but of an optimizer that never steps while another does."""
    if len(seen.steps) < AGAIN or seen.optimizer < 0 or trace.optimizers[seen.optimizer].steps:
        return None
    others = [one for one in trace.optimizers if one.steps >= AGAIN]
    if not others or any(True for _ in trace.of("scaler_step")):
        return None
    owner = trace.optimizers[seen.optimizer]
    made = f"of line {owner.place.line} " if owner.place is not None else ""
    return finding(
        "T06",
        place=seen.place,
        evidence=(
            f"The {type(seen.scheduler).__name__} changed the rate of the {type(owner.optimizer).__name__} {made}"
            f"{len(seen.steps)} times, which never steps; the one that steps kept its rate of "
            f"{others[0].rates[-1][1] if others[0].rates else float('nan'):.3g}."
        ),
        cure="Make the scheduler after the optimizer that steps, and of it.",
    )


def given_a_value(trace: Trace, seen: SchedulerSeen) -> Finding | None:
    """A loss handed to a scheduler that takes it for the number of the epoch."""
    plain = not isinstance(seen.scheduler, (lr_scheduler.ReduceLROnPlateau, lr_scheduler.CosineAnnealingWarmRestarts))
    odd = [value for value in seen.metrics if value != round(value)]
    if not plain or len(odd) < AGAIN:
        return None
    return finding(
        "T06",
        place=seen.step_place,
        evidence=(
            f"{type(seen.scheduler).__name__}.step() was given {odd[0]:.3g} and {len(odd) - 1} other such numbers, and "
            "takes them for the number of the epoch."
        ),
        cure=f"{variable(seen.step_place, 'step', 'scheduler')}.step()  # without the loss, or ReduceLROnPlateau",
    )


def in_the_wrong_mode(trace: Trace, seen: SchedulerSeen) -> Finding | None:
    """A plateau scheduler that lowers the rate although its score improves, as its mode is the other."""
    scheduler = seen.scheduler
    if not isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) or len(seen.metrics) < 4:
        return None
    first, last = seen.metrics[0], seen.metrics[-1]
    cuts = sum(b < a for (_, a), (_, b) in zip(seen.steps, seen.steps[1:], strict=False))
    argument = source_line(seen.step_place).partition(".step(")[2]
    if cuts < 1 or scheduler.mode != "min" or not SCORE.search(argument) or "loss" in argument.lower():
        return None
    if not (last > first and min(seen.metrics) >= 0 and max(seen.metrics) <= 100):
        return None
    return finding(
        "T06",
        place=seen.step_place,
        evidence=(
            f"The rate was lowered {cuts} times while the score rose from {first:.3g} to {last:.3g}: mode='min' takes "
            "a higher score for a worse one."
        ),
        cure="ReduceLROnPlateau(optimizer, mode='max')",
    )


def made_anew(trace: Trace, schedulers: list[SchedulerSeen]) -> Finding | None:
    """Made anew again and again for one optimizer, so that it always begins afresh."""
    lines: dict[tuple[Place | None, int], list[SchedulerSeen]] = defaultdict(list)
    for seen in schedulers:
        lines[seen.place, seen.optimizer].append(seen)
    for (place, number), made in lines.items():
        if len(made) < AGAIN or number < 0 or not any(one.steps for one in made):
            continue
        begun = [one for one in made if len(one.steps) <= 0.2 * (horizon_of(one.scheduler) or 20)]
        if len(begun) < 0.8 * len(made):
            continue
        rates = [rate for _, rate in trace.optimizers[number].rates]
        return finding(
            "T06",
            place=place,
            evidence=(
                f"The {type(made[0].scheduler).__name__} was made anew {len(made)} times for one optimizer and got at "
                f"most {max(len(one.steps) for one in made)} calls each time: it always begins afresh, and the rate "
                f"stayed between {min(rates):.3g} and {max(rates):.3g}."
            ),
            cure="Make the scheduler once, before the loop.",
        )
    return None
