"""Inputs that are prepared otherwise in evaluation than in training (D03), or where the model is served (P04).

A difference between the two may be a fact of the data. It is a fault where one simple change, as of the channels' order
or of the scale, brings inputs into agreement with those of training, and with it the answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding
from netwright.watch.rules.replays import (
    Score,
    by_site,
    evaluation_of,
    loss_names,
    private,
    replay,
    score_of,
    target_of,
)
from netwright.watch.trace import BatchSeen, ModelSeen, Trace

MOST_ROWS = 1_000
FEWEST = 16  # samples at one line from which on their statistics are looked at
FAR = 3.0  # standard deviations of training beyond which means lie apart; real shifts are far smaller in most columns
_ONE_ORDER = "Bring the channels into one order: picture[:, :, ::-1] turns BGR into RGB, pictures.flip(1) a batch"
TWICE = 1.5  # times that a spread is another from which on a scale is suspected


@dataclass(frozen=True, slots=True)
class Line:
    """The forward passes of one line of evaluation.

    Attributes:
        inputs: (N, ...), of all its passes end to end.
    """

    place: Place | None
    batches: tuple[BatchSeen, ...]
    inputs: Tensor


@dataclass(frozen=True, slots=True)
class Unlike:
    """What is other at a line, and what would mend it.

    Attributes:
        what: As words, with numbers.
        change: Brings inputs into agreement with training.
        sure: Whether that alone is proof; else answers have to become better too.
        cure: What to do.
    """

    what: str
    change: Callable[[Tensor], Tensor]
    sure: bool
    cure: str


def prepared_otherwise(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """D03 and P04: inputs of evaluation that are those of training but for a scale, a shift or the channels' order."""
    for model in trace.models:
        source = _trained_as(trace, model)
        if source is None:
            continue
        train = _inputs([one for one in source.batches if one.used])
        if train is None:
            continue
        lines = _lines(trace, model)
        if model is not source:
            lines += _lines(trace, source)
        judged = [(line, _judge(line, train, [one for one in lines if one is not line], source)) for line in lines]
        alike = any(found is None for _, found in judged)
        for line, found in judged:
            if found is not None:
                yield _told(line, found, source, train, served=alike)
                return


def _trained_as(trace: Trace, model: ModelSeen) -> ModelSeen | None:
    """The model in training that a model is, or has the weights of."""
    if model.backwards:
        return model
    for other in trace.trained():
        if type(other.module) is type(model.module) and other.module is not model.module:
            mine, theirs = model.module.state_dict(), other.module.state_dict()
            if mine.keys() == theirs.keys() and all(
                not isinstance(value, Tensor)
                or (value.shape == theirs[name].shape and torch.equal(value.cpu(), theirs[name].cpu()))
                for name, value in mine.items()
            ):
                return other
    return None


def _lines(trace: Trace, model: ModelSeen) -> list[Line]:
    found = []
    for place, batches in by_site(trace, evaluation_of(trace, model)).items():
        inputs = _inputs(batches)
        if inputs is not None and len(inputs) >= FEWEST:
            found.append(Line(place, tuple(batches), inputs))
    return found


def _inputs(batches: list[BatchSeen]) -> Tensor | None:
    """The first argument of some passes end to end, where it holds real numbers of one shape."""
    kept: list[Tensor] = []
    for seen in batches:
        value = next(iter((*seen.args, *seen.kwargs.values())), None)
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim < 2:
            return None
        if kept and value.shape[1:] != kept[0].shape[1:]:
            continue
        kept.append(value.detach().cpu().float())
        if sum(map(len, kept)) >= MOST_ROWS:
            break
    return torch.cat(kept)[:MOST_ROWS] if kept else None


def _judge(line: Line, train: Tensor, others: list[Line], source: ModelSeen) -> Unlike | None:
    """The change that mends a line, where one does; None where its inputs are as those of training."""
    if line.inputs.ndim != train.ndim:
        return None
    for suspect in (_same_samples, _raw_pixels, _unscaled_columns, _missing_shift, _reversed_channels):
        found = suspect(line, train, others)
        if found is not None and (found.sure or _mends(line, found, source)):
            return found
    return None


# ------------------------------------------------------------------------------------------------- suspicions


def _same_samples(line: Line, train: Tensor, others: list[Line]) -> Unlike | None:
    """The very samples of another line, but for one scale and shift, or with their channels reversed.

    Only where no labels are known: who measures answers to changed samples may want to know how they stand it.
    """
    if any(target_of(seen) is not None for seen in line.batches[:8]):
        return None
    for other in others:
        if other.inputs.shape[1:] != line.inputs.shape[1:] or _agree(other.inputs, train) < _agree(line.inputs, train):
            continue
        mine, theirs = line.inputs.flatten(1), other.inputs.flatten(1)
        found = _scaled(mine, theirs)
        if found is not None:
            factor, shift, count = found
            return Unlike(
                f"{count} of {len(mine)} samples are those that {other.place} gives, times {factor:.4g} plus "
                f"{shift:.4g}: "
                f"mean {float(mine.mean()):.3g} and spread {float(mine.std()):.3g} here, {float(theirs.mean()):.3g} "
                "and "
                f"{float(theirs.std()):.3g} there and {float(train.mean()):.3g} and {float(train.std()):.3g} in "
                "training",
                partial(_undo, factor, shift),
                True,
                "Prepare inputs here by the same function as those of training.",
            )
        if line.inputs.ndim == 4 and line.inputs.shape[1] == 3:
            turned = line.inputs.flip(1).flatten(1)
            gaps = torch.cdist(turned, theirs).amin(1)
            size = turned.norm(dim=1).clamp_min(1e-6)
            count = int((gaps < 1e-3 * size).sum())
            if (
                count >= max(3, len(turned) // 2)
                and int((torch.cdist(mine, theirs).amin(1) < 1e-3 * size).sum()) < count // 4
            ):
                return Unlike(
                    f"{count} of {len(turned)} pictures are those that {other.place} gives, with the three channels "
                    "in reverse order",
                    lambda value: value.flip(1), True, _ONE_ORDER,
                )  # fmt: skip
    return None


def _scaled(mine: Tensor, theirs: Tensor) -> tuple[float, float, int] | None:
    """One factor and shift by which samples are others, and for how many: (factor, shift, count)."""
    a, b = mine - mine.mean(1, keepdim=True), theirs - theirs.mean(1, keepdim=True)
    spread, other = a.norm(dim=1).clamp_min(1e-9), b.norm(dim=1).clamp_min(1e-9)
    alike = (a / spread[:, None]) @ (b / other[:, None]).T
    best, which = alike.max(1)
    sure = best > 0.99999
    if int(sure.sum()) < max(3, len(mine) // 2):
        return None
    factors = (spread / other[which])[sure]
    shifts = mine.mean(1)[sure] - factors * theirs.mean(1)[which][sure]
    factor, shift = float(factors.median()), float(shifts.median())
    constant = bool(((factors / factor - 1).abs() < 1e-2).all()) and bool(
        ((shifts - shift).abs() < 1e-2 * float(theirs.std())).all()
    )
    changed = abs(factor - 1) > 0.05 or abs(shift) > 0.05 * float(theirs.std())
    return (factor, shift, int(sure.sum())) if constant and changed else None


def _agree(inputs: Tensor, train: Tensor) -> float:
    """How near a line's mean and spread are to those of training; higher is nearer."""
    spread = float(train.std()) or 1.0
    ratio = max(float(inputs.std()), 1e-12) / spread
    return -abs(math.log(ratio)) - abs(float(inputs.mean()) - float(train.mean())) / spread


def _raw_pixels(line: Line, train: Tensor, others: list[Line]) -> Unlike | None:
    """Whole numbers from 0 to 255 on the one side, small ones on the other."""
    here, there = _is_raw(line.inputs), _is_raw(train)
    large, small = (line.inputs, train) if here else (train, line.inputs)
    if here == there or float(small.abs().max()) > 20 or float(large.std()) < 20 * float(small.std()):
        return None
    words = "pixels from 0 to 255" if here else "numbers of scale 1"
    ratio = float(line.inputs.std()) / (float(train.std()) or 1.0)
    return Unlike(
        f"it gives {words} (mean {float(line.inputs.mean()):.3g}, spread {float(line.inputs.std()):.3g}), while "
        "training had mean "
        f"{float(train.mean()):.3g} and spread {float(train.std()):.3g}: {ratio:.3g} times as much",
        _matching(line.inputs, train, columns=False), True,
        "Divide by 255 and normalise on both sides, by one function.",
    )  # fmt: skip


def _is_raw(values: Tensor) -> bool:
    return bool((values == values.round()).all()) and float(values.min()) >= 0 and 50 < float(values.max()) <= 255


def _unscaled_columns(line: Line, train: Tensor, others: list[Line]) -> Unlike | None:
    """Columns that training had at mean 0 and spread 1, and that lie wholly elsewhere."""
    if train.ndim != 2 or train.shape[1] != line.inputs.shape[1] or train.shape[1] < 2:
        return None
    mean, std = train.mean(0), train.std(0)
    varied = std > 1e-6
    shift = (line.inputs.mean(0) - mean).abs() / std.clamp_min(1e-9)
    outside = ((line.inputs < train.amin(0)) | (line.inputs > train.amax(0))).float().mean(0) > 0.9
    ratio = line.inputs.std(0) / std.clamp_min(1e-9)
    away = varied & (shift > FAR) & outside
    if 2 * int(away.sum()) < int(varied.sum()) or int(away.sum()) < 2:
        return None
    at = int(shift.masked_fill(~away, 0).argmax())
    return Unlike(
        f"{int(away.sum())} of {int(varied.sum())} columns lie wholly outside of what training had, as column {at}: "
        "mean "
        f"{float(line.inputs[:, at].mean()):.3g} and spread {float(line.inputs[:, at].std()):.3g} instead of "
        f"{float(mean[at]):.3g} and "
        f"{float(std[at]):.3g} ({float(ratio[at]):.2g} times as wide)",
        _matching(line.inputs, train, columns=True), True,
        "x_test = (x_test - mean) / std, with those of training: scaler.transform(x_test)",
    )  # fmt: skip


def _missing_shift(line: Line, train: Tensor, others: list[Line]) -> Unlike | None:
    """Values of 0 to 1 where training had normalised ones, or the reverse: one straight line maps all quantiles."""
    steps = torch.linspace(0.01, 0.99, 50)
    mine, theirs = _sampled(line.inputs).quantile(steps), _sampled(train).quantile(steps)
    spread = float(theirs.std())
    plain = float(((mine - theirs) ** 2).mean().sqrt())
    centred = mine - mine.mean()
    if spread < 1e-6 or float(centred.norm()) < 1e-6 or plain < 0.25 * spread:
        return None
    factor = float((centred * (theirs - theirs.mean())).sum() / (centred**2).sum())
    shift = float(theirs.mean() - factor * mine.mean())
    left = float(((factor * mine + shift - theirs) ** 2).mean().sqrt())
    apart = factor > TWICE or factor < 1 / TWICE
    bounded = _fills_one(line.inputs) != _fills_one(train)
    if left > 0.1 * spread or factor <= 0 or not apart or not bounded:
        return None
    return Unlike(
        f"its values go from {float(line.inputs.min()):.3g} to {float(line.inputs.max()):.3g} (mean "
        f"{float(line.inputs.mean()):.3g}, spread "
        f"{float(line.inputs.std()):.3g}), those of training from {float(train.min()):.3g} to "
        f"{float(train.max()):.3g} (mean "
        f"{float(train.mean()):.3g}, spread {float(train.std()):.3g}); times {factor:.3g} plus {shift:.3g} all "
        "quantiles agree",
        lambda value: factor * value + shift, len(line.inputs) >= 32,
        "Normalise with the mean and spread of training on both sides.",
    )  # fmt: skip


def _sampled(values: Tensor) -> Tensor:
    flat = values.flatten()
    return flat[:: max(1, len(flat) // 50_000)]


def _fills_one(values: Tensor) -> bool:
    """Whether values are as pictures are before they are normalised: from 0 to 1, or to -1 to 1."""
    low, high = float(values.min()), float(values.max())
    return (-1e-6 <= low < 0.1 or -1.001 <= low < -0.9) and 0.9 < high <= 1.001


def _reversed_channels(line: Line, train: Tensor, others: list[Line]) -> Unlike | None:
    """Three channels whose means come nearer to those of training in reverse order."""
    if train.ndim != 4 or train.shape[1] != 3 or line.inputs.shape[1] != 3:
        return None
    return Unlike(
        f"the channels' means are {_listed(line.inputs)}, in training {_listed(train)}, and in reverse order "
        f"{_listed(line.inputs.flip(1))}",
        lambda value: value.flip(1), False, _ONE_ORDER,
    )  # fmt: skip


def _listed(values: Tensor) -> str:
    return ", ".join(f"{one:.2f}" for one in values.mean((0, 2, 3)).tolist())


def _matching(inputs: Tensor, train: Tensor, *, columns: bool) -> Callable[[Tensor], Tensor]:
    """Give inputs the mean and spread of training, by column or over all."""
    if columns:
        mine, theirs = (inputs.mean(0), inputs.std(0).clamp_min(1e-9)), (train.mean(0), train.std(0))
    else:
        mine, theirs = (inputs.mean(), inputs.std().clamp_min(1e-9)), (train.mean(), train.std())
    return lambda value: (value - mine[0]) / mine[1] * theirs[1] + theirs[0]


# ------------------------------------------------------------------------------------------------- answers


def _mends(line: Line, found: Unlike, source: ModelSeen) -> bool:
    """Whether answers become so much better by the change that chance is out of the question."""
    scores = _scores(line, found, source)
    if scores is None:
        return False
    was, now = scores
    if was.name != "accuracy":
        return now.value < 0.5 * was.value
    error = math.sqrt(max(was.value * (1 - was.value), 0.01) / was.count)
    return now.value - was.value > max(0.15, 5 * error)


def _scores(line: Line, found: Unlike, source: ModelSeen) -> tuple[Score, Score] | None:
    """How good the answers of a line are as it is, and after the change."""
    try:
        copy = private(source.module)
    except NotCheckedError:
        return None
    losses, was, now = loss_names(source), [], []
    for seen in line.batches[:64]:
        target = target_of(seen)
        if target is None:
            continue
        try:
            was.append((replay(copy, seen), target))
            now.append((replay(copy, _changed(seen, found.change)), target))
        except NotCheckedError:
            return None
    first, second = score_of(was, losses), score_of(now, losses)
    return None if first is None or second is None else (first, second)


def _changed(seen: BatchSeen, change: Callable[[Tensor], Tensor]) -> BatchSeen:
    if seen.args:
        return replace(seen, args=(change(seen.args[0].cpu().float()), *seen.args[1:]))
    name: Any = next(iter(seen.kwargs))
    return replace(seen, kwargs={**seen.kwargs, name: change(seen.kwargs[name].cpu().float())})


def _moved_answers(line: Line, found: Unlike, source: ModelSeen) -> str:
    """How many answers change, where it is not known which are right."""
    try:
        copy = private(source.module)
        pairs = [(replay(copy, seen), replay(copy, _changed(seen, found.change))) for seen in line.batches[:64]]
    except NotCheckedError:
        return ""
    if not pairs or pairs[0][0].ndim != 2 or pairs[0][0].shape[1] < 2:
        return ""
    changed = sum(int((was.argmax(1) != now.argmax(1)).sum()) for was, now in pairs)
    return f"; prepared as in training, {changed} of {sum(len(was) for was, _ in pairs)} answers are others"


def _told(line: Line, found: Unlike, source: ModelSeen, train: Tensor, *, served: bool) -> Finding:
    scores = _scores(line, found, source)
    text = (
        f"; {scores[0]} as it is, {scores[1].value:.3f} prepared as in training"
        if scores is not None
        else _moved_answers(line, found, source)
    )
    return finding(
        "P04" if served else "D03",
        evidence=f"{len(line.inputs)} inputs at this line against {len(train)} of training: {found.what}{text}",
        cure=found.cure,
        place=line.place,
        where=None if line.place else "the evaluation",
    )


def _undo(factor: float, shift: float, value: Tensor) -> Tensor:
    """A value without the scale and shift that it has too many."""
    return (value - shift) / factor


RULES = (prepared_otherwise,)
