"""Every softmax of a forward pass: over which axis, and what is done with it? (M01, M02, M03)

M01: a softmax that is the answer must sum to 1 over the classes. M02: over an axis of size 1 it is 1 whatever comes in.
M03: weights that gather values must sum to 1 over what is gathered, where they come of queries and keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.gathered import contracted
from netwright.checks.optrace import Op, tensors_in
from netwright.checks.probes import REAL, Probe, gap, probe_of, replaced
from netwright.checks.runner import Check
from netwright.checks.sourcecode import source_line
from netwright.checks.subject import NotCheckedError, Subject
from netwright.checks.traced import Traced
from netwright.records import Finding

NAMES = frozenset({"softmax", "log_softmax", "softmin", "gumbel_softmax"})
# The same numbers in other axes, or each number by itself: an axis of classes stays one.
SAME = frozenset({
    "view", "reshape", "transpose", "permute", "squeeze", "unsqueeze", "flatten", "unflatten", "contiguous", "to",
    "float", "double", "clone", "dropout", "log", "clamp", "clamp_min", "swapaxes", "movedim", "t", "exp", "detach",
    "alias", "mT", "T",
})  # fmt: skip
EACH = SAME | {
    "mul", "div", "add", "sub", "tanh", "relu", "leaky_relu", "masked_fill", "masked_fill_", "where", "sigmoid", "elu",
    "gelu", "rsub", "neg", "add_", "mul_", "div_", "__getitem__", "true_divide", "expand", "nan_to_num", "log_", "half",
    "type_as",
}  # fmt: skip
PRODUCTS = ("matmul", "mv", "mm", "einsum", "bmm")
MAKERS = frozenset({"linear", "sum", "mean", "amax", "max", "norm", *PRODUCTS})  # may make an axis of size 1
CLOSE = 1e-3  # of 1: what a sum over an axis of a softmax may be away, with half precision in mind


@dataclass(frozen=True, slots=True)
class Softmax:
    """One softmax: the index of its operation, its input and result, the axis, and whether it is a logarithm."""

    index: int
    op: Op
    given: Tensor
    out: Tensor
    axis: int
    log: bool

    @property
    def probs(self) -> Tensor:
        """What sums to 1."""
        return self.out.exp() if self.log else self.out


def softmaxes(ops: list[Op]) -> Iterator[Softmax]:
    """The softmaxes among operations, with the axis that they took."""
    makers = {id(tensor): index for index, op in enumerate(ops) for tensor in tensors_in(op.out)}
    for index, op in enumerate(ops):
        if op.short in ("div", "true_divide", "__truediv__", "divide"):
            yield from _by_hand(ops, makers, index)
        if op.short not in NAMES or not isinstance(op.out, Tensor):
            continue
        tensors = op.tensors()
        if not tensors or tensors[0].shape != op.out.shape or op.out.ndim == 0:
            continue
        if op.short == "gumbel_softmax":
            axis = op.kwargs.get("dim", op.args[4] if len(op.args) > 4 else -1)
        else:
            axis = op.argument(1, "dim")
        if not isinstance(axis, int):  # torch chooses: axis 0 of one, three and no axes, else axis 1
            axis = 0 if op.out.ndim in (0, 1, 3) else 1
        yield Softmax(index, op, tensors[0], op.out, axis % op.out.ndim, op.short == "log_softmax")


def _by_hand(ops: list[Op], makers: dict[int, int], index: int) -> Iterator[Softmax]:
    """exp(x) / exp(x).sum(axis, keepdim=True), as its numbers tell."""
    op = ops[index]
    given = op.tensors()
    if (
        len(given) != 2
        or not isinstance(op.out, Tensor)
        or given[0].shape != op.out.shape
        or given[1].ndim != op.out.ndim
    ):
        return
    maker = makers.get(id(given[0]))
    axes = [axis for axis in range(op.out.ndim) if given[1].shape[axis] == 1 < given[0].shape[axis]]
    if maker is None or ops[maker].short not in ("exp", "exp_") or len(axes) != 1:
        return
    if torch.allclose(given[0].sum(dim=axes[0], keepdim=True), given[1], rtol=CLOSE):
        yield Softmax(index, op, ops[maker].tensors()[0], op.out, axes[0], False)


def softmax_axes(subject: Subject) -> Iterator[Finding]:
    """Trace one forward pass and look at its softmaxes."""
    probe = probe_of(subject)
    trace = probe.base()
    found = list(softmaxes(trace.ops))
    if not found:
        return
    yield from of_size_one(probe, trace, found)
    yield from of_the_answer(probe, trace, found)
    yield from of_attention(probe, trace, found)


def of_size_one(probe: Probe, trace: Traced, found: list[Softmax]) -> Iterator[Finding]:
    """M02: softmax of one number, where the module always makes one: one unit, a sum that keeps the axis."""
    told: set[Any] = set()
    answer = probe.subject.found(trace.returned)
    last = softmax_behind(trace.ops, answer, trace.maker(answer), found) if isinstance(answer, Tensor) else None
    for one in found:
        at_place = [other for other in found if other.op.place == one.op.place]
        if one.out.shape[one.axis] != 1 or one.op.place in told or any(two.out.shape[two.axis] > 1 for two in at_place):
            continue
        made_by = _why_one(trace, one)
        if made_by is None:
            continue
        told.add(one.op.place)
        value = "0.0 (the logarithm of 1)" if one.log else "1.0"
        yield finding(
            "M02",
            evidence=f"{one.op.short} over axis {one.axis} of {tuple(one.out.shape)}, which has one entry "
            f"({made_by}): all "
            f"{one.out.numel()} results are {value} whatever comes in, and the gradient of what comes before is "
            "exactly 0.",
            cure="One unit for yes or no: no activation and BCEWithLogitsLoss; or as many units as classes and "
            "CrossEntropyLoss."
            if one is last
            else f"Take it over the axis of what competes, as time: {one.op.short}(scores, dim=1) for scores "
            "(batch, time, 1).",
            place=one.op.place,
            layer=trace.layer(one.index),
        )


def _why_one(trace: Traced, one: Softmax) -> str | None:
    """What always makes the axis of size 1; None where it may be a sequence of length 1."""
    tensor, axis, index = one.given, one.axis, trace.maker(one.given, one.index)
    while index is not None:
        op = trace.ops[index]
        if op.short in MAKERS or op.short.startswith("conv"):
            return _made_by(trace, index, tensor, axis)
        if op.short == "unsqueeze" and tensor.ndim and axis == _positive(op.argument(1, "dim"), tensor.ndim):
            return "made by unsqueeze"
        before = next((t for t in op.tensors() if t.ndim and t.numel() == tensor.numel()), None)
        if op.short not in EACH or before is None:
            return None
        if before.shape != tensor.shape:
            if before.ndim != tensor.ndim or sorted(before.shape) != sorted(tensor.shape):
                return None
            axis = before.shape.index(1) if list(before.shape).count(1) == 1 else axis
        tensor, index = before, trace.maker(before, index)
    return None


def _made_by(trace: Traced, index: int, tensor: Tensor, axis: int) -> str | None:
    """Whether a layer or a sum has made an axis of size 1 on purpose, and which."""
    op = trace.ops[index]
    last = axis == tensor.ndim - 1
    if op.short == "linear":
        return "a layer of one unit" if last else None
    if op.short.startswith("conv"):
        return "a convolution of one channel" if axis == 1 else None
    if op.short not in PRODUCTS:
        return f"{op.short} that keeps its axis" if op.kwargs.get("keepdim") else None
    weights = [t for t in op.tensors()[1:] if isinstance(t, nn.Parameter) or (t.is_leaf and t.requires_grad)]
    if weights and 1 in weights[0].shape:
        return "a product with a weight of one column"
    made = trace.maker(op.tensors()[-1], index) if op.tensors() else None
    column = made is not None and trace.ops[made].short == "unsqueeze" and last
    return "a product with one column, made by unsqueeze" if column else None


def _positive(axis: Any, ndim: int) -> int:
    return axis % ndim if isinstance(axis, int) else -1


def of_the_answer(probe: Probe, trace: Traced, found: list[Softmax]) -> Iterator[Finding]:
    """M01: an answer that is a softmax must sum to 1 over the axis that the loss takes for the classes."""
    answer = probe.subject.found(trace.returned)
    if not isinstance(answer, Tensor) or not answer.is_floating_point():
        return
    one = softmax_behind(trace.ops, answer, trace.maker(answer), found)
    if one is None or one.out.shape[one.axis] == 1:
        return
    values = answer.detach().double()
    sums = _axes_of_one(values) or _axes_of_one(values.exp())
    if not sums:
        return
    wanted = class_axis(probe, answer)
    batch = probe.axis
    if answer.ndim == 1 and sums == [0] and _rows_matter(probe):
        yield finding(
            "M01",
            evidence=f"{one.op.short} runs over the batch, in `{source_line(one.op.place)}`: the {len(answer)} "
            "answers of the "
            "batch add up to 1, so that each depends on which other samples come with it, and one alone is 1.",
            cure="One number for each sample: torch.sigmoid, or none and BCEWithLogitsLoss.",
            place=one.op.place,
            layer=trace.layer(one.index),
        )
    elif answer.shape[batch] == probe.rows and batch in sums and wanted != batch and _rows_matter(probe):
        over = "the batch: the scores of different samples compete, and one sample alone always gets probability 1"
        yield _wrong(one, trace, values, batch, wanted if wanted is not None else answer.ndim - 1, over)
    elif wanted is not None and wanted not in sums:
        yield _wrong(one, trace, values, sums[0], wanted, f"axis {sums[0]} of the answer {tuple(answer.shape)}")


def _rows_matter(probe: Probe) -> bool:
    """Whether changing other samples changes a sample's answer: it says that the axis is the batch."""
    odd = list(range(1, probe.rows, 2))
    after = probe.run(replaced(probe.subject, probe.inputs, odd))
    if after.shape != probe.answer.shape:
        return False
    even = list(range(0, probe.rows, 2))
    before, after = probe.answer.movedim(probe.axis, 0), after.movedim(probe.axis, 0)
    return gap(before[even], after[even]) > REAL * probe.spread


def _wrong(one: Softmax, trace: Traced, values: Tensor, got: int, wanted: int, over: str) -> Finding:
    probs = values.exp() if one.log else values
    low, high = probs.sum(dim=wanted).min(), probs.sum(dim=wanted).max()
    return finding(
        "M01",
        evidence=f"{one.op.short} runs over {over}. The probabilities sum to 1 over axis {got}, and over the "
        "classes, axis "
        f"{wanted}, to {float(low):.2f} … {float(high):.2f}, in `{source_line(one.op.place) or one.op.short}`.",
        cure=f"{one.op.short}(…, dim={wanted if wanted < values.ndim - 1 else -1}); none at all before "
        "CrossEntropyLoss.",
        place=one.op.place,
        layer=trace.layer(one.index),
    )


def softmax_behind(ops: list[Op], tensor: Tensor, index: int | None, found: list[Softmax]) -> Softmax | None:
    """The softmax whose numbers a tensor holds, perhaps in other axes or their logarithms."""
    makers = {id(t): at for at, op in enumerate(ops) for t in tensors_in(op.out)}
    by_index = {one.index: one for one in found}
    for _ in range(16):
        if index is None:
            return None
        if index in by_index:
            return by_index[index]
        op = ops[index]
        if (
            op.short in ("add", "mul", "div", "sub")
            and len(op.tensors()) > 1
            or op.short not in SAME | {"add", "clamp"}
        ):
            return None
        before = op.tensors()
        index = makers.get(id(before[0])) if before else None
    return None


def _axes_of_one(values: Tensor) -> list[int]:
    """Axes over which a tensor of probabilities sums to 1."""
    if values.numel() == 0 or bool((values < -CLOSE).any()) or bool((values > 1 + CLOSE).any()):
        return []
    sizes = [axis for axis in range(values.ndim) if values.shape[axis] > 1]
    return [axis for axis in sizes if bool(((values.sum(dim=axis) - 1).abs() < CLOSE).all())]


def class_axis(probe: Probe, answer: Tensor) -> int | None:
    """The axis that the loss takes for the classes: along it the gradient meets one class, or sums to 0."""
    subject = probe.subject
    inputs = probe.inputs
    targets = subject.pool_targets
    if isinstance(targets, Tensor) and subject.objective is not None:
        try:
            leaf = answer.detach().clone().requires_grad_()
            loss = subject.loss_of(leaf, inputs, targets[: probe.rows].clone())
            (gradient,) = torch.autograd.grad(loss, leaf)
        except (NotCheckedError, RuntimeError):
            gradient = None
        if gradient is not None:
            axes = [axis for axis in range(answer.ndim) if answer.shape[axis] > 1 and _chooses(gradient, axis)]
            return axes[0] if len(axes) == 1 else None
    if answer.ndim == 2:
        return 1 - probe.axis
    number = subject.num_classes
    axes = [axis for axis in range(answer.ndim) if answer.shape[axis] == number]
    return axes[0] if number and len(axes) == 1 else None


def _chooses(gradient: Tensor, axis: int) -> bool:
    """Whether along an axis the gradient is of one class (NLL), or sums to 0 (cross-entropy), wherever it is."""
    lines = gradient.double().movedim(axis, -1).flatten(0, -2)
    lines = lines[(lines != 0).any(dim=1)]
    if not len(lines):
        return False
    one = bool(((lines != 0).sum(dim=1) == 1).all())
    none = bool((lines.sum(dim=1).abs() < 1e-4 * lines.abs().sum(dim=1)).all())
    return one or none


def of_attention(probe: Probe, trace: Traced, found: list[Softmax]) -> Iterator[Finding]:
    """M03: weights of queries and keys that gather values without summing to 1 over what is gathered."""
    told: set[Any] = set()
    for one in found:
        if one.log or one.out.ndim < 2 or one.op.place in told or one.out.shape[one.axis] == 1:
            continue
        if _again(trace, one, found):  # routing by agreement, slots: what competes is what gathers, on purpose
            continue
        of_keys = _of_queries_and_keys(trace, one)
        batch = not of_keys and one.axis == 0 and one.out.shape[0] == probe.rows
        if not of_keys and not batch:
            continue
        use = contracted(trace, one.index, one.out)
        if use is None:
            continue
        sums = use.weights.double().sum(dim=use.axis)
        right = bool(((sums - 1).abs() < CLOSE).all())
        other = [axis for axis in _axes_of_one(use.weights.double()) if axis != use.axis]
        if right or not other or (batch and not _rows_matter(probe)):
            continue
        told.add(one.op.place)
        yield finding(
            "M03",
            evidence=f"softmax over axis {one.axis} of the scores {tuple(one.out.shape)}, in "
            f"`{source_line(one.op.place)}`: the "
            f"weights with which values are summed in `{source_line(use.op.place) or use.op.short}` add up to "
            f"{float(sums.min()):.2f} … {float(sums.max()):.2f} over what is summed, and to 1 over "
            f"{'the batch' if batch else 'another axis'}.",
            cure="softmax(scores, dim=-1): over the keys, for scores (…, queries, keys)."
            if of_keys
            else "Take the softmax over what is summed, as dim=1 for scores (batch, time).",
            place=one.op.place,
            layer=trace.layer(one.index),
        )


def _again(trace: Traced, one: Softmax, found: list[Softmax]) -> bool:
    """Whether the same line makes another softmax in the same call of a layer."""
    around = trace.around(one.index)
    inside = around[-1] if around else None
    return any(
        two is not one and two.op.place == one.op.place and (inside is None or inside.begin <= two.index < inside.end)
        for two in found
    )


def _of_queries_and_keys(trace: Traced, one: Softmax) -> bool:
    """Whether scores are products of two tensors of the data, as queries and keys; those of clusters are not."""
    tensor, index = one.given, trace.maker(one.given, one.index)
    for _ in range(12):
        if index is None:
            return False
        op = trace.ops[index]
        if op.short in ("matmul", "bmm", "einsum", "baddbmm", "__matmul__", "__rmatmul__"):
            factors = [t for t in op.tensors() if t.ndim >= 2][-2:]
            return len(factors) == 2 and all(_made(trace, t, index) for t in factors)
        if op.short not in EACH:
            return False
        before = next((t for t in op.tensors() if t.shape == tensor.shape), op.tensors()[0] if op.tensors() else None)
        if before is None:
            return False
        tensor, index = before, trace.maker(before, index)
    return False


def _made(trace: Traced, tensor: Tensor, index: int | None) -> bool:
    """Whether a tensor is computed by a layer, and is no parameter in other axes."""
    for _ in range(12):
        if isinstance(tensor, nn.Parameter) or index is None:
            return False
        at = trace.maker(tensor, index)
        if at is None:
            return not isinstance(tensor, nn.Parameter) and index is not None and not tensor.requires_grad
        op = trace.ops[at]
        if op.short not in EACH | {"chunk", "split", "unbind", "repeat", "cat"}:
            return True
        before = op.tensors()
        if not before:
            return False
        tensor, index = before[0], at
    return True


CHECKS: tuple[Check, ...] = (Check("the axis of a softmax", ("M01", "M02", "M03"), softmax_axes, most_s=3.0),)
