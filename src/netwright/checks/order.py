"""Does an attention model know the order of its sequence where the order tells something? (M07)

Positions are exchanged: where the answer stays, no layer knows the order. That is a fault only where the data show that
order counts, and not of bags of words and sets. For that only tokens are looked at that stand once in a sample: in a
bag their order is chance, whatever the label.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.probes import Probe, gap, jittered, kinds, probe_of
from netwright.checks.runner import Check
from netwright.checks.sequences import attends, by_position, padding_of, time_inputs
from netwright.checks.sourcecode import Place, class_place
from netwright.checks.subject import Inputs, NotCheckedError, Subject
from netwright.checks.traced import Traced
from netwright.records import Finding

STAYS = 1e-4  # of the spread of answers: sums in another order
SURE = 7.0  # standard deviations; of some hundred comparisons by chance the largest is about 4
MOST_TOKENS = 24
LEAST = 40  # samples behind one comparison
CONFLICTS = 0.1  # of positions


def order_unknown(subject: Subject) -> Iterator[Finding]:
    """Exchange positions and ask the data whether order tells something."""
    probe = probe_of(subject)
    if probe.noisy or "placed" in subject.cache:  # a code that numbers rows in place of positions was told of
        return
    names = [name for name in time_inputs(probe) if probe.inputs[name].shape[1] >= 5]
    if len(names) != 1 or not isinstance(subject.pool_targets, Tensor):
        return
    (name,) = names
    trace = probe.base()
    if not attends(trace.ops) or not _blind(probe, name):
        return
    begun = replace(probe, model=jittered(probe.model))  # codes of places may begin at 0
    begun.answer = begun.run(probe.inputs)
    if not _blind(begun, name):
        return
    proof = _proof(subject, name)
    if proof is None:
        return
    place, layer = _attention(trace, subject)
    yield finding(
        "M07",
        title="No layer knows the place in the sequence",
        evidence=f"I exchanged positions of `{name}` and the answers stayed as they were; attention takes a "
        "sequence as a bag. "
        f"But {proof}.",
        cure="Add a code for each place to the embedding, as in\n"
        "x = self.embedding(tokens) + self.position(torch.arange(tokens.size(1), device=tokens.device))",
        place=place,
        layer=layer,
    )


def _blind(probe: Probe, name: str) -> bool:
    """Whether the answers stay, position by position or as a whole, when inner positions are exchanged."""
    length = probe.inputs[name].shape[1]
    padding = padding_of(probe.subject, [name])
    last = length - 1
    if padding is not None:
        last = min(last, int(padding.real[: probe.rows].sum(dim=1).min()) - 1)
    inner = list(range(1, last))  # the first and the last place may be read for the answer
    if len(inner) < 3:
        return False
    order = list(range(length))
    order[1:last] = inner[1:] + inner[:1]
    moved: Inputs = {
        key: value[:, order] if value.ndim > 1 and value.shape[1] == length else value
        for key, value in probe.inputs.items()
    }
    if torch.equal(moved[name], probe.inputs[name]):
        return False
    answer = probe.run(moved)
    before, after = probe.answer, answer
    placed = by_position(before, probe.rows, length, axis=probe.axis)
    if placed is not None:
        before, after = placed[:, order], by_position(answer, probe.rows, length, axis=probe.axis)  # type: ignore[assignment]
    if after is None or before.shape != after.shape:
        return False
    return gap(before, after) <= STAYS * probe.spread


def _attention(trace: Traced, subject: Subject) -> tuple[Place | None, str | None]:
    for index, op in enumerate(trace.ops):
        if attends([op]):
            return op.place, trace.layer(index)
    return class_place(type(subject.model)), None


def _proof(subject: Subject, name: str) -> str | None:
    """Words that tell that order counts in these data; None where nothing shows it."""
    value, targets = subject.pool[name], subject.pool_targets
    if value.ndim == 2 and targets.ndim == 2 and targets.shape == value.shape and not targets.is_floating_point():
        return _conflicts(value, targets)
    labels = targets.reshape(len(targets), -1)
    if labels.shape[1] != 1 or len(labels) < 2 * LEAST:
        return None
    wanted = labels[:, 0].double()
    if value.ndim == 3:
        return _proof_of_series(value.double(), wanted, classes=not targets.is_floating_point())
    return _proof_of_tokens(value, wanted, classes=not targets.is_floating_point())


def _conflicts(tokens: Tensor, targets: Tensor) -> str | None:
    """Positions whose token stands in the same sample with another target: an order-blind model errs at one of them."""
    same = (tokens[:, :, None] == tokens[:, None, :]) & (targets[:, None, :] >= 0)
    other = same & (targets[:, :, None] != targets[:, None, :]) & (targets[:, :, None] >= 0)
    share = float(other.any(dim=2).double().mean())
    if share < CONFLICTS:
        return None
    return (
        f"at {share:.0%} of the positions the same token stands twice in a sample with different targets, and "
        "both get one answer"
    )


def _columns(wanted: Tensor, *, classes: bool) -> Tensor:
    """Targets as columns to compare with: one a class, or as they are."""
    if not classes:
        return wanted[:, None]
    return wanted[:, None].eq(torch.tensor(kinds(wanted)[:12], dtype=wanted.dtype)[None]).double()


def _z(feature: Tensor, columns: Tensor) -> float:
    """How far a feature goes along with the targets, in standard deviations of chance."""
    if len(feature) < LEAST or float(feature.std()) == 0:
        return 0.0
    x = (feature - feature.mean()) / feature.std()
    y = columns - columns.mean(dim=0)
    y = y[:, y.std(dim=0) > 0]
    if y.shape[1] == 0:
        return 0.0
    y = y / y.std(dim=0)
    return float((x[:, None] * y).mean(dim=0).abs().max()) * math.sqrt(len(feature))


def _proof_of_tokens(tokens: Tensor, wanted: Tensor, *, classes: bool) -> str | None:
    columns = _columns(wanted, classes=classes)
    common = [token for token, _ in Counter(tokens.reshape(-1).tolist()).most_common(MOST_TOKENS)]
    hits = {token: tokens == token for token in common}
    once = {token: hit.sum(dim=1) == 1 for token, hit in hits.items()}
    place = {token: hit.double().argmax(dim=1) for token, hit in hits.items()}
    best, told, fixed, pairs = 0.0, "", 0, 0
    for first, second in itertools.combinations(common, 2):
        both = once[first] & once[second]
        if int(both.sum()) < LEAST:
            continue
        before = (place[first] < place[second])[both].double()
        pairs += 1
        fixed += not 0.05 < float(before.mean()) < 0.95
        score = _z(before, columns[both])
        if score > best:
            best, told = score, f"whether token {first} stands before token {second} goes along with the target"
    if pairs == 0 or fixed > 0.5 * pairs:
        return None  # in an order of its own, as sorted: that tells nothing which the bag does not
    return f"{told} ({best:.0f} standard deviations from chance)" if best > SURE else None


def _proof_of_series(values: Tensor, wanted: Tensor, *, classes: bool) -> str | None:
    """Trends and likeness of neighbours that go along with the target, unless steps are exchanged at random."""
    columns = _columns(wanted, classes=classes)
    generator = torch.Generator().manual_seed(0)
    mixed = torch.stack([one[torch.randperm(len(one), generator=generator)] for one in values])
    best, told = 0.0, ""
    for number in range(min(8, values.shape[2])):
        own = [_of_order(one[:, :, number]) for one in (values, mixed)]
        for words, real, control in zip(("the trend", "how alike neighbours are"), *own, strict=True):
            score, chance = _z(real, columns), _z(control, columns)
            if score > max(best, 3 * chance):
                best, told = score, f"{words} in column {number}"
    if best <= SURE:
        return None
    return (
        f"{told} goes along with the target ({best:.0f} standard deviations from chance), which steps in "
        "random order do not show"
    )


def _of_order(series: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and likeness of neighbours, (N,) each, of series (N, T)."""
    centred = series - series.mean(dim=1, keepdim=True)
    centred = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-9)
    steps = torch.arange(series.shape[1], dtype=series.dtype)
    steps = (steps - steps.mean()) / (steps - steps.mean()).norm()
    return centred @ steps, (centred[:, 1:] * centred[:, :-1]).sum(dim=1)


def order_or_nothing(subject: Subject) -> Iterator[Finding]:
    """As ``order_unknown``; a module that cannot be tried is told of by the other checks."""
    try:
        yield from order_unknown(subject)
    except NotCheckedError:
        return


CHECKS: tuple[Check, ...] = (Check("whether the order of a sequence counts", ("M07",), order_or_nothing, most_s=3.0),)
