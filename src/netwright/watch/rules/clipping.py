"""Clipping without effect (T04), and mixed precision out of order (T11)."""

from __future__ import annotations

import ast
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place, source_line
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.rules.story import Story, called, commonest, numbers, story_of, variable
from netwright.watch.trace import Event, Trace

AGAIN = 3
MOSTLY = 0.8  # share of a line's calls
DISCARDED = frozenset({"clamp", "clip", "clamp_min", "clamp_max", "nan_to_num"})


def clipped_in_vain(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T04: clipping of gradients that a step has used already, or that are not there yet, or of nothing."""
    lines: dict[Place | None, list[tuple[int, Event]]] = defaultdict(list)
    for at, event in enumerate(trace.events):
        if event.kind == "clip" and event.facts["backwards"] < 256:  # later not all parameters are followed
            lines[event.place].append((at, event))
    for place, calls in lines.items():
        limit = _number(calls[0][1].facts["limit"])
        if limit is not None and limit == float("inf"):
            continue  # the usual way to measure a norm
        idle = [(at, event) for at, event in calls if _is_idle(trace, at, event)]
        if len(idle) >= AGAIN and len(idle) >= MOSTLY * len(calls):
            yield _vain(trace, place, idle, len(calls), limit)
    yield from _thrown_away(trace)


def _number(value: Any) -> float | None:
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 else None
    return float(value) if isinstance(value, (int, float)) else None


def _is_idle(trace: Trace, at: int, event: Event) -> bool:
    """Whether no step uses what a call has clipped."""
    facts = event.facts
    if facts["exhausted"]:
        return False  # O06 tells of it
    if facts["count"] == 0:
        return True
    if facts["fresh"] or not any(one.steps for one in trace.optimizers):
        return False
    if not facts["followed"]:
        return facts["with_grad"] == 0
    following = next((one for one in trace.events[at + 1 :] if one.kind in ("step", "backward", "zero")), None)
    return following is None or following.kind != "step"


def _vain(trace: Trace, place: Place | None, idle: list[tuple[int, Event]], calls: int, limit: float | None) -> Finding:
    at, first = idle[len(idle) // 2]
    function = first.facts["function"]
    before = next((one for one in reversed(trace.events[:at]) if one.kind in ("step", "backward", "zero")), None)
    norms = [event.facts["norm"] for event in trace.of("step") if "norm" in event.facts]
    highest = max(norms, default=0.0)
    if first.facts["count"] == 0:
        why, cure = "it was given no parameters", f"{function}(model.parameters(), …)"
    elif before is not None and before.kind == "step" and first.facts["spent"]:
        why = f"it ran after the step at line {before.place.line if before.place else '?'} had used the gradients"
        cure = f"Move {function} between backward() and step()."
    elif not first.facts["followed"]:
        why = "no optimizer holds its parameters and they have no gradients"
        cure = f"{function}(model.parameters(), …)  # of the model that is trained"
    else:
        why = "it ran before backward(), when no gradients of the batch were there"
        cure = f"Move {function} between backward() and step()."
    over = limit is not None and function == "clip_grad_norm_" and highest > limit
    norm = f" Steps were made with gradients of norm up to {highest:.3g}" if norms else ""
    norm += f", the limit is {limit:.3g}." if norm and limit is not None else ""
    harmless = bool(norms) and function == "clip_grad_norm_" and limit is not None and not over
    return finding(
        "T04",
        place=place,
        severity="warning" if harmless else None,
        evidence=f"{len(idle)} of {calls} calls of {function} changed no step: {why}.{norm}",
        cure=cure,
    )


def _thrown_away(trace: Trace) -> Iterator[Finding]:
    """Clamped gradients that nobody keeps: a statement that is only ``p.grad.clamp(…)``, seen to run."""
    ran: dict[tuple[str, int], list[float]] = defaultdict(list)
    for op in (op for model in trace.models for batch in model.batches for op in batch.ops):
        if op.place is not None and op.short in DISCARDED:
            given = [one for one in op.tensors()[:1] if one.numel()]
            ran[os.path.realpath(op.place.file), op.place.line] += [float(one.detach().abs().max()) for one in given]
    for file, tree in trace.sources.trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call) or not _clamps(node.value):
                continue
            sizes = [size for line in _lines(node) for size in ran.get((os.path.realpath(file), line), ())]
            if not sizes:
                continue
            place = Place(file, node.lineno)
            yield finding(
                "T04",
                place=place,
                evidence=(
                    f"Line {node.lineno} makes a clamped copy of the gradient that nobody keeps; the step uses the "
                    f"gradient as it was, with values up to {max(sizes):.3g}."
                ),
                cure=f"{source_line(place).replace('.clamp(', '.clamp_(').replace('.clip(', '.clip_(')}  # in place",
            )


def _lines(node: ast.AST) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)  # type: ignore[attr-defined]


def _clamps(call: ast.Call) -> bool:
    """Whether a call is ``x.grad.clamp(…)`` or ``torch.clamp(x.grad, …)``."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in DISCARDED:
        return False
    if any(keyword.arg == "out" for keyword in call.keywords):
        return False
    parts = [call.func.value, *call.args[:1]]
    return any(isinstance(one, ast.Attribute) and one.attr == "grad" for part in parts for one in ast.walk(part))


def mixed_up(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T11: gradients that are clipped or stepped with while they are still multiplied by the scale of the loss."""
    story = story_of(trace)
    if not any(event.facts["enabled"] for event in trace.of("scale")):
        return
    scaled = _scaled_backwards(trace)
    yield from _clipped_scaled(trace, story, scaled)
    yield from _stepped_scaled(trace, story, scaled)


def _scaled_backwards(trace: Trace) -> dict[int, float]:
    """Numbers of the backward passes of a scaled loss, with the scale."""
    found: dict[int, float] = {}
    scale: float | None = None
    for event in trace.events:
        if event.kind == "scale":
            scale = event.facts.get("scale", 1.0) if event.facts["enabled"] else None
        elif event.kind == "backward" and "number" in event.facts:
            if scale is not None:
                found[event.facts["number"]] = scale
            scale = None
    return found


def _clipped_scaled(trace: Trace, story: Story, scaled: dict[int, float]) -> Iterator[Finding]:
    faulty: list[tuple[Event, float, Event | None]] = []
    calls = 0
    last: int | None = None
    unscaled = False
    for at, event in enumerate(trace.events):
        if event.kind == "backward":
            last, unscaled = event.facts.get("number"), False
        elif event.kind in ("unscale", "scaler_step"):
            unscaled = True
        elif event.kind == "clip" and event.facts["fresh"] and _number(event.facts["limit"]) != float("inf"):
            calls += 1
            if last in scaled and not unscaled:
                step = next((one for one in trace.events[at + 1 : at + 40] if one.kind == "step"), None)
                faulty.append((event, scaled[last], step))
    faulty = [one for one in faulty if one[1] > 1]
    if len(faulty) < AGAIN or len(faulty) < MOSTLY * calls:
        return
    clips = [event for event, _, _ in faulty]
    norms = [step.facts["norm"] for _, _, step in faulty if step is not None and "norm" in step.facts]
    function, limit = clips[0].facts["function"], clips[0].facts["limit"]
    after = f" After unscaling the steps were made with gradients of norm {numbers(norms[:3])}." if norms else ""
    name = commonest(event.place for event in trace.of("scaler_step"))
    line = source_line(name)
    optimizer = line.partition(".step(")[2].partition(")")[0].strip() or "optimizer"
    yield finding(
        "T11",
        place=commonest(event.place for event in clips),
        evidence=(
            f"{len(faulty)} of {calls} calls of {function} ran while the gradients were still multiplied by the scale "
            f"of {faulty[0][1]:.0f}: they had the norm {clips[0].facts.get('norm', float('nan')):.3g} where the limit "
            f"is {limit}.{after}"
        ),
        cure=f"{variable(name, 'step', 'scaler')}.unscale_({optimizer})  # before {function}",
    )


def _stepped_scaled(trace: Trace, story: Story, scaled: dict[int, float]) -> Iterator[Finding]:
    """Steps of the optimizer itself after a scaled backward pass; or the scaler's after one that was not scaled."""
    for number, steps in story.steps.items():
        direct: list[tuple[Event, float]] = []
        mixed: list[Event] = []
        for at, event in steps:
            fresh = [one for holding in event.facts["held"][:1] for one in holding.fresh]
            factors = [scaled[one] for one in fresh if one in scaled]
            by_scaler = _since(trace, at, number, ("scaler_step",))
            if factors and max(factors) > 1 and not by_scaler and not _since(trace, at, number, ("unscale",)):
                direct.append((event, max(factors)))
            elif by_scaler and factors and len(factors) < len(fresh) and max(factors) > 1:
                mixed.append(event)
        if len(direct) >= AGAIN and len(direct) > 0.5 * len(steps):
            yield _direct(trace, number, len(steps), direct)
        elif len(mixed) >= AGAIN and len(mixed) > 0.5 * len(steps):
            parts = [one for event in mixed for one in event.facts["held"][0].fresh if one not in scaled]
            place = commonest(story.backwards[one].place for one in parts)
            yield finding(
                "T11",
                place=place,
                evidence=(
                    f"{len(mixed)} of {len(steps)} steps of {called(trace, trace.optimizers[number])} used a backward "
                    f"pass whose loss was not scaled, among others that were: its share is divided by the scale, "
                    f"{max(scaled.values()):.0f}, all the same."
                ),
                cure="scaler.scale(loss).backward()  # for each loss",
            )


def _since(trace: Trace, at: int, number: int, kinds: tuple[str, ...]) -> bool:
    """Whether such an event of an optimizer came after its last backward pass."""
    for event in reversed(trace.events[max(0, at - 60) : at]):
        if event.kind in kinds and event.who == number:
            return True
        if event.kind == "backward" and number in event.facts.get("optimizers", ()):
            return False
    return False


def _direct(trace: Trace, number: int, steps: int, direct: list[tuple[Event, float]]) -> Finding:
    place = commonest(event.place for event, _ in direct)
    norms = [event.facts["norm"] for event, _ in direct if "norm" in event.facts]
    true = numbers([norm / direct[0][1] for norm in norms[:3]]) if norms else ""
    had = f" The steps used gradients of norm {numbers(norms[:3])}; true were {true}." if norms else ""
    name = variable(place, "step", "optimizer")
    return finding(
        "T11",
        place=place,
        evidence=(
            f"{len(direct)} of {steps} steps of {called(trace, trace.optimizers[number])} were made directly after the "
            f"backward pass of a loss multiplied by {direct[0][1]:.0f}: the gradients were never divided by it.{had}"
        ),
        cure=f"scaler.step({name}); scaler.update()  # in place of {name}.step()",
    )


RULES = (clipped_in_vain, mixed_up)
