"""Short trainings of copies at several rates: is the person's rate orders of magnitude off, do other constants hurt?

Every training starts from the same weights and sees the same few batches in the same order with the same draws, so that
they differ in the rate alone. The losses that are compared are of the same samples, before and after, in train mode.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from netwright.checks.catalogue import finding
from netwright.checks.runner import Check
from netwright.checks.subject import Inputs, NotCheckedError, Subject, pick, set_mode
from netwright.optim import needs_compiler, take_step
from netwright.records import Finding

FACTORS = (1.0, 10.0, 0.1, 100.0, 0.01)  # in the order of their worth, should the time run out
STEPS = (60, 30, 15)  # the most for which there is time
MOST_ROWS = 32  # of a batch; more would only cost time
BATCHES = 4
SHARE = 0.6  # of the time that is left may be spent here
WARMUP = 8  # steps over which a rate rises that the person's schedule lets rise too
# A rate is called far off where another one of FACTORS makes ten times its progress: what differs by less is taste.
FAR = 10.0
LEARNED = 0.2  # share of the first loss that the better rate must have learned for the comparison to mean anything


@dataclass(frozen=True, slots=True)
class Short:
    """One short training.

    Attributes:
        losses: After each step's forward pass.
        first, last: Mean loss over all batches before, and over the last pass; infinite where it diverged.
    """

    losses: tuple[float, ...]
    first: float
    last: float

    @property
    def progress(self) -> float:
        """Share of the first loss that is gone; negative where it rose."""
        if not math.isfinite(self.last) or self.first == 0:
            return -math.inf
        return (self.first - self.last) / abs(self.first)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Short trainings by factor of the rate."""

    lr: float
    steps: int
    by_factor: dict[float, Short]

    @property
    def best(self) -> float:
        """The factor that learned most."""
        return max(self.by_factor, key=lambda factor: self.by_factor[factor].progress)

    def table(self) -> str:
        """All end losses, lowest rate first."""
        shown = []
        for factor in sorted(self.by_factor):
            last = self.by_factor[factor].last
            shown.append(f"{self.lr * factor:.3g} → {'diverged' if not math.isfinite(last) else f'{last:.4g}'}")
        return ", ".join(shown)


def sweep_of(subject: Subject) -> Sweep:
    """The short trainings, done once.

    Raises:
        NotCheckedError: Loss or optimizer are not known, or the time is too short.
    """
    if "sweep" not in subject.cache:
        # What stays, should the time run out: it is tried once.
        subject.cache["sweep"] = NotCheckedError("short trainings took too long")
        try:
            subject.cache["sweep"] = _sweep(subject)
        except NotCheckedError as reason:
            subject.cache["sweep"] = reason
    found = subject.cache["sweep"]
    if isinstance(found, NotCheckedError):
        raise NotCheckedError(str(found))
    assert_sweep: Sweep = found
    return assert_sweep


def _sweep(subject: Subject) -> Sweep:
    facts = subject.optimizer
    if facts is None or not facts.lr:
        raise NotCheckedError("the optimizer and its rate are not known")
    if facts.kind == "LBFGS":
        raise NotCheckedError("LBFGS searches its own step")
    if any(group.options.get("maximize") for group in facts.groups):
        raise NotCheckedError("the optimizer maximizes")
    batches = batches_of(subject)
    if needs_compiler(subject.optimizer_for(subject.fresh(train=True), _peak(subject))):
        with subject.budget.loading():
            from torch import _dynamo  # noqa: F401 - so that the first step does not
    began = time.perf_counter()
    train(subject, batches, factor=1.0, steps=2)
    step_s = max((time.perf_counter() - began) / 4, 1e-4)
    a_step = step_s * (len(FACTORS) + 1) / SHARE
    steps = next((steps for steps in STEPS if steps * a_step < subject.budget.left()), 0)
    if not steps:
        need = STEPS[-1] * a_step
        raise NotCheckedError(f"short trainings would take {need:.0f} s and {subject.budget.left():.1f} s are left")
    own = subject.fresh(train=True)
    found = {1.0: train(subject, batches, factor=1.0, steps=steps, model=own)}
    subject.cache["short_trained"] = (set_mode(own, train=False), found[1.0])  # what other checks look at
    found.update({factor: train(subject, batches, factor=factor, steps=steps) for factor in FACTORS[1:]})
    sweep = Sweep(peak_rate(subject), steps, found)
    while sweep.best in (100.0, 1e3, 0.01, 1e-3) and found[sweep.best].progress < LEARNED and len(found) < 7:
        factor = sweep.best * (10 if sweep.best > 1 else 0.1)
        if factor in found:
            break  # tried already, and it learned no more
        found[factor] = train(subject, batches, factor=factor, steps=steps)
    return sweep


def peak_rate(subject: Subject) -> float:
    """The highest rate of the planned run."""
    facts = subject.optimizer
    return (facts.lr or 0.0) * _peak(subject) if facts is not None else 0.0


def _peak(subject: Subject) -> float:
    """The greatest factor of the schedule, relative to the optimizer's own rate."""
    if subject.schedule is None or subject.total_steps < 2:
        return 1.0
    marks = range(0, subject.total_steps, max(1, subject.total_steps // 200))
    return max((float(subject.schedule(step)) for step in marks), default=1.0) or 1.0


def _warms_up(subject: Subject) -> bool:
    return subject.schedule is not None and float(subject.schedule(0)) < 0.5 * _peak(subject)


def batches_of(subject: Subject) -> list[tuple[Inputs, Any]]:
    """A few batches of the pool, each at most as large as the person's.

    Raises:
        NotCheckedError: Targets are not known, or there are too few samples.
    """
    if subject.pool_targets is None or subject.objective is None:
        raise NotCheckedError("the loss is not known")
    size = min(subject.batch_size or MOST_ROWS, MOST_ROWS, subject.pool_size)
    inputs, targets = subject.rows(min(subject.pool_size, size * BATCHES))
    have = len(next(iter(inputs.values())))
    parts = [slice(start, start + size) for start in range(0, have - size + 1, size)]
    return [({name: value[part] for name, value in inputs.items()}, pick(targets, part)) for part in parts]


def train(
    subject: Subject,
    batches: list[tuple[Inputs, Any]],
    *,
    factor: float,
    steps: int,
    change: Callable[[torch.optim.Optimizer], None] | None = None,
    make: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    model: nn.Module | None = None,
) -> Short:
    """Train a copy for some steps.

    Args:
        factor: Of the person's rate.
        change: Changes the optimizer before the first step.
        make: Makes another optimizer in its place.
        model: What to train, in place; None: a fresh copy.

    Raises:
        NotCheckedError: The module, the loss or the optimizer raised.
    """
    model = subject.fresh(train=True) if model is None else model
    optimizer = make(model) if make is not None else subject.optimizer_for(model, factor * _peak(subject))
    if change is not None:
        change(optimizer)
    warm = WARMUP if _warms_up(subject) else 0
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    losses: list[float] = []
    first = mean_loss(subject, model, batches)
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / warm) if warm else rate
        inputs, targets = batches[step % len(batches)]
        optimizer.zero_grad()
        loss = subject.loss(model, {n: v.clone() for n, v in inputs.items()}, targets, seed=step)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]) or abs(losses[-1]) > 1e3 * (abs(first) + 1):
            return Short(tuple(losses), first, math.inf)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
            if subject.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), subject.max_grad_norm)
            take_step(optimizer)
        except (RuntimeError, TypeError) as error:
            raise NotCheckedError(f"a short training raised {type(error).__name__}") from error
    last = mean_loss(subject, model, batches)
    return Short(tuple(losses), first, last if math.isfinite(last) else math.inf)


def mean_loss(subject: Subject, model: nn.Module, batches: list[tuple[Inputs, Any]]) -> float:
    """Over all batches, in train mode: running statistics of eval mode lag behind."""
    kept = {name: value.clone() for name, value in model.named_buffers()}
    total = 0.0
    for at, (inputs, targets) in enumerate(batches):
        copied = {name: value.clone() for name, value in inputs.items()}
        total += float(subject.loss(model, copied, targets, seed=1000 + at, grad=False))
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name in kept and kept[name].shape == value.shape:
                value.copy_(kept[name])
    return total / len(batches)


def rates(subject: Subject) -> Iterator[Finding]:
    """O01, O02: another rate learns ten times as much from the same batches."""
    sweep = sweep_of(subject)
    own, best = sweep.by_factor[1.0], sweep.by_factor[sweep.best]
    kind = subject.optimizer.kind if subject.optimizer is not None else "the optimizer"
    setting = (
        f"{sweep.steps} steps of {kind} on {BATCHES} batches, from a loss of {own.first:.4g}, end at: {sweep.table()}."
    )
    if best.progress < LEARNED:
        return
    better = f"lr={sweep.lr * sweep.best:.3g}"
    if sweep.best < 1 and own.progress < best.progress / FAR:
        outcome = "learns hardly anything" if own.progress > 0.02 else "does not learn"
        outcome = outcome if math.isfinite(own.last) else "diverges"
        yield finding(
            "O01",
            where=f"lr={sweep.lr:.3g}",
            evidence=f"At {sweep.lr:.3g} it {outcome}; {sweep.lr * sweep.best:.3g} learns. {setting}",
            cure=f"Take {better}.",
        )
    elif sweep.best > 1 and own.progress < best.progress / FAR:
        yield finding(
            "O02",
            where=f"lr={sweep.lr:.3g}",
            evidence=f"{sweep.lr * sweep.best:.3g} learns {_times(best.progress, own.progress)} as much in the same "
            "steps. "
            f"{setting}",
            cure=f"Take {better}, {sweep.best:.0f} times as high.",
        )


def _times(much: float, little: float) -> str:
    return f"{much / little:.0f} times" if little > 1e-3 else "over 100 times"


def regularisation(subject: Subject) -> Iterator[Finding]:
    """O07: without weight decay the same steps learn ten times as much."""
    facts = subject.optimizer
    decays = [float(group.options.get("weight_decay") or 0) for group in facts.groups] if facts is not None else []
    if not any(decays):
        return
    sweep = sweep_of(subject)
    own = sweep.by_factor[1.0]
    if own.progress > LEARNED:
        return

    def without(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.0

    batches = batches_of(subject)
    free = train(subject, batches, factor=1.0, steps=sweep.steps, change=without)
    if free.progress >= LEARNED and max(own.progress, 0.0) < free.progress / FAR:
        yield finding(
            "O07",
            where=f"weight_decay={max(decays):.3g}",
            evidence=f"{sweep.steps} steps end at a loss of {own.last:.4g}; without weight decay at {free.last:.4g}, "
            "from "
            f"{own.first:.4g}.",
            cure="Take weight_decay=0.01 or less.",
        )


def unsuited(subject: Subject) -> Iterator[Finding]:
    """O09: Adam at its usual rate learns ten times as much as plain SGD at the best of five rates."""
    facts = subject.optimizer
    if facts is None or facts.kind not in ("SGD", "Adagrad", "Adadelta", "Rprop", "ASGD"):
        return
    sweep = sweep_of(subject)
    best = sweep.by_factor[sweep.best]
    if best.progress > LEARNED:
        return
    batches = batches_of(subject)

    def adam(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=1e-3)

    other = train(subject, batches, factor=1.0, steps=sweep.steps, make=adam)
    if other.progress >= LEARNED and max(best.progress, 0.0) < other.progress / FAR:
        yield finding(
            "O09",
            where=facts.kind,
            evidence=f"{sweep.steps} steps of Adam at 0.001 end at a loss of {other.last:.4g}; {facts.kind} at the "
            "best of "
            f"five rates at {best.last:.4g}, from {best.first:.4g}.",
            cure="torch.optim.Adam(net.parameters(), lr=1e-3)",
        )


def constants(subject: Subject) -> Iterator[Finding]:
    """O08, O10: constants of the optimizer far from what anybody uses; weight decay on biases and norms."""
    facts = subject.optimizer
    if facts is None:
        return
    told: set[str] = set()
    for group in facts.groups:
        for name, value, usual in odd_constants(group.options):
            if name not in told:
                told.add(name)
                proof = _by_default(subject, name)
                yield finding(
                    "O08",
                    where=f"{facts.kind}({name}={value})",
                    severity="warning" if proof else "note",
                    evidence=f"{name} is {value}; usual are {usual}.{proof}",
                    cure=f"Leave {name} out to have torch's own default.",
                )
    decayed = [name for group in facts.groups if group.options.get("weight_decay") for name in group.names]
    own = dict(subject.model.named_parameters())
    flat = [name for name in decayed if name in own and own[name].ndim < 2]
    if flat and len(flat) < len(decayed):
        yield finding(
            "O10",
            where=facts.kind,
            evidence=f"{len(flat)} biases and scales ({', '.join(flat[:3])}{' …' if len(flat) > 3 else ''}) are "
            "decayed too.",
            cure="Give parameters with ndim < 2 a group of their own with weight_decay=0.",
        )


DEFAULTS = {"eps": 1e-8, "betas": (0.9, 0.999), "momentum": 0.9, "alpha": 0.99, "rho": 0.9}


def _by_default(subject: Subject, name: str) -> str:
    """That a usual constant learns ten times as much in the same steps, as a sentence; empty where it does not."""

    def usual(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group[name] = DEFAULTS[name]

    try:
        batches = batches_of(subject)
        own = train(subject, batches, factor=1.0, steps=STEPS[1])
        other = train(subject, batches, factor=1.0, steps=STEPS[1], change=usual)
    except NotCheckedError:
        return ""
    if other.progress < LEARNED / 2 or max(own.progress, 0.0) > other.progress / FAR:
        return ""
    return f" {STEPS[1]} steps end at a loss of {own.last:.4g}, with {name}={DEFAULTS[name]} at {other.last:.4g}."


def odd_constants(options: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Name, value and what is usual of each constant that is far out; wide bounds, since taste differs."""
    eps = options.get("eps")
    if isinstance(eps, float) and not 1e-15 < eps < 1e-2:
        yield "eps", eps, "1e-8 to 1e-3"
    betas = options.get("betas")
    if isinstance(betas, tuple) and len(betas) == 2:
        if not float(betas[0]) < 0.999:
            yield "betas", betas, "(0.9, 0.999)"
        elif float(betas[1]) < 0.8:
            yield "betas", betas, "(0.9, 0.999), or (0.5, 0.999) in GANs"
    momentum = options.get("momentum")
    if isinstance(momentum, (int, float)) and momentum >= 0.9995:
        yield "momentum", momentum, "0 to 0.99"
    rho = options.get("alpha") or options.get("rho")
    if isinstance(rho, float) and rho < 0.5:
        yield ("alpha" if "alpha" in options else "rho"), rho, "0.9 to 0.99"


CHECKS: tuple[Check, ...] = (
    Check("constants of the optimizer", ("O08", "O10"), constants, 2.0),
    Check("the learning rate", ("O01", "O02"), rates, 8.0),
    Check("regularisation", ("O07",), regularisation, 3.0),
    Check("the kind of optimizer", ("O09",), unsuited, 3.0),
)
