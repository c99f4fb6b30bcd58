"""Numbers that become NaN or infinite, on samples as they can occur (K14 of the probes, M27).

Probes are the data themselves, samples that are constant, zero or ten times as large, two inputs that are equal, and
probabilities that are 0 or 1 in float32. The first operation that makes something not finite of finite values is named;
of gradients the first that its backward pass meets.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netwright.checks.catalogue import finding
from netwright.checks.leaves import returned_tensors
from netwright.checks.optrace import Op, Recorder, tensors_in
from netwright.checks.runner import Check
from netwright.checks.sourcecode import source_line
from netwright.checks.subject import Inputs, NotCheckedError, Subject, pick
from netwright.records import Finding

TENFOLD = 10.0  # an outlier of the data, as catalogue M27 has it; more is no longer realistic
MOST_ROWS = 256
OWN_SECONDS = 1.0  # that the person's own samples may take, at the pace of the first few
SQUASHED = frozenset({"sigmoid", "softmax"})
WRITTEN = frozenset({"masked_fill", "masked_fill_", "full", "full_like", "where", "tril", "fill_", "__setitem__"})
QUOTIENTS = frozenset({"div", "div_", "true_divide", "__truediv__", "__rtruediv__", "__rdiv__", "reciprocal"})
LOGARITHMS = frozenset({"log", "log_", "log2", "log10", "mul", "mul_", "xlogy", "pow"})


@dataclass(frozen=True, slots=True)
class Broken:
    """What became not finite.

    Attributes:
        what: NaN, infinity.
        op: The operation; None where it is not known.
        backward: Whether in the backward pass.
    """

    what: str
    op: Op | None
    backward: bool


def not_finite(subject: Subject) -> Iterator[Finding]:
    """M27: the batch itself, then probes of it."""
    if not all(bool(torch.isfinite(one).all()) for one in subject.pool.values() if one.is_floating_point()):
        raise NotCheckedError("the data hold NaN or infinity themselves")
    healthy = subject.fresh(train=True)
    if not all(bool(torch.isfinite(one).all()) for one in healthy.parameters() if not is_lazy(one)):
        raise NotCheckedError("the module starts with weights that are not finite")
    inputs, targets = subject.rows()
    began = time.perf_counter()
    first = _probe(subject, inputs, targets)
    each = (time.perf_counter() - began) / len(next(iter(inputs.values())))
    if first is None:
        most = int(min(MOST_ROWS, 64 + OWN_SECONDS / max(each, 1e-6)))
        first = _probe(subject, pick(subject.pool, slice(0, most)), pick(subject.pool_targets, slice(0, most)))
    if first is not None:
        yield _told(subject, first, "your own samples", severity="error")
        return
    together = _together(inputs)
    if together is None or _probe(subject, together, targets) is None:
        probes = list(_pairs(inputs))
    else:
        probes = [*_singles(inputs), *_pairs(inputs)]
    for words, probe in probes:
        broken = _probe(subject, probe, targets)
        if broken is not None:
            yield _told(subject, broken, words, severity="warning")
            return
    broken = _confident(subject, inputs, targets)
    if broken is not None:
        words = "answers as sure as float32 can be (a probability of exactly 0 or 1)"
        yield _told(subject, broken, words, severity="warning")


def _real(inputs: Inputs) -> list[str]:
    return [name for name, one in inputs.items() if one.is_floating_point() and one.ndim > 1]


# How a sample may come out, in words.
EXTREMES: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("a constant sample", lambda one: torch.full_like(one, float(one.mean()))),
    ("a sample of zeros", torch.zeros_like),
    ("a sample ten times as large as yours", lambda one: one * TENFOLD),
)


def _singles(inputs: Inputs) -> Iterator[tuple[str, Inputs]]:
    """Batches with one extreme sample each."""
    for words, make in EXTREMES:
        new = {name: value.clone() for name, value in inputs.items()}
        for name in _real(inputs):
            new[name][0] = make(new[name][0])
        yield words, new


def _together(inputs: Inputs) -> Inputs | None:
    """One batch with all extreme samples, to save passes; None where there is nothing to change."""
    names = _real(inputs)
    if not names or len(inputs[names[0]]) < len(EXTREMES):
        return None
    new = {name: value.clone() for name, value in inputs.items()}
    for at, (_, make) in enumerate(EXTREMES):
        for name in names:
            new[name][at] = make(new[name][at])
    return new


def _pairs(inputs: Inputs) -> Iterator[tuple[str, Inputs]]:
    """Batches in which two inputs, or all samples, are equal."""
    names = _real(inputs)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            if inputs[one].shape == inputs[other].shape:
                equal = {name: value.clone() for name, value in inputs.items()}
                equal[other][0] = equal[one][0]
                yield f"a sample with equal `{one}` and `{other}`", equal
    yield "a batch of equal samples", {name: value[:1].expand_as(value).clone() for name, value in inputs.items()}


def _probe(subject: Subject, inputs: Inputs, targets: Any, *, pushed: frozenset[str] = frozenset()) -> Broken | None:
    """Forward, loss and backward on a fresh copy; what became not finite first, or None."""
    if not pushed and _stays_finite(subject, inputs, targets):
        return None  # the usual case, without the cost of a recording
    model = subject.fresh(train=True)
    recorder = _Watcher(pushed)
    with recorder:
        try:
            returned = subject.call(model, inputs, grad=True)
            total = _total(subject, returned, inputs, targets)
        except NotCheckedError:
            return None  # it raises on this probe: that is loud
    if pushed and not recorder.met:
        return None
    if not _finite(returned_tensors(returned)) or (total is not None and not _finite([total])):
        return _first_broken(recorder.ops)
    if total is None or not total.requires_grad:
        return None
    grad: dict[int, Tensor] = {}
    for op in recorder.ops:
        for one in tensors_in(op.out):
            if one.requires_grad and one.grad_fn is not None:
                one.register_hook(functools.partial(grad.__setitem__, id(one)))  # type: ignore[no-untyped-call]
    slopes = _slopes(model, total)
    if _finite(slopes):
        return None
    what = "NaN" if any(bool(one.isnan().any()) for one in slopes) else "infinity"
    return Broken(what, _broken_slope(recorder.ops, grad), backward=True)


def _stays_finite(subject: Subject, inputs: Inputs, targets: Any) -> bool:
    """Whether all that comes back, the loss and the gradients are finite; what raises is loud and counts as finite."""
    model = subject.fresh(train=True)
    try:
        returned = subject.call(model, inputs, grad=True)
        total = _total(subject, returned, inputs, targets)
    except NotCheckedError:
        return True
    if not _finite(returned_tensors(returned)) or (total is not None and not _finite([total])):
        return False
    return total is None or not total.requires_grad or _finite(_slopes(model, total))


def _slopes(model: nn.Module, total: Tensor) -> list[Tensor]:
    own = [one for one in model.parameters() if one.requires_grad]
    try:
        found = torch.autograd.grad(total, own, allow_unused=True) if own else ()
    except RuntimeError:
        return []
    return [one for one in found if one is not None]


def _total(subject: Subject, returned: Any, inputs: Inputs, targets: Any) -> Tensor | None:
    try:
        return subject.loss_of(subject.found(returned), inputs, targets)
    except NotCheckedError:
        parts = [one.float().square().mean() for one in returned_tensors(returned) if one.requires_grad]
        return torch.stack(parts).sum() if parts else None


def _finite(tensors: list[Tensor]) -> bool:
    return all(bool(torch.isfinite(one.detach()).all()) for one in tensors)


def _masked(op: Op) -> bool:
    """Whether infinity is written on purpose, as into attention scores that are masked."""
    return op.short in WRITTEN


def _first_broken(ops: list[Op]) -> Broken | None:
    """The first operation that makes NaN of no NaN, or infinity of finite values that is not written as such."""
    infinite: Broken | None = None
    for op in ops:
        outs = [one.detach() for one in tensors_in(op.out) if one.is_floating_point()]
        given = [one.detach() for one in op.tensors() if one.is_floating_point()]
        if any(bool(one.isnan().any()) for one in outs) and not any(bool(one.isnan().any()) for one in given):
            return Broken("NaN", op, backward=False)
        if infinite is None and not _masked(op) and any(bool(one.isinf().any()) for one in outs) and _finite(given):
            infinite = Broken("infinity", op, backward=False)
    return infinite


def _broken_slope(ops: list[Op], grad: dict[int, Tensor]) -> Op | None:
    """The operation, from the loss backwards, whose result has a finite gradient and one of its inputs has not."""
    for op in reversed(ops):
        outs = [grad[id(one)] for one in tensors_in(op.out) if id(one) in grad]
        given = [grad[id(one)] for one in op.tensors() if id(one) in grad]
        if outs and _finite(outs) and given and not _finite(given):
            return op
    for op in reversed(ops):
        if not _finite([grad[id(one)] for one in tensors_in(op.out) if id(one) in grad]):
            return op
    return None


class _Watcher(Recorder):
    """A recorder that also pushes what some functions get so far apart that they give exactly 0 or 1, or infinity."""

    def __init__(self, pushed: frozenset[str]) -> None:
        super().__init__(most=6_000)
        self.pushed = pushed
        self.met = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Push, then record."""
        name = getattr(func, "__name__", "")
        if name in self.pushed and args and isinstance(args[0], Tensor):
            value = args[0]
            self.met = True
            most = float((value if name == "exp" else value.abs()).detach().max()) if value.numel() else 0.0
            # 120 is past where softmax underflows to 0 in float32 (103), exp overflows (88), sigmoid rounds to 1 (17).
            args = (value * (120.0 / most), *args[1:]) if most > 1e-6 else args
        return super().__torch_function__(func, types, args, kwargs)


def _confident(subject: Subject, inputs: Inputs, targets: Any) -> Broken | None:
    """Whether a logarithm is taken of a probability that can be 0, or a softmax is written with a bare exp."""
    if subject.objective is None:
        return None
    broken = _probe(subject, inputs, targets, pushed=SQUASHED)
    if broken is not None and broken.op is not None and broken.op.short in LOGARITHMS | QUOTIENTS:
        return broken
    broken = _probe(subject, inputs, targets, pushed=frozenset({"exp"}))
    # Only a quotient of two infinities is told: that exp itself overflows is not realistic for all that use it.
    return broken if broken is not None and broken.op is not None and broken.op.short in QUOTIENTS else None


def _told(subject: Subject, broken: Broken, words: str, *, severity: Any) -> Finding:
    op = broken.op
    line = source_line(op.place) if op else ""
    where = f" at `{line[:90]}`" if line else ""
    first = f"{op.short} gives it first" if op else "it"
    if broken.backward:
        first = f"the loss is finite, but the gradient of {op.short if op else 'an operation'} is not"
    return finding(
        "M27",
        severity=severity,
        evidence=f"I gave the module {words}: {broken.what} comes back; {first}{where}",
        cure=_cure(op, broken),
        place=op.place if op else None,
        where=None if op and op.place else "forward or the loss",
    )


def _cure(op: Op | None, broken: Broken) -> str:
    short = op.short if op else ""
    if short.startswith("log") and "softmax" not in short:
        return "Take log_softmax or logsigmoid of the logits, or a loss with logits; or log(p.clamp_min(1e-8))"
    if short in ("mul", "__mul__", "__rmul__"):
        return "0 * log(0) is NaN: use torch.special.xlogy, or a loss with logits."
    if short in ("sqrt", "norm", "pow", "__pow__", "rsqrt", "dist", "cdist"):
        return "Add a small constant under the root: torch.sqrt(x + 1e-8)"
    if short in ("div", "__truediv__", "reciprocal", "std", "var"):
        return "Add a small constant to the divisor: x / (std + 1e-6)"
    if short in ("exp", "expm1", "cosh", "sinh"):
        return "Bound what exp gets: torch.exp(x.clamp(max=20)); for shares use softmax."
    if short in ("softmax", "scaled_dot_product_attention"):
        return "Leave at least one key of each row unmasked, or set rows without any to 0."
    return "Keep the operation away from its singular point: clamp its input, or add a small constant."


CHECKS: tuple[Check, ...] = (Check("numbers that are not finite", ("M27",), not_finite, most_s=4.0),)
