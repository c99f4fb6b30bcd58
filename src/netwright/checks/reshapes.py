"""Does a view or reshape tear an axis apart and hand the pieces out as other axes? (M04)

Reshapes keep the order of the numbers. One whose result has the sizes of its input in another order was meant to
exchange axes, and scrambles them. Sizes may agree by chance, or be equal; so the pass is done again with shorter
inputs, where the module takes such, and the line must scramble there as well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.optrace import Op
from netwright.checks.owners import RESHAPES
from netwright.checks.probes import Probe, cut, probe_of
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, source_line
from netwright.checks.subject import Inputs, NotCheckedError, Subject
from netwright.checks.traced import Traced, traced
from netwright.records import Finding

Shape = tuple[int, ...]
MOST_AXES = 7  # of a tensor whose axes are put in every order
SHORTEST = 4  # an axis of less is no time or place


@dataclass(frozen=True, slots=True)
class Reshape:
    """One reshape: of which shape which was made, where."""

    before: Shape
    after: Shape
    place: Place | None
    layer: str | None
    text: str


def scrambled_axes(subject: Subject) -> Iterator[Finding]:
    """Look at every reshape of some forward passes of different lengths."""
    probe = probe_of(subject)
    passes = [reshapes_of(probe.base())]
    if not any(_unclear(one, probe.rows) for one in passes[0]):
        return
    for inputs in shorter(probe):
        try:
            passes.append(reshapes_of(traced(subject, probe.ready(), inputs)))
        except NotCheckedError:
            continue
    told: set[Place | None] = set()
    for number in range(len(passes[0])):
        at = [one[number] for one in passes if len(one) == len(passes[0])]
        if at[0].place in told or not (found := _verdict(at, probe.rows)):
            continue
        told.add(at[0].place)
        yield told_of(found)


def _unclear(one: Reshape, rows: int) -> bool:
    """Whether a reshape scrambles, or its sizes cannot tell, as where two are equal."""
    if one.before == one.after or _is_shift(one.before, one.after):
        return len(one.before) > 2
    return exchanged(one.before, one.after, rows) is not None


def reshapes_of(trace: Traced) -> list[Reshape]:
    """The reshapes of a pass, in order."""
    return [
        Reshape(shape, tuple(op.out.shape), op.place, trace.layer(index), op.short)
        for index, op in enumerate(trace.ops)
        if (shape := reshaped(op)) is not None and isinstance(op.out, Tensor)
    ]


def reshaped(op: Op) -> Shape | None:
    """The shape that a reshape was given; None for other operations."""
    if op.short not in RESHAPES or not op.shapes or not isinstance(op.out, Tensor):
        return None
    if op.short == "view" and len(op.args) > 1 and not isinstance(op.args[1], (int, tuple, list)):
        return None  # as another dtype
    return op.shapes[0]


def shorter(probe: Probe) -> Iterator[Inputs]:
    """Inputs with one axis, of all inputs that have one of that length there, cut to other lengths."""
    axes = {(axis, value.shape[axis]) for value in probe.inputs.values() for axis in range(1, value.ndim)}
    for axis, size in sorted(axes):
        if size < SHORTEST:
            continue
        for length in _lengths(size):
            yield {
                name: cut(value, axis, length) if value.ndim > axis and value.shape[axis] == size else value
                for name, value in probe.inputs.items()
            }


def _lengths(size: int) -> list[int]:
    """Two lengths below a size: odd ones tear where even ones fit; multiples of 4 pass where layers halve."""
    prime = next((one for one in range(size - 1, 2, -1) if all(one % by for by in range(2, one))), size - 1)
    even = size - 4 if size > 8 and size % 4 == 0 else size - 2
    return list(dict.fromkeys(one for one in (prime, even) if 2 <= one < size))


def _verdict(at: list[Reshape], rows: int) -> Reshape | None:
    """The clearest of the passes that scramble; None where one does not, of those whose sizes can tell."""
    telling = [one for one in at if one.before != one.after and not _is_shift(one.before, one.after)]
    if not telling:
        return None
    wrong = [one for one in telling if exchanged(one.before, one.after, rows) is not None]
    if not wrong or len(wrong) < len(telling):
        return None
    return wrong[0]


def told_of(one: Reshape) -> Finding:
    """The finding of one reshape."""
    axis = exchanged(one.before, one.after, 0) or 0
    size = one.before[axis]
    return finding(
        "M04",
        evidence=f"{one.text} makes {one.after} of {one.before}, in `{source_line(one.place) or one.text}`: the "
        "sizes change "
        f"places but the numbers do not, so that axis {axis} of size {size} is torn and entry 0 of an axis of the "
        "result "
        f"holds numbers of several of its {size} entries.",
        cure="transpose or permute exchanges axes: x.transpose(1, 2).reshape(…), or x.permute(0, 3, 1, 2); then "
        "reshape.",
        place=one.place,
        layer=one.layer,
    )


def exchanged(before: Shape, after: Shape, rows: int) -> int | None:
    """The axis that a reshape tears although its result reads as the same axes in another order; None of a sound one.

    Args:
        rows: The batch, which other checks judge; 0: of no interest.
    """
    if math.prod(before) != math.prod(after) or 0 in before or len(before) > MOST_AXES or len(after) > MOST_AXES:
        return None
    torn = _torn(before, after)
    if not torn or _is_shift(before, after):
        return None
    if rows in before and not _samples_apart(before, after, before.index(rows)):
        return None  # samples are mixed: that is told of the answers
    reading = _reading(before, after)
    if reading is None:
        return None
    return max(torn, key=lambda axis: before[axis] in after)


def _samples_apart(before: Shape, after: Shape, axis: int) -> bool:
    """Whether an axis of the result still tells the entries of an axis, the batch, from each other."""
    number = torch.arange(before[axis], dtype=torch.int16).reshape(-1, *[1] * (len(before) - axis - 1)).expand(before)
    owner = number.reshape(after)
    for at in range(len(after)):
        lines = owner.movedim(at, 0).reshape(after[at], -1)
        if bool((lines.amin(dim=1) == lines.amax(dim=1)).all()):
            return True
    return False


def _torn(before: Shape, after: Shape) -> list[int]:
    """Axes of the input that are cut where the result has a border, and do not fall into whole axes of their own."""
    borders = {math.prod(after[at:]) for at in range(len(after) + 1)}
    spans = [(math.prod(before[at + 1 :]), math.prod(before[at:])) for at in range(len(before))]
    torn = []
    for axis, (low, high) in enumerate(spans):
        inside = [border for border in borders if low < border < high]
        if inside and not (low in borders and high in borders and all(border % low == 0 for border in inside)):
            torn.append(axis)
    return torn


def _is_shift(before: Shape, after: Shape) -> bool:
    """The trick that shifts rows against each other: (…, n, n + 1) read as (…, n + 1, n), as relative positions use."""
    changed = [at for at in range(min(len(before), len(after))) if before[at] != after[at]]
    if len(before) != len(after) or len(changed) != 2:
        return False
    return abs(before[changed[0]] - before[changed[1]]) == 1


def _reading(before: Shape, after: Shape) -> list[int] | None:
    """An order of the input's axes, not its own, in which they make the result's; one axis may be cut in two before.

    The result must have an axis of the size of one that is torn: somebody named it so.
    """
    ones = [at for at in range(len(before)) if before[at] != 1]
    wanted = [size for size in after if size != 1]
    torn = set(_torn(before, after))
    if not any(before[at] in wanted for at in ones):
        return None
    for order in itertools.permutations(ones):
        if list(order) == ones or not _makes([before[at] for at in order], wanted):
            continue
        moved = [at for place, at in enumerate(order) if ones[place] != at]
        if torn & set(moved):
            return list(order)
    return _reading_of_split(before, wanted, torn)


def _makes(sizes: list[int], wanted: list[int]) -> bool:
    """Whether neighbours of ``sizes``, multiplied, are ``wanted``."""
    at = 0
    for size in wanted:
        product = 1
        while at < len(sizes) and product < size:
            product *= sizes[at]
            at += 1
        if product != size:
            return False
    return at == len(sizes)


def _reading_of_split(before: Shape, wanted: list[int], torn: set[int]) -> list[int] | None:
    """(…, T, heads x D) read as (…, heads, T, D): the last axis was cut in two and a whole torn one put between."""
    for axis in torn:
        size = before[axis]
        for at in [number for number, one in enumerate(wanted) if one == size]:
            rest = wanted[:at] + wanted[at + 1 :]
            others = [one for number, one in enumerate(before) if number != axis and one != 1]
            if axis + 1 < len(before) and 0 < at < len(wanted) - 1 and _cuts(others, rest):
                return [axis]
    return None


def _cuts(sizes: list[int], wanted: list[int]) -> bool:
    """Whether the last of ``sizes``, cut in two, makes ``wanted``."""
    return len(wanted) == len(sizes) + 1 and wanted[:-2] == sizes[:-1] and wanted[-2] * wanted[-1] == sizes[-1]


CHECKS: tuple[Check, ...] = (Check("reshapes that scramble axes", ("M04",), scrambled_axes, most_s=3.0),)
