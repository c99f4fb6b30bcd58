"""Metrics that are taken of other values than they should be: padding, normalised pictures, scrambled axes (E06).

``C`` is the number of classes, ``H`` and ``W`` height and width.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.rules.flows import COMPARES, Step, after, axis, class_axis, moved, others, short, steps, tags
from netwright.watch.rules.metrics import Looked, looks
from netwright.watch.rules.replays import OF_CLASSES
from netwright.watch.trace import ModelSeen, Trace

MASKING = frozenset(
    {
        "__getitem__", "mul", "__mul__", "__and__", "logical_and", "bitwise_and", "masked_select", "where",
        "masked_fill",
        "masked_fill_", "index_select", "__setitem__", "__iand__", "__imul__", "mul_", "logical_and_",
    }
)  # fmt: skip
PEAKS = (1.0, 2.0, 255.0)  # what pictures usually go up to


def measured_elsewhere(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E06: what is compared, or taken for a picture, is not what it should be."""
    told: set[str] = set()
    for look in looks(trace):
        if look.training:
            continue
        for judge in (_padding, _peak, _scrambled):
            found = judge(trace, look)
            if found is not None and judge.__name__ not in told:
                told.add(judge.__name__)
                yield found


# ------------------------------------------------------------------------------------------------- padding


def _ignored(model: ModelSeen) -> float | None:
    """The label that the loss of training leaves out."""
    for seen in model.batches[:8]:
        for loss in seen.losses:
            if loss.name in OF_CLASSES:
                module = loss.module
                value = (
                    getattr(module, "ignore_index", None)
                    if module is not None
                    else loss.options.get("ignore_index", -100)
                )
                return None if value is None else float(value)
    return None


def _padding(trace: Trace, look: Looked) -> Finding | None:
    ignored = _ignored(look.model)
    if ignored is None:
        return None
    for step in look.steps:
        if short(step.op) not in ("eq", "__eq__"):
            continue
        for labels in others(step):
            counts = int((labels == ignored).sum())
            if labels.numel() <= 1 or not counts or counts == labels.numel() or labels.shape != step.tensor.shape:
                continue
            later = after(look.steps, step.op)
            if any(short(one.op) in MASKING for one in later):
                continue
            if _all_count(trace, look, step, later, labels, labels.numel() - counts):
                return _padded(look, step, labels, ignored, counts)
    return None


def _all_count(trace: Trace, look: Looked, step: Step, later: list[Step], labels: Tensor, scored: int) -> bool:
    """Whether the hits are divided by all positions, and not by those that have a label."""
    if any(short(one.op) == "mean" for one in later):
        return True
    if not any(short(one.op) in ("sum", "count_nonzero") for one in later):
        return False
    seen = look.seen
    at = [one.turn for one in look.model.recorded if one.loader == seen.loader and one.epoch == seen.epoch].index(
        seen.turn
    )
    for loop in trace.loops:
        if loop.loader != seen.loader or loop.epoch != seen.epoch or at >= len(loop.values):
            continue
        before = loop.start if at == 0 else loop.values[at - 1]
        grown = {name: value - before.get(name, 0.0) for name, value in loop.values[at].items()}
        return labels.numel() in grown.values() and scored not in grown.values()
    return False


def _padded(look: Looked, step: Step, labels: Tensor, ignored: float, counts: int) -> Finding:
    right = step.tensor == labels
    scored = labels != ignored
    return finding(
        "E06",
        title="Padding counts in the metric",
        evidence=(
            f"{counts} of {labels.numel()} labels in this batch are {ignored:.0f}, which the loss leaves out, and "
            "the metric counts them: "
            f"{float(right.float().mean()):.3f} over all, {float(right[scored].float().mean()):.3f} over those that "
            "have a label"
        ),
        cure=f"scored = labels != {ignored:.0f}; correct += (predicted == labels)[scored].sum(); total += scored.sum()",
        place=step.op.place,
        where=None if step.op.place else "the metric",
    )


# ------------------------------------------------------------------------------------------------- peak


def _peak(trace: Trace, look: Looked) -> Finding | None:
    """A peak signal-to-noise ratio with a peak that the pictures do not have."""
    for step in look.steps:
        if short(step.op) == "log10":
            found = _of_log(look, step)
            if found is not None:
                return found
    return _of_python(trace, look)


def _of_log(look: Looked, step: Step) -> Finding | None:
    means = [one for one in step.path if short(one) in ("mean", "mse_loss")]
    picture = _picture(look)
    if not means or picture is None or not isinstance(means[-1].out, Tensor):
        return None
    error, inside = means[-1].out.detach().float(), step.tensor.detach().float()
    if error.shape != inside.shape:
        return None
    for factor, power in ((inside * error, 0.5), (inside / error, -0.5), (inside**2 * error, 0.5)):
        value = float(factor.reshape(-1)[0])
        constant = bool(torch.isfinite(factor).all()) and value > 0 and bool(((factor / value - 1).abs() < 1e-3).all())
        peak = value**power if constant else math.nan
        near = next((one for one in PEAKS if math.isclose(peak, one, rel_tol=1e-3)), None)
        if near is not None:
            return _wrong_peak(near, picture, step.op.place, _decibels(near, error))
    return None


def _decibels(peak: float, error: Tensor) -> float:
    return float((10 * torch.log10(peak**2 / error)).mean())


def _picture(look: Looked) -> Tensor | None:
    """The picture that an output is measured by: of its shape, with real numbers."""
    output = look.seen.output
    for step in look.steps:
        if short(step.op) in ("sub", "__sub__", "mse_loss", "rsub", "__rsub__"):
            for other in others(step):
                if other.shape == output.shape and other.is_floating_point() and other.ndim >= 3:
                    return other.detach()
    target = look.target
    fits = target is not None and target.shape == output.shape and target.is_floating_point() and target.ndim >= 3
    return target if fits else None


def _wrong_peak(peak: float, picture: Tensor, place: Place | None, shown: float | None) -> Finding | None:
    """A finding where pictures leave 0 to peak, or fill next to nothing of it."""
    low, high = float(picture.min()), float(picture.max())
    span = high - low
    beyond = low < -0.05 * peak or high > 1.05 * peak
    signed = math.isclose(peak, 2.0) and low >= -1.05 and high <= 1.05
    if signed or (not beyond and span > 0.1 * peak) or span <= 0:
        return None
    change = 20 * math.log10(span / peak)
    figure = (
        f": shown {shown:.2f} dB, with their own span {shown + change:.2f} dB"
        if shown is not None
        else f": {abs(change):.1f} dB apart"
    )
    return finding(
        "E06",
        title="The PSNR takes normalised pictures for plain ones" if beyond else None,
        evidence=f"the peak is taken for {peak:g}, but the pictures go from {low:.2f} to {high:.2f}{figure}",
        cure="Undo the normalisation of both pictures first: x * std + mean",
        place=place,
        where=None if place else "the metric",
    )


def _of_python(trace: Trace, look: Looked) -> Finding | None:
    """``10 * math.log10(1 / mse)`` of plain numbers, in a function or for a variable that is named after the PSNR."""
    picture = _picture(look)
    if picture is None:
        return None
    for file, tree in trace.sources.trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in (
                "math.log10",
                "np.log10",
                "numpy.log10",
                "log10",
            ):
                continue
            peak = _peak_in(node.args[0]) if node.args else None
            if peak is not None and _names_psnr(node):
                return _wrong_peak(peak, picture, Place(file, node.lineno), None)
    return None


def _peak_in(node: ast.expr) -> float | None:
    """The peak in ``1 / mse``, ``255 ** 2 / mse`` or ``255 / sqrt(mse)``."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return None
    above, below = node.left, ast.unparse(node.right)
    squared = isinstance(above, ast.BinOp) and isinstance(above.op, ast.Pow)
    base = above.left if isinstance(above, ast.BinOp) and squared else above
    if not isinstance(base, ast.Constant) or not isinstance(base.value, (int, float)):
        return None
    value = float(base.value)
    return value if squared or "sqrt" in below else math.sqrt(value)


def _names_psnr(node: ast.AST) -> bool:
    above: ast.AST | None = node
    while above is not None:
        if isinstance(above, ast.FunctionDef):
            return "psnr" in above.name.lower()
        if isinstance(above, (ast.Assign, ast.AugAssign)) and "psnr" in ast.unparse(above).lower():
            return True
        above = getattr(above, "parent", None)
    return False


# ------------------------------------------------------------------------------------------------- scrambled


def _classes(model: ModelSeen, output: Tensor) -> int | None:
    """The axis of the output that holds the classes, as the loss of training takes them."""
    for seen in model.batches[:3]:
        if not isinstance(seen.output, Tensor) or seen.output.ndim != output.ndim:
            continue
        for step in steps(seen.ops, seen.output):
            if (
                short(step.op) in ("cross_entropy", "nll_loss", "cross_entropy_loss")
                and step.raw
                and step.op.tensors()[0] is step.tensor
            ):
                laid = moved(tags(seen.output.shape), step.path)
                if laid is not None and laid.ndim > 1:
                    return class_axis(laid.movedim(1, -1), tuple(seen.output.shape))
        for loss in seen.losses:
            if loss.name in OF_CLASSES and loss.direct and loss.model == model.number and seen.output.ndim > 1:
                return 1
    return None


def _scrambled(trace: Trace, look: Looked) -> Finding | None:
    """The best class is looked for among numbers of other places."""
    output = look.seen.output
    if output.ndim < 3 or output.numel() > 2_000_000:
        return None
    classes = _classes(look.model, output)
    if classes is None or output.shape[classes] < 2:
        return None
    for step in look.steps:
        along = axis(step.op)
        if short(step.op) != "argmax" or along is None or step.op.tensors()[0] is not step.tensor:
            continue
        laid = moved(tags(output.shape), step.path)
        if laid is None:
            continue
        lined = laid.movedim(along, -1)
        places = torch.unravel_index(lined, output.shape)
        own = places[classes] == torch.arange(lined.shape[-1])
        same = torch.stack([(one == one[..., :1]).all(-1) for at, one in enumerate(places) if at != classes]).all(0)
        right = own.all(-1) & same if lined.shape[-1] == output.shape[classes] else torch.zeros_like(same)
        if bool(right.all()):
            continue
        return _mixed(look, step, classes, along, 1 - float(right.float().mean()))
    return None


def _mixed(look: Looked, step: Step, classes: int, along: int, share: float) -> Finding:
    output, target = look.seen.output, look.target
    figures = ""
    rest = (*output.shape[:classes], *output.shape[classes + 1 :])
    if target is not None and tuple(target.shape) == rest:
        should = float((output.argmax(dim=classes) == target.to(output.device)).float().mean())
        compared = next((one for one in after(look.steps, step.op) if short(one.op) in COMPARES), None)
        if compared is not None and isinstance(compared.op.out, Tensor):
            figures = f"; accuracy {float(compared.op.out.float().mean()):.3f} so, {should:.3f} over axis {classes}"
    move = next((one for one in reversed(step.path) if short(one) in ("view", "reshape", "flatten")), None)
    place = move.place if move is not None else step.op.place
    return finding(
        "E06",
        title="The metric compares numbers of different places",
        evidence=(
            f"the classes lie along axis {classes} of the output {tuple(output.shape)}, as the loss takes them, but "
            f"argmax over axis {along} of "
            f"{tuple(step.tensor.shape)} compares numbers of different places in {share:.0%} of all rows{figures}"
        ),
        cure=(
            f"predicted = outputs.argmax(dim={classes}), or first "
            f"outputs.movedim({classes}, -1).reshape(-1, {output.shape[classes]})"
        ),
        place=place,
        where=None if place else "the metric",
    )


RULES = (measured_elsewhere,)
