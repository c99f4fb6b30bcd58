"""Gradients of several batches added up for one step: unscaled, left over, or with tokens of unequal weight (T03)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place, source_line
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding
from netwright.watch.capture import _reshaped, names_of, targets_of, tensor_arguments
from netwright.watch.ledger import UNKNOWN
from netwright.watch.rules.story import Story, models_of, story_of
from netwright.watch.rules.updates import loss_in
from netwright.watch.trace import BatchSeen, LossSeen, ModelSeen, Trace

AGAIN = 3
# Optimizers whose step does not grow with the gradient: a factor common to all gradients changes nothing.
SCALE_FREE = frozenset(
    {
        "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Rprop", "Adadelta", "Lion", "Adafactor",
        "Muon",
    }
)  # fmt: skip
MEANS = frozenset({"cross_entropy", "nll_loss", "CrossEntropyLoss", "NLLLoss"})
UNEVEN = 2.0  # times that one token weighs as much as another before it is told
HINT = re.compile(r"accum|micro", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Window:
    """The backward passes of one step. ``norm``: of the gradients that the step used; None where it was not taken."""

    backwards: tuple[int, ...]
    norm: float | None
    step: int


def accumulated(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """T03: steps for several batches whose sum is not what one large batch would give."""
    story = story_of(trace)
    for number in story.steps:
        windows = _windows(trace, story, number)
        if len(windows) < 2:
            continue
        sizes = Counter(len(one.backwards) for one in windows)
        usual = sizes.most_common(1)[0][0]
        if usual < 2 or sizes[usual] < 0.5 * len(windows):
            continue
        models = models_of(trace, number)
        if _over_batches(trace, story, windows, usual):
            yield from _left_over(trace, story, windows, usual)
            yield from _unscaled(trace, story, number, windows, usual, models, subjects)
        yield from _uneven(trace, story, windows, usual, models, subjects)


def _windows(trace: Trace, story: Story, number: int) -> list[Window]:
    found = []
    for _, event in story.steps[number]:
        held = event.facts["held"]
        if not held or held[0].used or UNKNOWN in held[0].backwards:
            continue
        known = tuple(one for one in held[0].fresh if one in story.backwards)
        if known:
            found.append(Window(known, event.facts.get("norm"), event.step))
    return found


def _over_batches(trace: Trace, story: Story, windows: list[Window], usual: int) -> bool:
    """Whether the passes of a window are one line's, on batches of one loader one after another.

    Two losses of one batch, the real and the false samples of a GAN, or tasks are added up as they are meant to be.
    """
    alike = 0
    for window in windows:
        events = [story.backwards[one] for one in window.backwards]
        if len({event.place for event in events}) > 1:
            continue
        loaders = {trace.events[at].facts["loader"] for event in events for at in event.facts["forwards"]
                   if at < len(trace.events) and trace.events[at].kind == "forward"}  # fmt: skip
        turns = {event.facts["turn"] for event in events}
        if loaders == {-1}:
            alike += _says_so(events[0].place)
        elif len(loaders) == 1 and len(turns) == len(events):
            alike += 1
    return alike >= 0.8 * len(windows)


def _says_so(place: Place | None) -> bool:
    """Whether the lines around a backward pass speak of accumulation."""
    if place is None:
        return False
    around = [source_line(Place(place.file, line)) for line in range(max(1, place.line - 12), place.line + 10)]
    return any(HINT.search(line) for line in around)


def _left_over(trace: Trace, story: Story, windows: list[Window], usual: int) -> Iterator[Finding]:
    """Batches at the end of a pass that make no step, and are added to the first window of the next pass."""
    long = [one for one in windows if len(one.backwards) > usual and _spans_passes(trace, story, one)]
    ends = sum(_spans_passes(trace, story, one) for one in windows)
    if not long or len(long) < 0.8 * ends:
        return
    if len(long) < 2 and len({len(one.backwards) for one in windows}) > 2:
        return
    rest = len(long[0].backwards) - usual
    norms = [one.norm for one in windows if one.norm is not None and len(one.backwards) == usual]
    more = [one.norm for one in long if one.norm is not None]
    size = (
        f" Their gradients had the norm {more[0]:.3g}, others {sum(norms) / len(norms):.3g} on average."
        if norms and more
        else ""
    )
    yield finding(
        "T03",
        place=story.backwards[long[0].backwards[-1]].place,
        title="The rest of an epoch is added to the next",
        evidence=(
            f"Windows are of {usual} batches, and an epoch does not divide by it: the gradients of its last {rest} are "
            f"not stepped with, and the first step of the next epoch used {len(long[0].backwards)} ({len(long)} times)."
            f"{size}"
        ),
        cure="if (i + 1) % k == 0 or i + 1 == len(loader):  # step for the last, shorter window too",
    )


def _spans_passes(trace: Trace, story: Story, window: Window) -> bool:
    first, last = story.places[window.backwards[0]], story.places[window.backwards[-1]]
    return any(event.kind == "pass_begin" and _trains(trace, event.who) for event in trace.events[first:last])


def _trains(trace: Trace, loader: int) -> bool:
    return loader >= 0 and trace.loaders[loader].used > 0


def _unscaled(
    trace: Trace,
    story: Story,
    number: int,
    windows: list[Window],
    usual: int,
    models: list[ModelSeen],
    subjects: dict[int, Subject],
) -> Iterator[Finding]:
    """Means over each batch that are added up without dividing by their number."""
    whole = [one for one in windows if len(one.backwards) == usual]
    factors = [factor for window in whole[:8] for one in window.backwards
               if (factor := _factor(trace, story, one, models)) is not None]  # fmt: skip
    if len(factors) < usual or not all(abs(factor - 1) < 0.02 for factor in factors):
        return
    measured = _against_one_batch(trace, story, whole[0], models, subjects)
    if measured is not None and not 0.6 * usual < measured < 1.7 * usual:
        return
    kind = type(trace.optimizers[number].optimizer).__name__
    free = kind in SCALE_FREE
    place = story.backwards[whole[0].backwards[0]].place
    text = f"Each step of the {kind} adds up gradients of {usual} batches, each of the mean over its own, undivided."
    if measured is not None:
        text += f" Next to that of one batch of all their samples, on a copy, it is {measured:.1f} times as long."
    if free:
        text += f" {kind} divides by the gradients' size, so this changes little beyond clipping and weight decay."
    yield finding(
        "T03",
        place=place,
        severity="note" if free else None,
        evidence=text,
        cure=f"(loss / {usual}).backward()",
    )


def _batch_of(trace: Trace, story: Story, backward: int, models: list[ModelSeen]) -> tuple[ModelSeen, BatchSeen] | None:
    """The forward pass of a backward pass, with its loss, where it was kept."""
    for at in story.backwards[backward].facts["forwards"]:
        for model in models:
            for batch in model.batches:
                if batch.event == at and batch.losses:
                    return model, batch
    return None


def _factor(trace: Trace, story: Story, backward: int, models: list[ModelSeen]) -> float | None:
    """The loss of a backward pass as a share of the mean that the loss function gave; None where it is no mean."""
    found = _batch_of(trace, story, backward, models)
    loss = loss_in(story.backwards[backward])
    if found is None or loss is None:
        return None
    seen = [one for one in found[1].losses if not one.inside]
    if len(seen) != 1 or seen[0].value is None or abs(seen[0].value) < 1e-12 or not _is_mean(seen[0]):
        return None
    return loss / seen[0].value


def _is_mean(loss: LossSeen) -> bool:
    reduction = getattr(loss.module, "reduction", loss.options.get("reduction", "mean"))
    return reduction == "mean"


def _against_one_batch(
    trace: Trace, story: Story, window: Window, models: list[ModelSeen], subjects: dict[int, Subject]
) -> float | None:
    """How much longer the first step's gradient was than that of one batch of all its samples, on a pristine copy."""
    if window.norm is None or window.step != 0 or len(models) != 1 or models[0].number not in subjects:
        return None
    subject = subjects[models[0].number]
    batches = [found[1] for one in window.backwards if (found := _batch_of(trace, story, one, models)) is not None]
    if len(batches) != len(window.backwards) or any(event.kind == "clip" for event in trace.events[:2000]):
        return None
    try:
        names = names_of(models[0].module, batches[0])
        parts = [tensor_arguments(one, names) for one in batches]
        inputs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        wanted = [targets_of(one, None) for one in batches]
        module = subject.fresh(train=True)
        subject.loss(module, inputs, torch.cat(wanted)).backward()
    except (NotCheckedError, RuntimeError, TypeError, KeyError):
        return None
    squares = [float(one.grad.double().square().sum()) for one in module.parameters() if one.grad is not None]
    return window.norm / sum(squares) ** 0.5 if sum(squares) > 0 else None


def _uneven(
    trace: Trace,
    story: Story,
    windows: list[Window],
    usual: int,
    models: list[ModelSeen],
    subjects: dict[int, Subject],
) -> Iterator[Finding]:
    """Means over each micro-batch's own tokens, averaged: tokens of short ones weigh more."""
    spreads: list[tuple[float, Window, list[float]]] = []
    looked = 0
    for window in windows[:32]:
        if len({story.backwards[one].place for one in window.backwards}) > 1:
            continue
        weights = [_weight(trace, story, one, models) for one in window.backwards]
        known = [one for one in weights if one is not None]
        if len(known) < 2 or len(known) < len(weights):
            continue
        looked += 1
        spreads.append((max(known) / min(known), window, known))
    uneven = [one for one in spreads if one[0] > UNEVEN]
    if len(uneven) < AGAIN or len(uneven) < 0.5 * looked:
        return
    spread, window, _ = max(uneven, key=lambda one: one[0])
    apart = _token_gradient(trace, story, uneven, models, subjects)
    compared = (
        f" Done on a copy with all tokens of a window equal, the gradient differs by {apart:.0%}." if apart else ""
    )
    yield finding(
        "T03",
        place=story.backwards[window.backwards[0]].place,
        title="Tokens of accumulated batches weigh unequally",
        evidence=(
            f"Steps add up {usual} micro-batches, each the mean over its own tokens: within one step a token of the "
            f"shortest weighed {spread:.1f} times as much as one of the longest (in {len(uneven)} of {looked} steps "
            f"more than {UNEVEN:g} times).{compared}"
        ),
        cure="reduction='sum', and divide by the number of tokens of the whole window.",
    )


def _tokens(loss: LossSeen) -> int | None:
    """Targets that count in a loss over tokens; None for other losses."""
    if loss.name not in MEANS or not isinstance(loss.target, Tensor) or loss.target.is_floating_point():
        return None
    if getattr(loss.module, "weight", loss.options.get("weight")) is not None:
        return None
    ignored = getattr(loss.module, "ignore_index", loss.options.get("ignore_index", -100))
    return int((loss.target != ignored).sum())


def _weight(trace: Trace, story: Story, backward: int, models: list[ModelSeen]) -> float | None:
    """What one token of a micro-batch counts in the loss that backward() ran on."""
    found = _batch_of(trace, story, backward, models)
    loss = loss_in(story.backwards[backward])
    if found is None or loss is None:
        return None
    seen = [one for one in found[1].losses if not one.inside]
    if len(seen) != 1 or not seen[0].value or abs(seen[0].value) < 1e-9:
        return None
    count = _tokens(seen[0])
    # one target a sample is no sequence: batches of unequal size are met elsewhere
    if not count or seen[0].target.numel() <= found[1].rows:
        return None
    return loss / seen[0].value / (count if _is_mean(seen[0]) else 1)


def _token_gradient(
    trace: Trace,
    story: Story,
    uneven: list[tuple[float, Window, list[float]]],
    models: list[ModelSeen],
    subjects: dict[int, Subject],
) -> float | None:
    """How far a window's gradient is from the one in which all tokens count the same, on a pristine copy."""
    _, window, weights = uneven[0]
    pairs = [_batch_of(trace, story, one, models) for one in window.backwards]
    if len(models) != 1 or models[0].number not in subjects:
        return None
    subject = subjects[models[0].number]
    as_was: list[Any] = []
    even: list[Any] = []
    try:
        module = subject.fresh(train=False)
        total = sum(_tokens(pair[1].losses[0]) or 0 for pair in pairs if pair is not None)
        for pair, weight in zip(pairs, weights, strict=True):
            if pair is None:
                return None
            gradient, count = _gradient(subject, module, pair[1])
            as_was.append([one * weight * count for one in gradient])
            even.append([one * count / total for one in gradient])
    except (NotCheckedError, RuntimeError, TypeError):
        return None
    one = torch.cat([sum(parts).reshape(-1) for parts in zip(*as_was, strict=True)])
    other = torch.cat([sum(parts).reshape(-1) for parts in zip(*even, strict=True)])
    one = one * (torch.linalg.vector_norm(other) / torch.linalg.vector_norm(one).clamp_min(1e-30))  # their directions
    return float(torch.linalg.vector_norm(one - other) / torch.linalg.vector_norm(other).clamp_min(1e-30))


def _gradient(subject: Subject, module: Any, batch: BatchSeen) -> tuple[list[Tensor], int]:
    """The gradient of the mean over a micro-batch's tokens, and how many there are."""
    loss = batch.losses[0]
    found = subject.found(module(*batch.args, **batch.kwargs))
    given = found if found.shape == loss.input.shape else _reshaped(found, loss.input, batch.rows)
    count = _tokens(loss) or 1
    value = loss.function(given, loss.target)
    value = value if _is_mean(loss) else value / count
    parameters = [one for one in module.parameters() if one.requires_grad]
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)], count


RULES = (accumulated,)
