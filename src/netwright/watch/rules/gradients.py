"""Which gradients a step uses: never cleared (T01), erased before use (T02), of another loss (T08).

The ledger tells of which backward passes each gradient was made when a step used it. A loop repeats itself: what is
told here happened again and again, not once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.ledger import UNKNOWN, Holding
from netwright.watch.rules.story import (
    Story,
    called,
    commonest,
    models_of,
    numbers,
    reads_gradients,
    story_of,
    variable,
)
from netwright.watch.trace import BackwardSeen, Event, Trace

AGAIN = 3  # times that something must have happened
STALE = 0.3  # share of an optimizer's steps: a loop with the fault has it in all, or in all but one a window
WASTED = 0.4  # share of a line's backward passes: half where two losses take turns, three of four in accumulation
LEAST_LEAK = 0.005  # share of the norm below which another loss's gradient changes nothing


def never_cleared(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T01: steps whose gradients hold those of earlier batches, which an earlier step has used already."""
    story = story_of(trace)
    for number, steps in story.steps.items():
        stale = [(at, event, holding) for at, event in steps if (holding := _stale(event)) is not None]
        if len(stale) < AGAIN or len(stale) < STALE * (len(steps) - 1):
            continue
        yield _uncleared(trace, story, number, len(steps), stale)


def _stale(event: Event) -> Holding | None:
    """What a step used that an earlier one had used and a later backward pass has added to."""
    for holding in event.facts["held"]:
        if holding.used and holding.fresh and not holding.touched and UNKNOWN not in holding.backwards:
            return holding  # type: ignore[no-any-return]
    return None


def _uncleared(trace: Trace, story: Story, number: int, steps: int, stale: list[tuple[int, Event, Holding]]) -> Finding:
    optimizer = trace.optimizers[number]
    most = max((holding for _, _, holding in stale), key=lambda one: len(one.backwards))
    first = stale[0][2]
    zeros = [event for event in trace.of("zero") if event.who == number and event.facts["of"] == "optimizer"]
    place = commonest(
        story.backwards[one].place for _, _, each in stale[:64] for one in each.fresh[-1:] if one in story.backwards
    )
    count = len(most.backwards)
    name = variable(commonest(event.place for _, event, _ in stale), "step", "optimizer")
    evidence = (
        f"{len(stale)} of {steps} steps of {called(trace, optimizer)} used gradients that still held those of earlier "
        f"steps, in the end the sum of {'more than ' if count >= 128 else ''}{count} backward passes."
        f"{_sum_in_numbers(trace, number, first)} "
    )
    if first.share < 0.99:
        evidence += f"It is so for {first.share:.0%} of its parameters. "
    if zeros:
        evidence += f"zero_grad() ran {len(zeros)} times."
    elif any(event.kind == "zero" for event in trace.events):
        evidence += "zero_grad() was never called for them."
    else:
        evidence += "zero_grad() was never called."
    return finding("T01", place=place, evidence=evidence.strip(), cure=f"{name}.zero_grad()  # before each backward()")


def _sum_in_numbers(trace: Trace, number: int, first: Holding) -> str:
    models = [model.number for model in models_of(trace, number)]
    for seen in trace.backwards:
        event = trace.events[seen.event] if seen.event < len(trace.events) else None
        if event is None or event.facts.get("number", -1) < first.fresh[-1]:
            continue
        for model in models:
            if seen.before.get(model, 0.0) > 0 and seen.new.get(model, 0.0) > 0:
                return (
                    f" At the backward pass of batch {event.facts['number'] + 1} a gradient of norm "
                    f"{seen.before[model]:.3g} lay there already; the batch's own, {seen.new[model]:.3g}, was added to "
                    f"it and the step got {seen.after[model]:.3g}."
                )
    return ""


def erased_unused(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T02: backward passes whose gradients were cleared before any step used them."""
    story = story_of(trace)
    wasted = _wasted(trace, story)
    if not wasted:
        return
    told: set[Place | None] = set()
    for number, steps in story.steps.items():
        empty = [event for _, event in steps if not any(holding.fresh for holding in event.facts["held"])]
        erased = [one for one in wasted if number in wasted[one]]
        if len(empty) >= AGAIN and len(empty) > 0.5 * len(steps) and len(erased) >= AGAIN:
            place = _erasing_line(trace, erased, story)
            told.add(commonest(story.backwards[one].place for one in erased))
            yield _all_erased(trace, story, number, (len(empty), len(steps)), place, erased)
    lines: dict[Place | None, list[int]] = defaultdict(list)
    for one, event in story.backwards.items():
        lines[event.place].append(one)
    for line, ran in lines.items():
        lost = [one for one in ran if one in wasted]
        if line in told or len(lost) < AGAIN or len(lost) < WASTED * len(ran) or _is_tool(trace, story, line):
            continue
        if not any(number in story.steps for one in lost for number in wasted[one]):
            continue  # T05 tells of an optimizer that never steps
        partly = any(one in story.used for one in ran)  # a last one that nothing has cleared yet was not used either
        if partly or (_stepped_in_turn(story, lost) and not reads_gradients(trace)):
            yield _some_erased(trace, story, line, lost, len(ran))


def _wasted(trace: Trace, story: Story) -> dict[int, set[int]]:
    """Backward passes of which no step of any optimizer used anything, with the optimizers that lost them."""
    by_hand = {
        number for number, steps in story.steps.items()
        if sum(any(UNKNOWN in one.backwards for one in event.facts["held"]) for _, event in steps) > STALE * len(steps)
    }  # fmt: skip
    found: dict[int, set[int]] = defaultdict(set)
    spared: set[int] = set()
    for one in trace.erased:
        for number in one.backwards:
            if one.moved or one.optimizer in by_hand:
                spared.add(number)
            elif number not in story.used and number in story.backwards:
                found[number].add(one.optimizer)
    return {number: optimizers for number, optimizers in found.items() if number not in spared}


def _is_tool(trace: Trace, story: Story, line: Place | None) -> bool:
    """Whether a line's backward passes are for a gradient of something else than weights, as of the inputs."""
    if any(event.facts["inputs"] for event in story.backwards.values() if event.place == line):
        return True
    looked = [seen for seen in trace.backwards if seen.place == line]
    return any(seen.unregistered for seen in looked)


def _stepped_in_turn(story: Story, lost: list[int]) -> bool:
    """Whether a step with another gradient followed in the same turn, of an optimizer that had lost one."""
    used_turns = {story.backwards[one].facts["turn"] for one in story.used if one in story.backwards}
    return sum(story.backwards[one].facts["turn"] in used_turns for one in lost) > 0.5 * len(lost)


def _erasing_line(trace: Trace, lost: list[int], story: Story) -> Place | None:
    """The line that cleared the gradients."""
    wanted = set(lost)
    places = []
    for one in trace.erased:
        if wanted & set(one.backwards) and 0 <= one.event < len(trace.events):
            event = trace.events[one.event]
            if event.kind == "zero":
                places.append(event.place)
    return commonest(places)


def _all_erased(
    trace: Trace, story: Story, number: int, counts: tuple[int, int], place: Place | None, lost: list[int]
) -> Finding:
    name = variable(place, "zero_grad", "optimizer")
    looked = [seen for seen in trace.backwards if seen.after and trace.events[seen.event].facts.get("number") in lost]
    norms = [max(seen.after.values()) for seen in looked[:3] if max(seen.after.values()) > 0]
    had = f" They had the norm {numbers(norms)}." if norms else ""
    where = f" between backward() and step(), at line {place.line}," if place is not None else " before step()"
    return finding(
        "T02",
        place=place or commonest(story.backwards[one].place for one in lost),
        evidence=(
            f"{counts[0]} of {counts[1]} steps of {called(trace, trace.optimizers[number])} found no gradient: those "
            f"of {len(lost)} backward passes were cleared{where} unused.{had}"
        ),
        cure=f"{name}.zero_grad()  # before loss.backward(), or after step()",
    )


def _some_erased(trace: Trace, story: Story, line: Place | None, lost: list[int], ran: int) -> Finding:
    place = _erasing_line(trace, lost, story)
    name = variable(place, "zero_grad", "optimizer")
    where = f" at line {place.line}" if place is not None else ""
    if len(lost) < ran:
        cure = f"{name}.zero_grad() only right after {name}.step(), or step() for each batch."
        what = f"the other {ran - len(lost)} alone made the steps."
    else:
        cure = f"Call {name}.zero_grad() once before all backward passes of a step, or add the losses up first."
        what = "steps followed only what other backward passes gave later."
    return finding(
        "T02",
        place=place or line,
        evidence=(
            f"{len(lost)} of the {ran} backward passes of line {line.line if line is not None else '?'} were for "
            f"nothing: zero_grad(){where} cleared their gradients before any step used them; {what}"
        ),
        cure=cure,
    )


def of_another_loss(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T08: steps whose gradients hold those of a loss that another optimizer had stepped for before."""
    story = story_of(trace)
    for number, steps in story.steps.items():
        leaks = [(at, event, pair) for at, event in steps if (pair := _leak(story, number, at, event)) is not None]
        if len(leaks) < AGAIN or len(leaks) < 0.5 * len(steps):
            continue
        pairs = Counter((story.backwards[one].place, story.backwards[other].place) for _, _, (one, other) in leaks)
        (theirs, own), _ = pairs.most_common(1)[0]
        share = _share(trace, number, theirs, own)
        if share is not None and share < LEAST_LEAK:
            continue
        yield _leaking(trace, story, number, (len(leaks), len(steps)), (theirs, own), share, leaks[-1][2][0])


def _leak(story: Story, number: int, at: int, event: Event) -> tuple[int, int] | None:
    """The backward pass of another optimizer's loss and the optimizer's own, where a step used both.

    Heads that share a body have losses that reach both; there every optimizer that the last loss reached steps after
    it. Here one does not: the loss was not for it, or it reaches this one alone.
    """
    for holding in event.facts["held"]:
        fresh = [one for one in holding.fresh if one in story.backwards]
        if len(fresh) < 2:
            continue
        own = fresh[-1]
        reached = set(story.backwards[own].facts.get("optimizers", ()))
        stepped = {who for _, who in story.used.get(own, ())}
        if reached != {number} and reached <= stepped:
            continue
        began = story.places[own]
        for one in fresh[:-1]:
            before = [who for when, who in story.used.get(one, ()) if when < began and who != number]
            if before and story.backwards[one].place != story.backwards[own].place:
                return one, own
    return None


def _share(trace: Trace, number: int, theirs: Place | None, own: Place | None) -> float | None:
    """How much of the gradient's norm came from the other loss; None where no pair was looked at closely."""
    models = [model.number for model in models_of(trace, number)]

    def norms(line: Place | None) -> list[float]:
        return [_length(seen, models) for seen in trace.backwards if seen.place == line and _length(seen, models) > 0]

    one, other = norms(theirs), norms(own)
    if not one or not other:
        return None
    mean = sum(one) / len(one)
    return mean / (mean + sum(other) / len(other))


def _length(seen: BackwardSeen, models: list[int]) -> float:
    return float(sum(seen.new.get(model, 0.0) ** 2 for model in models) ** 0.5)


def _leaking(
    trace: Trace,
    story: Story,
    number: int,
    counts: tuple[int, int],
    lines: tuple[Place | None, Place | None],
    share: float | None,
    sample: int,
) -> Finding:
    theirs, own = lines
    others = [who for _, who in story.used.get(sample, ()) if who != number]
    other = called(trace, trace.optimizers[others[0]]) if others else "another optimizer"
    much = f" {share:.0%} of the gradient's norm came from it." if share is not None else ""
    name = variable(story.steps[number][0][1].place, "step", "optimizer")
    return finding(
        "T08",
        place=own,
        evidence=(
            f"{counts[0]} of {counts[1]} steps of {called(trace, trace.optimizers[number])} also used what the "
            f"backward pass of line {theirs.line if theirs is not None else '?'} had left in its weights, for which "
            f"{other} had stepped.{much}"
        ),
        cure=f"{name}.zero_grad()  # right before the backward() of line {own.line if own is not None else '?'}",
    )


RULES = (never_cleared, erased_unused, of_another_loss)
