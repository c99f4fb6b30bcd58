"""Scores that loops add up: means of unequal means, counters that are never reset, wrong denominators (E03).

What a counter grew by at each batch was read while the loop ran; what it is divided by stands in the source. So both
figures can be told: the one that the script shows, and the exact one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.rules.sums import (
    Division,
    Pass,
    add_terms,
    divisions,
    grown_by,
    in_one_expression,
    losses_of,
    near,
)
from netwright.watch.trace import LoaderSeen, Trace

Kind = Literal["count", "sum", "mean", "rows", "batches", "other"]
# Below these a difference is lost in the digits that are printed.
SHOWN_ACCURACY, SHOWN_LOSS = 0.002, 0.01


def averages(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E03: what a loop over a loader adds up and divides."""
    told: set[tuple[str, int]] = set()
    for place in dict.fromkeys(loop.place for loop in trace.loops):
        if place is None:
            continue
        passes = [grown_by(loop) for loop in trace.loops if loop.place == place and loop.whole and loop.rows]
        written = in_one_expression(trace.sources, place)
        if written is not None:
            passes = [one for one in passes if add_terms(trace, one, written.name)]
        for division in [written] if written is not None else divisions(trace.sources, place):
            for loader in dict.fromkeys(one.loop.loader for one in passes):
                mine = [one for one in passes if one.loop.loader == loader]
                found = _judge(trace, division, mine, place)
                if found is not None and (division.name, place.line) not in told:
                    told.add((division.name, place.line))
                    yield found


def _judge(trace: Trace, division: Division, passes: list[Pass], place: Place) -> Finding | None:
    name = division.name
    if passes and name not in passes[-1].grown and f"{name}[-1]" in _listed(passes[-1]):
        name = f"{name}[-1]"
    ready = [one for one in passes if name in one.grown or name.endswith("[-1]")]
    if not ready:
        return None
    loader = trace.loaders[ready[-1].loop.loader]
    kinds = {_kind(trace, loader, one, name) for one in ready} - {"other"}  # of some passes the losses were not kept
    kind = kinds.pop() if len(kinds) == 1 else "other"
    if kind not in ("count", "sum", "mean"):
        return None
    found = None
    if not name.endswith("[-1]"):
        found = _never_reset(loader, division, ready, place, kind) or _wrong_below(loader, division, ready, place, kind)
    return found or _unequal(loader, division, ready, place, kind)


def _listed(one: Pass) -> set[str]:
    return {name for values in one.loop.values for name in values}


def _steps(one: Pass, name: str) -> tuple[float, ...]:
    """What was added at each batch: to a number, or as a new entry of a list."""
    if name.endswith("[-1]"):
        return tuple(values[name] for values in one.loop.values if name in values)
    return one.grown[name]


def _kind(trace: Trace, loader: LoaderSeen, one: Pass, name: str) -> Kind:
    """What a counter counts, by what it grew by at each batch."""
    steps, rows = _steps(one, name), one.loop.rows
    if len(steps) != len(rows) or not any(steps):
        return "other"
    if name.endswith("[-1]"):
        counts = one.grown.get(f"len({name.removesuffix('[-1]')})", ())
        if any(count != 1 for count in counts) or not counts:
            return "other"
    whole = all(step == int(step) for step in steps)
    if whole and all(step == size for step, size in zip(steps, rows, strict=True)):
        return "rows"
    if whole and all(step == 1 for step in steps):
        return "batches"
    if whole and all(0 <= step <= size for step, size in zip(steps, rows, strict=True)):
        return "count"
    losses = losses_of(trace, loader, one)
    if losses and all(near(step, value) for step, value in zip(steps, losses, strict=False)):
        return "mean"
    if losses and all(near(step, value * size) for step, value, size in zip(steps, losses, rows, strict=False)):
        return "sum"
    shares = all(
        0 <= step <= 1 and near(step * size, round(step * size)) for step, size in zip(steps, rows, strict=True)
    )
    return "mean" if shares and not whole else "other"


def _below(one: Pass, division: Division) -> float | None:
    """What a counter is divided by, in one pass."""
    text = division.below
    for wrapper in ("float(", "int("):
        if text.startswith(wrapper) and text.endswith(")"):
            text = text[len(wrapper) : -1]
    try:
        return float(text)
    except ValueError:
        pass
    return one.loop.sizes.get(text, one.loop.end.get(text))


def _unequal(loader: LoaderSeen, division: Division, passes: list[Pass], place: Place, kind: Kind) -> Finding | None:
    """A mean of the means of batches of different sizes."""
    if loader.used or kind != "mean":
        return None
    name = division.name
    worst, shown, exact = 0.0, 0.0, 0.0
    for one in passes:
        steps, rows = _steps(one, name), one.loop.rows
        if len(set(rows)) < 2 or _below(one, division) != len(rows):
            continue
        plain = sum(steps) / len(steps)
        true = sum(step * size for step, size in zip(steps, rows, strict=True)) / one.total
        least = SHOWN_ACCURACY if all(0 <= step <= 1 for step in steps) else SHOWN_LOSS * abs(true)
        if abs(plain - true) >= least and abs(plain - true) > worst:
            worst, shown, exact = abs(plain - true), plain, true
    if not worst:
        return None
    rows = passes[-1].loop.rows
    weight = max(rows) / min(rows)
    return finding(
        "E03",
        evidence=(
            f"`{name.removesuffix('[-1]')}` adds up the means of {len(rows)} batches and is divided by {len(rows)}, "
            "but the batches hold "
            f"{max(rows)} to {min(rows)} samples: one of the smallest counts {weight:.1f} times as much as others. "
            "Shown "
            f"{shown:.4f}, exact {exact:.4f}"
        ),
        cure="total += value * len(labels); count += len(labels); at the end total / count",
        place=Place(place.file, division.line),
        severity="warning" if weight >= 1.5 else "note",
    )


def _never_reset(
    loader: LoaderSeen, division: Division, passes: list[Pass], place: Place, kind: Kind
) -> Finding | None:
    """A counter that goes on from where the pass before had ended."""
    name = division.name
    for before, now in zip(passes, passes[1:], strict=False):
        if now.loop.epoch != before.loop.epoch + 1 or not now.loop.start.get(name):
            continue
        if now.loop.start[name] != before.loop.end.get(name) or not before.loop.end[name]:
            continue
        below, grew = _below(now, division), now.grown.get(division.below)
        own = sum(grew) if grew is not None else below
        goes_on = grew is not None and now.loop.start.get(division.below) == before.loop.end.get(division.below) != 0
        if not below or not own or (loader.used and goes_on):
            continue  # over training one may want the mean of all that was seen
        shown, exact = now.loop.end[name] / below, sum(now.grown[name]) / own
        if abs(shown - exact) < 1e-9:
            continue
        also = f" and `{division.below}`" if goes_on else ""
        return finding(
            "E03",
            title="A counter is not reset",
            evidence=(
                f"`{name}`{also} begins pass {now.loop.epoch + 1} over the loader at {now.loop.start[name]:.4g}, "
                "where pass "
                f"{before.loop.epoch + 1} had ended: `{name} / {division.below}` is {shown:.4f}, of this pass alone "
                f"{exact:.4f}"
            ),
            cure=f"{name} = 0 at the start of each pass" + (f", and {division.below} = 0" if goes_on else ""),
            place=Place(place.file, division.line),
        )
    return None


def _wrong_below(
    loader: LoaderSeen, division: Division, passes: list[Pass], place: Place, kind: Kind
) -> Finding | None:
    """A sum over samples divided by the number of batches, a sum of means by that of samples, a count by another."""
    one, name = passes[-1], division.name
    below, batches = _below(one, division), len(one.loop.rows)
    if not below or below == (batches if kind == "mean" else one.total) or division.below in one.grown:
        return None
    steps = _steps(one, name)
    if kind == "mean" and below == one.total and not division.below.isdigit():
        right, what = (
            sum(s * r for s, r in zip(steps, one.loop.rows, strict=True)) / one.total,
            "adds up one mean for each batch",
        )
    elif kind in ("count", "sum") and (below == batches or _is_a_length(division.below)):
        right, what = sum(steps) / one.total, "adds up over the samples"
    else:
        return None
    shown = sum(steps) / below
    if near(shown, right):
        return None
    return finding(
        "E03",
        title="A sum is divided by the wrong number",
        evidence=(
            f"`{name}` {what} ({batches} batches, {one.total} samples) and is divided by `{division.below}`, which "
            f"is {below:.0f}: "
            f"shown {shown:.4g}, right {right:.4g}"
        ),
        cure=(
            f"{name} += value * len(labels), or divide by the number of batches"
            if kind == "mean"
            else "Divide by the number of samples that were counted, as count += len(labels) gives it."
        ),
        place=Place(place.file, division.line),
    )


def _is_a_length(text: str) -> bool:
    """Whether a denominator is a length or a number written out, so that it is meant as that of the samples."""
    return text.startswith("len(") or text.replace(".", "", 1).isdigit()


RULES = (averages,)
