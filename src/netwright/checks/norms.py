"""Batch normalisation whose statistics cannot do their work: too few values, lagging, or of two layers at once.

A cause (few values, a momentum, two uses) is told only with its effect: losses of the same samples in train and in eval
mode, and again with statistics that were taken anew. ``B`` is the number of samples, ``C`` of channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netwright.checks.batch_stats import (
    BATCHES,
    FEWEST,
    MOST_ROWS,
    apart_alone,
    by_one_batch,
    eval_apart,
    has_moved,
    losses_of,
    mean_loss,
    normalising,
    norms_of,
    restated,
    trained_copy,
)
from netwright.checks.catalogue import finding
from netwright.checks.linears import Flow, flow_of
from netwright.checks.runner import Check
from netwright.checks.sourcecode import made_at
from netwright.checks.subject import Inputs, Subject, copy_module, hooked, pick
from netwright.checks.traced import Span, traced
from netwright.records import Finding

GRAVE = 4  # values at which they are hardly anything else: a third of the answers' spread at 8, over half at 4
NOISE = 0.3  # share of the spread of answers that comes from the other samples of the batch
SLOW = 0.05  # momentum; torch's own is 0.1, and 0.01 is common where there are many steps
FAST = 0.9  # momentum of which almost only the last batch is left; other frameworks write so what torch calls 0.1
KEPT = 0.2  # share of the first statistics that is left at the end
WITH_CAUSE = 1.5
MIXED = 0.2  # of the spread of answers; statistics taken anew, of one layer each, leave some 0.02
OWN_MOMENTUM = "Leave momentum out: torch's 0.1 is the share of the new batch; other frameworks give the share kept."


def batch_norms(subject: Subject) -> Iterator[Finding]:
    """M21: causes by structure, each with its effect."""
    norms = norms_of(subject.model)
    if not norms:
        return
    few = list(_few_values(subject))
    yield from few
    shared = list(_of_two_layers(subject))
    yield from shared
    if few or shared:
        return  # the statistics are wrong for another reason already
    yield from _by_momentum(subject, norms)


def _own_rows(subject: Subject) -> int:
    """Rows of the person's batches, 0 where netwright chose how many."""
    asked = subject.cache.get("asked")
    if asked is not None and "batch_size" not in asked:
        return 0
    return int(subject.cache.get("rows") or subject.batch_size)


def _few_values(subject: Subject) -> Iterator[Finding]:
    """Channels that are normalised over a handful of values in the person's batches."""
    rows = _own_rows(subject)
    if not 1 < rows < FEWEST or subject.pool_size < 2 * rows:
        return
    inputs, _ = subject.rows(rows)
    model = normalising(subject.fresh())
    counts = _values(subject, model, inputs)
    few = {name: count for name, count in counts.items() if count < FEWEST}
    if not few:
        return
    of_few, of_many = _noise(subject, rows), _noise(subject, min(64, subject.pool_size // 2))
    if of_few < NOISE or of_few < 3 * of_many:
        return
    name = min(few, key=lambda one: few[one])
    yield finding(
        "M21",
        severity=None if few[name] <= GRAVE else "note",
        evidence=f"In a batch of {rows}, {len(few)} of {len(counts)} BatchNorm layers normalise a channel over "
        f"{few[name]} values. The same sample with other companions: {100 * of_few:.0f} % of the spread of the answers "
        f"comes from these, and {100 * of_many:.0f} % in batches of {min(64, subject.pool_size // 2)}.",
        cure="Take a batch_size of 32 or more, or nn.GroupNorm / nn.LayerNorm, which look at one sample alone.",
        place=made_at(subject.original or subject.model, name),
        layer=name,
    )


def _values(subject: Subject, model: nn.Module, inputs: Inputs) -> dict[str, int]:
    """Over how many values each layer normalises a channel."""
    counts: dict[str, int] = {}

    def note(name: str, given: Any) -> None:
        value = given[0]
        if isinstance(value, Tensor) and value.ndim > 1:
            counts[name] = min(counts.get(name, value.numel()), value.numel() // max(1, value.shape[1]))

    handles = [
        one.register_forward_pre_hook(lambda module, given, name=name: note(name, given))
        for name, one in norms_of(model).items()
    ]
    with hooked(handles):
        subject.call(model, inputs)
    return counts


def _noise(subject: Subject, rows: int) -> float:
    """Which share of the variance of answers comes from the other samples of the batch, in [0, 1]."""
    trained = subject.trained if has_moved(subject) else None
    model = normalising(copy_module(trained) if trained is not None else subject.fresh())
    generator = torch.Generator().manual_seed(0)
    fixed = min(8, subject.pool_size // 2)
    answers = []
    for at in range(fixed):
        own = []
        for _ in range(6):
            others = torch.randperm(subject.pool_size, generator=generator)
            others = others[others != at][: rows - 1]
            index = torch.cat([torch.tensor([at]), others])
            own.append(subject.answer(model, pick(subject.pool, index))[0].detach().float().reshape(-1))
        answers.append(torch.stack(own))
    stacked = torch.stack(answers)  # samples, draws, numbers
    within = float(stacked.var(1).mean())
    total = float(stacked.reshape(-1, stacked.shape[-1]).var(0).mean())
    return min(1.0, within / total) if total > 0 and math.isfinite(within) else 0.0


def _of_two_layers(subject: Subject) -> Iterator[Finding]:
    """One layer that is used after different layers: its running statistics are a mixture."""
    inputs, _ = subject.rows()
    model = normalising(subject.fresh())
    seen = traced(subject, model, inputs)
    flow = flow_of(seen, model)
    norms = norms_of(model)
    sources: dict[str, set[frozenset[str]]] = {}
    for span in seen.spans:
        if span.name in norms and span.given:
            sources.setdefault(span.name, set()).add(_source(flow, span))
    shared = {name: found for name, found in sources.items() if len(found) > 1}
    if not shared:
        return
    trained, when = trained_copy(subject)
    apart = eval_apart(subject, trained)
    for name, found in shared.items():
        after = ", ".join(sorted({_layer_of(one) for one in found}))
        yield finding(
            "M21",
            severity=None if apart > MIXED else "note",
            evidence=f"This BatchNorm follows {len(found)} different layers ({after}) and keeps one mean and variance "
            f"for all. {when}, even with running statistics taken anew, answers in eval mode differ from those with "
            f"statistics of the batch by {100 * apart:.0f} % of their spread.",
            cure="A BatchNorm of its own after each layer.",
            place=made_at(subject.original or subject.model, name),
            layer=name,
        )


def _layer_of(names: frozenset[str]) -> str:
    first = min(names, default="")
    return first.rpartition(".")[0] or first or "the input"


def _source(flow: Flow, span: Span) -> frozenset[str]:
    """Names of the nearest parameters that a call's input was computed with; none where it is the module's input."""
    tensor, before = span.given[0], span.begin
    for _ in range(32):
        at = flow.seen.maker(tensor, before)
        if at is None:
            return frozenset()
        op = flow.seen.ops[at]
        names = frozenset[str]().union(*(flow.constant.get(id(one), frozenset()) for one in op.tensors()))
        live = flow.live(op)
        if names or not live:
            return names
        tensor, before = live[0], at
    return frozenset()


def _by_momentum(subject: Subject, norms: dict[str, _BatchNorm]) -> Iterator[Finding]:
    """Running statistics that do not follow, or follow the last batch alone."""
    steps = _updates(subject)
    slow = {
        name: (1 - one.momentum) ** steps
        for name, one in norms.items()
        if one.momentum is not None and one.momentum < SLOW and steps and (1 - one.momentum) ** steps > KEPT
    }
    fast = [name for name, one in norms.items() if one.momentum is not None and one.momentum >= FAST]
    if slow:
        yield from _slow(subject, slow, steps)
    elif fast:
        yield from _fast(subject, fast)
    elif has_moved(subject) or _own_rows(subject) in (1, 2):
        yield from _unexplained(subject)


def _updates(subject: Subject) -> int:
    """How often running statistics are updated in the whole run."""
    if subject.trained is not None:
        counts = [int(one.num_batches_tracked or 0) for one in norms_of(subject.trained).values()]
        return max(counts, default=0)
    return subject.total_steps


def _slow(subject: Subject, kept: dict[str, float], steps: int) -> Iterator[Finding]:
    losses = losses_of(subject)
    name, share = max(kept.items(), key=lambda one: one[1])
    held = losses.held
    if not has_moved(subject):  # what is left at the end of the run is put in after a few steps
        held = mean_loss(subject, _blended(subject, kept))
    if not losses.clearly(held, losses.anew, WITH_CAUSE):
        return
    layer = subject.model.get_submodule(name)
    momentum = layer.momentum if isinstance(layer, _BatchNorm) else 0.0
    yield finding(
        "M21",
        evidence=f"With momentum={momentum:g}, {100 * share:.0f} % of a running statistic is still its first value "
        f"after {steps} steps. {losses.when}, the loss of the same samples is {losses.batch:.3g} with those of the "
        f"batch, {held:.3g} in eval mode, and {losses.anew:.3g} once they are taken anew.",
        cure=OWN_MOMENTUM,
        place=made_at(subject.original or subject.model, name),
        layer=name,
    )


def _blended(subject: Subject, kept: dict[str, float]) -> nn.Module:
    """A shortly trained copy with the statistics that the whole run will leave: so much of the first, the rest true."""
    model = restated(subject, trained_copy(subject)[0])
    for name, one in norms_of(model).items():
        share = kept.get(name, 0.0)
        if one.running_mean is not None and one.running_var is not None:
            one.running_mean.mul_(1 - share)
            one.running_var.mul_(1 - share).add_(share)
    return model


def _fast(subject: Subject, names: list[str]) -> Iterator[Finding]:
    """Statistics of the last batch alone: how much the answer depends on which that is."""
    losses = losses_of(subject)
    rows = min(subject.cache.get("rows") or subject.batch_size or 32, subject.pool_size // 2)
    if rows < 2:
        return
    found, answers = [], []
    inputs = pick(subject.pool, slice(0, min(MOST_ROWS, subject.pool_size)))
    for at in range(4):
        model = by_one_batch(subject, rows, at)
        found.append(mean_loss(subject, model))
        answers.append(subject.answer(model, inputs).detach().float())
    moved = max(float((one - answers[0]).std() / answers[0].std().clamp_min(1e-12)) for one in answers[1:])
    harmful = moved > MIXED or losses.clearly(max(found), losses.anew, WITH_CAUSE)
    layer = subject.model.get_submodule(names[0])
    momentum = layer.momentum if isinstance(layer, _BatchNorm) else 0.0
    yield finding(
        "M21",
        severity=None if harmful else "note",
        evidence=f"With momentum={momentum:g} eval mode normalises with the last batch of {rows} alone. {losses.when}, "
        f"with each of 4 batches as the last, the loss of the same samples is {min(found):.3g} to {max(found):.3g}, "
        f"with statistics of many batches {losses.anew:.3g}; answers differ by {100 * moved:.0f} % of their spread.",
        cure=OWN_MOMENTUM,
        place=made_at(subject.original or subject.model, names[0]),
        layer=names[0],
    )


def _unexplained(subject: Subject) -> Iterator[Finding]:
    """Statistics that are off with no cause but a short or rough training; batches of one, which differ from all."""
    losses = losses_of(subject)
    rows = _own_rows(subject)
    name = next(iter(norms_of(subject.model)))
    if rows in (1, 2):
        trained = trained_copy(subject)[0]
        own = mean_loss(subject, normalising(copy_module(trained)), rows=rows)
        held = mean_loss(subject, restated(subject, copy_module(trained)), rows=rows)  # a sum grows with the rows
        apart = apart_alone(subject, trained, rows)
        harmful = losses.clearly(held, own)
        if harmful or apart > MIXED:
            yield finding(
                "M21",
                severity=None if harmful or apart > 0.5 else "note",
                evidence=f"Trained with batches of {rows}. {losses.when}, answers to samples normalised {rows} at a "
                f"time differ from those in eval mode by {100 * apart:.0f} % of their spread; the loss is {own:.3g} "
                f"and {held:.3g}.",
                cure="Take a batch_size of 32 or more, or nn.GroupNorm, which looks at one sample alone.",
                place=made_at(subject.original or subject.model, name),
                layer=name,
            )
            return
    if has_moved(subject) and losses.clearly(losses.held, losses.anew) and losses.clearly(losses.held, losses.batch):
        yield finding(
            "M21",
            severity="note",
            title="Running statistics of BatchNorm lag behind",
            evidence=f"{losses.when}, the loss of the same samples is {losses.batch:.3g} with statistics of the batch, "
            f"{losses.held:.3g} in eval mode, and {losses.anew:.3g} once they are taken anew from {BATCHES} batches.",
            cure="Train longer or let the rate fall at the end; or torch.optim.swa_utils.update_bn(loader, net).",
            layer=name,
        )


CHECKS: tuple[Check, ...] = (Check("batch normalisation", ("M21",), batch_norms, 4.0),)
