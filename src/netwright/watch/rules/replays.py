"""Forward passes that were seen, done again on copies, and how good their answers are. Changes nothing of the script's.

``B`` is the number of samples, ``C`` of classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, copy_module, first_line
from netwright.watch.looks import outputs_in
from netwright.watch.rules.flows import COMPARES, others, short, steps
from netwright.watch.scene import place_of
from netwright.watch.trace import BatchSeen, ModelSeen, Trace

WITH_LOGITS = frozenset(
    {"BCEWithLogitsLoss", "binary_cross_entropy_with_logits", "MultiLabelSoftMarginLoss", "multilabel_soft_margin_loss"}
)
OF_PROBABILITIES = frozenset({"BCELoss", "binary_cross_entropy"})
OF_CLASSES = frozenset({"CrossEntropyLoss", "cross_entropy", "NLLLoss", "nll_loss"})


@dataclass(frozen=True, slots=True)
class Score:
    """How good answers are.

    Attributes:
        name: accuracy, or the loss's.
        count: Answers of which it is the mean.
        higher: Whether more is better.
    """

    name: str
    value: float
    count: int
    higher: bool

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3f}"


def evaluation_of(trace: Trace, model: ModelSeen) -> list[BatchSeen]:
    """Forward passes of the last evaluation of a model: after its last backward pass, with what they were given."""
    turns = {event.facts.get("turn") for event in trace.of("backward")} if trace.loaders else set()
    last = max((at for at, event in enumerate(trace.events) if event.kind == "backward"), default=-1)
    found = [one for one in (*model.eval_batches, *(b for b in model.batches if not b.used)) if not one.used]
    return [
        one
        for one in found
        if (one.args or one.kwargs)
        and (one.event > last or (one.turn not in turns and one.turn > 0 and one.loader >= 0))
    ]


def by_site(trace: Trace, batches: Iterable[BatchSeen]) -> dict[Place | None, list[BatchSeen]]:
    """Forward passes by the line that made them."""
    found: dict[Place | None, list[BatchSeen]] = {}
    for one in batches:
        found.setdefault(place_of(trace, one), []).append(one)
    return found


def private(module: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode.

    Raises:
        NotCheckedError: It cannot be copied.
    """
    return set_flags(copy_module(module).to("cpu"), ())


def set_flags(module: nn.Module, training: Iterable[str]) -> nn.Module:
    """Put the submodules of these names in train mode, all others in eval mode; no method of theirs is called."""
    names = set(training)
    for name, one in module.named_modules():
        one.training = name in names
    return module


def replay(module: nn.Module, seen: BatchSeen, change: Callable[[Any], Any] | None = None) -> Tensor:
    """What a copy answers to what was given then.

    Args:
        change: What to make of each argument.

    Raises:
        NotCheckedError: It raised, or gave no tensor.
    """
    args, kwargs = on_cpu(seen.args), on_cpu(seen.kwargs)
    if change is not None:
        args, kwargs = tuple(change(one) for one in args), {name: change(one) for name, one in kwargs.items()}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            returned = module(*args, **kwargs)
    except Exception as error:
        raise NotCheckedError(f"the module raised when it was called again: {first_line(error)}") from error
    found = outputs_in(returned)
    answer = next((one for one in found if one.ndim), found[0] if found else None)
    if answer is None:
        raise NotCheckedError("the module gave no tensor when it was called again")
    return answer.detach()


def on_cpu(value: Any) -> Any:
    """Tensors of nested tuples, lists and dicts, copied to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: on_cpu(one) for key, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(on_cpu(one) for one in value)
    return value


def target_of(seen: BatchSeen) -> Tensor | None:
    """What the answers are measured by: of the loss, else of the loader, else what they were compared with."""
    own = next((one.target for one in seen.losses if isinstance(one.target, Tensor) and not one.inside), None)
    found = own if own is not None else seen.targets
    if found is None and isinstance(seen.output, Tensor):
        compared = (
            other for step in steps(seen.ops, seen.output) if short(step.op) in COMPARES for other in others(step)
        )
        found = next((one for one in compared if one.ndim and len(one) == seen.rows), None)
    return None if found is None else found.detach().cpu()


def loss_names(model: ModelSeen) -> frozenset[str]:
    """The losses that were given the model's own output, in training where there was any."""
    batches = [one for one in model.batches if one.losses] or model.eval_batches
    return frozenset(loss.name for one in batches[:8] for loss in one.losses if loss.model == model.number)


def score_of(pairs: list[tuple[Tensor, Tensor]], losses: frozenset[str]) -> Score | None:
    """How good answers are: accuracy for classes, else the mean squared error; None where that cannot be told."""
    hits, total, squares = 0, 0, 0.0
    name = ""
    for output, target in pairs:
        right = hits_of(output, target, losses)
        if right is not None and name in ("", "accuracy"):
            name, hits, total = "accuracy", hits + int(right.sum()), total + right.numel()
        elif output.numel() == target.numel() and output.is_floating_point() and name in ("", "mean squared error"):
            name, total = "mean squared error", total + output.numel()
            squares += float(((output.reshape(-1) - target.reshape(-1).to(output.dtype)) ** 2).sum())
        else:
            return None
    if not total:
        return None
    return Score(name, hits / total if name == "accuracy" else squares / total, total, higher=name == "accuracy")


def hits_of(output: Tensor, target: Tensor, losses: frozenset[str]) -> Tensor | None:
    """Whether each answer is right, where answers are classes; None where they are not."""
    preds = classes_of(output, target, losses)
    if preds is None:
        return None
    wanted = target.reshape(preds.shape).long()
    scored = wanted >= 0  # negative labels are those that do not count
    return (preds == wanted)[scored]


def classes_of(output: Tensor, target: Tensor, losses: frozenset[str]) -> Tensor | None:
    """The classes that an output stands for, shaped as the targets; None where it stands for none."""
    if output.ndim >= 2 and not target.is_floating_point() and output.is_floating_point():
        for axis in (1, output.ndim - 1):
            rest = (*output.shape[:axis], *output.shape[axis + 1 :])
            if rest == tuple(target.shape) and output.shape[axis] > 1 and int(target.max()) < output.shape[axis]:
                return output.argmax(dim=axis)
    binary = losses & (WITH_LOGITS | OF_PROBABILITIES)
    if binary and output.numel() == target.numel() and set(target.unique().tolist()) <= {0.0, 1.0}:
        return (output > (0 if binary & WITH_LOGITS else 0.5)).long().reshape(target.shape)
    return None


def differ(one: Tensor, other: Tensor) -> float:
    """How far two outputs are apart: the largest difference in units of their spread; infinite for other shapes."""
    if one.shape != other.shape:
        return float("inf")
    if not one.is_floating_point():
        return float((one != other).any())
    spread = max(float(other.float().std()) if other.numel() > 1 else 0.0, float(other.abs().max()) * 1e-3, 1e-12)
    gap = (one - other).abs()
    return float(gap[gap.isfinite()].max()) / spread if bool(gap.isfinite().any()) else 0.0
