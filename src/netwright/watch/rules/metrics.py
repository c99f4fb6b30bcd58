"""What the script makes of the model's outputs when it measures them: wrong axis, threshold or shapes (E02).

Read from the operations that followed the first forward passes of each evaluation; each finding holds both figures.
``N`` is the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.optrace import Op
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.rules.flows import COMPARES, Step, after, axis, others, short, steps
from netwright.watch.rules.replays import OF_CLASSES, OF_PROBABILITIES, WITH_LOGITS, loss_names, target_of
from netwright.watch.trace import BatchSeen, ModelSeen, Trace

GREATER = frozenset({"gt", "__gt__", "ge", "__ge__", "greater", "greater_equal"})
LESS = frozenset({"lt", "__lt__", "le", "__le__", "less", "less_equal"})
DIFFERENCES = frozenset({"sub", "__sub__", "subtract", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})
ROUNDS = frozenset({"round", "round_"})


@dataclass(frozen=True, slots=True)
class Looked:
    """One forward pass with the operations on its output.

    Attributes:
        losses: That the model is trained with.
        target: What its answers are measured by, where known.
    """

    model: ModelSeen
    seen: BatchSeen
    steps: tuple[Step, ...]
    losses: frozenset[str]
    target: Tensor | None
    training: bool


def looks(trace: Trace) -> Iterator[Looked]:
    """The passes whose operations were recorded, of evaluation and the first of training."""
    for model in trace.models:
        losses = loss_names(model) or next(
            (
                own
                for other in trace.trained()
                if type(other.module) is type(model.module) and (own := loss_names(other))
            ),
            frozenset(),
        )
        for seen in (*model.recorded, *[one for one in model.batches[:3] if one.ops]):
            output = seen.output if isinstance(seen.output, Tensor) else None
            if seen.rows > 1 and output is not None and seen.ops:
                found = tuple(steps(seen.ops, output))
                yield Looked(model, seen, found, losses, target_of(seen), training=seen.used)


def wrong_metrics(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """E02: argmax over one column, a threshold for probabilities on logits, predictions against all labels."""
    told: set[tuple[str, object]] = set()
    for look in looks(trace):
        for step in look.steps:
            for judge in (_one_column, _wrong_axis, _all_against_all, _threshold, _twice_squashed):
                found = judge(look, step)
                key = (judge.__name__, step.op.place)
                if found is not None and key not in told:
                    told.add(key)
                    yield found
                    break


def _one_column(look: Looked, step: Step) -> Finding | None:
    """The largest of one number is always that one."""
    op, along = step.op, axis(step.op)
    name = short(op)
    if (
        name not in ("argmax", "max", "softmax", "topk")
        or along is None
        or not op.shapes
        or step.op.tensors()[0] is not step.tensor
    ):
        return None
    if op.shapes[0][along] != 1 or step.tensor.numel() < 2 or not _index_is_used(look, step, name):
        return None
    constant = "1.000" if name == "softmax" else "0"
    what = f"{name}(dim={along}) of a tensor of shape {op.shapes[0]} takes the largest of one number"
    if name == "softmax":
        what = f"softmax over axis {along} of a tensor of shape {op.shapes[0]} divides each number by itself"
    return finding(
        "E02",
        evidence=(
            f"{what}: all {step.tensor.numel()} predictions are {constant}, whatever the network says{_share(look)}"
        ),
        cure=_decide(look.losses),
        place=op.place,
        where=None if op.place else "the metric",
    )


def _index_is_used(look: Looked, step: Step, name: str) -> bool:
    """Whether it is the index, and not the value, that goes on, and in training also into a comparison."""
    later = after(look.steps, step.op)
    if name in ("max", "topk"):
        out = step.op.out
        if not isinstance(out, tuple) or len(out) != 2:
            return False
        values, index = out
        used = [any(one is wanted for one in then.op.tensors()) for wanted in (values, index) for then in look.steps]
        half = len(used) // 2
        if any(used[:half]) and not any(used[half:]):
            return False
        compared = any(short(one) in COMPARES and any(index is each for each in one.tensors()) for one in look.seen.ops)
        return compared or not look.training
    compared = any(short(one.op) in COMPARES for one in later)
    return (
        compared
        or not (look.training or name == "softmax")
        or (name == "softmax" and bool(later) and not look.training)
    )


def _share(look: Looked) -> str:
    target = look.target
    if target is None or len(target.unique()) > 2:
        return ""
    right = _right(look)
    text = f"; {float((target == 0).float().mean()):.3f} of these samples are of class 0"
    return text + (f", and {right:.3f} of the network's own answers are right" if right is not None else "")


def _right(look: Looked) -> float | None:
    """The share of right answers of a network for two classes, decided as its loss wants it."""
    output, target = look.seen.output, look.target
    if target is None or output.numel() != target.numel() or not look.losses & (WITH_LOGITS | OF_PROBABILITIES):
        return None
    cut = 0.0 if look.losses & WITH_LOGITS else 0.5
    return float(((output.cpu().reshape(-1) > cut) == (target.reshape(-1) > 0.5)).float().mean())


def _decide(losses: frozenset[str]) -> str:
    if losses & WITH_LOGITS:
        return "predicted = (outputs > 0), as the outputs are logits"
    if losses & OF_PROBABILITIES:
        return "predicted = (outputs > 0.5), as the outputs are probabilities"
    return "Decide by a threshold: outputs > 0 for logits, > 0.5 for probabilities."


def _wrong_axis(look: Looked, step: Step) -> Finding | None:
    """The largest over the samples, or over all numbers, compared with one label for each sample."""
    op = step.op
    if short(op) != "argmax" or step.path or not look.losses & OF_CLASSES or look.training:
        return None
    rows, shape = look.seen.rows, tuple(step.tensor.shape)
    compared = [one for one in after(look.steps, op) if short(one.op) in COMPARES]
    labels = [other for one in compared for other in others(one) if other.numel() % rows == 0 and other.numel() >= rows]
    if not labels or len(shape) < 2:
        return None
    along = axis(op)
    if along is None and op.argument(1, "dim") is None:
        what = f"argmax() without dim gives one number, {int(op.out)}, for all {rows} samples"
    elif along == 0 and shape[0] == rows:
        what = f"argmax(dim=0) of a tensor of shape {shape} gives the best sample of each class, not the reverse"
    else:
        return None
    return finding(
        "E02",
        evidence=f"{what}, and that is compared with {rows} labels",
        cure="predicted = outputs.argmax(dim=1)",
        place=op.place,
        where=None if op.place else "the metric",
    )


def _all_against_all(look: Looked, step: Step) -> Finding | None:
    """(N,) with (N, 1): a table of each prediction against each label."""
    name = short(step.op)
    if name not in COMPARES | DIFFERENCES | {"mul", "__mul__"} or look.training:
        return None
    for other in others(step):
        one, two = tuple(step.tensor.shape), tuple(other.shape)
        flat = tuple(size for size in one if size != 1)
        if not flat or flat != tuple(size for size in two if size != 1) or step.tensor.numel() < 2:
            continue
        try:
            whole = tuple(torch.broadcast_shapes(one, two))
        except RuntimeError:
            continue
        if torch.Size(whole).numel() <= step.tensor.numel() or len(one) == len(two):
            continue  # the same length of both: somebody meant every pair
        if name in ("mul", "__mul__") and not _is_target(look, other):
            continue
        return _table(step, other, one, two, whole)
    return None


def _is_target(look: Looked, other: Tensor) -> bool:
    target = look.target
    return (
        target is not None
        and other.numel() == target.numel()
        and bool(torch.equal(other.reshape(-1).cpu(), target.reshape(-1).to(other.dtype)))
    )


def _table(step: Step, other: Tensor, one: tuple[int, ...], two: tuple[int, ...], whole: tuple[int, ...]) -> Finding:
    first, second = step.tensor.detach(), other.detach()
    name = short(step.op)
    if name in COMPARES:
        table, own = (first == second).float(), (first.reshape(-1) == second.reshape(-1)).float()
        text = (
            f"{float(table.mean()):.3f} of the table agree, {float(own.mean()):.3f} of the predictions with their label"
        )
    else:
        table = (first.float() - second.float()) ** 2
        own = (first.float().reshape(-1) - second.float().reshape(-1)) ** 2
        text = (
            f"the mean square over the table is {float(table.mean()):.4g}, over the pairs that belong together "
            f"{float(own.mean()):.4g}"
        )
    return finding(
        "E02",
        title="Each prediction is compared with every label",
        evidence=f"shapes {one} and {two} make a table of {whole}: {text}",
        cure="Give both the same shape: labels.squeeze(1), or predictions.unsqueeze(1)",
        place=step.op.place,
        where=None if step.op.place else "the metric",
    )


def _threshold(look: Looked, step: Step) -> Finding | None:
    """One half on logits; 0 on probabilities."""
    name, op = short(step.op), step.op
    if name not in GREATER | LESS | ROUNDS or not step.raw or look.training:
        return None
    cut = 0.5 if name in ROUNDS else _constant(op, step.tensor)
    values = step.tensor.detach().float()
    if cut is None or values.numel() < 2:
        return None
    logits = look.losses & (WITH_LOGITS | OF_CLASSES)
    if cut == 0.5 and logits and not look.losses & OF_PROBABILITIES:
        between = int(((values > 0) & (values <= 0.5)).sum())
        beyond = int(((values < 0) | (values > 1)).sum())
        if not look.losses & WITH_LOGITS and not _is_binary(look.target, values):
            return None  # what cross-entropy was given may have been something else
        if not beyond:
            return None
        what = "round()" if name in ROUNDS else "the threshold of 0.5"
        text = (
            f"{what} is applied to logits (trained with {sorted(logits)[0]}), which go from "
            f"{float(values.min()):.2f} to "
            f"{float(values.max()):.2f}; as a probability 0.5 of a logit is 0.62. {between} of {values.numel()} "
            "answers in "
            f"this batch lie between and are called negative{_gain(look, values, 0.5, 0.0)}"
        )
        return finding(
            "E02", evidence=text, cure="predicted = (outputs > 0), or torch.sigmoid(outputs) > 0.5", place=op.place
        )
    if cut == 0 and look.losses & OF_PROBABILITIES and not look.losses & WITH_LOGITS and bool((values >= 0).all()):
        text = (
            f"the outputs are probabilities (trained with {sorted(look.losses & OF_PROBABILITIES)[0]}) from "
            f"{float(values.min()):.2f} "
            f"to {float(values.max()):.2f}: all {values.numel()} are above the threshold of "
            f"0{_gain(look, values, 0.0, 0.5)}"
        )
        return finding("E02", evidence=text, cure="predicted = (outputs > 0.5)", place=op.place)
    return None


def _is_binary(target: Tensor | None, values: Tensor) -> bool:
    return target is not None and target.numel() == values.numel() and set(target.unique().tolist()) <= {0.0, 1.0}


def _constant(op: Op, tensor: Tensor) -> float | None:
    rest = [one for one in (*op.args, *op.kwargs.values()) if one is not tensor]
    if len(rest) != 1:
        return None
    if isinstance(rest[0], (int, float)) and not isinstance(rest[0], bool):
        return float(rest[0])
    single = isinstance(rest[0], Tensor) and rest[0].numel() == 1
    return float(rest[0]) if single else None


def _gain(look: Looked, values: Tensor, cut: float, better: float) -> str:
    target = look.target
    if target is None or not _is_binary(target, values):
        return ""
    wanted = target.reshape(-1) > 0.5
    was, should = ((values.cpu().reshape(-1) > at) == wanted for at in (cut, better))
    return f"; accuracy {float(was.float().mean()):.3f} so, {float(should.float().mean()):.3f} with {better:g}"


def _twice_squashed(look: Looked, step: Step) -> Finding | None:
    """A sigmoid of probabilities lies between 0.5 and 0.73: with a threshold of one half all is positive."""
    if short(step.op) != "sigmoid" or not step.raw or look.training or look.losses & (WITH_LOGITS | OF_CLASSES):
        return None
    values = step.tensor.detach().float()
    if not look.losses & OF_PROBABILITIES or bool(((values < 0) | (values > 1)).any()):
        return None
    cuts = [
        one for one in after(look.steps, step.op)
        if (short(one.op) in GREATER and _constant(one.op, one.tensor) == 0.5) or short(one.op) in ROUNDS
    ]  # fmt: skip
    if not cuts:
        return None
    return finding(
        "E02",
        evidence=(
            f"the outputs are probabilities (trained with {sorted(look.losses & OF_PROBABILITIES)[0]}), and sigmoid "
            "of them lies "
            f"between {float(values.sigmoid().min()):.3f} and {float(values.sigmoid().max()):.3f}: with the "
            "threshold of 0.5 all "
            f"{values.numel()} answers are positive{_gain(look, values, -1.0, 0.5)}"
        ),
        cure="predicted = (outputs > 0.5), without another sigmoid",
        place=step.op.place,
        where=None if step.op.place else "the metric",
    )


RULES = (wrong_metrics,)
