"""Numbers that become NaN or infinite, on samples as they can occur (K14 of the probes, M27).

Probes are the data themselves, samples that are constant, zero or ten times as large, two inputs that are equal, and
probabilities that are 0 or 1 in float32. The first operation that makes something not finite of finite values is named;
of gradients the first that its backward pass meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.leaves import returned_tensors
from netwright.checks.optrace import Op, Recorder, tensors_in
from netwright.checks.runner import Check
from netwright.checks.sourcecode import source_line
from netwright.checks.subject import Inputs, NotCheckedError, Subject, pick
from netwright.records import Finding

TENFOLD = 10.0  # an outlier of the data, as catalogue M27 has it; more is no longer realistic
SQUASHED = frozenset({"sigmoid", "softmax"})
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
    if not all(bool(torch.isfinite(one).all()) for one in healthy.parameters()):
        raise NotCheckedError("the module starts with weights that are not finite")
    inputs, targets = subject.rows()
    first = _probe(subject, inputs, targets)
    whole = pick(subject.pool, slice(0, 256)), pick(subject.pool_targets, slice(0, 256))
    if first is None:
        first = _probe(subject, *whole)
    if first is not None:
        yield _told(subject, first, "your own samples", severity="error")
        return
    for words, probe, wanted in _probes(subject, inputs, targets):
        broken = _probe(subject, probe, wanted)
        if broken is not None:
            yield _told(subject, broken, words, severity="warning")
            return
    broken = _confident(subject, inputs, targets)
    if broken is not None:
        yield _told(subject, broken, "the answers as sure as float32 can be (a probability of exactly 0 or 1)", severity="warning")


def _probes(subject: Subject, inputs: Inputs, targets: Any) -> Iterator[tuple[str, Inputs, Any]]:
    """Batches as they can occur, and what they are in words."""
    real = {name: one for name, one in inputs.items() if one.is_floating_point() and one.ndim > 1}

    def changed(make: Callable[[Tensor], Tensor]) -> Inputs:
        new = {name: value.clone() for name, value in inputs.items()}
        for name in real:
            new[name][0] = make(new[name][0])
        return new

    if real:
        yield "a constant sample", changed(lambda one: torch.full_like(one, float(one.mean()))), targets
        yield "a sample of zeros", changed(torch.zeros_like), targets
        yield "a sample ten times as large as yours", changed(lambda one: one * TENFOLD), targets
    names = list(real)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            if real[one].shape == real[other].shape:
                equal = {name: value.clone() for name, value in inputs.items()}
                equal[other][0] = equal[one][0]
                yield f"a sample with equal `{one}` and `{other}`", equal, targets
    yield "a batch of one and the same sample", {k: v[:1].expand_as(v).clone() for k, v in inputs.items()}, _repeated(targets)


def _repeated(targets: Any) -> Any:
    if isinstance(targets, Tensor):
        return targets[:1].expand_as(targets).clone()
    return targets


def _probe(subject: Subject, inputs: Inputs, targets: Any, *, pushed: frozenset[str] = frozenset()) -> Broken | None:
    """Forward, loss and backward on a fresh copy; what became not finite first, or None."""
    model = subject.fresh(train=True)
    recorder = _Watcher(pushed)
    grad: dict[int, Tensor] = {}
    with recorder:
        try:
            returned = subject.call(model, inputs, grad=True)
            total = _total(subject, returned, inputs, targets)
        except NotCheckedError:
            return None  # it raises on this probe: that is loud
    broken = _first_broken(recorder.ops)
    if broken is not None and (not _finite(returned_tensors(returned)) or (total is not None and not _finite([total]))):
        return broken
    if total is None or not total.requires_grad or not _finite([total]):
        return None
    for op in recorder.ops:
        for one in tensors_in(op.out):
            if one.requires_grad and one.grad_fn is not None:
                one.register_hook(lambda value, key=id(one): grad.__setitem__(key, value))  # type: ignore[misc]
    own = [one for one in model.parameters() if one.requires_grad]
    try:
        slopes = torch.autograd.grad(total, own, allow_unused=True) if own else ()
    except RuntimeError:
        return None
    if _finite([one for one in slopes if one is not None]):
        return None
    return Broken("NaN" if any(bool(one.isnan().any()) for one in slopes if one is not None) else "infinity",
                  _broken_slope(recorder.ops, grad), backward=True)  # fmt: skip


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
    return op.short in ("masked_fill", "masked_fill_", "full", "full_like", "where", "triu", "tril", "fill_", "zeros", "__setitem__")


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
    return next((op for op in reversed(ops) if any(id(one) in grad and not _finite([grad[id(one)]]) for one in tensors_in(op.out))), None)


class _Watcher(Recorder):
    """A recorder that also pushes what some functions get so far apart that they give exactly 0 or 1, or infinity."""

    def __init__(self, pushed: frozenset[str]) -> None:
        super().__init__(most=6_000)
        self.pushed = pushed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Push, then record."""
        name = getattr(func, "__name__", "")
        if name in self.pushed and args and isinstance(args[0], Tensor):
            value = args[0]
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
