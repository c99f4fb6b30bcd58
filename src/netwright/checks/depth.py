"""Gradients that vanish or explode from layer to layer, and a module that cannot learn even one batch.

Neither is told by a threshold: none of several rates learns, and the same layers with another start, or with ReLU in
the place of what saturates, do.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, resolve_name

from netwright.checks.catalogue import finding
from netwright.checks.linears import STEPS as PRODUCTS
from netwright.checks.runner import Check
from netwright.checks.sourcecode import class_place, made_at
from netwright.checks.subject import Inputs, NotCheckedError, Subject, pick
from netwright.checks.sweep import Short, batches_of, sweep_of, train
from netwright.checks.traced import traced
from netwright.checks.trials import guess_loss
from netwright.records import Finding

FEWEST_LAYERS = 5
APART = 1e6  # times, between the gradients of the first and the last weights; sound nets of 50 layers stay below 1e3
FAILS = 0.1  # share of the first loss that no rate learns more of
LEARNED = 0.2  # share of the loss that the best rate leaves which the other start must learn
ONE_BATCH = 100  # steps on one batch, which a sound module learns by heart in some 30
HARDLY = 0.05
SQUASHES = frozenset({"sigmoid", "sigmoid_", "tanh", "tanh_", "softsign", "hardtanh"})


@dataclass
class Even(TorchFunctionMode):
    """Scale each product's weights as it is done, so that what it gives varies by 1 from sample to sample, about 0.

    Attributes:
        weights: By id, those that may be scaled.
        relu: Put ReLU in the place of what saturates, also in training.
        scale: Whether to scale; done in the first pass alone.
    """

    weights: dict[int, nn.Parameter]
    relu: bool = False
    scale: bool = True

    def __post_init__(self) -> None:
        super().__init__()
        self.done: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call, with even weights."""
        kwargs = kwargs or {}
        name = (resolve_name(func) or getattr(func, "__name__", "")).rpartition(".")[2]
        if self.relu and name in SQUASHES and args and args[0].ndim > 1:
            return functional.relu(args[0])
        out = func(*args, **kwargs)
        if not self.scale or name not in PRODUCTS or not isinstance(out, Tensor):
            return out
        given = [self.weights[id(one)] for one in (*args, *kwargs.values()) if id(one) in self.weights]
        weight = next((one for one in given if one.ndim > 1), None)
        if weight is None or id(weight) in self.done:
            return out
        self.done.add(id(weight))
        bias = next((one for one in given if one.ndim == 1), None)
        with torch.no_grad():
            spread = float(out.std(0).mean())
            if not math.isfinite(spread) or spread < 1e-30:
                return out
            weight.div_(spread)
            if bias is not None:
                bias.div_(spread)
                middle = func(*args, **kwargs).transpose(-1, 1 if "conv" in name else -1).reshape(-1, len(bias)).mean(0)
                bias.sub_(middle)
        return func(*args, **kwargs)


def by_depth(subject: Subject) -> Iterator[Finding]:
    """M24: gradients of the first and the last layers lie far apart, no rate learns, and an even start does."""
    norms = gradient_sizes(subject)
    if len(norms) < FEWEST_LAYERS:
        return
    first, last = norms[0], norms[-1]
    apart = first[1] / last[1]
    if 1 / APART < apart < APART:
        return
    sweep = sweep_of(subject)
    if sweep.by_factor[sweep.best].progress > FAILS:
        return
    found = _even_start(subject, sweep.steps, sweep.by_factor[sweep.best].last)
    if found is None:
        return
    how, short = found
    shown = ", ".join(f"`{name}` {size:.0e}" for name, size in _some(norms))
    layer = first[0].rpartition(".")[0]
    what = "vanish" if apart < 1 else "explode"
    yield finding(
        "M24",
        title=f"Gradients {what} by depth",
        evidence=f"Size of the gradient from the first weights to the last: {shown}. {sweep.steps} steps at none of "
        f"{len(sweep.by_factor)} rates learn ({sweep.table()}, from {sweep.by_factor[1.0].first:.4g}); {how}, they "
        f"end at {short.last:.4g}.",
        cure="Residual connections (x = x + layer(x)), nn.LayerNorm or BatchNorm after each layer, or ReLU with "
        "nn.init.kaiming_normal_.",
        place=made_at(subject.original or subject.model, layer) if layer else class_place(type(subject.model)),
        layer=layer or None,
    )


def gradient_sizes(subject: Subject) -> list[tuple[str, float]]:
    """Root mean square of the gradient of each learned weight, in the order of their first use; zeros are left out."""
    inputs, targets = subject.rows(min(32, subject.pool_size))
    model = subject.fresh(train=True)
    few = pick(inputs, slice(0, min(8, len(next(iter(inputs.values()))))))
    order = _order(subject, few)
    own = {name: one for name, one in model.named_parameters() if one.requires_grad and one.ndim > 1}
    if len(own) < FEWEST_LAYERS:
        return []
    loss = subject.loss(model, inputs, targets)
    slopes = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
    sizes = {
        name: float(slope.float().square().mean().sqrt())
        for name, slope in zip(own, slopes, strict=True)
        if slope is not None
    }
    return [(name, sizes[name]) for name in order if 0 < sizes.get(name, 0.0) < math.inf]


def _order(subject: Subject, inputs: Inputs) -> list[str]:
    """Names of the weights in the order in which a call uses them."""
    model = subject.fresh()
    seen = traced(subject, model, inputs)
    names = {id(one): name for name, one in model.named_parameters()}
    used = [names[id(one)] for op in seen.ops for one in op.tensors() if id(one) in names]
    return list(dict.fromkeys(used))


def _some(norms: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The first, some between, and the last."""
    places = sorted({round(at * (len(norms) - 1) / 4) for at in range(5)})
    return [norms[place] for place in places]


def _even_start(subject: Subject, steps: int, left: float) -> tuple[str, Short] | None:
    """How the same layers learn more than the best rate has ``left``: with an even start, or with ReLU as well."""
    batches = batches_of(subject)
    for relu in (False, True):
        for factor in (1.0, 0.1, 10.0):
            model = subject.fresh(train=True)
            weights = {id(one): one for one in model.parameters() if one.requires_grad}
            mode = Even(weights, relu=relu)
            with mode:
                subject.call(model, batches[0][0])
            mode.scale = False
            with mode if relu else contextlib.nullcontext():
                short = train(subject, batches, factor=factor, steps=steps, model=model)
            if short.last < (1 - LEARNED) * left:
                rate = f" at {factor:g} times the rate" if factor != 1 else ""
                with_relu = " and ReLU in place of what saturates" if relu else ""
                return f"with each layer scaled so that its outputs vary by 1{with_relu}{rate}", short
    return None


def one_batch(subject: Subject) -> Iterator[Finding]:
    """M29: neither several rates nor a hundred steps on one batch alone bring the loss below that of guessing."""
    sweep = sweep_of(subject)
    best = sweep.by_factor[sweep.best]
    if best.progress > HARDLY or not best.first > 0:
        return
    batch = batches_of(subject)[0]
    inputs, targets = batch
    answer = subject.answer(subject.fresh(), inputs)
    guess = guess_loss(subject, answer, inputs, targets)
    model = subject.fresh(train=True)
    short = train(subject, [batch], factor=sweep.best, steps=ONE_BATCH, model=model)
    if short.progress > HARDLY or short.last < 0.9 * guess or guess <= 0:
        return
    rows = len(next(iter(inputs.values())))
    yield finding(
        "M29",
        evidence=f"{ONE_BATCH} steps on one batch of {rows} at lr={sweep.lr * sweep.best:.3g}, the best of "
        f"{len(sweep.by_factor)} rates, bring the loss from {short.first:.4g} to {short.last:.4g}; the best answer "
        f"that is the same for all has {guess:.4g}. {_why(subject, model, inputs)}",
        cure="Try the smallest module that can learn one batch, and add one part after the other.",
        place=class_place(type(subject.original or subject.model)),
    )


def _why(subject: Subject, model: nn.Module, inputs: Inputs) -> str:
    """What can be seen of the reason, as a sentence."""
    names = [name for name, value in inputs.items() if bool((value == value[:1]).all())]
    if len(names) == len(inputs):
        return "All inputs of the batch are the same."
    with contextlib.suppress(NotCheckedError):
        answer = subject.answer(model.eval(), inputs).detach().float()
        spread, size = float(answer.std(0).mean()), float(answer.abs().max())
        if not math.isfinite(size):
            return "Its answers are no finite numbers."
        if spread <= 1e-4 * max(size, 1e-12):
            return "Its answers are the same for all samples: nothing of the inputs reaches them."
    sizes = gradient_sizes(subject)
    if not sizes:
        return "None of its weights gets a gradient."
    return "Inputs reach the answers and weights get gradients, so its form or its loss keeps it from fitting."


CHECKS: tuple[Check, ...] = (
    Check("gradients by depth", ("M24",), by_depth, 6.0),
    Check("learning one batch", ("M29",), one_batch, 4.0),
)
