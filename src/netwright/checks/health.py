"""Units that cannot learn: zero for every sample, saturated for nearly every one, or all samples alike.

Looked at where the module starts and where training ended. That it does harm is tried out: another start, inputs of
another scale or a lower rate learn clearly more from the same batches. ``B`` is the number of samples, ``U`` of units.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netwright.checks.axes import feature_axes
from netwright.checks.batch_stats import normalising
from netwright.checks.catalogue import finding
from netwright.checks.leaves import Training
from netwright.checks.linears import MOVES, Flow, flow_of
from netwright.checks.optrace import Op, tensors_in
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, made_at
from netwright.checks.subject import Inputs, NotCheckedError, Subject, copy_module, pick, set_mode
from netwright.checks.sweep import Short, batches_of, mean_loss, sweep_of
from netwright.checks.traced import traced
from netwright.checks.trials import STEPS, against_torch, guess_of, redrawn, short_trained
from netwright.records import Finding

SAMPLES = 256  # a unit is dead where it is zero for all of them (faults.md, K17)
FEWEST_SAMPLES = 100
FEWEST_UNITS = 8
CHUNK = 2_000_000  # numbers of inputs in one pass
DEAD = 0.5  # share of a layer; default starts have some 5 %, sound nets rarely a third
SATURATED = 0.8  # share of values
EDGE = 0.99  # of tanh; of a sigmoid 0.01 and 0.99: the slope is below a fiftieth of the steepest
LESS = 3.0  # times less of it, with another start
MOST_LAYERS = 200
MOST_S = 2.5  # for all samples
MULTIPLIES = frozenset({"mul", "__mul__", "__rmul__", "mul_", "__imul__", "lerp", "addcmul", "where", "bmm", "matmul"})
TO_GATE = MOVES | {"sub", "rsub", "__rsub__", "__sub__", "neg", "chunk", "split", "unbind", "add", "__add__"}
BOUNDED = {"tanh": "tanh", "tanh_": "tanh", "sigmoid": "sigmoid", "sigmoid_": "sigmoid"}


@dataclass(slots=True)
class Units:
    """The units of one activation in one call.

    Attributes:
        kind: relu, tanh or sigmoid.
        dead: Of each unit whether it was 0 for all samples, (U,).
        saturated: Share of values at the edges.
    """

    kind: str
    layer: str | None
    place: Place | None
    dead: Tensor
    saturated: float
    count: int = 1

    @property
    def share(self) -> float:
        """Of dead units, or of saturated values."""
        return float(self.dead.float().mean()) if self.kind == "relu" else self.saturated


def kind_of(op: Op) -> str | None:
    """Which activation an operation is; None where it is none that can die or saturate."""
    if op.short in ("relu", "relu_", "relu6"):
        return "relu"
    if op.short in ("clamp", "clamp_", "clamp_min", "clip") and op.argument(1, "min") == 0:
        return "relu"
    return BOUNDED.get(op.short)


def units_of(subject: Subject, model: nn.Module, inputs: Inputs) -> list[Units]:
    """The hidden units of a module over some samples, with batch statistics and without dropout.

    Raises:
        NotCheckedError: The module raised.
    """
    normalising(model)
    count = len(next(iter(inputs.values())))
    numbers = sum(value.numel() for value in inputs.values())
    chunk = max(16, min(count, CHUNK * count // max(1, numbers)))
    found: list[Units] = []
    starts = range(0, count - min(chunk, count) + 1, chunk)
    began = time.perf_counter()
    for start in starts:
        now = _units(subject, model, pick(inputs, slice(start, start + chunk)))
        found = now if not found else _joined(found, now)
        needed = (time.perf_counter() - began) * len(starts)
        if start == 0 and needed > MOST_S:
            raise NotCheckedError(f"{count} samples would take about {needed:.0f} s")
    return found


def _joined(before: list[Units], now: list[Units]) -> list[Units]:
    if [(one.kind, one.dead.shape) for one in before] != [(one.kind, one.dead.shape) for one in now]:
        raise NotCheckedError("the module does other things with other samples")
    for one, other in zip(before, now, strict=True):
        one.dead &= other.dead
        one.saturated = (one.saturated * one.count + other.saturated) / (one.count + 1)
        one.count += 1
    return before


def _units(subject: Subject, model: nn.Module, inputs: Inputs) -> list[Units]:
    seen = traced(subject, model, inputs)
    flow = flow_of(seen, model)
    axes = feature_axes(seen.ops)
    ends = {id(one) for one in tensors_in(seen.returned)}
    found = []
    for index, op in enumerate(seen.ops):
        kind = kind_of(op)
        out = op.out
        if kind is None or not isinstance(out, Tensor) or out.ndim < 2 or not out.numel() or not flow.live(op):
            continue
        if _ends(flow, out, index, ends) or (kind != "relu" and _gates(flow, out, index)):
            continue
        axis = axes.get(id(out), 1 if out.ndim in (2, 4, 5) else out.ndim - 1)
        rows = out.detach().movedim(axis, 0).reshape(out.shape[axis], -1).float()
        dead = (rows == 0).all(1) if kind == "relu" else torch.zeros(len(rows), dtype=torch.bool)
        edges = (rows - 0.5).abs() * 2 > 0.98 if kind == "sigmoid" else rows.abs() > EDGE
        found.append(Units(kind, _layer(flow, index, op), op.place, dead, float(edges.float().mean())))
        if len(found) >= MOST_LAYERS:
            break
    return [one for one in found if len(one.dead) >= FEWEST_UNITS]


def _layer(flow: Flow, index: int, op: Op) -> str | None:
    """The layer that an activation belongs to: the one that feeds it, else the one around it."""
    tensor, before = op.argument(0, "input"), index
    for _ in range(3):
        at = flow.seen.maker(tensor, before) if isinstance(tensor, Tensor) else None
        if at is None:
            break
        if at in flow.steps:
            return flow.steps[at].layer or flow.seen.layer(index)
        tensor, before = flow.seen.ops[at].argument(0, "input"), at
    return flow.seen.layer(index)


def _ends(flow: Flow, out: Tensor, index: int, ends: set[int]) -> bool:
    """Whether a result is what the module returns, past operations that move it."""
    waiting, seen = [(out, index)], 0
    while waiting and seen < 20:
        tensor, at = waiting.pop()
        if id(tensor) in ends:
            return True
        seen += 1
        for later in flow.users.get(id(tensor), ()):
            op = flow.seen.ops[later]
            if later > at and op.short in MOVES:
                waiting += [(one, later) for one in tensors_in(op.out)]
    return False


def _gates(flow: Flow, out: Tensor, index: int) -> bool:
    """Whether a result is multiplied with another one: a gate may well be shut or open."""
    waiting, seen = [(out, index)], 0
    while waiting and seen < 30:
        tensor, at = waiting.pop()
        for later in flow.users.get(id(tensor), ()):
            op = flow.seen.ops[later]
            if later <= at:
                continue
            seen += 1
            if op.short in MULTIPLIES and len(flow.live(op)) > 1:
                return True
            if op.short in TO_GATE:
                waiting += [(one, later) for one in tensors_in(op.out)]
    return False


def _samples(subject: Subject) -> Inputs:
    count = min(SAMPLES, subject.pool_size)
    if count < FEWEST_SAMPLES:
        raise NotCheckedError(f"{count} samples are too few to call a unit dead")
    few: Inputs = pick(subject.pool, slice(0, count))
    return few


def at_the_start(subject: Subject) -> Iterator[Finding]:
    """M23: units that are dead or saturated before the first step, and would not be with another start or scale."""
    inputs = _samples(subject)
    model = subject.fresh()
    units = units_of(subject, model, inputs)
    subject.cache["units_at_start"] = units
    worst = _worst(units)
    if worst is None:
        return
    training = subject.cache.get("training")
    if isinstance(training, Training) and training.loaded:
        return  # no start, but weights from elsewhere
    at = units.index(worst)
    drawn = units_of(subject, redrawn(subject.fresh()), inputs)
    if len(drawn) == len(units) and drawn[at].share * LESS <= worst.share:
        yield _by_weights(subject, worst, drawn[at], inputs)
        return
    scaled = {name: _standard(value) for name, value in inputs.items()}
    other = units_of(subject, subject.fresh(), scaled)
    if len(other) == len(units) and other[at].share * LESS <= worst.share:
        largest = max(float(one.abs().max()) for one in inputs.values() if one.is_floating_point())
        yield _told(
            subject,
            worst,
            f"{_what(worst, inputs)} at the start. Inputs go up to {largest:.4g}; with inputs of mean 0 and standard "
            f"deviation 1 it is {_percent(other[at])}.",
            "Normalise the inputs to mean 0 and standard deviation 1.",
        )


def _standard(value: Tensor) -> Tensor:
    if not value.is_floating_point() or value.ndim < 2:
        return value
    return (value - value.mean()) / value.std().clamp_min(1e-12)


def _worst(units: list[Units]) -> Units | None:
    """The layer most of whose units cannot learn; None where all layers are well enough."""
    bad = [one for one in units if one.share >= (DEAD if one.kind == "relu" else SATURATED)]
    return max(bad, key=lambda one: one.share, default=None)


def _by_weights(subject: Subject, worst: Units, drawn: Units, inputs: Inputs) -> Finding:
    """Another start leaves far fewer; a note alone where it learns no more than the person's."""
    slope = "0" if worst.kind == "relu" else "nearly 0"
    evidence = f"{_what(worst, inputs)} at the start, where the slope is {slope}; as torch draws {_percent(drawn)}."
    try:
        own, other, _ = against_torch(subject)
        worse = own.last > 1.2 * other.last
        evidence += f" {STEPS} steps end at a loss of {own.last:.4g}, from torch's own start at {other.last:.4g}."
    except NotCheckedError:  # no loss, or no optimizer
        worse = True
    cure = "Leave weights and biases as torch draws them; biases of hidden layers may be zero, not negative."
    return _told(subject, worst, evidence, cure, note=not worse)


def _what(units: Units, inputs: Inputs) -> str:
    rows = len(next(iter(inputs.values())))
    if units.kind == "relu":
        return f"{int(units.dead.sum())} of {len(units.dead)} units are 0 for all {rows} samples"
    edge = "±1" if units.kind == "tanh" else "0 or 1"
    return f"{100 * units.saturated:.0f} % of the values of {len(units.dead)} {units.kind} units lie at {edge}"


def _percent(units: Units) -> str:
    return f"{100 * units.share:.0f} %"


def _told(subject: Subject, units: Units, evidence: str, cure: str, *, note: bool = False) -> Finding:
    layer = units.layer
    place = units.place
    if layer is not None and layer.rpartition(".")[2].isdigit():  # of a Sequential
        place = made_at(subject.original or subject.model, layer)
    return finding(
        "M23",
        severity="note" if note else None,
        title={"relu": "Units are dead", "tanh": "Units are saturated", "sigmoid": "Units are saturated"}[units.kind],
        evidence=evidence,
        cure=cure,
        place=place or units.place,
        layer=layer,
    )


def after_training(subject: Subject) -> Iterator[Finding]:
    """M23: units that died, saturated or became all alike in training, where a lower rate learns far more."""
    inputs = _samples(subject)
    before = subject.cache.get("units_at_start")
    if before is None:
        before = units_of(subject, subject.fresh(), inputs)
    model, when = _ended(subject)
    after = units_of(subject, copy_module(model), inputs)
    worst = _worst(after)
    alike = _alike(subject, model, inputs)
    if worst is not None and len(before) == len(after):
        old = before[after.index(worst)]
        if old.share > worst.share / 2:
            worst = None  # it was so from the start
    if worst is None and alike is None:
        return
    loss = _loss(subject, model)
    rate, short = _lower(subject)
    if not _harmed(subject, loss, short):
        return
    lr = (subject.optimizer.lr or 0.0) if subject.optimizer is not None else 0.0
    proof = (
        f" The loss is {loss:.4g} then; {len(short.losses)} steps from the same start at lr={lr * rate:.2g} end at "
        f"{short.last:.4g}."
    )
    cure = f"Take a lower rate, as lr={lr * rate:.2g}, or clip gradients."
    if worst is not None:
        was = f", {_percent(before[after.index(worst)])} at the start." if len(before) == len(after) else "."
        yield _told(subject, worst, f"{_what(worst, inputs)} {when}{was}{proof}", cure)
    elif alike is not None:
        yield finding(
            "M23",
            title="All samples look alike",
            evidence=f"{when.capitalize()}, the features of different samples have a mean cosine of {alike[1]:.4f}, "
            f"{alike[0]:.2f} at the start.{proof}",
            cure=cure,
        )


def _ended(subject: Subject) -> tuple[nn.Module, str]:
    if subject.trained is not None:
        return subject.trained, "after training"
    sweep_of(subject)  # one of its trainings is looked at, since a further one would take as long as all checks should
    model, short = short_trained(subject)
    return model, f"after {len(short.losses)} steps"


def _loss(subject: Subject, model: nn.Module) -> float:
    """As the short trainings take it: in train mode, and of the same batches, since a sum grows with the batch."""
    return mean_loss(subject, set_mode(copy_module(model), train=True), batches_of(subject))


def _lower(subject: Subject) -> tuple[float, Short]:
    """The better of two short trainings at lower rates, from the same start."""
    sweep = sweep_of(subject)
    found = {factor: sweep.by_factor[factor] for factor in (0.1, 0.01)}
    best = min(found, key=lambda one: found[one].last)
    return best, found[best]


def _harmed(subject: Subject, loss: float, short: Short) -> bool:
    """Whether a few steps at a lower rate reach far less than what training ended with, and that is little."""
    if not math.isfinite(loss):
        return False  # another fault
    return short.last < loss / 2 and loss > 0.3 * abs(guess_of(subject))


def _alike(subject: Subject, model: nn.Module, inputs: Inputs) -> tuple[float, float] | None:
    """Mean cosine between the features of different samples at the start and now, where these have become one."""
    now = _cosine(subject, copy_module(model), inputs)
    if now is None or now < 0.999:
        return None
    before = _cosine(subject, subject.fresh(), inputs)
    return (before, now) if before is not None and before < 0.9 else None


def _cosine(subject: Subject, model: nn.Module, inputs: Inputs) -> float | None:
    """Of what goes into the last product with weights; None where that has no row for each sample."""
    normalising(model)
    part = pick(inputs, slice(0, 64))
    flow = flow_of(traced(subject, model, part), model)
    if not flow.steps:
        return None
    given = flow.steps[max(flow.steps)].given.detach().float()
    if len(given) != len(next(iter(part.values()))):
        return None
    flat = nn.functional.normalize(given.reshape(len(given), -1), dim=1)
    if flat.shape[1] < FEWEST_UNITS:
        return None
    whole = flat @ flat.T
    count = len(flat)
    return float((whole.sum() - whole.diagonal().sum()) / (count * (count - 1)))


CHECKS: tuple[Check, ...] = (Check("dead and saturated units", ("M23",), at_the_start, 3.0),)
LATE: tuple[Check, ...] = (Check("units that died in training", ("M23",), after_training, 4.0),)
