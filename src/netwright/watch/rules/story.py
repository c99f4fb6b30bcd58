"""What rules of the loop share: events by kind, lines, and words for numbers and things."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from netwright.checks.sourcecode import Place, source_line
from netwright.watch.eye import FULL_TURNS
from netwright.watch.trace import Event, ModelSeen, OptimizerSeen, Trace

BARS = "▁▂▃▄▅▆▇█"


@dataclass(slots=True)
class Story:
    """The events of a trace, by what they are asked for.

    Attributes:
        backwards: Events of the backward passes by their numbers; ``places`` where in the list of events they are.
        steps: Of each optimizer its steps, as (place in the list of events, event).
        used: Numbers of the backward passes of which any step used a gradient, with the first such (place, optimizer).
    """

    backwards: dict[int, Event] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    steps: dict[int, list[tuple[int, Event]]] = field(default_factory=dict)
    used: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


def story_of(trace: Trace) -> Story:
    """Read the events."""
    story = Story()
    for at, event in enumerate(trace.events):
        if event.kind == "backward" and "number" in event.facts:
            story.backwards[event.facts["number"]] = event
            story.places[event.facts["number"]] = at
        elif event.kind == "step":
            story.steps.setdefault(event.who, []).append((at, event))
            for number in {one for holding in event.facts["held"] for one in holding.fresh}:
                story.used.setdefault(number, []).append((at, event.who))
    return story


def commonest(places: Iterable[Place | None]) -> Place | None:
    """The most frequent line."""
    counts = Counter(place for place in places if place is not None)
    return counts.most_common(1)[0][0] if counts else None


def models_of(trace: Trace, optimizer: int) -> list[ModelSeen]:
    """The models that hold parameters of an optimizer."""
    held = {id(one) for group in trace.optimizers[optimizer].optimizer.param_groups for one in group["params"]}
    return [model for model in trace.models if any(id(one) in held for one in model.module.parameters())]


def called(trace: Trace, optimizer: OptimizerSeen) -> str:
    """What to call an optimizer: where several step, by the name it is stepped with, else with the model it is for."""
    kind = type(optimizer.optimizer).__name__
    if optimizer.steps > FULL_TURNS:
        kind += f", {optimizer.steps:,} steps in all"  # of which some were looked at
    if sum(bool(one.steps) for one in trace.optimizers) < 2:
        return f"the optimizer ({kind})"
    name = variable(commonest(event.place for event in trace.of("step") if event.who == optimizer.number), "step", "")
    if name:
        return f"`{name}` ({kind})"
    at = f", made at line {optimizer.place.line}" if optimizer.place is not None else ""
    return f"the {kind} of {' and '.join(dict.fromkeys(one.name for one in models_of(trace, optimizer.number)))}{at}"


def variable(place: Place | None, method: str, default: str) -> str:
    """The name on whose method a line calls, as ``opt`` in ``opt.zero_grad()``."""
    line = source_line(place)
    head, found, _ = line.partition(f".{method}(")
    if not found:
        return default
    name = ""
    for letter in reversed(head):
        if not (letter.isalnum() or letter in "_."):
            break
        name = letter + name
    return name or default


def numbers(values: Sequence[float]) -> str:
    """Some numbers as words: 1.2, 2.3 and 3.1."""
    shown = [f"{value:.3g}" for value in values]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def sparkline(values: Sequence[float], *, width: int = 32) -> str:
    """A row of bars as high as the values, from 0 to their largest; each bar is a mean of neighbours."""
    if not values:
        return ""
    count = min(width, len(values))
    means = []
    for at in range(count):
        part = values[at * len(values) // count : max((at + 1) * len(values) // count, at * len(values) // count + 1)]
        means.append(sum(part) / len(part))
    top = max(max(means), 1e-30)
    return "".join(BARS[min(len(BARS) - 1, round(max(0.0, one) / top * (len(BARS) - 1)))] for one in means)


def reads_gradients(trace: Trace) -> bool:
    """Whether the person's source reads ``.grad`` other than to clear it."""
    return any(_reads(node) for _, tree in trace.sources.trees() for node in ast.walk(tree))


def _reads(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Attribute) and node.attr == "grad" and isinstance(node.ctx, ast.Load)):
        return False
    parent = getattr(node, "parent", None)
    if isinstance(parent, ast.Call) and parent.func is node:  # autograd.grad(...)
        return False
    if isinstance(parent, ast.Compare) and any(isinstance(one, ast.Constant) for one in parent.comparators):
        return False  # is None
    while isinstance(parent, ast.Attribute):
        if parent.attr in ("zero_", "detach_"):
            return False
        parent = getattr(parent, "parent", None)
    return True


def ancestors(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes around a node, from the innermost."""
    parent = getattr(node, "parent", None)
    while parent is not None:
        yield parent
        parent = getattr(parent, "parent", None)
